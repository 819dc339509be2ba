"""Closed form or messages: the same world, to the last line and bit, whatever disturbs it and when.

    a world   machines, links, plans one after another, and when each rank enters (`Case`)
    moments   every instant at which anything happens when it is played by messages, and 1 ns before and after
    trouble   a crash, a foreign flow, a background burst, somebody who never enters, the end of the run: at a moment

What is not here: what messages do (`test_world.py`), and the textbook times of a plan (`test_collectives.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringsim.collectives.all_gather import AllGather
from ringsim.collectives.broadcast import Broadcast
from ringsim.collectives.halving_doubling import HalvingDoubling
from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.parameter_server import ParameterServerAllReduce
from ringsim.collectives.reduce_scatter import ReduceScatter
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.table import near_square_groups
from ringsim.collectives.tree import TreeAllReduce
from ringsim.collectives.vectors import ELEMENT_BYTES, segment_length
from ringsim.errors import InvariantBroken, NodeError
from ringsim.node import Group, Member, Node, Operation, Program
from ringsim.scenario import worker_names
from ringsim.simulation import simulate
from ringsim.trace import MESSAGE_KINDS, Detail, Trace
from ringsim.world.played import Played
from ringsim.world.undisturbed import Undisturbed
from ringsim.world.world import Fidelity, play
from tests.worlds import MS, Run, cluster, crash, faults_at, group_of, training
from tests.worlds import tell as tell_programs

# --- worlds as data ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bucket:
    """One collective: which plan, of how many elements; each rank's pause before it, and who goes on meanwhile.

    pauses: (`sleep` or `compute`, ns) for each rank. starts: ranks that start it and do not wait for it here.
    """

    plan: str
    length: int
    pauses: tuple[tuple[str, int], ...]
    starts: tuple[int, ...] = ()
    timeout_ns: int | None = None


@dataclass(frozen=True)
class Send:
    """A message outside of collectives. A member sends it while its collectives are under way, if it only started."""

    source: str
    target: str
    size_bytes: int
    at_ns: int


@dataclass(frozen=True)
class Case:
    """A world. `hosts` and `network` as a scenario has them; the first `ranks` nodes are members."""

    hosts: tuple[Mapping[str, Any], ...]
    ranks: int
    buckets: tuple[Bucket, ...]
    network: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[Mapping[str, Any], ...] = ()
    sends: tuple[Send, ...] = ()
    absent: tuple[int, int] | None = None  # this rank never enters the bucket of that number
    second_group: tuple[int, ...] | None = None  # whoever is through, or has failed, then meets the others of these
    second_after_ns: int = 0
    limit_ns: int | None = None
    tail_ns: int = 0
    split: int = 0  # so many of the members are a group of their own
    helpers: int = 0  # so many of the last members do not keep the run going
    steps: bool = False  # every bucket is a step
    gives_up: tuple[int, int] | None = (
        None  # this rank's program ends with an error then, if it has started all it has to
    )

    @property
    def names(self) -> tuple[str, ...]:
        """All nodes: the members, then bystanders."""
        return worker_names(self.scenario)

    def group(self, rank: int) -> tuple[str, ...]:
        """The names of the group that a member is in."""
        return self.names[: self.split] if rank < self.split else self.names[self.split : self.ranks]

    @property
    def scenario(self) -> Any:
        limit = {} if self.limit_ns is None else {"max_virtual_time": f"{self.limit_ns} ns"}
        return cluster(list(self.hosts), network=self.network, faults=self.faults, **limit)


def plan_of(bucket: Bucket, ranks: int) -> Any:
    timeout = bucket.timeout_ns
    return {
        "ring": lambda: RingAllReduce(timeout),
        "reduce_scatter": lambda: ReduceScatter(timeout),
        "all_gather": lambda: AllGather(bucket.length, timeout),
        "tree": lambda: TreeAllReduce(timeout),
        "halving_doubling": lambda: HalvingDoubling(timeout),
        "hierarchical": lambda: Hierarchical(near_square_groups(ranks), timeout),
        "broadcast": lambda: Broadcast(ELEMENT_BYTES * bucket.length, timeout),
        "parameter_server": lambda: ParameterServerAllReduce(1, timeout),
    }[bucket.plan]()


def buffer_of(bucket: Bucket, number: int, rank: int, ranks: int) -> Any:
    if bucket.plan == "broadcast":
        return f"of rank {rank}, bucket {number}"
    length = bucket.length
    if bucket.plan == "all_gather":
        length = segment_length(length, ranks, (rank + 1) % ranks)
    return np.random.default_rng((number, rank)).standard_normal(length).astype(np.float32)


def member(case: Case, rank: int) -> Run:
    names = case.names

    def run(node: Node) -> Operation[Any]:
        results: list[Any] = []
        if node.incarnation:
            # Back from the dead: it tells somebody, and may be wanted in the second group.
            node.send(names[(rank + 1) % case.ranks], None, 8, "back")
        else:
            node.join(group_of(case.group(rank)))
            node.begin_step(0)
            try:
                yield from _buckets(case, rank, node, results)
            except NodeError as error:
                if case.gives_up is not None:
                    raise
                results.append(str(error))
        if case.second_group is not None and Member(node.name, node.incarnation) in _second_group(case).members:
            yield from node.sleep(case.second_after_ns)
            node.join(_second_group(case))
            node.begin_step(1)
            vector = np.full(5, rank, np.float32)
            results.append((yield from node.collective(RingAllReduce(10**6), vector)))
        yield from node.sleep(case.tail_ns)
        return results

    return run


def _second_group(case: Case) -> Group:
    assert case.second_group is not None
    names = case.names
    comes_back = {
        name
        for fault in case.faults
        if "restart_after" in fault
        # A switch takes with it whoever is under it.
        for name in ([fault["node"]] if "node" in fault else names)
    }
    return Group(1, tuple(Member(names[rank], int(names[rank] in comes_back)) for rank in case.second_group))


def _buckets(case: Case, rank: int, node: Any, results: list[Any]) -> Operation[None]:
    started = []
    for number, bucket in enumerate(case.buckets):
        how, pause_ns = bucket.pauses[rank]
        yield from node.sleep(pause_ns) if how == "sleep" else node.compute(pause_ns)  # At 1 GFLOP/s.
        if case.absent == (rank, number):
            yield from node.receive("nobody", tag="never")
        ranks, place = len(case.group(rank)), rank - case.split * (rank >= case.split)
        if case.steps and number:
            node.begin_step(number)
        started.append(node.start(plan_of(bucket, ranks), buffer_of(bucket, number, place, ranks)))
        if rank not in bucket.starts:
            for one in started:
                results.append((yield from one.result()))
            started = []
    for send in case.sends:
        if send.source == node.name:
            yield from node.sleep(max(0, send.at_ns - node.now_ns))
            node.send(send.target, "foreign", send.size_bytes, "foreign")
    if case.gives_up is not None and rank == case.gives_up[0]:
        raise_ns = max(0, case.gives_up[1] - node.now_ns)
        yield from node.receive("by0", tag="never", timeout_ns=raise_ns)
    for one in started:
        results.append((yield from one.result()))


def bystander(case: Case, name: str) -> Run:
    def run(node: Node) -> Operation[Any]:
        for send in case.sends:
            if send.source == name:
                yield from node.sleep(max(0, send.at_ns - node.now_ns))  # type: ignore[attr-defined]
                node.send(send.target, "foreign", send.size_bytes, "foreign")
        while True:
            # What comes is sent back: a flow that begins because another has ended.
            message = yield from node.receive()
            if message.payload == "foreign":
                node.send(message.source, "echo", message.size_bytes, "echo")

    return run


def programs(case: Case) -> list[Program]:
    return [
        Program(name, member(case, rank), worker=rank < case.ranks - case.helpers, restarts=True)
        if rank < case.ranks
        else Program(name, bystander(case, name), worker=False, restarts=True)
        for rank, name in enumerate(case.names)
    ]


# --- two plays of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """All that can be seen of a play from outside."""

    lines: tuple[str, ...]
    results: Any
    accounts: Any
    traffic: Any
    rest: Any


def tell(
    case: Case, fidelity: Fidelity, detail: Detail = "messages", shuffle_ties: int | None = None
) -> tuple[Told, Played]:
    trace = Trace(detail)
    played = play(case.scenario, programs(case), [], trace, shuffle_ties, fidelity)
    return told(tuple(event.line() for event in trace.events()), played), played


ACCOUNTS = ("compute_ns", "exposed_communication_ns", "idle_ns", "recovery_ns", "down_ns")


def told(lines: tuple[str, ...], played: Played) -> Told:
    traffic = played.traffic
    return Told(
        lines,
        {name: _plain(result) for name, result in played.results.items()},
        {name: [getattr(account, field) for field in ACCOUNTS] for name, account in played.accounts.items()},
        # A node from which nothing was sent is no traffic.
        replace(traffic, wire=_without_zeros(traffic.wire), payload=_without_zeros(traffic.payload)),
        (played.ending, played.time_ns, played.failures, played.waiting, played.injected, played.not_applicable),
    )


def _without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _plain(result: Any) -> Any:
    if isinstance(result, np.ndarray):
        return result.tobytes()
    return [_plain(one) for one in result] if isinstance(result, (list, tuple)) else result


def assert_same(case: Case, shuffle_ties: int | None = None, steps_too: bool = False) -> tuple[Played, Told]:
    """Play a world both ways, and compare all that can be seen; steps_too: at that detail of the trace as well."""
    truth, _ = tell(case, "message")
    auto, played = tell(case, "auto", shuffle_ties=shuffle_ties)
    assert auto.lines == truth.lines
    assert auto == truth
    if steps_too:
        brief, _ = tell(case, "auto", "steps")
        kinds = tuple(f'"kind":"{kind}"' for kind in MESSAGE_KINDS)
        assert brief.lines == tuple(line for line in truth.lines if not any(kind in line for kind in kinds))
        assert replace(brief, lines=()) == replace(truth, lines=())
    return played, truth


def moments(case: Case) -> list[int]:
    """Return every instant at which something happens by messages, and 1 ns before and after."""
    trace = Trace("messages")
    play(case.scenario, programs(case), [], trace, None, "message")
    times = {event.time_ns + shift for event in trace.events() for shift in (-1, 0, 1)}
    return sorted(time_ns for time_ns in times if time_ns >= 0)


# --- trouble at a moment ----------------------------------------------------------------------------------------------

Trouble = Callable[[Case, int], Case]


def dies(node: str, notice: str = "reset", restart_after: str | None = None) -> Trouble:
    return lambda case, at_ns: replace(case, faults=(*case.faults, crash(node, at_ns, restart_after, notice)))


def sends(source: str, target: str, size_bytes: int) -> Trouble:
    return lambda case, at_ns: replace(case, sends=(*case.sends, Send(source, target, size_bytes, at_ns)))


def bursts(source: str, target: str, **more: str) -> Trouble:
    """A background flow that begins then; it never stops unless `more` says so, and the run ends a while after."""

    def trouble(case: Case, at_ns: int) -> Case:
        flow = {"source": source, "target": target, "start": f"{at_ns} ns", **more}
        flows = [*case.network.get("background", []), flow]
        return replace(case, network={**case.network, "background": flows}, limit_ns=case.limit_ns or 10 * MS)

    return trouble


def breaks(fault: Mapping[str, Any]) -> Trouble:
    """A fault of any kind, then; the run ends a while after."""
    return lambda case, at_ns: replace(
        case, faults=(*case.faults, {**fault, "at": f"{at_ns} ns"}), limit_ns=case.limit_ns or 10 * MS
    )


def ends(case: Case, at_ns: int) -> Case:
    return replace(case, limit_ns=at_ns)


def regroups(case: Case, trouble: Trouble, without: int, after_ns: int) -> Trouble:
    """Whoever is left meets in a second group, `after_ns` after the first one was over for it."""
    others = tuple(rank for rank in range(case.ranks) if rank != without)
    return lambda case, at_ns: replace(trouble(case, at_ns), second_group=others, second_after_ns=after_ns)


# --- every moment of small worlds -------------------------------------------------------------------------------------


def world_of(
    *plans: str, length: int, enter_ns: tuple[int, ...], starts: tuple[int, ...] = (), pause_ns: int = 3, **more: Any
) -> Case:
    """Return members node0, ..., who enter the first plan at `enter_ns`, and two bystanders."""
    ranks = len(enter_ns)
    hosts = tuple({"name": name} for name in [*(f"node{rank}" for rank in range(ranks)), "by0", "by1"])
    pauses = [tuple(("sleep", ns) for ns in enter_ns), *[(("compute", pause_ns),) * ranks] * (len(plans) - 1)]
    buckets = tuple(Bucket(plan, length, pause, starts) for plan, pause in zip(plans, pauses, strict=True))
    network = {"bandwidth": "8 Gbit/s", "latency": "5 ns", **more}  # A byte takes a nanosecond.
    return Case(hosts, ranks, buckets, network, tail_ns=20)


WORLDS = {
    "ring": world_of("ring", length=7, enter_ns=(0, 4, 60)),
    "two rings in a row": world_of("ring", "ring", length=4, enter_ns=(11, 0, 2), starts=(0, 1, 2)),
    "ring, then tree": world_of("ring", "tree", length=2, enter_ns=(0, 9, 1), starts=(1,)),
    "tree": world_of("tree", length=3, enter_ns=(0, 0, 0, 0)),
    "no latency": world_of("all_gather", "ring", length=4, enter_ns=(0, 3, 0), starts=(0, 1, 2), latency="0 ns"),
    "done as it enters": world_of("reduce_scatter", "ring", length=4, enter_ns=(50, 0), starts=(0, 1), pause_ns=0),
    "overhead": world_of("ring", length=4, enter_ns=(6, 0, 0), message_overhead="4 ns"),
    "halving": world_of("halving_doubling", length=8, enter_ns=(0, 0, 0, 2)),
    "server": world_of("ring", "parameter_server", length=3, enter_ns=(0, 7, 0), starts=(0, 1, 2)),
    "on a ring": world_of("ring", length=5, enter_ns=(0, 4, 1, 1), topology="ring"),
}

TROUBLES: dict[str, Trouble] = {
    "a member dies": dies("node1"),
    "a member dies in silence": dies("node0", "silence"),
    "a member dies and is back": dies("node1", "reset", "9 ns"),
    "a bystander dies": dies("by0"),
    "to a member": sends("by0", "node1", 13),
    "of no bytes": sends("by1", "node0", 0),
    "to a bystander": sends("node0", "by0", 5),
    "between bystanders": sends("by0", "by1", 40),
    "from member to member": sends("node1", "node0", 13),
    "background": bursts("by0", "node1"),
    "a background burst": bursts("node0", "node1", burst="7 ns", pause="1 ms", rate="3 Gbit/s"),
    "the end": ends,
}

SHORT = ["ring", "done as it enters"]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(
    "world", [pytest.param(name, marks=[] if name in SHORT else [pytest.mark.long]) for name in WORLDS]
)
def test_trouble_at_every_moment_of_a_small_world(world: str, trouble: str) -> None:
    case = WORLDS[world]
    for at_ns in moments(case):
        assert_same(TROUBLES[trouble](case, at_ns))


@pytest.mark.long
@pytest.mark.parametrize("after_ns", [0, 3, 50])
@pytest.mark.parametrize("world", WORLDS)
def test_a_second_group_after_a_death_at_every_moment(world: str, after_ns: int) -> None:
    case = WORLDS[world]
    trouble = regroups(case, dies("node1"), without=1, after_ns=after_ns)
    for at_ns in moments(case):
        assert_same(trouble(case, at_ns))


@pytest.mark.parametrize("world", WORLDS)
def test_whoever_never_enters_is_waited_for_in_the_same_words(world: str) -> None:
    case = WORLDS[world]
    for rank in range(case.ranks):
        for number in range(len(case.buckets)):
            _, truth = assert_same(replace(case, absent=(rank, number)), steps_too=True)
            ending, _, _, waiting, _, _ = truth.rest
            assert ending == "stalled"
            assert f"node{rank}" in waiting


@pytest.mark.parametrize("node", ["node0", "node2"])
def test_a_fault_at_every_message_of_a_step(node: str) -> None:
    case = WORLDS["two rings in a row"]
    for segment in range(1, 11):
        at = {"step": 0, "segment": segment}
        played, _ = assert_same(replace(case, faults=(crash(node, at),)))
        assert len(played.injected) == (segment <= 8), "two rings of three ranks bring each of them eight messages"


@pytest.mark.parametrize("world", ["two rings in a row", "ring, then tree"])
def test_a_fault_at_every_message_of_a_step_that_begins_while_the_one_before_is_under_way(world: str) -> None:
    case = replace(WORLDS[world], steps=True)
    for node in ("node0", "node1"):
        for segment in range(1, 8):
            assert_same(replace(case, faults=(crash(node, {"step": 1, "segment": segment}),)))


@pytest.mark.parametrize(
    "world", [pytest.param(name, marks=[] if name in SHORT else [pytest.mark.long]) for name in WORLDS]
)
def test_every_timeout_from_none_to_enough(world: str) -> None:
    case = WORLDS[world]
    waits = [b - a for a in moments(case) for b in moments(case) if b - a > 0]
    for timeout_ns in sorted(dict.fromkeys(waits)):
        assert_same(replace(case, buckets=tuple(replace(one, timeout_ns=timeout_ns) for one in case.buckets)))


@pytest.mark.parametrize("fidelity", ["auto", "message"])
def test_what_is_started_after_the_group_is_lost_fails_when_it_is_asked_for(fidelity: Fidelity) -> None:
    def patient(node: Node) -> Operation[str]:
        node.join(group_of(["node0", "node1"]))
        first = node.start(RingAllReduce(timeout_ns=10), np.zeros(4, np.float32))
        yield from node.sleep(20)
        second = node.start(RingAllReduce(timeout_ns=10), np.zeros(4, np.float32))
        try:
            yield from second.result()
        except NodeError as error:
            return str(error)
        yield from first.result()
        return "it did not fail"

    def absent(node: Node) -> Operation[None]:
        yield from node.sleep(100)

    story = tell_programs(cluster(2), {"node0": patient, "node1": absent}, fidelity=fidelity)
    assert story.played.results["node0"] == "nothing from node1 for 10 ns"


# Each of these came out differently once, or not at all: what it takes, made as small as it would go.
ONCE_WRONG = {
    "the last gap ends with the collective": world_of("ring", length=0, enter_ns=(0, 1), latency="0 ns"),
    "wound back while the first is under way": replace(
        world_of("ring", "ring", length=1, enter_ns=(0, 0, 0), latency="0 ns", bandwidth="50 Mbit/s"),
        buckets=(
            Bucket("ring", 1, (("sleep", 0),) * 3),
            Bucket("ring", 0, (("sleep", 0),) * 3, timeout_ns=100),
        ),
    ),
    "the last to be done with the first disturbs the second": Case(
        tuple({"name": f"node{rank}"} for rank in range(4)),
        4,
        (
            Bucket("ring", 0, (("sleep", 0), ("sleep", 1), ("sleep", 0), ("sleep", 0)), starts=(3,)),
            Bucket("ring", 0, (("sleep", 0),) * 4, timeout_ns=5_000),
        ),
        {"latency": "1 us"},
    ),
    "messages of one instant from two children": world_of("tree", length=0, enter_ns=(0,) * 5, latency="0 ns"),
    "an early one joins the next group": replace(
        world_of("ring", length=1, enter_ns=(0, 7), latency="0 ns"), second_group=(0, 1), tail_ns=0
    ),
    "one gives the second up before the first is over": replace(
        world_of("ring", "parameter_server", length=6, enter_ns=(0,) * 5, latency="0 ns"),
        hosts=(
            {"name": "node0", "bandwidth": "50 Mbit/s"},
            {"name": "node1"},
            {"name": "node2", "latency": "1 us"},
            {"name": "node3"},
            {"name": "node4"},
        ),
        buckets=(
            Bucket("ring", 6, (("sleep", 0),) * 5),
            Bucket("parameter_server", 0, (("sleep", 0),) * 5, timeout_ns=1),
        ),
    ),
    "done at the very moment of the disturbance": Case(
        tuple({"name": name} for name in [*(f"node{rank}" for rank in range(8)), "by0"]),
        8,
        (
            Bucket("ring", 34, (("sleep", 0),) * 8),
            Bucket("all_gather", 14, (("sleep", 0),) * 8, starts=(0, 2, 3)),
            Bucket("halving_doubling", 0, (("sleep", 0),) * 8),
        ),
        {
            "topology": "ring",
            "bandwidth": "8 Gbit/s",
            "latency": "0 ns",
            "transport": {"kind": "framed", "payload": "16 B", "header": "4 B"},
        },
    ),
    "numbers of messages after a collective that is not over": Case(
        tuple({"name": name} for name in [*(f"node{rank}" for rank in range(5)), "by0"]),
        5,
        (
            Bucket("halving_doubling", 35, tuple(("sleep", ns) for ns in (0, 0, 7, 0, 27)), starts=(0, 1, 2, 3, 4)),
            Bucket(
                "ring",
                33,
                (("sleep", 0), ("sleep", 0), ("compute", 3), ("sleep", 0), ("compute", 3)),
                starts=(0, 1, 2, 3, 4),
            ),
        ),
        {"topology": {"kind": "torus", "dimensions": [3, 2]}, "bandwidth": "8 Gbit/s", "latency": "0 ns"},
        faults=(
            {
                "kind": "drop",
                "at": "279 ns",
                "lasts": "1 ns",
                "probability": "10 %",
                "source": "node2",
                "target": "node3",
            },
        ),
        limit_ns=10 * MS,
        split=1,
    ),
    "numbers given once more when what is not over is disturbed": Case(
        tuple({"name": name} for name in [*(f"node{rank}" for rank in range(5)), "by0"]),
        5,
        (
            Bucket("halving_doubling", 35, (("sleep", 0),) * 5, starts=(0, 1, 2, 3, 4)),
            Bucket("ring", 33, (("sleep", 0),) * 5, starts=(0, 1, 2, 3, 4)),
        ),
        {"topology": {"kind": "torus", "dimensions": [3, 2]}, "bandwidth": "8 Gbit/s", "latency": "0 ns"},
        faults=tuple(
            {"kind": "drop", "at": at, "lasts": lasts, "probability": share, "source": source, "target": target}
            for at, lasts, share, source, target in (
                ("376 ns", "1 ns", "1 ppm", "node0", "node1"),
                ("381 ns", "300 ns", "30 %", "node1", "node2"),
                ("381 ns", "300 ns", "30 %", "node2", "node3"),
                ("381 ns", "300 ns", "30 %", "node3", "node4"),
            )
        ),
        limit_ns=1_000,
        tail_ns=0,
    ),
    "a lost message of no bytes": replace(
        world_of("ring", length=1, enter_ns=(0,) * 4, latency="7 ns", drop="10 %", resend_after="50 ns"), tail_ns=0
    ),
}


@pytest.mark.parametrize("world", ONCE_WRONG)
def test_what_was_wrong_once(world: str) -> None:
    assert_same(ONCE_WRONG[world], steps_too=True)


@pytest.mark.parametrize("world", ["ring", "two rings in a row"])
def test_a_program_that_ends_while_its_collectives_are_under_way(world: str) -> None:
    case = replace(WORLDS[world], buckets=tuple(replace(one, starts=(0, 1, 2)) for one in WORLDS[world].buckets))
    for at_ns in moments(case):
        assert_same(replace(case, gives_up=(1, at_ns)))


# --- what each condition is there for ---------------------------------------------------------------------------------


def slow(case: Case, rank: int, **own: str) -> Case:
    hosts = [{**host, **own} if index == rank else host for index, host in enumerate(case.hosts)]
    return replace(case, hosts=tuple(hosts))


TWO_ON_A_HOST = Case(
    ({"name": "host", "processes": 2},),
    2,
    (Bucket("parameter_server", 0, (("sleep", 0),) * 2), Bucket("ring", 0, (("sleep", 0),) * 2)),
    {"latency": "0 ns", "message_overhead": "1 ns"},
)
NOT_ALONE = {
    # The links are quiet while a message has not flowed yet, but its connection is not free.
    "the one before is played by messages": TWO_ON_A_HOST,
    # Its own connections do not meet, but one of them meets another one of the collective before.
    "the one before is still on a link that connections share": slow(
        world_of("hierarchical", "hierarchical", length=40, enter_ns=(0,) * 4, pause_ns=0, latency="1 us"),
        1,
        bandwidth="333333333 bit/s",
    ),
    # Ranks 2 and 3, of different groups, live on one machine.
    "another group's is foreseen on a link of it": Case(
        tuple({"name": f"host{number}", "processes": 2} for number in range(3)),
        6,
        (Bucket("ring", 30, (*[("sleep", 0)] * 3, *[("sleep", 20)] * 3)),),
        {"bandwidth": "8 Gbit/s", "latency": "5 ns"},
        split=3,
    ),
}


@pytest.mark.parametrize("world", NOT_ALONE)
def test_what_is_not_alone_is_not_foreseen(world: str) -> None:
    assert_same(NOT_ALONE[world])


WOUND_BACK: dict[str, tuple[Case, Trouble]] = {
    "a rank waits until its last byte has left": (WORLDS["tree"], ends),
    "a link had a message of somebody else's before": (
        sends("by0", "node1", 1)(world_of("ring", length=7, enter_ns=(50, 54, 60)), 1),
        ends,
    ),
    "the one before was played by messages on the same connections": (
        sends("by0", "node1", 13)(world_of("ring", "ring", length=7, enter_ns=(0, 4, 60), pause_ns=100), 70),
        ends,
    ),
    "the one before has other connections": (
        world_of("tree", "ring", length=2, enter_ns=(0, 9, 1), starts=(0, 1, 2), pause_ns=0),
        ends,
    ),
    "a link's last message is of any of its connections": (WORLDS["tree"], sends("by0", "node0", 13)),
    "a rank enters the second as another one enters the first": (
        world_of("reduce_scatter", "ring", length=1, enter_ns=(0, 0, 0), latency="0 ns", pause_ns=0, starts=(0, 1, 2)),
        ends,
    ),
    "a connection is in use by the next one, which somebody watches": (
        replace(
            slow(
                world_of("tree", "broadcast", length=20, enter_ns=(0, 0), bandwidth="1 Gbit/s", latency="1 ns"),
                0,
                latency="1 us",
            ),
            buckets=(
                Bucket("tree", 20, (("sleep", 0),) * 2),
                Bucket("broadcast", 20, (("sleep", 0),) * 2, timeout_ns=300),
            ),
        ),
        sends("by0", "node1", 100),
    ),
    # Nobody's timer is left over: it would put off the instant at which nothing goes on any more.
    "those who are done have had timers, and the run stalls": (
        replace(
            WORLDS["ring"],
            buckets=(replace(WORLDS["ring"].buckets[0], timeout_ns=10_000), Bucket("ring", 7, (("sleep", 0),) * 3)),
            absent=(1, 1),
        ),
        sends("by0", "node0", 13),
    ),
    "a message that was announced before flows after its overhead": (
        world_of("ring", length=7, enter_ns=(6, 8, 8), message_overhead="4 ns"),
        sends("by0", "node1", 13),
    ),
}


@pytest.mark.parametrize("world", WOUND_BACK)
def test_what_is_played_again_at_every_moment(world: str) -> None:
    case, trouble = WOUND_BACK[world]
    for at_ns in moments(case):
        assert_same(trouble(case, at_ns))


# node0 is far away, and three bystanders have slow links; each message has an overhead, so no flow is ever an occupant.
SLOW_BYSTANDERS = slow(world_of("ring", length=7, enter_ns=(0, 0, 0), message_overhead="4 ns"), 0, latency="300 ns")
SLOW_BYSTANDERS = replace(
    SLOW_BYSTANDERS,
    hosts=(
        *SLOW_BYSTANDERS.hosts[:3],
        *({"name": f"by{number}", "bandwidth": "3 Gbit/s"} for number in range(3)),
        {"name": "by3"},
    ),
)
FLOWS_OF_OTHERS = {
    # The second joins the first at the very instant of the disturbance, and before it.
    "what is not settled yet": replace(
        WORLDS["ring"],
        hosts=(*WORLDS["ring"].hosts, {"name": "by2"}),
        sends=(Send("by0", "by2", 100, 60), Send("by1", "by2", 13, 70), Send("by2", "node1", 13, 70)),
    ),
    # Three flows to node0, which the ring has left. When one ends, the others' own links are all that slows them.
    "how fast those may be who share a link that is left": replace(
        SLOW_BYSTANDERS,
        sends=(
            *(Send(f"by{number}", "node0", size, 668) for number, size in enumerate((60, 200, 200))),
            Send("by3", "node1", 13, 677),
        ),
    ),
}


@pytest.mark.parametrize("what", FLOWS_OF_OTHERS)
def test_flows_of_others_go_on_when_time_is_back(what: str) -> None:
    assert ways(FLOWS_OF_OTHERS[what]) == (0, 1)


@pytest.mark.parametrize("fidelity", ["auto", "message"])
def test_a_fault_waits_for_messages_in_the_step_of_whoever_receives_them(fidelity: Fidelity) -> None:
    def in_step(step: int) -> Run:
        def run(node: Node) -> Operation[None]:
            node.join(group_of(["node0", "node1"]))
            node.begin_step(step)
            yield from node.collective(RingAllReduce(), np.zeros(4, np.float32))

        return run

    scenario = cluster(2, faults=[crash("node1", {"step": 1, "segment": 1})])
    story = tell_programs(scenario, {"node0": in_step(0), "node1": in_step(1)}, fidelity=fidelity)
    assert story.times("crash", "node1") == story.times("deliver", "node1", tag="(0, 0)")


@pytest.mark.parametrize("restart_after", ["1 ns", None])
def test_news_of_one_instant_come_in_their_own_order(restart_after: str | None) -> None:
    # Without latency one hears at once that another has left the group, that its life is over, and that it is back.
    case = world_of("tree", "ring", length=0, enter_ns=(0,) * 6, latency="0 ns", message_overhead="1 ns")
    dead = crash(
        "node1", "0 ns", notice="silence", **({} if restart_after is None else {"restart_after": restart_after})
    )
    case = replace(case, faults=(dead,), absent=(0, 0), second_group=(0, 1, 2, 3, 4, 5), split=1)
    for shuffle_ties in (None, 1, 2, 3):
        assert_same(case, shuffle_ties)


# --- how often, and that it would be noticed --------------------------------------------------------------------------


def ways(case: Case) -> tuple[int, int]:
    played, _ = assert_same(case)
    return played.collectives.in_closed_form, played.collectives.by_messages


def test_what_nothing_disturbs_is_in_closed_form() -> None:
    assert ways(WORLDS["ring"]) == (1, 0)
    assert ways(WORLDS["two rings in a row"]) == (2, 0)
    assert ways(WORLDS["tree"]) == (1, 0)


@pytest.mark.parametrize("plan", ["ring", "tree", "halving_doubling", "hierarchical", "reduce_scatter", "all_gather"])
def test_a_member_alone_sends_no_messages(plan: str) -> None:
    assert ways(world_of(plan, length=3, enter_ns=(5,))) == (1, 0)
    assert ways(world_of(plan, plan, length=3, enter_ns=(5,))) == (2, 0)


def test_what_has_no_closed_form_or_meets_itself_is_by_messages() -> None:
    assert ways(world_of("broadcast", length=3, enter_ns=(0, 0, 0))) == (0, 1)
    assert ways(world_of("parameter_server", length=3, enter_ns=(0, 0, 0))) == (0, 1)
    # Rank 2 is late: it still sends to rank 0 when rank 1, who has heard from rank 3, begins to.
    staggered = world_of("tree", length=30, enter_ns=(0, 0, 40, 0))
    assert ways(staggered) == (0, 1)


def test_a_ring_of_ranks_on_one_host_shares_its_loopback_link() -> None:
    pauses = (("sleep", 0),) * 4
    case = Case(({"name": "host", "processes": 4},), 4, (Bucket("ring", 8, pauses),))
    assert ways(case) == (0, 1)


@pytest.mark.parametrize(
    "trouble", [dies("node1"), sends("by0", "node1", 13), bursts("by0", "node1"), ends], ids=str.__call__
)
def test_what_is_disturbed_is_one_by_messages(trouble: Trouble) -> None:
    case = WORLDS["ring"]
    middle_ns = 70  # All have entered, and nobody is done.
    assert ways(trouble(case, middle_ns)) == (0, 1)


def test_what_does_not_touch_it_leaves_it_in_closed_form() -> None:
    case = WORLDS["ring"]
    assert ways(sends("by0", "by1", 1_000)(case, 30)) == (1, 0)
    assert ways(dies("by0")(case, 70)) == (1, 0)


def test_a_flow_that_begins_when_the_last_message_has_left_leaves_it_in_closed_form() -> None:
    # The last message to node0 departs at 114 ns, has 8 bytes, and arrives at 132 ns.
    case = WORLDS["ring"]
    assert ways(sends("by0", "node0", 13)(case, 121)) == (0, 1)
    assert ways(sends("by0", "node0", 13)(case, 122)) == (1, 0)


def test_a_timeout_as_long_as_the_collective_leaves_it_in_closed_form() -> None:
    case = WORLDS["ring"]  # From 0 to 132 ns.
    assert [ways(with_timeout(case, timeout_ns)) for timeout_ns in (131, 132)] == [(0, 1), (1, 0)]


def with_timeout(case: Case, timeout_ns: int) -> Case:
    return replace(case, buckets=tuple(replace(one, timeout_ns=timeout_ns) for one in case.buckets))


@pytest.mark.parametrize("overhead", ["0 ns", "1 ns"])
def test_neither_an_overhead_nor_an_empty_message_is_on_a_link(overhead: str) -> None:
    case = world_of("halving_doubling", length=1, enter_ns=(0,) * 4, message_overhead=overhead)
    assert ways(case) == (1, 0)


def test_the_links_of_a_group_are_anybodys_when_its_collectives_are_over() -> None:
    case = replace(WORLDS["ring"], second_group=(0, 1, 2), second_after_ns=50)
    assert ways(case) == (2, 0)
    assert ways(sends("by0", "node1", 13)(case, 70)) == (1, 1)


# A closed form that is wrong by one: by what it is told, or by what it says. The slow link makes node0 enter the second
# ring while its last message of the first is still queued.
LIED_ABOUT = world_of(
    *("ring", "ring"),
    length=7,
    enter_ns=(0, 4, 9),
    links=[{"source": "node0", "target": "switch", "bandwidth": "1 Gbit/s", "one_way": True}],
)


def test_the_world_that_is_lied_about_is_in_closed_form() -> None:
    assert ways(LIED_ABOUT) == (2, 0)


@pytest.mark.parametrize("question", ["transmission_ns", "latency_ns", "free_ns"])
def test_a_closed_form_that_is_told_a_nanosecond_more_is_noticed(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = getattr(Undisturbed, question)
    monkeypatch.setattr(Undisturbed, question, lambda *asked: truth(*asked) + 1)
    with pytest.raises(AssertionError):
        assert_same(LIED_ABOUT)


LIES: dict[str, Callable[[Any], Any]] = {
    "finish_ns": lambda said: said + 1,
    "parcels": lambda said: [said[0]._replace(number=said[0].number + 1), *said[1:]],
    "left_ns": lambda said: {pair: time_ns + 1 for pair, time_ns in said.items()},
    "arrive_ns": lambda said: {pair: time_ns + 1 for pair, time_ns in said.items()},
    "gaps": lambda said: [gaps._replace(end_ns=gaps.end_ns + 1) for gaps in said],
    "flights": lambda said: [said[0]._replace(arrive_ns=said[0].arrive_ns + 1), *said[1:]],
}


@pytest.mark.parametrize("part", LIES)
def test_a_closed_form_that_says_a_nanosecond_or_a_message_more_is_noticed(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = RingAllReduce.times

    def lying(*asked: Any) -> Any:
        times = truth(*asked)
        return replace(times, **{part: LIES[part](getattr(times, part))})

    monkeypatch.setattr(RingAllReduce, "times", lying)
    with pytest.raises((AssertionError, InvariantBroken)):
        assert_same(LIED_ABOUT)


# --- any world, any trouble -------------------------------------------------------------------------------------------

PLANS = ("ring", "reduce_scatter", "all_gather", "tree", "halving_doubling", "hierarchical", "broadcast")
RATES = ("8 Gbit/s", "1 Gbit/s", "333333333 bit/s", "50 Mbit/s")
LATENCIES = ("0 ns", "1 ns", "7 ns", "100 ns", "1 us")
NOTICES = ("reset", "silence")
LASTING = st.sampled_from(["1 ns", "30 ns", "500 ns", "20 us", None])


@st.composite
def hosts_and_topologies(draw: st.DrawFn) -> tuple[list[dict[str, Any]], int, dict[str, Any]]:
    """Draw machines, of which the first ones are members, and how they are linked."""
    ranks, bystanders = draw(st.integers(2, 8)), draw(st.integers(1, 2))
    hosts: list[dict[str, Any]] = [{"name": f"node{rank}"} for rank in range(ranks)]
    if draw(st.integers(0, 5)) == 0:
        hosts = [{"name": f"node{index}", "processes": 2} for index in range(ranks // 2)]
        ranks = 2 * len(hosts)
    hosts += [{"name": f"by{number}"} for number in range(bystanders)]
    grids = [[len(hosts) // width, width] for width in range(2, len(hosts)) if len(hosts) % width == 0]
    tiers = st.builds(
        lambda racks, factor: {"kind": "two_tier", "racks": racks, "oversubscription": factor},
        st.integers(1, 2),
        st.sampled_from([0.5, 1, 3]),
    )
    kinds = [st.just("star"), st.just("star"), tiers, *([st.just("ring")] * (len(hosts) > 2))]
    kinds += [st.just({"kind": "torus", "dimensions": grid}) for grid in grids]
    return hosts, ranks, {"topology": draw(st.one_of(kinds))}


@st.composite
def networks(draw: st.DrawFn, hosts: list[dict[str, Any]], topology: dict[str, Any]) -> dict[str, Any]:
    """Draw rates and latencies: all alike, each machine's own, or single directions of links."""
    rates, latencies = st.sampled_from(RATES), st.sampled_from(LATENCIES)
    own = st.fixed_dictionaries({}, optional={"bandwidth": rates, "latency": latencies})
    if draw(st.booleans()):
        for host in hosts:
            host.update(draw(own))
    extras = st.fixed_dictionaries(
        {"bandwidth": rates, "latency": latencies},
        optional={
            "message_overhead": st.sampled_from(["1 ns", "5 ns", "1 us"]),
            "transport": st.sampled_from([{"kind": "framed", "payload": "16 B", "header": "4 B"}, {"kind": "tcp"}]),
            "loopback": own,
        },
    )
    network = {**topology, **draw(extras)}
    ways = {"star": [(host["name"], "switch") for host in hosts]}
    ways["ring"] = [(one["name"], other["name"]) for one, other in itertools.pairwise(hosts)]
    possible = ways.get(topology["topology"]) if isinstance(topology["topology"], str) else None
    if possible and draw(st.booleans()):
        loses = st.fixed_dictionaries({}, optional={"drop": st.just("20 %")})
        one_way = st.tuples(st.sampled_from(possible), st.booleans(), own, loses)
        chosen = draw(st.lists(one_way, unique_by=lambda one: one[:2]))
        network["resend_after"] = "50 ns"
        network["links"] = [
            {"source": pair[back], "target": pair[not back], "one_way": True, **link, **drop}
            for pair, back, link, drop in chosen
        ]
    return network


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a world in which nothing goes wrong but timeouts."""
    hosts, ranks, topology = draw(hosts_and_topologies())
    network = draw(networks(hosts, topology))
    split = draw(st.sampled_from([0, 0, 1, 2, ranks // 2])) if ranks > 3 else 0
    plans = ["ring", "ring", "ring", *PLANS, *(["parameter_server"] if split != 1 else [])]
    scale = draw(st.sampled_from([0, 5, 50, 1_000]))
    pause = st.tuples(st.sampled_from(["sleep", "compute"]), st.integers(0, scale))
    starters = draw(st.sampled_from([(), tuple(range(ranks)), tuple(range(0, ranks, 2))]))
    bucket = st.builds(
        Bucket,
        st.sampled_from(plans),
        st.one_of(st.integers(0, ranks), st.integers(0, 100)),
        st.tuples(*[pause] * ranks),
        st.just(starters),
        st.one_of(st.none(), st.none(), st.sampled_from([1, 5, 20, 100, 300, 1_000, 5_000])),
    )
    buckets = draw(st.lists(bucket, min_size=1, max_size=3))
    return Case(
        tuple(hosts),
        ranks,
        tuple(buckets),
        network,
        tail_ns=draw(st.sampled_from([0, 100])),
        split=split,
        helpers=draw(st.sampled_from([0, 0, 1])),
        steps=draw(st.booleans()),
    )


def troubles(case: Case) -> st.SearchStrategy[Trouble]:
    machines, names = [host["name"] for host in case.hosts], case.names
    pairs = st.permutations(names)
    segments = st.integers(1, 2 * case.ranks * len(case.buckets))
    return st.one_of(
        st.builds(dies, st.sampled_from(machines), st.sampled_from(NOTICES), st.sampled_from([None, "1 ns", "100 ns"])),
        st.builds(
            lambda rank, notice, back, after_ns: regroups(
                case, dies(machines[rank], notice, back), rank if back is None else -1, after_ns
            ),
            st.integers(0, min(case.ranks, len(machines)) - 1),
            st.sampled_from(NOTICES),
            st.sampled_from([None, "1 ns", "100 ns"]),
            st.sampled_from([0, 1, 50, 5_000]),
        ),
        st.builds(lambda pair, size: sends(pair[0], pair[1], size), pairs, st.sampled_from([0, 1, 10, 100, 1_000])),
        st.builds(
            lambda pair, more: bursts(pair[0], pair[1], **more),
            st.permutations(machines),
            st.sampled_from([{}, {"burst": "20 ns", "pause": "10 us"}, {"rate": "10 Mbit/s"}]),
        ),
        st.just(ends),
        st.builds(
            lambda rank, number: lambda case, _: replace(case, absent=(rank, number)),
            st.integers(0, case.ranks - 1),
            st.integers(0, len(case.buckets) - 1),
        ),
        st.builds(
            lambda node, at: lambda case, _: replace(case, faults=(*case.faults, crash(node, at))),
            st.sampled_from(machines),
            st.fixed_dictionaries({"step": st.integers(0, 2), "segment": segments}),
        ),
        st.just(lambda case, _: case),
        faults_at(case.scenario, 0, LASTING).map(breaks),
    )


def any_world_any_trouble(data: st.DataObject) -> None:
    case = data.draw(cases())
    times = moments(case)
    for _ in range(data.draw(st.integers(1, 2))):
        case = data.draw(troubles(case))(case, data.draw(st.sampled_from(times)))
    assert_same(case, data.draw(st.sampled_from([None, 1])), steps_too=data.draw(st.booleans()))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_world_with_any_trouble(data: st.DataObject) -> None:
    any_world_any_trouble(data)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(st.data())
def test_any_world_with_any_trouble_for_long(data: st.DataObject) -> None:
    any_world_any_trouble(data)


# --- trainings --------------------------------------------------------------------------------------------------------

STRATEGIES: dict[str, Mapping[str, Any]] = {
    "ring": {"name": "ring", "on_failure": "abort"},
    "ring with a timeout": {"name": "ring", "on_failure": "abort", "timeout": "3 ms"},
    "elastic": {"name": "ring", "on_failure": "elastic", "commit_every": 2, "set_aside": {"cooldown": "1 ms"}},
    "wait": {"name": "ring", "on_failure": "wait", "commit_every": 2, "timeout": "5 ms"},
    "spares": {"name": "ring", "on_failure": "spares", "set_aside": {"cooldown": "1 ms"}, "timeout": "5 ms"},
    "peer recovery": {"name": "ring", "on_failure": "peer_recovery", "set_aside": {"cooldown": "1 ms"}},
    "tree": {"name": "ring", "on_failure": "elastic", "collective": "tree", "set_aside": {"cooldown": "1 ms"}},
    "halving": {"name": "ring", "on_failure": "wait", "collective": "halving_doubling", "timeout": "5 ms"},
    "groups": {"name": "ring", "on_failure": "elastic", "collective": "hierarchical", "timeout": "3 ms"},
    "ring with heartbeats": {
        "name": "ring",
        "on_failure": "abort",
        "heartbeat": {"interval": "300 us", "timeout": "900 us"},
    },
    "neighbours": {
        "name": "ring",
        "on_failure": "elastic",
        "set_aside": {"cooldown": "0 s"},
        "heartbeat": {"interval": "90 us", "timeout": "310 us"},
    },
    "lighthouse": {
        "name": "ring",
        "on_failure": "peer_recovery",
        "set_aside": {"cooldown": "1 ms"},
        "heartbeat": {"interval": "200 us", "timeout": "1 ms", "by": "rendezvous"},
    },
    "parameter server": {"name": "parameter_server", "on_failure": "timeout", "timeout": "4 ms"},
}
CLUSTERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "star": (3, {}),
    "uneven": (
        [{"bandwidth": "50 Mbit/s"}, {"latency": "3 us"}, {"shard_weight": 2}, {}],
        {"message_overhead": "1 us"},
    ),
    "two on a host": ([{"processes": 2}, {}], {}),
}


def outcome_of(scenario: Any, fidelity: Fidelity, shuffle_ties: int | None = None) -> tuple[Any, ...]:
    result = simulate(scenario, trace="messages", fidelity=fidelity, shuffle_ties=shuffle_ties)
    bits = None if result.parameters is None else result.parameters.tobytes()
    # How many collectives were played which way is the one figure that may differ.
    summary = {key: value for key, value in result.summary().items() if key != "collectives"}
    return [event.line() for event in result.trace], summary, result.metrics, result.nodes, bits


@st.composite
def trainings(draw: st.DrawFn) -> Any:
    """Draw three steps of a training, and faults at moments at which something happens without them."""
    strategy = draw(st.sampled_from(list(STRATEGIES.values())))
    nodes, network = draw(st.sampled_from(list(CLUSTERS.values())))
    build = partial(training, strategy, nodes=nodes, network=network, steps=3, max_virtual_time="100 ms")
    calm = build()
    trace = simulate(calm, trace="messages", fidelity="message").trace
    times = sorted(dict.fromkeys(event.time_ns + shift for event in trace for shift in (-1, 0, 1) if event.time_ns))
    last = {"parameter_server": 1, "ring": 4}[strategy["name"]] if strategy["on_failure"] != "spares" else 2
    segments = st.fixed_dictionaries({"step": st.integers(0, 2)}, optional={"segment": st.integers(1, last)})
    death = st.builds(
        crash,
        st.sampled_from([host.name for host in calm.cluster.nodes]),
        st.one_of(st.sampled_from(times), segments),
        st.sampled_from([None, "1 ns", "100 us", "2 ms"]),
        st.sampled_from(NOTICES),
    )
    lasting = st.sampled_from(["1 ns", "100 us", "2 ms", "9 ms", None])
    anything = st.sampled_from(times).flatmap(lambda at: faults_at(calm, at, lasting))
    return build(faults=draw(st.lists(st.one_of(death, anything), max_size=2)))


def any_training(scenario: Any, shuffle_ties: int | None) -> None:
    assert outcome_of(scenario, "auto", shuffle_ties) == outcome_of(scenario, "message")


@settings(max_examples=40, deadline=None)
@given(trainings(), st.sampled_from([None, 1]))
def test_any_training_with_any_faults(scenario: Any, shuffle_ties: int | None) -> None:
    any_training(scenario, shuffle_ties)


@pytest.mark.long
@settings(max_examples=1_500, deadline=None)
@given(trainings(), st.sampled_from([None, 1]))
def test_any_training_with_any_faults_for_long(scenario: Any, shuffle_ties: int | None) -> None:
    any_training(scenario, shuffle_ties)


@pytest.mark.parametrize("at_ns", [2_501_439, 3_400_000])
def test_what_is_lost_is_the_same_however_the_steps_before_were_played(at_ns: int) -> None:
    # Losses are drawn by the number of a message on its connection, which those of a closed form have as well.
    lossy = {"kind": "drop", "source": "node0", "target": "switch", "at": f"{at_ns} ns", "probability": "50 %"}
    any_training(training("ring", nodes=3, steps=3, faults=[{**lossy, "lasts": "100 us"}]), None)


def test_what_leaves_after_a_collective_in_closed_form_never_overtakes_it() -> None:
    # node0's link gets faster while its commit is told, and the last segment of the ring before is still on its way.
    faster = {"kind": "link_degrade", "source": "node0", "target": "switch", "latency": "1 ns", "lasts": "100 us"}
    spares = {"name": "ring", "on_failure": "spares", "timeout": "5 ms", "set_aside": {"cooldown": "1 ms"}}
    scenario = training(spares, nodes=3, steps=3, faults=[{**faster, "at": "2613097 ns"}])
    any_training(scenario, None)
    arrivals = [
        event.fields["tag"]
        for event in simulate(scenario, trace="messages").trace
        if event.kind == "deliver" and event.node == "node1" and event.fields["source"] == "node0"
    ]
    assert arrivals.index("(3, 1)") < arrivals.index("(4, 'down')")
