"""`measure`: one collective alone on a cluster, timed: the nccl-tests of the simulator.

    the cluster's machines ──► one program each: join, play the plan once with sizes only ──► when the last is done

Algorithm bandwidth is S / t, bus bandwidth that times a factor which makes it comparable with the hardware
(`collectives/table.py`). What is not here: computation, faults and learning (`simulation.py`), and tables for people
(`report/collective.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import isqrt
from typing import Any, NamedTuple

from ringsim.collectives.fitted import fitted
from ringsim.collectives.table import algorithm_named, blank_buffers
from ringsim.collectives.vectors import ELEMENT_BYTES
from ringsim.errors import UsageError
from ringsim.node import Group, Member, Node, Operation, Program
from ringsim.plan import Plan
from ringsim.scenario import SERVER, Cluster, Host, Local, Scenario, Task, worker_names
from ringsim.topology import Routes, build
from ringsim.trace import Trace
from ringsim.units import SIZE
from ringsim.world.played import Played
from ringsim.world.world import Fidelity, play

LONGEST = "1_000_000_000 s"  # Thirty years: any collective that makes sense is over by then.


@dataclass(frozen=True)
class Measurement:
    """One collective of one size. `predicted_ns` is the textbook's (`predicted_ns` of the plan), not measured.

    The bandwidths are 0 where it takes no time.
    """

    algorithm: str
    topology: str
    nodes: int
    size_bytes: int
    time_ns: int
    algbw_bits_per_s: int
    busbw_bits_per_s: int
    predicted_ns: int
    messages: int
    bytes_on_wire: int

    def summary(self) -> dict[str, Any]:
        """Return all figures as plain data."""
        return asdict(self)


class Crossover(NamedTuple):
    """From `size_bytes` on `above` are the fastest; just below it `below` were. Several of them take the same time."""

    size_bytes: int
    below: tuple[str, ...]
    above: tuple[str, ...]


def measure(
    cluster: Cluster, algorithm: str, size_bytes: int, fidelity: Fidelity = "auto", seed: int = 0
) -> Measurement:
    """Play one collective of a vector of `size_bytes` on all ranks of the cluster, which enter together.

    `fidelity` "message" plays every message; "auto" may work out what nobody disturbs. `seed` decides which messages
    are lost, where links lose any. `parameter_server` adds a machine `server0` with the network's own bandwidth and
    latency. Raises UsageError if there is no such algorithm, or no whole number of float32 elements, or if it takes
    more than thirty years.

    >>> network = {"bandwidth": "50 Mbit/s", "latency": "20 us"}
    >>> found = measure(Cluster.model_validate({"nodes": 4, "network": network}), "ring", 400_000)
    >>> found.time_ns, found.predicted_ns, found.messages, found.busbw_bits_per_s
    (96240000, 96240000, 24, 49875311)
    """
    chosen, length = algorithm_named(algorithm), size_bytes // ELEMENT_BYTES
    if size_bytes < 0 or size_bytes % ELEMENT_BYTES:
        below = max(0, size_bytes) // ELEMENT_BYTES * ELEMENT_BYTES
        near = f"{SIZE.format(below)} or {SIZE.format(below + ELEMENT_BYTES)}" if below else SIZE.format(ELEMENT_BYTES)
        raise UsageError(f"{size_bytes} bytes are no whole number of float32, which have 4 each; take {near}")
    scenario = Scenario(
        name="collective",
        seed=seed,
        task=Task(steps=1),
        cluster=cluster,
        strategy=Local(name="local"),
        max_virtual_time=LONGEST,
    )
    workers, servers = worker_names(scenario), (SERVER,) * chosen.servers
    ranks = len(workers) + len(servers)
    plan = fitted(algorithm, cluster, length)
    played = _play(scenario, plan, blank_buffers(algorithm, ranks, length), workers, servers, fidelity)
    # What takes no time, as on one machine, has no bandwidth: 0, and not what one nanosecond would make of it.
    algbw = Fraction(8 * size_bytes * 10**9, played.time_ns) if played.time_ns else Fraction(0)
    return Measurement(
        algorithm=algorithm,
        topology=_topology(cluster),
        nodes=len(cluster.nodes),
        size_bytes=size_bytes,
        time_ns=played.time_ns,
        algbw_bits_per_s=int(algbw),
        busbw_bits_per_s=int(algbw * chosen.bus_factor(len(workers))),
        predicted_ns=plan.predicted_ns(ranks, size_bytes, *alpha_and_bandwidth(cluster, plan, chosen.servers)),
        messages=played.traffic.messages,
        bytes_on_wire=sum(played.traffic.wire.values()),
    )


def _play(
    scenario: Scenario,
    plan: Plan,
    buffers: Sequence[Any],
    workers: Sequence[str],
    servers: Sequence[str],
    fidelity: Fidelity,
) -> Played:
    group = Group(0, tuple(Member(name, 0) for name in (*workers, *servers)))
    programs = [
        Program(name, partial(_take_part, group=group, plan=plan, buffer=buffer), worker=name in workers)
        for name, buffer in zip(group.names, buffers, strict=True)
    ]
    played = play(scenario, programs, [Host(name=server) for server in servers], Trace("steps"), fidelity=fidelity)
    if played.ending == "late":
        raise UsageError(f"{plan.name} takes more than 30 years; choose more bandwidth, or a smaller size")
    assert played.ending == "over", f"{plan.name} has stalled, and nothing was to disturb it: {played.waiting}"
    return played


def _take_part(node: Node, group: Group, plan: Plan, buffer: Any) -> Operation[None]:
    node.join(group)
    yield from node.collective(plan, buffer)


def alpha_and_bandwidth(cluster: Cluster, plan: Plan, servers: int = 0) -> tuple[int, int]:
    """Return what the textbook takes every path of the plan for: (alpha in ns, bandwidth in bit/s).

    As if all its connections were as slow as the slowest, each in latency and in bandwidth, and never shared a link. It
    knows no framing.

    >>> from ringsim.collectives.ring import RingAllReduce
    >>> cluster = Cluster.model_validate({"nodes": [{"name": "a", "bandwidth": "1 Mbit/s"}, {"name": "b"}]})
    >>> alpha_and_bandwidth(cluster, RingAllReduce())
    (100000, 1000000)
    """
    network, extra = cluster.network, [Host(name=SERVER)] * servers
    graph = build(network, cluster.nodes, extra)
    routes = Routes(graph, cluster.nodes)
    machines = [host.name for host in cluster.nodes for _ in range(host.processes)] + [SERVER] * servers
    pairs = plan.connections(len(machines))
    ways = [
        [graph.edges[link] for link in routes.links(machines[source], machines[target])] for source, target in pairs
    ]
    alpha_ns = max((sum(link["latency_ns"] for link in way) for way in ways), default=0)
    bandwidth = min((link["bandwidth"] for way in ways for link in way), default=network.bandwidth)
    return network.message_overhead + alpha_ns, bandwidth


def fastest(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return the algorithms that take the shortest time."""
    shortest_ns = min(one.time_ns for one in measurements)
    return tuple(one.algorithm for one in measurements if one.time_ns == shortest_ns)


def comparable(algorithms: Sequence[str]) -> list[str]:
    """Return those of the algorithms that are all-reduces: between others there is nothing to win.

    >>> comparable(["broadcast", "ring", "reduce_scatter", "tree"])
    ['ring', 'tree']
    """
    return [name for name in algorithms if algorithm_named(name).operation == "all-reduce"]


@dataclass(frozen=True)
class Comparison:
    """Several collectives at several sizes. `always`: the all-reduces that are the fastest at all of them, if any."""

    measurements: tuple[Measurement, ...]
    crossovers: tuple[Crossover, ...] = ()
    always: tuple[str, ...] = ()


def compare(
    cluster: Cluster,
    algorithms: Sequence[str],
    sizes: Sequence[int],
    fidelity: Fidelity = "auto",
    done: Callable[[], None] | None = None,
    seed: int = 0,
) -> Comparison:
    """Measure every algorithm at every size in bytes, and find where the fastest all-reduce changes.

    `done` is called after each measurement that was asked for. Raises UsageError as `measure` does.
    """
    found: dict[tuple[str, int], Measurement] = {}

    def measured(algorithm: str, size_bytes: int) -> Measurement:
        if (algorithm, size_bytes) not in found:
            found[algorithm, size_bytes] = measure(cluster, algorithm, size_bytes, fidelity, seed)
        return found[algorithm, size_bytes]

    def winner(size_bytes: int) -> tuple[str, ...]:
        return fastest([measured(algorithm, size_bytes) for algorithm in rivals])

    asked, rivals = [], comparable(algorithms)
    for size_bytes in sizes:
        for algorithm in algorithms:
            asked.append(measured(algorithm, size_bytes))
            if done is not None:
                done()
    if len(rivals) < 2:
        return Comparison(tuple(asked))
    changes = tuple(crossovers(sizes, winner))
    return Comparison(tuple(asked), changes, () if changes else winner(sizes[0]))


def crossovers(sizes: Sequence[int], winner: Callable[[int], tuple[str, ...]]) -> list[Crossover]:
    """Return where the winners change between neighbouring sizes, to 1 %, by bisection on a logarithmic scale.

    >>> crossovers([4, 40_000], lambda size: ("tree",) if size < 5_000 else ("ring",))
    [Crossover(size_bytes=5000, below=('tree',), above=('ring',))]
    """
    found = []
    for low, high in pairwise(sizes):
        while winner(low) != winner(high):
            crossing = _crossover(low, high, winner)
            found.append(crossing)
            # A third one can win in between: then go on from where it begins.
            low = crossing.size_bytes
    return found


def _crossover(low: int, high: int, winner: Callable[[int], tuple[str, ...]]) -> Crossover:
    below = winner(low)
    while high - low > max(ELEMENT_BYTES, low // 100):
        middle = max(low + ELEMENT_BYTES, isqrt(low * high) // ELEMENT_BYTES * ELEMENT_BYTES)
        if winner(middle) == below:
            low = middle
        else:
            high = middle
    return Crossover(high, below, winner(high))


def sizes_of(text: str) -> list[int]:
    """Return the sizes in bytes that `text` lists, or goes through by a factor, in order.

    Raises UsageError with a sentence that says what would be right.

    >>> sizes_of("4KB, 1 MB"), sizes_of("4KB:64KB:x4")
    ([4000, 1000000], [4000, 16000, 64000])
    """
    parts = [part.strip() for part in text.split(":")]
    try:
        if len(parts) == 1:
            return sorted(dict.fromkeys(_size(part) for part in text.split(",")))
        if len(parts) != 3 or not parts[2].startswith("x") or not parts[2][1:].isdecimal() or int(parts[2][1:]) < 2:
            raise ValueError(f'"{text}" is not a range of sizes; write it like "4KB:64MB:x4", or list sizes')
        size, last, factor = _size(parts[0]), _size(parts[1]), int(parts[2][1:])
        if not 0 < size <= last:
            raise ValueError(f'"{text}" goes from a size to a larger one by a factor; the first is above 0 B')
    except ValueError as error:
        raise UsageError(f"--size: {error}") from None
    sizes = []
    while size <= last:
        sizes.append(size)
        size *= factor
    return sizes


def _size(text: str) -> int:
    try:
        return SIZE.parse(text.strip())
    except ValueError as error:
        sentence = str(error)
        raise ValueError(f"{text.strip()} {sentence}" if sentence.startswith("has ") else sentence) from None


def _topology(cluster: Cluster) -> str:
    topology = cluster.network.topology
    return str(getattr(topology, "kind", topology))
