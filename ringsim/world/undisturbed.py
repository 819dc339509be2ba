"""One collective that nothing has disturbed so far: its members wait, and the closed form says until when.

    first member enters ──► ... ──► last member enters: all times are known ──► members are done, one after another
    └────────────── the account of each is held from its entering ──────────────────────────────────► all are done

What is not here: when that is allowed, and what happens if something comes between (`stage.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ringsim.plan import Flight, Times
from ringsim.scenario import Tcp
from ringsim.world.clock import Entry, Phase
from ringsim.world.connection import Address, Connection
from ringsim.world.network import Network
from ringsim.world.seat import Seat

if TYPE_CHECKING:
    from ringsim.world.stage import Stage

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Footprint:
    """The connections of a plan between the members of a group, and the resources they take."""

    connections: dict[Pair, Connection]
    resources: tuple[int, ...]
    is_disjoint: bool  # no two of them share one
    is_steady: bool  # a message alone on its route takes the same time whenever it is sent


def footprint(network: Network, members: Sequence[Address], pairs: Iterable[Pair], generation: int) -> Footprint:
    """Return the footprint of connections between ranks."""
    connections = {
        (source, target): network.connection(members[source], members[target], generation) for source, target in pairs
    }
    taken = [resource for connection in connections.values() for resource in connection.route.resources]
    resources = tuple(dict.fromkeys(taken))
    is_steady = not isinstance(network.settings.transport, Tcp) and not any(
        connection.route.loses for connection in connections.values()
    )
    return Footprint(connections, resources, len(resources) == len(taken), is_steady)


class Undisturbed:
    """A collective in closed form. Implements `ringsim.plan.Wires`."""

    def __init__(self, stage: Stage, first: Seat, links: Footprint, before: Sequence[Undisturbed]):
        self.stage = stage
        self.plan = first.plan
        self.sequence = first.sequence
        self.footprint = links
        self.seats: dict[int, Seat] = {}
        self.times: Times | None = None
        self._free_ns: dict[Pair, int] = {}
        for one in before:
            assert one.times is not None, "who enters has finished what was before, so everybody has entered that"
            self._free_ns.update(one.times.left_ns)
        self._entries: list[Entry] = []
        self._done = 0
        self._received: dict[int, int] = {}  # how many messages each rank receives
        self._numbered: dict[Connection, tuple[int, int]] = {}  # numbers that are given already: after which, how many
        clock, timeout_ns = stage.world.clock, first.plan.timeout_ns
        if timeout_ns is not None:
            # Until all times are known, this is the first instant at which somebody may have waited for too long.
            self._entries.append(clock.at(clock.now_ns + timeout_ns, Phase.FAULT, (-1,), self._too_late))

    # --- what the closed form knows of the network --------------------------------------------------------------------

    def transmission_ns(self, source: int, target: int, size_bytes: int) -> int:
        return self.stage.world.network.transmission_ns(self.footprint.connections[source, target], size_bytes)

    def latency_ns(self, source: int, target: int) -> int:
        return self.footprint.connections[source, target].route.latency_ns

    def free_ns(self, source: int, target: int) -> int:
        return self._free_ns.get((source, target), 0)

    # --- the life of it -----------------------------------------------------------------------------------------------

    def enter(self, seat: Seat) -> None:
        """Another member enters."""
        self.seats[seat.rank] = seat
        seat.node.account.hold()
        if len(self.seats) == len(self.stage.group.members):
            self._foresee()

    def _foresee(self) -> None:
        seats = [self.seats[rank] for rank in range(len(self.seats))]
        world = self.stage.world
        enter_ns = [seat.entered_ns for seat in seats]
        wants_all = world.trace.detail == "messages"
        times = self.plan.times(seats[0].buffer, enter_ns, self, wants_all)
        timeout_ns = self.plan.timeout_ns
        if timeout_ns is not None and int(times.finish_ns.max()) - min(enter_ns) > timeout_ns:
            self.stage.disturb()  # Somebody may wait for too long.
            return
        if not self.footprint.is_disjoint and (not times.may_meet or self._meet(times.flights)):
            self.stage.disturb()  # Two connections share a link, and a closed form that does not expect it is wrong.
            return
        self.times = times
        self._received = dict.fromkeys(self.seats, 0)
        for parcel in times.parcels:
            self._received[parcel.target] += parcel.number
        self._cancel()
        results = self.plan.results([seat.buffer for seat in seats])
        for seat, finish_ns, result in zip(seats, times.finish_ns.tolist(), results, strict=True):
            key = ((seat.node.address.index, -1, self.sequence), 0)
            done = partial(self._finish, seat, result)
            self._entries.append(world.clock.at(finish_ns, Phase.DELIVER, key, done))

    def _too_late(self) -> None:
        self.stage.disturb()

    def _meet(self, flights: Sequence[Flight]) -> bool:
        """Say whether two flows are on one link at the same time."""
        overhead_ns = int(self.stage.world.scenario.cluster.network.message_overhead)
        spans: dict[int, list[tuple[int, int]]] = {}
        for flight in flights:
            span = (flight.depart_ns + overhead_ns, flight.left_ns)
            if span[0] < span[1]:
                for resource in self.footprint.connections[flight.source, flight.target].route.resources:
                    spans.setdefault(resource, []).append(span)
        for on_link in spans.values():
            on_link.sort()
            if any(end_ns > begin_ns for (_, end_ns), (begin_ns, _) in itertools.pairwise(on_link)):
                return True
        return False

    def still_needs(self, resource: int) -> bool:
        """Say whether a message of this collective may still have to leave on a resource, after this instant."""
        if self.times is None:
            return True
        return self._left_ns[resource] > self.stage.world.clock.now_ns

    @cached_property
    def _left_ns(self) -> dict[int, int]:
        """When the last message of this collective leaves, by resource."""
        assert self.times is not None, "its times are known"
        last = dict.fromkeys(self.footprint.resources, 0)
        for pair, left_ns in self.times.left_ns.items():
            for resource in self.footprint.connections[pair].route.resources:
                last[resource] = max(last[resource], left_ns)
        return last

    def _finish(self, seat: Seat, result: Any) -> None:
        assert self.times is not None, "its times are known"
        seat.finished_ns = self.stage.world.clock.now_ns
        seat.received = self._received[seat.rank]
        self._done += 1
        if self._done == len(self.seats):
            # Before the last member goes on: it may enter the next one, and disturb that.
            self._book()
            self.stage.over(self)
            # They know this collective and its buffers; without them all of it goes now, and not when garbage is due.
            self._entries = []
        self.stage.finish(seat, result)

    def number(self, rank: int) -> None:
        """A member that is done with this goes on by messages: their numbers come after those of this one's."""
        assert self.times is not None, "who is done with it knows when"
        sent: dict[Connection, int] = {}
        for parcel in self.times.parcels:
            if parcel.source == rank:
                connection = self.footprint.connections[parcel.source, parcel.target]
                sent[connection] = sent.get(connection, 0) + parcel.number
        for connection, many in sent.items():
            if connection not in self._numbered:
                self._numbered[connection] = connection.count, many
                connection.count += many

    def number_again(self) -> Callable[[], None]:
        """Let messages that have numbers be given them once more; call what is returned when they have been sent."""
        counts = {connection: connection.count for connection in self._numbered}
        for connection, (before, _) in self._numbered.items():
            connection.count = before

        def back() -> None:
            for connection, (before, many) in self._numbered.items():
                assert connection.count == before + many, "who is done with a collective has sent all its messages"
                connection.count = counts[connection]

        return back

    def give_up(self) -> None:
        """It will be played by messages after all."""
        self._cancel()

    def occupy(self) -> None:
        """Its connections are busy with what is left of the collective before, which is not played again."""
        for pair, free_ns in self._free_ns.items():
            self.footprint.connections[pair].free_ns = free_ns

    def _cancel(self) -> None:
        for entry in self._entries:
            self.stage.world.clock.cancel(entry)
        self._entries = []

    # --- the books ----------------------------------------------------------------------------------------------------

    def _book(self) -> None:
        """Everybody is done: count the bytes, and tell what was on the wire when."""
        times = self.times
        assert times is not None, "its times are known"
        for parcel in times.parcels:
            connection = self.footprint.connections[parcel.source, parcel.target]
            connection.add(parcel.number, parcel.size_bytes, is_numbered=connection in self._numbered)
        ends_ns = {rank: int(finish_ns) for rank, finish_ns in enumerate(times.finish_ns)}
        for (source, _), arrive_ns in times.arrive_ns.items():
            ends_ns[source] = max(ends_ns[source], arrive_ns)
        for seat in self.seats.values():
            seat.node.account.wire(seat.entered_ns, +1)
        for gap in times.gaps:
            for rank, begin_ns, end_ns in zip(
                gap.ranks.tolist(), gap.begin_ns.tolist(), gap.end_ns.tolist(), strict=True
            ):
                self.seats[rank].node.account.wire(begin_ns, -1)
                self.seats[rank].node.account.wire(end_ns, +1)
        for rank, seat in self.seats.items():
            # After the gaps, because the last of them may end at this very instant.
            seat.node.account.wire(ends_ns[rank], -1)
            seat.node.account.release()
        self._tell_flights(times.flights)

    def _tell_flights(self, flights: Sequence[Flight]) -> None:
        trace, names = self.stage.world.trace, self.stage.group.names
        if trace.detail == "messages":
            for flight in flights:
                tag, size = str((self.sequence, flight.tag)), flight.size_bytes
                source, target = names[flight.source], names[flight.target]
                trace.record(flight.depart_ns, source, "depart", tag=tag, size_bytes=size, to=target)
                trace.record(flight.arrive_ns, target, "deliver", tag=tag, size_bytes=size, source=source)
