"""The network: a graph of machines and switches, and messages that travel on it as flows.

    node ──► connection ──► uplink ──► switch ──► downlink ──► node
             one message     └─ shared max-min fairly ─┘
             at a time

A message waits until those before it on its connection (source, destination, channel) have left, keeps the connection
busy for the per-message overhead, then flows over all links of its route at once (cut through); it arrives one path
latency after its last byte has left. Links are full duplex: each direction is a resource of its own.

What is not here: what a node does with a message (`node.py`), and how rates are worked out (`sharing.py`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import networkx

from ringsim.node import Message
from ringsim.scenario import SWITCH, Framed, Host
from ringsim.scenario import Network as Settings
from ringsim.world.clock import Clock, Entry, Phase
from ringsim.world.mailbox import Channel
from ringsim.world.sharing import NANO, Sharing, Task

if TYPE_CHECKING:
    Graph = networkx.DiGraph[str]


@dataclass(frozen=True)
class Address:
    """One life of one node, and the machine it lives on. `index` is its place in the canonical order."""

    index: int
    name: str
    host: str
    incarnation: int


@dataclass(eq=False)
class Transfer:
    """A message on its way. `life` is the incarnation of `target` that it is for."""

    message: Message
    source: Address
    target: str
    target_index: int
    target_host: str
    life: int
    channel: Channel
    number: int = 0  # of its connection's messages
    has_left: bool = False
    on_left: Callable[[], None] | None = None


@dataclass(eq=False)
class _Connection:
    count: int = 0
    queue: deque[Transfer] = field(default_factory=deque)
    current: Transfer | None = None
    task: Task | None = None
    entry: Entry | None = None


@dataclass
class Traffic:
    """Bytes that left, counted per link direction and per node."""

    links: dict[tuple[str, str], int]
    wire: dict[str, int] = field(default_factory=dict)
    payload: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """The resources a flow takes, the links they belong to, and the sum of their latencies."""

    resources: tuple[int, ...]
    links: tuple[tuple[str, str], ...]
    latency_ns: int


def star(settings: Settings, hosts: Iterable[Host]) -> Graph:
    """Return the graph of a star: each host has one link to the switch; several ranks on one talk over a loopback.

    Every edge is one direction and carries `bandwidth` (bit/s) and `latency_ns`.

    >>> graph = star(Settings(), [Host(name="a"), Host(name="b", bandwidth="10 Gbit/s")])
    >>> graph.edges["b", "switch"]["bandwidth"]
    10000000000
    """
    graph: Graph = networkx.DiGraph()
    for host in hosts:
        bandwidth = settings.bandwidth if host.bandwidth is None else host.bandwidth
        latency_ns = settings.latency if host.latency is None else host.latency
        graph.add_edge(host.name, SWITCH, bandwidth=bandwidth, latency_ns=latency_ns)
        graph.add_edge(SWITCH, host.name, bandwidth=bandwidth, latency_ns=latency_ns)
        if host.processes > 1:
            loopback = settings.loopback
            graph.add_edge(host.name, host.name, bandwidth=loopback.bandwidth, latency_ns=loopback.latency)
    return graph


def wire_size_bytes(settings: Settings, size_bytes: int) -> int:
    """Return what a message of `size_bytes` takes on the wire, framing included.

    >>> wire_size_bytes(Settings(transport=Framed(kind="framed")), 1_449)
    1581
    """
    transport = settings.transport
    if not isinstance(transport, Framed):
        return size_bytes
    frames = max(1, -(-size_bytes // transport.payload))
    return int(size_bytes + frames * transport.header)


class Network:
    """The links and everything that is on its way."""

    def __init__(
        self,
        clock: Clock,
        sharing: Sharing,
        settings: Settings,
        hosts: Iterable[Host],
        arrived: Callable[[Transfer], None],
        wire: Callable[[Transfer, int], None],
    ):
        """`arrived(transfer)` is called at each arrival, `wire(transfer, +1 or -1)` when it goes on or off the wire."""
        self._clock = clock
        self._sharing = sharing
        self._settings = settings
        self._arrived = arrived
        self._wire = wire
        self.graph = star(settings, hosts)
        self._resource: dict[tuple[str, str], int] = {
            (end, to): sharing.resource(attributes["bandwidth"]) for end, to, attributes in self.graph.edges(data=True)
        }
        self._routes: dict[tuple[str, str], Route] = {}
        self._connections: dict[tuple[str, int, str, Channel], _Connection] = {}
        self.traffic = Traffic(dict.fromkeys(self._resource, 0))

    def route(self, source: str, target: str) -> Route:
        """Return the way from one host to another (the same host: its loopback link)."""
        if (source, target) not in self._routes:
            path = [source, source] if source == target else networkx.shortest_path(self.graph, source, target)
            links = tuple(itertools.pairwise(path))
            latency_ns = sum(int(self.graph.edges[link]["latency_ns"]) for link in links)
            self._routes[source, target] = Route(tuple(self._resource[link] for link in links), links, latency_ns)
        return self._routes[source, target]

    def latency_ns(self, source: str, target: str) -> int:
        """Return the path latency between two hosts."""
        return self.route(source, target).latency_ns

    def send(self, transfer: Transfer) -> None:
        """Queue a message on its connection."""
        key = (transfer.source.name, transfer.source.incarnation, transfer.target, transfer.channel)
        connection = self._connections.setdefault(key, _Connection())
        connection.count += 1
        transfer.number = connection.count
        connection.queue.append(transfer)
        if connection.current is None:
            self._next(connection)

    def kill(self, doomed: Callable[[Transfer], bool]) -> None:
        """Take every doomed message whose last byte has not left off the network; its handle never completes."""
        for connection in self._connections.values():
            connection.queue = deque(transfer for transfer in connection.queue if not doomed(transfer))
            if connection.current is not None and doomed(connection.current):
                self._break(connection, connection.current)

    def close_books(self) -> None:
        """Count what messages still under way have sent so far."""
        self.kill(lambda _: True)

    def _next(self, connection: _Connection) -> None:
        connection.current = connection.task = connection.entry = None
        if not connection.queue:
            return
        transfer = connection.current = connection.queue.popleft()
        self._wire(transfer, +1)
        overhead_ns = self._settings.message_overhead
        if overhead_ns:
            start_ns = self._clock.now_ns + overhead_ns
            key = _key(transfer)
            connection.entry = self._clock.at(start_ns, Phase.DEPART, key, lambda: self._flow(connection, transfer))
        else:
            self._flow(connection, transfer)

    def _flow(self, connection: _Connection, transfer: Transfer) -> None:
        wire_bytes = wire_size_bytes(self._settings, transfer.message.size_bytes)
        route = self.route(transfer.source.host, transfer.target_host)
        connection.entry = None
        connection.task = Task(
            wire_bytes * 8 * NANO,
            route.resources,
            Phase.DEPART,
            _key(transfer),
            lambda: self._left(connection, transfer, route, wire_bytes),
        )
        self._sharing.begin(connection.task)

    def _left(self, connection: _Connection, transfer: Transfer, route: Route, wire_bytes: int) -> None:
        self._count(transfer, route, wire_bytes, transfer.message.size_bytes)
        transfer.has_left = True
        if transfer.on_left is not None:
            transfer.on_left()
        arrival_ns = self._clock.now_ns + route.latency_ns
        self._clock.at(
            arrival_ns, Phase.DELIVER, (transfer.target_index, *_key(transfer)), lambda: self._land(transfer)
        )
        self._next(connection)

    def _land(self, transfer: Transfer) -> None:
        self._wire(transfer, -1)
        self._arrived(transfer)

    def _break(self, connection: _Connection, transfer: Transfer) -> None:
        self._clock.cancel(connection.entry)
        if connection.task is not None:
            passed_bytes = self._sharing.stop(connection.task) // (8 * NANO)
            route = self.route(transfer.source.host, transfer.target_host)
            self._count(transfer, route, passed_bytes, min(passed_bytes, transfer.message.size_bytes))
        self._wire(transfer, -1)
        self._next(connection)

    def _count(self, transfer: Transfer, route: Route, wire_bytes: int, payload_bytes: int) -> None:
        traffic, name = self.traffic, transfer.source.name
        traffic.wire[name] = traffic.wire.get(name, 0) + wire_bytes
        traffic.payload[name] = traffic.payload.get(name, 0) + payload_bytes
        for link in route.links:
            traffic.links[link] += wire_bytes


def _key(transfer: Transfer) -> tuple[Any, ...]:
    """Order transfers by sender, receiver, channel (None, the connection outside of groups, first) and number."""
    channel = -1 if transfer.channel is None else transfer.channel
    return (transfer.source.index, transfer.target_index, channel, transfer.number)
