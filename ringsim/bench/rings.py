"""Contests of a fault-free ring all-reduce on a star: the closed form alone, the whole simulation, every message.

    closed_form   `RingAllReduce.times` on the wires of a world that stands already
    whole         `world.play`: machines, network, processes, accounts, trace; it chooses the closed form by itself
    messages      the same with every message played
    growth        the closed form on all machines against an eighth of them

The vector has sizes and no numbers, so that what is timed is the simulation of time. The reference is naive SimPy, and
all must name the same nanosecond at which the last rank is done. What is not here: that reference (`world/naive.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ringsim.bench.case import Contest, Ways
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.vectors import ELEMENT_BYTES, Blank, segment_length
from ringsim.node import Group, Member, Node, Operation, Program
from ringsim.scenario import Cluster, Local, Scenario, Task, worker_names
from ringsim.trace import Trace
from ringsim.world.naive import naive_ring_ns
from ringsim.world.played import Played
from ringsim.world.undisturbed import Footprint, footprint
from ringsim.world.world import Fidelity, World, play

LENGTH = 1_200_000  # 4.8 MB of float32, the gradient of the CNN for MNIST
_BANDWIDTH, _LATENCY_NS = 10**9, 50_000
GROWTH = 8


@dataclass(frozen=True)
class _StandingWires:
    """What a closed form may know of a network on which nothing has been sent yet."""

    world: World
    links: Footprint

    def transmission_ns(self, source: int, target: int, size_bytes: int) -> int:
        return self.world.network.transmission_ns(self.links.connections[source, target], size_bytes)

    def latency_ns(self, source: int, target: int) -> int:
        return self.links.connections[source, target].route.latency_ns

    def free_ns(self, source: int, target: int) -> int:  # noqa: ARG002 - every connection is free from the beginning.
        return 0


def closed_form(ranks: int, *, against_naive: bool = False) -> Contest:
    """Return the closed form alone, whose answer is when the last rank is done, in ns."""
    reference = _naive(ranks) if against_naive else None
    return Contest(_closed_form(ranks), reference, messages=RingAllReduce().number_of_messages(ranks))


def whole(ranks: int, *, fidelity: Fidelity = "auto", against_naive: bool = False) -> Contest:
    """Return a whole simulation, from the machines to the books; its answer is when the last rank is done, in ns."""
    scenario = _star(ranks)

    def run() -> Played:
        return play(scenario, _programs(scenario), (), Trace("steps"), fidelity=fidelity)

    return Contest(
        run,
        _naive(ranks) if against_naive else None,
        answer=lambda played: played.time_ns,
        messages=RingAllReduce().number_of_messages(ranks),
        ways=lambda played: Ways(played.collectives.in_closed_form, played.collectives.by_messages),
    )


def growth(ranks: int) -> Contest:
    """Return the closed form against itself on an eighth of the machines."""
    return Contest(_closed_form(ranks), _closed_form(max(2, ranks // GROWTH)), same=None)


def _star(ranks: int) -> Scenario:
    network = {"bandwidth": f"{_BANDWIDTH} bit/s", "latency": f"{_LATENCY_NS} ns"}
    return Scenario(
        name="bench",
        task=Task(steps=1),
        cluster=Cluster.model_validate({"nodes": ranks, "network": network}),
        strategy=Local(name="local"),
    )


def _closed_form(ranks: int) -> Callable[[], int]:
    scenario = _star(ranks)
    world = World(scenario, (), (), Trace("steps"), None, "auto")
    members = [world.address(name) for name in worker_names(scenario)]
    plan, enter_ns = RingAllReduce(), [0] * ranks
    wires = _StandingWires(world, footprint(world.network, members, plan.connections(ranks), 0))

    def run() -> int:
        return int(plan.times(Blank(LENGTH), enter_ns, wires, every_flight=False).finish_ns.max())

    return run


def _programs(scenario: Scenario) -> list[Program]:
    group = Group(0, tuple(Member(name, 0) for name in worker_names(scenario)))
    return [Program(name, partial(_take_part, group=group)) for name in group.names]


def _take_part(node: Node, group: Group) -> Operation[None]:
    node.join(group)
    yield from node.collective(RingAllReduce(), Blank(LENGTH))


def _naive(ranks: int) -> Callable[[], int]:
    segment_bytes = [ELEMENT_BYTES * segment_length(LENGTH, ranks, segment) for segment in range(ranks)]
    return partial(naive_ring_ns, segment_bytes, _BANDWIDTH, 2 * _LATENCY_NS)
