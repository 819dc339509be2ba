"""Closed form or messages: the same world, to the last line and bit, whatever disturbs it and when.

    a world   machines, links, plans one after another, and when each rank enters (`Case`)
    moments   every instant at which anything happens when it is played by messages, and 1 ns before and after
    trouble   a crash, a foreign flow, a background burst, somebody who never enters, the end of the run: at a moment

What is not here: what messages do (`test_world.py`), and the textbook times of a plan (`test_collectives.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
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
from ringsim.errors import NodeError
from ringsim.node import Group, Member, Node, Operation, Program
from ringsim.scenario import worker_names
from ringsim.trace import MESSAGE_KINDS, Detail, Trace
from ringsim.world.world import Fidelity, Played, play
from tests.worlds import Run, cluster, crash, group_of

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
    """A world. `hosts` and `network` as a scenario has them; the first `ranks` nodes are the group."""

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

    @property
    def names(self) -> tuple[str, ...]:
        """All nodes: the members, then bystanders."""
        return worker_names(self.scenario)

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
            node.join(group_of(names[: case.ranks]))
            node.begin_step(0)
            try:
                yield from _buckets(case, rank, node, results)
            except NodeError as error:
                results.append(str(error))
        if case.second_group is not None and rank in case.second_group:
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
    comes_back = [fault["node"] for fault in case.faults if "restart_after" in fault]
    names = case.names
    return Group(1, tuple(Member(names[rank], int(names[rank] in comes_back)) for rank in case.second_group))


def _buckets(case: Case, rank: int, node: Any, results: list[Any]) -> Operation[None]:
    started = []
    for number, bucket in enumerate(case.buckets):
        how, pause_ns = bucket.pauses[rank]
        yield from node.sleep(pause_ns) if how == "sleep" else node.compute(pause_ns)  # At 1 GFLOP/s.
        if case.absent == (rank, number):
            yield from node.receive("nobody", tag="never")
        if node._stage is None:
            break
        started.append(node.start(plan_of(bucket, case.ranks), buffer_of(bucket, number, rank, case.ranks)))
        if rank not in bucket.starts:
            for one in started:
                results.append((yield from one.result()))
            started = []
    for send in case.sends:
        if send.source == node.name:
            yield from node.sleep(max(0, send.at_ns - node.now_ns))
            node.send(send.target, "foreign", send.size_bytes, "foreign")
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
    names = case.names
    programs = [
        Program(name, member(case, rank), restarts=True)
        if rank < case.ranks
        else Program(name, bystander(case, name), worker=False, restarts=True)
        for rank, name in enumerate(names)
    ]
    trace = Trace(detail)
    played = play(case.scenario, programs, [], trace, shuffle_ties, fidelity)
    lines = tuple(event.line() for event in trace.events() if detail == "messages" or event.kind not in MESSAGE_KINDS)
    return told(lines, played), played


def told(lines: tuple[str, ...], played: Played) -> Told:
    accounts = {
        name: (
            account.compute_ns,
            account.exposed_communication_ns,
            account.idle_ns,
            account.recovery_ns,
            account.down_ns,
        )
        for name, account in played.accounts.items()
    }
    return Told(
        lines,
        {name: _plain(result) for name, result in played.results.items()},
        accounts,
        # A connection on which nothing was sent is no traffic.
        replace(
            played.traffic,
            wire={name: count for name, count in played.traffic.wire.items() if count},
            payload={name: count for name, count in played.traffic.payload.items() if count},
        ),
        (
            played.ending,
            played.time_ns,
            played.failures,
            played.waiting,
            played.injected,
            played.not_applicable,
        ),
    )


def _plain(result: Any) -> Any:
    if isinstance(result, np.ndarray):
        return result.tobytes()
    return [_plain(one) for one in result] if isinstance(result, (list, tuple)) else result


def assert_same(case: Case, shuffle_ties: int | None = None, steps_too: bool = False) -> tuple[Played, Told]:
    """Play a world both ways, and compare all that can be seen."""
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
    programs = [
        Program(name, member(case, rank), restarts=True)
        if rank < case.ranks
        else Program(name, bystander(case, name), worker=False, restarts=True)
        for rank, name in enumerate(case.names)
    ]
    play(case.scenario, programs, [], trace, None, "message")
    times = {event.time_ns + shift for event in trace.events() for shift in (-1, 0, 1)}
    return sorted(time_ns for time_ns in times if time_ns >= 0)
