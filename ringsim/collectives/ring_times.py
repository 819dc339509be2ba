"""The closed form of the ring: when each rank has its result, step by step for all ranks at once.

    T  begins the step    D = max(T, F)         F  its connection r -> r+1 is free
    D  departs            L = D + transmission  the segment's time on the wire; then F = L
    L  last byte left     A = L + latency       one path latency later
    A  arrives            T = max(T, A of r-1)  a rank waits for the message of its left, and not for its own

A recurrence in (max, +) on vectors of N integers (Baccelli et al. 1992), so a collective of N^2 messages costs N steps.
Rank r sends segment r-k in step k, and segments have two sizes only: those who send a long one are a run of ranks that
moves on by one each step. What is not here: what the segments hold (`ring.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ringsim.collectives.vectors import ELEMENT_BYTES
from ringsim.plan import Flight, Gaps, Nanoseconds, Parcels, Times, Wires


def ring_connections(ranks: int) -> list[tuple[int, int]]:
    """Return the connections of a ring: each rank's to its right.

    >>> ring_connections(3), ring_connections(1)
    ([(0, 1), (1, 2), (2, 0)], [])
    """
    return [(rank, (rank + 1) % ranks) for rank in range(ranks) if ranks > 1]


def ring_times(
    steps: range,
    length: int,
    enter_ns: Sequence[int],
    wires: Wires,
    every_flight: bool,
    element_bytes: int = ELEMENT_BYTES,
) -> Times:
    """Return when all is done, if in step k rank r sends segment (r - k) mod N of `length` elements to its right."""
    ranks = len(enter_ns)
    if ranks == 1:
        return Times(np.array(enter_ns), [], {}, {})
    shortest, longer = divmod(length, ranks)
    short_bytes, long_bytes = element_bytes * shortest, element_bytes * (shortest + 1)
    pairs = ring_connections(ranks)
    short_ns = [wires.transmission_ns(*pair, short_bytes) for pair in pairs]
    long_ns = [wires.transmission_ns(*pair, long_bytes) for pair in pairs] if longer else short_ns
    latency_ns = [wires.latency_ns(*pair) for pair in pairs]
    free_ns = [wires.free_ns(*pair) for pair in pairs]

    latest_ns = max(*enter_ns, *free_ns) + len(steps) * (max(*long_ns, *short_ns) + max(latency_ns))
    integers: Any = np.int64 if latest_ns < 2**63 else object  # Some settings outlast 64 bits: then Python's own.
    begin, free, latency = (np.array(values, integers) for values in (enter_ns, free_ns, latency_ns))
    sends_long = [(rank - steps.start) % ranks < longer for rank in range(ranks)]
    transmission = np.where(sends_long, np.array(long_ns, integers), np.array(short_ns, integers))
    depart, arrive = np.empty_like(begin), np.empty_like(begin)
    late = np.empty(ranks, bool)
    # Views on all but the first and all but the last, so that rank r meets rank r-1 without a copy.
    begin_but_first, arrive_but_first, late_but_first = begin[1:], arrive[1:], late[1:]
    arrive_but_last, depart_but_last = arrive[:-1], depart[:-1]
    gaps: list[Gaps] = []
    flights: list[Flight] = []

    for step in steps:
        np.maximum(begin, free, out=depart)
        np.add(depart, transmission, out=free)
        np.add(free, latency, out=arrive)
        # In this step rank r is blocked from T[r] to max(T[r], A[r-1]). Its connection is busy from T[r] on, if not
        # with this message then with those before it, and its own message is on the wire until A[r]; the awaited one
        # is from D[r-1] to A[r-1]. Nothing else can fill what lies between A[r] and D[r-1]: messages awaited earlier
        # have been received by T[r], its own earlier ones have arrived before A[r], and those of later steps depart
        # after D[r-1].
        np.greater(depart_but_last, arrive_but_first, out=late_but_first)
        late[0] = depart[-1] > arrive[0]
        if np.count_nonzero(late):
            idle = np.flatnonzero(late)
            gaps.append(Gaps(idle, arrive[idle], depart[idle - 1]))
        if every_flight:
            flights += _flights_of(step, ranks, length, element_bytes, depart, free, arrive)
        np.maximum(begin_but_first, arrive_but_last, out=begin_but_first)
        begin[0] = max(begin[0], arrive[-1])
        if longer:
            ends, starts = step % ranks, (step + longer) % ranks
            transmission[ends], transmission[starts] = short_ns[ends], long_ns[starts]

    return Times(
        begin,
        list(_parcels(steps, ranks, length, element_bytes)),
        dict(zip(pairs, free.tolist(), strict=True)),
        dict(zip(pairs, arrive.tolist(), strict=True)),
        gaps,
        flights,
    )


def _flights_of(
    step: int,
    ranks: int,
    length: int,
    element_bytes: int,
    depart: Nanoseconds,
    left: Nanoseconds,
    arrive: Nanoseconds,
) -> Iterator[Flight]:
    shortest, longer = divmod(length, ranks)
    for rank, times in enumerate(zip(depart.tolist(), left.tolist(), arrive.tolist(), strict=True)):
        size_bytes = element_bytes * (shortest + ((rank - step) % ranks < longer))
        yield Flight(rank, (rank + 1) % ranks, size_bytes, step, *times)


def _parcels(steps: range, ranks: int, length: int, element_bytes: int) -> Iterator[Parcels]:
    """Count the long and the short messages of each connection: so many whole turns, less the steps they lack."""
    shortest, longer = divmod(length, ranks)
    turns = -(-len(steps) // ranks)
    lacking = range(steps.stop, steps.start + turns * ranks)
    for source, target in ring_connections(ranks):
        long = turns * longer - sum((source - step) % ranks < longer for step in lacking)
        for extra, number in ((0, len(steps) - long), (1, long)):
            if number:
                yield Parcels(source, target, element_bytes * (shortest + extra), number)
