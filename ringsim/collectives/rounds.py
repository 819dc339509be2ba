"""Collectives that go in rounds: in each, a rank sends at most one message and receives at most one.

    round 0    0 ──► 2   1 ──► 3     a rank begins its next round when the message for it is there and, in a round
    round 1    0 ──► 1   2 ──► 3     that `waits`, when the last byte of its own has left

The recurrence of the ring (`ring_times.py`), with other neighbours every round. Connections of one rank share its link,
and the recurrence does not see that: it is exact where no two flights meet on a link, and so says them all. What is not
here: which rounds a collective has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringsim.node import Operation
from ringsim.plan import Flight, Gaps, Parcels, Seat, Times, Wires

Span = tuple[int, int]


@dataclass(frozen=True)
class Round:
    """One round: `hops` are (source, target, size in bytes), with no source and no target twice."""

    tag: Any
    hops: Sequence[tuple[int, int, int]]
    waits: bool = True


def exchange(seat: Seat, peer: str, outgoing: Any, tag: Any, timeout_ns: int | None) -> Operation[Any]:
    """Send to a peer, receive what it sends, wait until the own last byte has left; return what came (MPI_Sendrecv)."""
    sending = seat.send(peer, outgoing, outgoing.nbytes, tag)
    message = yield from seat.receive(peer, tag=tag, timeout_ns=timeout_ns)
    yield from sending.sent(timeout_ns)
    return message.payload


def connections_of(rounds: Iterable[Round]) -> list[tuple[int, int]]:
    """Return (source, target) of every connection, in the order of first use."""
    return list(dict.fromkeys((source, target) for one in rounds for source, target, _ in one.hops))


def round_times(rounds: Iterable[Round], enter_ns: Sequence[int], wires: Wires) -> Times:
    """Return when all is done, if no two flights meet on a link."""
    begin = list(enter_ns)
    left_ns: dict[tuple[int, int], int] = {}
    arrive_ns: dict[tuple[int, int], int] = {}
    numbers: dict[tuple[int, int, int], int] = {}
    flights: list[Flight] = []
    for one in rounds:
        ahead = list(begin)  # Whoever sends in this round has not yet waited for what it receives in it.
        for hop in one.hops:
            source, target, _ = hop
            pair = (source, target)
            free = left_ns[pair] if pair in left_ns else wires.free_ns(source, target)
            depart = max(begin[source], free)
            left = left_ns[pair] = depart + wires.transmission_ns(*hop)
            arrive = arrive_ns[pair] = left + wires.latency_ns(source, target)
            flights.append(Flight(*hop, one.tag, depart, left, arrive))
            numbers[hop] = numbers.get(hop, 0) + 1
            ahead[target] = max(ahead[target], arrive)
            if one.waits:
                ahead[source] = max(ahead[source], left)
        begin = ahead
    return Times(
        np.array(begin),
        [Parcels(*hop, number) for hop, number in numbers.items()],
        left_ns,
        arrive_ns,
        _gaps(flights, enter_ns, begin, wires),
        flights,
        may_meet=True,
    )


def _gaps(flights: Sequence[Flight], enter_ns: Sequence[int], finish_ns: Sequence[int], wires: Wires) -> list[Gaps]:
    """Return when a rank was in the collective with nothing of its own, sent or awaited, on the wire."""
    spans: list[list[Span]] = [[] for _ in enter_ns]
    for source, target in dict.fromkeys((flight.source, flight.target) for flight in flights):
        # What was still queued on the connection when its rank entered has kept it busy since then.
        free_ns = wires.free_ns(source, target)
        if free_ns:
            spans[source].append((enter_ns[source], free_ns + wires.latency_ns(source, target)))
    for flight in flights:
        spans[flight.source].append((flight.depart_ns, flight.arrive_ns))
        spans[flight.target].append((flight.depart_ns, flight.arrive_ns))
    found = [
        (rank, begin, end)
        for rank, (enter, finish) in enumerate(zip(enter_ns, finish_ns, strict=True))
        for begin, end in _between(sorted(spans[rank]), enter, finish)
    ]
    return [Gaps(*(np.array(column) for column in zip(*found, strict=True)))] if found else []


def _between(spans: Sequence[Span], begin: int, end: int) -> list[Span]:
    """Return what of [begin, end) the spans, which are in order, leave uncovered.

    >>> _between([(0, 3), (1, 2), (5, 6), (9, 12)], 2, 10)
    [(3, 5), (6, 9)]
    """
    gaps, covered = [], begin
    for start, stop in (*spans, (end, end)):
        if covered < min(start, end):
            gaps.append((covered, min(start, end)))
        covered = max(covered, stop)
    return gaps
