"""Builders that several tests share: small clusters, hand-written programs, trainings that are watched from outside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from hypothesis import strategies as st

import ringsim.simulation
from ringsim.node import Group, Member, Node, Operation, Program
from ringsim.result import Result
from ringsim.scenario import Host, Scenario
from ringsim.scenario_file.network import network_edges
from ringsim.strategies.training import State, Training
from ringsim.trace import Event, Trace
from ringsim.world.played import Played
from ringsim.world.world import Fidelity, play

Run = Callable[[Node], Operation[Any]]

US, MS, S = 1_000, 10**6, 10**9


# --- worlds without learning ------------------------------------------------------------------------------------------


def cluster(
    nodes: int | Sequence[Mapping[str, Any]] = 2,
    *,
    faults: Iterable[Mapping[str, Any]] = (),
    seed: int = 0,
    max_virtual_time: str = "1000 h",
    network: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Scenario:
    """Return a scenario whose task and strategy do not matter. By default: 1 Gbit/s, 50 us a link, 1 GFLOP/s."""
    return Scenario.model_validate(
        {
            "name": "world",
            "seed": seed,
            "task": {"steps": 1_000},
            "cluster": {"nodes": nodes, "speed": "1 GFLOP/s", "network": dict(network or {}), **settings},
            "strategy": {"name": "ring"},
            "faults": list(faults),
            "max_virtual_time": max_virtual_time,
        }
    )


def crash(node: str, at: Any, restart_after: str | None = None, notice: str = "reset") -> dict[str, Any]:
    """Return a fault as a scenario has it; `at` is nanoseconds, or a mapping of step and segment."""
    when = f"{at} ns" if isinstance(at, int) else at
    fault = {"kind": "crash", "node": node, "at": when, "notice": notice}
    return fault if restart_after is None else {**fault, "restart_after": restart_after}


def faults_at(scenario: Scenario, at: Any, lasting: st.SearchStrategy[str | None]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a fault of any kind on what `scenario` has, at a moment."""
    hosts = [host.name for host in scenario.cluster.nodes]
    links = list(network_edges(scenario))
    when = f"{at} ns" if isinstance(at, int) else at
    node, notice = st.sampled_from([*hosts, "any"]), st.sampled_from(["reset", "silence"])

    def fault(kind: str, **more: Any) -> st.SearchStrategy[dict[str, Any]]:
        keys = {"kind": st.just(kind), "at": st.just(when), **more}
        return st.fixed_dictionaries(keys).map(lambda drawn: {key: value for key, value in drawn.items() if value})

    def on_link(kind: str, **more: Any) -> st.SearchStrategy[dict[str, Any]]:
        ends = fault(kind, link=st.sampled_from(links), one_way=st.booleans(), lasts=lasting, **more)
        return ends.map(
            lambda drawn: {
                **{key: value for key, value in drawn.items() if key != "link"},
                "source": drawn["link"][0],
                "target": drawn["link"][1],
            }
        )

    chance = st.sampled_from(["10 %", "50 %"])
    switches = [end for end in dict.fromkeys(end for link in links for end in link) if end not in hosts]
    kinds = [
        fault("crash", node=node, notice=notice, restart_after=lasting),
        fault("pause", node=node, lasts=lasting),
        fault("slow_down", node=node, lasts=lasting, factor=st.sampled_from([1.5, 4.0])),
        on_link("link_down"),
        on_link("link_degrade", bandwidth=st.sampled_from(["1 Mbit/s", "77 Mbit/s", "9 Gbit/s"])),
        on_link("link_degrade", latency=st.sampled_from(["1 ns", "10 us"])),
        on_link("drop", probability=chance),
        on_link("corrupt", probability=chance, detected=st.just(True)),
    ]
    if len(hosts) > 1:
        cut = st.integers(1, len(hosts) - 1).map(lambda place: [hosts[:place], hosts[place:]])
        kinds.append(fault("partition", groups=cut, lasts=lasting))
    if switches:
        kinds.append(fault("switch_down", switch=st.sampled_from(switches), notice=notice, restart_after=lasting))
    return st.one_of(kinds)


@dataclass(frozen=True)
class Story:
    """A played world, and what its trace says."""

    played: Played
    events: tuple[Event, ...]

    def times(self, kind: str, node: str | None = None, **fields: Any) -> list[int]:
        """Return when events of this kind happened."""
        return [event.time_ns for event in self.of(kind, node, **fields)]

    def of(self, kind: str, node: str | None = None, **fields: Any) -> list[Event]:
        """Return the events of this kind."""
        return select(self.events, kind, node, **fields)

    @property
    def lines(self) -> list[str]:
        return [event.line() for event in self.events]


def select(events: Iterable[Event], kind: str, node: str | None = None, **fields: Any) -> list[Event]:
    """Return the events of one kind, on one node, with these fields."""
    return [
        event
        for event in events
        if event.kind == kind
        and node in (None, event.node)
        and all(event.fields.get(name) == value for name, value in fields.items())
    ]


def tell(
    scenario: Scenario,
    programs: Mapping[str, Run],
    *,
    helpers: Iterable[str] = (),
    restarts: Iterable[str] = (),
    machines: Sequence[Host] = (),
    shuffle_ties: int | None = None,
    fidelity: Fidelity = "auto",
) -> Story:
    """Play hand-written programs, by node."""
    helpers, restarts = set(helpers), set(restarts)
    listed = [Program(name, run, name not in helpers, name in restarts) for name, run in programs.items()]
    trace = Trace("messages")
    played = play(scenario, listed, machines, trace, shuffle_ties, fidelity)
    return Story(played, trace.events())


def group_of(names: Iterable[str], generation: int = 0) -> Group:
    """Return a group of first lives."""
    return Group(generation, tuple(Member(name, 0) for name in names))


def play_collective(
    scenario: Scenario,
    plan: Any,
    buffers: Sequence[Any],
    enter_ns: Sequence[int] | None = None,
    shuffle_ties: int | None = None,
    fidelity: Fidelity = "auto",
) -> Story:
    """Let rank r of node0, node1, ... enter `plan` at `enter_ns[r]` with `buffers[r]`; results are by node name."""
    group = group_of(f"node{rank}" for rank in range(len(buffers)))

    def member(rank: int) -> Run:
        def run(node: Node) -> Operation[Any]:
            node.join(group)
            if enter_ns is not None:
                yield from node.sleep(enter_ns[rank])
            return (yield from node.collective(plan, buffers[rank]))

        return run

    programs = {name: member(rank) for rank, name in enumerate(group.names)}
    return tell(scenario, programs, shuffle_ties=shuffle_ties, fidelity=fidelity)


def results_in_rank_order(story: Story) -> list[Any]:
    """Return what each rank's program returned."""
    return [story.played.results[f"node{rank}"] for rank in range(len(story.played.results))]


# --- trainings --------------------------------------------------------------------------------------------------------

TINY = {"kind": "synthetic", "samples": 96, "features": 8, "classes": 3}


def training(
    strategy: str | Mapping[str, Any] = "ring",
    *,
    nodes: int | Sequence[Mapping[str, Any]] = 4,
    faults: Iterable[Mapping[str, Any]] = (),
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    max_virtual_time: str = "1000 h",
    cluster: Mapping[str, Any] | None = None,
    **task: Any,
) -> Scenario:
    """Return a tiny training: softmax on 96 points, 8 samples a worker and step, 1 ms of computation a step."""
    length = {} if {"epochs", "steps"} & set(task) else {"steps": 4}
    defaults = {"dataset": TINY, "model": {"kind": "softmax"}, "batch_size": 8, "flop_per_sample": "1 MFLOP"}
    return Scenario.model_validate(
        {
            "name": "tiny",
            "seed": seed,
            "task": {**defaults, **length, **task},
            "cluster": {"nodes": nodes, "speed": "8 GFLOP/s", "network": dict(network or {}), **(cluster or {})},
            "strategy": {"name": strategy} if isinstance(strategy, str) else dict(strategy),
            "faults": list(faults),
            "max_virtual_time": max_virtual_time,
        }
    )


Replicas = dict[tuple[int, int], dict[str, str]]


@dataclass(frozen=True)
class Watched:
    """A result, and the bits of every replica after every update: (generation, step) -> node -> sha256."""

    result: Result
    replicas: Replicas


def train(scenario: Scenario, **options: Any) -> Watched:
    """Simulate, and note each replica's bits after each of its updates."""
    replicas: Replicas = {}

    class Noting(Training):
        def update(self, node: Node, state: State, mean: Any, group: Group, **options: Any) -> State:
            after = super().update(node, state, mean, group, **options)
            replicas.setdefault((group.generation, after.step), {})[node.name] = _bits(after)
            return after

    with mock.patch.object(ringsim.simulation, "Training", Noting):
        result = ringsim.simulation.simulate(scenario, **options)
    return Watched(result, replicas)


def _bits(state: State) -> str:
    arrays = (state.model.parameters.array, *state.model.optimizer.leaves)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
