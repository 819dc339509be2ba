"""Contests of flows that share links max-min fairly, no two of which end together.

    one link    flows of different sizes, which begin one after another, into one link
    fat tree    as many flows as machines, each from one machine to another, both drawn; all links are equally fast

The reference works out the rates of *all* flows anew whenever one begins or ends: a global refill, as simple flow-level
simulators do it. Ours follows what changes (`world/sharing.py`). Both must give every flow the same nanosecond. Sizes,
starts and ways are seeded draws. What is not here: the rates themselves, which both take from `world/max_min.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ringsim.bench.case import Contest
from ringsim.scenario import FatTree, Host, Network
from ringsim.seeds import below, words
from ringsim.topology import Routes, build
from ringsim.world.clock import Clock, Phase
from ringsim.world.max_min import Share, max_min_shares, same
from ringsim.world.sharing import NANO, Sharing, Task

_SEED = 0
_BANDWIDTH = 10**10
_BITS_MIN, _BITS_SPREAD = 8 * 10**6, 8 * 10**7  # a size is drawn from 1 MB to 11 MB
_STARTS_WITHIN_NS = 10**6  # so that all are under way together for most of the time
_FOREVER_NS = 1 << 62


@dataclass(frozen=True)
class Flow:
    """So many bits from `begin_ns` on, over the resources of `route`."""

    begin_ns: int
    bits: int
    route: tuple[int, ...]


def one_link(count: int, *, refilled: bool) -> Contest:
    """Return `count` flows into one link; the answer is when each of them ends, in ns."""
    return _contest([(0,)] * count, [_BANDWIDTH], refilled)


def fat_tree(count: int, *, refilled: bool) -> Contest:
    """Return as many flows as machines in a fat tree; the answer is when each of them ends, in ns.

    The graph and the routes are made before the race begins: both sides need them.
    """
    hosts = [Host(name=f"node{index}") for index in range(count)]
    settings = Network.model_validate({"bandwidth": f"{_BANDWIDTH} bit/s", "topology": FatTree(kind="fat_tree")})
    graph = build(settings, hosts)
    number = {link: index for index, link in enumerate(graph.edges)}
    routing = Routes(graph, hosts)
    sources = [below(_SEED, "bench", "source", flow, bound=count) for flow in range(count)]
    # So many machines further on, at least one and less than once round: nobody sends to itself.
    steps = [1 + below(_SEED, "bench", "target", flow, bound=count - 1) for flow in range(count)]
    ends = [(source, (source + step) % count) for source, step in zip(sources, steps, strict=True)]
    ways = [routing.links(hosts[source].name, hosts[target].name) for source, target in ends]
    return _contest([tuple(number[link] for link in way) for way in ways], [_BANDWIDTH] * len(number), refilled)


def _contest(routes: Sequence[tuple[int, ...]], capacity: Sequence[int], refilled: bool) -> Contest:
    draws = words(_SEED, "bench", "flows", count=2 * len(routes)).tolist()
    flows = [
        Flow(_scaled(draws[2 * index], _STARTS_WITHIN_NS), _BITS_MIN + _scaled(draws[2 * index + 1], _BITS_SPREAD), way)
        for index, way in enumerate(routes)
    ]
    return Contest(partial(shared_ends, flows, capacity), partial(refilled_ends, flows, capacity) if refilled else None)


def _scaled(word: int, bound: int) -> int:
    return word * bound >> 64


def shared_ends(flows: Sequence[Flow], capacity: Sequence[int]) -> list[int]:
    """Return when each flow ends, in ns, as the world plays it.

    >>> shared_ends([Flow(0, 100, (0,)), Flow(50 * 10**6, 100, (0,))], [1_000])
    [150000000, 200000000]
    """
    clock = Clock()
    sharing = Sharing(clock)
    resources = [sharing.resource(rate) for rate in capacity]
    ends = [0] * len(flows)

    def ended(index: int) -> None:
        ends[index] = clock.now_ns

    for index, flow in enumerate(flows):
        route = [resources[link] for link in flow.route]
        task = Task(flow.bits * NANO, route, Phase.DEPART, (index,), partial(ended, index))
        clock.at(flow.begin_ns, Phase.WAKE, (index,), partial(sharing.begin, task))
    clock.run(lambda: False, _FOREVER_NS)
    return ends


@dataclass
class _Going:
    """A flow under way: what was left of it (in 1e-9 bit) at `since_ns`, and its rate from then on."""

    remaining: int
    since_ns: int
    share: Share

    def end_ns(self) -> int:
        return self.since_ns - (-self.remaining * self.share[1] // self.share[0])

    def change(self, share: Share, now_ns: int) -> None:
        self.remaining -= (now_ns - self.since_ns) * self.share[0] // self.share[1]
        self.since_ns, self.share = now_ns, share


def refilled_ends(flows: Sequence[Flow], capacity: Sequence[int]) -> list[int]:
    """Return when each flow ends, in ns, by a global refill at each begin and end.

    >>> refilled_ends([Flow(0, 100, (0,)), Flow(50 * 10**6, 100, (0,))], [1_000])
    [150000000, 200000000]
    """
    to_come = [(flow.begin_ns, index) for index, flow in enumerate(flows)]
    heapq.heapify(to_come)
    going: dict[int, _Going] = {}
    ends = [0] * len(flows)
    while to_come or going:
        due_ns = {index: one.end_ns() for index, one in going.items()}
        now_ns = min([*due_ns.values(), *(begin_ns for begin_ns, _ in to_come[:1])])
        for index, end_ns in due_ns.items():
            if end_ns == now_ns:
                ends[index] = now_ns
                del going[index]
        while to_come and to_come[0][0] == now_ns:
            index = heapq.heappop(to_come)[1]
            going[index] = _Going(flows[index].bits * NANO, now_ns, (1, 1))
        shares = max_min_shares({index: flows[index].route for index in going}, capacity)
        for index, one in going.items():
            if not same(one.share, shares[index]):
                one.change(shares[index], now_ns)
    return ends
