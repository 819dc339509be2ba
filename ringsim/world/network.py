"""The network: messages that travel on a graph of machines and switches as flows.

    node ──► connection ──► link ──► switch ──► link ──► node
             one message     └─ shared max-min fairly ─┘
             at a time

A message waits until those before it on its connection (source, destination, channel) have left, keeps the connection
busy for the per-message overhead, then flows over all links of its route at once (cut through); it arrives one path
latency after its last byte has left. Links are full duplex: each direction is a resource of its own.

A link may be down for a while, or a partition in the way: what is on its way then waits, and flows on when its way is
open again (over TCP at the next retransmission). What has left by then arrives.

What is not here: messages and connections as such (`connection.py`), what is the matter with links (`conditions.py`),
what they lose (`losses.py`), what a node does with a message (`node.py`, `seat.py`), how rates are worked out
(`sharing.py`), the graph and its routes (`topology/`), what a transport adds to a message (`transport.py`), background
traffic (`background.py`), and the sums of what was sent (`traffic.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ringsim.scenario import Host, Tcp
from ringsim.scenario import Network as Settings
from ringsim.topology import Routes, build
from ringsim.world.clock import Clock, Phase
from ringsim.world.conditions import Conditions
from ringsim.world.connection import NEVER, Address, Connection, Link, Route, Transfer
from ringsim.world.losses import corrupting, is_lost
from ringsim.world.mailbox import Channel
from ringsim.world.sharing import NANO, Sharing, Task
from ringsim.world.traffic import Traffic, added_up
from ringsim.world.transport import (
    OPEN,
    SlowStart,
    Window,
    acknowledgement_weights,
    payload_bytes,
    wire_size_bytes,
)

if TYPE_CHECKING:
    import networkx

    Graph = networkx.DiGraph[str]


class Network:
    """The links and everything that is on its way."""

    def __init__(
        self,
        clock: Clock,
        sharing: Sharing,
        settings: Settings,
        hosts: Iterable[Host],
        extra: Iterable[Host],
        seed: int,
        landed: Callable[[Transfer], None],
        wire: Callable[[Transfer, int], None],
    ):
        """`landed(transfer)` is called at each arrival; `wire(transfer, change)` when a message goes on the wire (+1),
        and when it is taken off before it arrives (-1).
        """
        self.clock = clock
        self.settings = settings
        self._sharing = sharing
        self._seed = seed
        self.landed = landed
        self._wire = wire
        everybody = list(hosts)
        self.graph: Graph = build(settings, everybody, list(extra))
        self._routing = Routes(self.graph, everybody)
        self.conditions = Conditions(self.graph)
        self._resource: dict[Link, int] = {
            (end, to): sharing.resource(attributes["bandwidth"]) for end, to, attributes in self.graph.edges(data=True)
        }
        self._routes: dict[Link, Route] = {}
        self._connections: dict[tuple[str, int, str, Channel], Connection] = {}
        self._open: dict[Connection, None] = {}  # those on which more may be sent, in the order in which they began
        self._between: dict[tuple[str, int, str], list[Connection]] = {}  # from a life to a node, on any channel
        self._held_up: dict[Connection, int] = {}  # whose current message cannot flow, and since when
        self._waiting: list[Callable[[], None]] = []  # for anything to change
        # Resources that somebody must hear of before a flow begins there.
        self.claims: dict[int, Callable[[int], None]] = {}

    # --- routes and connections ---------------------------------------------------------------------------------------

    def route(self, source: str, target: str) -> Route:
        """Return the way from one host to another (the same host: its loopback link)."""
        route = self._routes.get((source, target))
        if route is None:
            route = self._routes[source, target] = self._find(source, target)
        return route

    def _find(self, source: str, target: str) -> Route:
        links = self._routing.links(source, target)
        states = [self.conditions.link(link) for link in links]
        weights = {self._resource[link]: 1 for link in links}
        back: tuple[Link, ...] = ()
        transport = self.settings.transport
        if isinstance(transport, Tcp) and transport.acknowledgement:
            back = self._routing.links(target, source)
            data, acknowledgement = acknowledgement_weights(transport)
            weights = dict.fromkeys(weights, data)
            for link in back:
                resource = self._resource[link]
                weights[resource] = weights.get(resource, 0) + acknowledgement
        return Route(
            resources=tuple(weights),
            weights=tuple(weights.values()) if back else None,
            links=links,
            back=back,
            latency_ns=sum(state.latency_ns for state in states),
            capacity=min(state.bandwidth for state in states),
            drop_ppm=tuple(state.drop_ppm for state in states),
            corrupt_ppm=corrupting(states),
            is_open=not any(state.is_down for state in states) and not self.conditions.separate(source, target),
        )

    def latency_ns(self, source: str, target: str) -> int:
        """Return the path latency between two hosts."""
        return self.route(source, target).latency_ns

    def news_ns(self, source: Address, target: Address, generation: Channel) -> int:
        """Return when the news that a connection ends, sent now, arrives: nothing on the connection is overtaken.

        generation: which connection ends; None: all from this life. Nothing may be leaving on them any more.
        """
        ending = self._between.get((source.name, source.incarnation, target.name), ())
        before_ns = [one.arrives_ns for one in ending if generation in (None, one.channel)]
        return max([self.clock.now_ns + self.latency_ns(source.host, target.host), *before_ns])

    def connection(self, source: Address, target: Address, channel: Channel) -> Connection:
        """Return the connection from a life of a node to a node."""
        key = (source.name, source.incarnation, target.name, channel)
        connection = self._connections.get(key)
        if connection is None:
            route, window = self.route(source.host, target.host), self._window(source, target)
            connection = self._connections[key] = Connection(self, source, target, channel, route, window)
            self._open[connection] = None
            connection.is_plain = self._is_plain(connection)
            self._between.setdefault(key[:3], []).append(connection)
        return connection

    def _is_plain(self, connection: Connection) -> bool:
        route = connection.route
        return connection.window is OPEN and not self.settings.message_overhead and not route.loses and route.is_open

    def _window(self, source: Address, target: Address) -> Window:
        """Return what a new connection may send before it hears of its peer."""
        if not isinstance(self.settings.transport, Tcp):
            return OPEN
        there, back_ns = self.route(source.host, target.host), self.latency_ns(target.host, source.host)
        return SlowStart(self.settings.transport, there.latency_ns + back_ns, there.capacity)

    def is_quiet(self, resources: Iterable[int]) -> bool:
        """Say whether no flow is on any of these resources."""
        return all(self._sharing.is_idle(resource) for resource in resources)

    def transmission_ns(self, connection: Connection, size_bytes: int) -> int:
        """Return how long a message keeps its connection busy, if nobody else is on its links."""
        duration_ns = connection.durations.get(size_bytes)
        if duration_ns is None:
            work = wire_size_bytes(self.settings.transport, size_bytes) * 8 * NANO
            duration_ns = int(self.settings.message_overhead) - (-work // connection.route.capacity)
            connection.durations[size_bytes] = duration_ns
        return duration_ns

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, transfer: Transfer) -> None:
        """Queue a message on its connection."""
        # Here and in `_start` every message comes by, so calls that most of them do not need are left to the others.
        connection = transfer.connection
        if self.claims:
            self.announce(connection.route.resources)
        connection.count += 1
        transfer.number = connection.count
        now_ns, current = self.clock.now_ns, connection.current
        is_busy = connection.queue or connection.free_ns > now_ns
        if is_busy or (current is not None and current.left_ns == now_ns and self._is_leaving(connection)):
            connection.queue.append(transfer)
            self._watch_departure(connection)
        else:
            self._start(connection, transfer)

    def _is_leaving(self, connection: Connection) -> bool:
        """Say whether its current message leaves at this very instant, if nobody comes to its route before."""
        current = connection.current
        return current is not None and current.left_ns == self.clock.now_ns and not current.has_left

    def call_when_left(self, transfer: Transfer, call: Callable[[], None]) -> None:
        """Call `call` when the last byte of a message that has not left yet leaves."""
        transfer.on_left = call
        if transfer.connection.current is transfer:
            self._watch_departure(transfer.connection)

    def _start(self, connection: Connection, transfer: Transfer) -> None:
        connection.current, size_bytes = transfer, transfer.size_bytes
        transfer.after_ns = connection.arrives_ns
        connection.sent[size_bytes] = connection.sent.get(size_bytes, 0) + 1
        if transfer.life != connection.life:
            # A peer that has restarted knows of no old connection.
            connection.life = transfer.life
            connection.window = self._window(connection.source, connection.target)
        self._wire(transfer, +1)
        duration_ns = None
        if connection.is_plain:
            duration_ns = connection.durations.get(size_bytes)
            if duration_ns is None:
                duration_ns = self.transmission_ns(connection, size_bytes)
        # An empty message takes nothing of its links, so it leaves at once, whoever else is on them.
        if duration_ns == 0 or (duration_ns and self._sharing.occupy(connection.route.resources, transfer)):
            since_ns = transfer.since_ns = self.clock.now_ns
            left_ns = connection.free_ns = transfer.left_ns = since_ns + duration_ns
            arrival_ns = left_ns + connection.route.latency_ns
            if arrival_ns < transfer.after_ns:
                arrival_ns = transfer.after_ns
            connection.arrives_ns = arrival_ns
            self.clock.enter(transfer, arrival_ns, Phase.DELIVER, (connection.order, transfer.number))
            if connection.queue or transfer.on_left is not None:
                self._watch_departure(connection)
        elif self.settings.message_overhead:
            self._flow_later(connection, transfer, self.clock.now_ns + int(self.settings.message_overhead))
        else:
            self._flow(connection, transfer)

    def _flow(self, connection: Connection, transfer: Transfer) -> None:
        wire_bytes = wire_size_bytes(self.settings.transport, transfer.size_bytes)
        now_ns = self.clock.now_ns
        if not connection.route.is_open:
            self._hold_up(connection)
            return
        ready_ns = connection.window.ready_ns(now_ns)
        if ready_ns > now_ns:
            self._flow_later(connection, transfer, ready_ns)
            return
        self.announce(connection.route.resources)
        connection.free_ns = NEVER
        if connection.is_plain and not wire_bytes:
            transfer.left_ns = now_ns  # An empty message leaves at once, whether or not somebody else is on its links.
        transfer.task = self._task(transfer, connection.window.take(now_ns, wire_bytes))
        self._sharing.begin(transfer.task)

    def _task(self, transfer: Transfer, wire_bytes: int) -> Task:
        return self._flow_of(transfer, wire_bytes * 8 * NANO)

    def _flow_of(self, transfer: Transfer, amount: int) -> Task:
        route, key = transfer.connection.route, transfer.key
        task = Task(amount, route.resources, Phase.DEPART, key, transfer.flow_ended, route.weights)
        task.daemon = transfer.daemon
        return task

    def displaced(self, transfer: Transfer) -> Task:
        """A message was alone on its route, and is not any more: nobody knows now when it will have left."""
        self._take_back(transfer)
        transfer.task = self._task(transfer, wire_size_bytes(self.settings.transport, transfer.size_bytes))
        transfer.task.since_ns = transfer.since_ns
        return transfer.task

    def flow_ended(self, transfer: Transfer) -> None:
        """The flow of a message has ended: it has left, or goes on in another round, or was lost."""
        connection, now_ns, window = transfer.connection, self.clock.now_ns, transfer.connection.window
        transfer.task, transfer.passed = None, 0
        window.ended(now_ns)
        if window.has_more:
            self._flow(connection, transfer)
            return
        window.forget()
        if connection.route.loses and is_lost(transfer, self._seed, now_ns):
            connection.lost_bytes += wire_size_bytes(self.settings.transport, transfer.size_bytes)  # sent, and counted
            self._flow_later(connection, transfer, now_ns + int(self.settings.resend_after))
        else:
            self._leaves(transfer, now_ns)
            self._departed(connection)

    def _flow_later(self, connection: Connection, transfer: Transfer, when_ns: int) -> None:
        connection.free_ns = NEVER
        flow = lambda: self._flow(connection, transfer)  # noqa: E731
        connection.departure = self.clock.at(when_ns, Phase.DEPART, transfer.key, flow, daemon=transfer.daemon)

    def _leaves(self, transfer: Transfer, left_ns: int) -> None:
        connection = transfer.connection
        connection.free_ns = transfer.left_ns = left_ns
        connection.arrives_ns = max(connection.arrives_ns, left_ns + connection.route.latency_ns)
        self.clock.enter(transfer, connection.arrives_ns, Phase.DELIVER, (connection.order, transfer.number))

    def _watch_departure(self, connection: Connection) -> None:
        """See to it that somebody is there when the current message leaves; one that is not alone is seen to."""
        if connection.free_ns < NEVER and (connection.departure is None or connection.departure.done):
            key = (connection.order, connection.count)
            when_ns = max(connection.free_ns, self.clock.now_ns)
            connection.departure = self.clock.at(when_ns, Phase.DEPART, key, lambda: self._departed(connection))

    def _departed(self, connection: Connection) -> None:
        transfer = connection.current
        if transfer is not None and transfer.on_left is not None:
            transfer.on_left()
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if connection.queue:
            self._start(connection, connection.queue.popleft())

    def rewound(self, connections: Iterable[Connection]) -> Callable[[], None]:
        """Put aside what is now on these connections, while the clock is rewound; call what is returned afterwards."""
        every = list(connections)
        aside = [(one.current, one.queue, one.free_ns, one.departure, one.arrives_ns) for one in every]
        for one in every:
            one.current, one.queue, one.free_ns, one.departure, one.arrives_ns = None, deque(), 0, None, 0

        def back() -> None:
            for one, (current, queue, free_ns, departure, arrives_ns) in zip(every, aside, strict=True):
                if current is not None:  # It left after what was played again, and must not overtake that.
                    current.after_ns = max(current.after_ns, one.arrives_ns)
                one.arrives_ns = max(one.arrives_ns, arrives_ns)
                if current is None and not queue:
                    one.free_ns = max(one.free_ns, free_ns)
                    continue
                assert not one.queue, "what is played again has left this connection by now"
                one.current, one.queue, one.free_ns, one.departure = current, queue, free_ns, departure

        return back

    def announce(self, resources: Iterable[int]) -> None:
        """A flow is about to begin on these resources."""
        for resource in resources:
            claim = self.claims.get(resource)
            if claim is not None:
                claim(resource)

    # --- conditions that change ---------------------------------------------------------------------------------------

    def is_open(self, source: str, target: str) -> bool:
        """Say whether something can pass from one host to another."""
        return self.conditions.are_normal or self.route(source, target).is_open

    def when_altered(self, action: Callable[[], None]) -> None:
        """Do something once the conditions of the network are others."""
        self._waiting.append(action)

    def alter(self, change: Callable[[], object]) -> None:
        """Let `change` do something to the conditions of the network; what is on its way goes on under the new ones."""
        before = {link: self.conditions.link(link) for link in self._resource}
        change()
        self._routes.clear()
        for connection in self._open:
            route = self.route(connection.source.host, connection.target.host)
            if route != connection.route:
                self._reroute(connection, route)
        for link, state in before.items():
            bandwidth = self.conditions.link(link).bandwidth
            if bandwidth != state.bandwidth:
                self._sharing.change(self._resource[link], bandwidth)
        for connection in [one for one in self._held_up if one.route.is_open]:
            self._resume(connection, self._held_up.pop(connection))
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def _reroute(self, connection: Connection, route: Route) -> None:
        """The links of a connection are not what they were."""
        self._sharing.disclose(connection.route.resources)
        connection.route = route
        connection.durations.clear()
        connection.is_plain = self._is_plain(connection)
        transfer = connection.current
        if transfer is not None and transfer.task is None and self._is_leaving(connection):
            self._take_back(transfer)  # It is empty: others have been displaced just now.
            self._flow(connection, transfer)
        elif not route.is_open and transfer is not None and transfer.task is not None:
            amount = transfer.task.amount
            passed = self._sharing.stop(transfer.task)
            transfer.task, transfer.rest = None, amount - passed
            transfer.passed += passed
            self._hold_up(connection)

    def _take_back(self, transfer: Transfer) -> None:
        """When a message will have left was known, and is not any more."""
        connection = transfer.connection
        self.clock.cancel(transfer)
        self.clock.cancel(connection.departure)
        connection.free_ns = transfer.left_ns = NEVER
        connection.arrives_ns = transfer.after_ns

    def _hold_up(self, connection: Connection) -> None:
        connection.free_ns = NEVER
        self._held_up[connection] = self.clock.now_ns

    def _resume(self, connection: Connection, since_ns: int) -> None:
        """The way is open again. TCP notices when it next tries: its waits for that double."""
        retry_ns, now_ns, transport = since_ns, self.clock.now_ns, self.settings.transport
        if isinstance(transport, Tcp):
            wait_ns = int(transport.retransmission_timeout)
            while retry_ns < now_ns:
                retry_ns, wait_ns = retry_ns + wait_ns, 2 * wait_ns
        transfer = connection.current
        assert transfer is not None, "what is held up is on its way"
        if retry_ns <= now_ns:
            self._go_on(connection, transfer, since_ns)
        else:
            go_on = lambda: self._go_on(connection, transfer, since_ns)  # noqa: E731
            connection.departure = self.clock.at(retry_ns, Phase.DEPART, transfer.key, go_on, daemon=transfer.daemon)

    def _go_on(self, connection: Connection, transfer: Transfer, since_ns: int) -> None:
        if not connection.route.is_open:
            self._held_up[connection] = since_ns
        elif transfer.rest is None:
            self._flow(connection, transfer)
        else:
            self.announce(connection.route.resources)
            transfer.task = self._flow_of(transfer, transfer.rest)
            transfer.rest = None
            self._sharing.begin(transfer.task)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def kill(self, doomed: Callable[[Connection], bool]) -> list[Connection]:
        """Take what has not left these connections off the network; its handles never complete. Returns them."""
        killed = [connection for connection in self._open if doomed(connection)]
        for connection in killed:
            connection.queue.clear()
            current = connection.current
            if current is not None and not current.has_left:
                self._break(connection, current)
        return killed

    def retire(self, ended: Callable[[Connection], bool]) -> None:
        """Kill these connections. Nothing is sent on them any more, so that nobody need look at them again."""
        for connection in self.kill(ended):
            del self._open[connection]

    def _break(self, connection: Connection, transfer: Transfer) -> None:
        self.clock.cancel(connection.departure)
        self.clock.cancel(transfer)
        self._held_up.pop(connection, None)
        passed_bytes = connection.window.passed_bytes
        connection.window.forget()
        if transfer.task is not None:
            passed_bytes += (transfer.passed + self._sharing.stop(transfer.task)) // (8 * NANO)
        elif transfer.rest is not None:
            passed_bytes += transfer.passed // (8 * NANO)
        elif transfer.left_ns < NEVER:
            # It was alone until now, or is empty and takes nothing.
            if transfer.left_ns > transfer.since_ns:
                self._sharing.vacate(connection.route.resources)
            connection.arrives_ns = transfer.after_ns
            elapsed_ns = self.clock.now_ns - transfer.since_ns
            passed_bytes = elapsed_ns * connection.route.capacity // (8 * NANO)
        whole = wire_size_bytes(self.settings.transport, transfer.size_bytes)
        passed_bytes = min(passed_bytes, whole)
        payload = payload_bytes(self.settings.transport, passed_bytes, transfer.size_bytes)
        connection.sent[transfer.size_bytes] -= 1
        connection.broken.append((passed_bytes, payload))
        self._wire(transfer, -1)
        connection.current = None
        connection.free_ns = self.clock.now_ns
        self._next(connection)

    def close_books(self, background: dict[Link, int]) -> Traffic:
        """Count what messages still under way have sent so far, and return all that was sent."""
        self.kill(lambda _: True)
        everywhere = {**dict.fromkeys(self._resource, 0), **background}
        in_flight = [entry for entry in self.clock.due() if isinstance(entry, Transfer)]
        return added_up(self._connections.values(), everywhere, in_flight, self.settings.transport)
