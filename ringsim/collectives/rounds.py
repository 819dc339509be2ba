"""Collectives that go in rounds: in each, a rank sends at most one message and receives at most one.

    round 0    0 ──► 2   1 ──► 3     a rank begins its next round when the message for it is there and, in a round
    round 1    0 ──► 1   2 ──► 3     that `waits`, when the last byte of its own has left

The recurrence of the ring (`ring_times.py`), with other neighbours every round. Connections of one rank share its link,
and the recurrence does not see that: it is exact where no two flights meet on a link, and so says them all. What is not
here: which rounds a collective has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringsim.node import Operation
from ringsim.plan import Flight, Gaps, Parcels, Seat, Times, Wires

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Round:
    """One round: message i goes from `sources[i]` to `targets[i]`. No source is there twice, and no target."""

    tag: Any
    sources: Integers
    targets: Integers
    size_bytes: Integers
    waits: bool = True


def exchange(seat: Seat, peer: str, outgoing: Any, tag: Any, timeout_ns: int | None) -> Operation[Any]:
    """Send to a peer, receive what it sends, wait until the own last byte has left; return what came (MPI_Sendrecv)."""
    sending = seat.send(peer, outgoing, outgoing.nbytes, tag)
    message = yield from seat.receive(peer, tag=tag, timeout_ns=timeout_ns)
    yield from sending.sent(timeout_ns)
    return message.payload


def connections_of(rounds: Sequence[Round], ranks: int) -> list[tuple[int, int]]:
    """Return (source, target) of every connection, in order."""
    return [divmod(pair, ranks) for pair in np.unique(_Messages.of(rounds).pairs(ranks)).tolist()]


def messages_of(rounds: Sequence[Round]) -> int:
    """Return how many messages all rounds have together."""
    return sum(len(one.sources) for one in rounds)


def round_times(rounds: Sequence[Round], enter_ns: Sequence[int], wires: Wires) -> Times:
    """Return when all is done, if no two flights meet on a link."""
    ranks, every = len(enter_ns), _Messages.of(rounds)
    pairs, connection = np.unique(every.pairs(ranks), return_inverse=True)
    ends = [divmod(pair, ranks) for pair in pairs.tolist()]
    # Of a connection's messages many have one size: the wires are asked once for each.
    sizes, size = np.unique(every.size_bytes, return_inverse=True)
    kinds, kind, numbers = np.unique(connection * len(sizes) + size, return_inverse=True, return_counts=True)
    parcels = []
    for one, number in zip(kinds.tolist(), numbers.tolist(), strict=True):
        source, target = ends[one // len(sizes)]
        parcels.append(Parcels(source, target, int(sizes[one % len(sizes)]), number))
    transmission_ns = [wires.transmission_ns(one.source, one.target, one.size_bytes) for one in parcels]
    latency_ns = [wires.latency_ns(*pair) for pair in ends]
    free_ns = [wires.free_ns(*pair) for pair in ends]

    longest_ns = max(transmission_ns, default=0) + max(latency_ns, default=0)
    latest_ns = max(*enter_ns, *free_ns, 0) + len(rounds) * longest_ns
    # `_gaps` puts the ranks one after another in time. What then outlasts 64 bits is left to Python's own integers.
    integers: Any = np.int64 if ranks * (latest_ns + 1) < 2**63 else object
    begin, free, latency = (np.array(values, integers) for values in (enter_ns, free_ns, latency_ns))
    transmission = np.array(transmission_ns, integers)[kind]
    depart, left, arrive = (np.zeros(len(kind), integers) for _ in range(3))
    landed = np.zeros(len(ends), integers)

    for one, here in every.slices(rounds):
        on = connection[here]
        depart[here] = np.maximum(begin[one.sources], free[on])
        left[here] = free[on] = depart[here] + transmission[here]
        arrive[here] = landed[on] = left[here] + latency[on]
        if one.waits:
            begin[one.sources] = np.maximum(begin[one.sources], left[here])
        begin[one.targets] = np.maximum(begin[one.targets], arrive[here])

    # What was still queued on a connection when its rank entered has kept it busy since then.
    queued = [
        (source, enter_ns[source], was_free_ns + way_ns)
        for (source, _), was_free_ns, way_ns in zip(ends, free_ns, latency_ns, strict=True)
        if was_free_ns
    ]
    return Times(
        begin,
        parcels,
        dict(zip(ends, free.tolist(), strict=True)),
        dict(zip(ends, landed.tolist(), strict=True)),
        _gaps(every, depart, arrive, queued, np.array(enter_ns, integers), begin),
        every.flights(depart, left, arrive),
        may_meet=True,
    )


@dataclass(frozen=True, eq=False)
class _Messages:
    """The messages of all rounds, one after another."""

    sources: Integers
    targets: Integers
    size_bytes: Integers
    tags: list[Any]

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> _Messages:
        none = np.zeros(0, np.int64)  # There may be no rounds.
        return cls(
            np.concatenate([none, *(one.sources for one in rounds)]),
            np.concatenate([none, *(one.targets for one in rounds)]),
            np.concatenate([none, *(one.size_bytes for one in rounds)]),
            [one.tag for one in rounds for _ in range(len(one.sources))],
        )

    def flights(self, depart: Integers, left: Integers, arrive: Integers) -> list[Flight]:
        """Return each message with its times."""
        what = (column.tolist() for column in (self.sources, self.targets, self.size_bytes))
        when = (column.tolist() for column in (depart, left, arrive))
        return list(map(Flight, *what, self.tags, *when))

    def pairs(self, ranks: int) -> Integers:
        """Return a number for each message's connection."""
        return self.sources * ranks + self.targets

    @staticmethod
    def slices(rounds: Sequence[Round]) -> Iterator[tuple[Round, slice]]:
        """Return the rounds, and where their messages are."""
        start = 0
        for one in rounds:
            yield one, slice(start, start + len(one.sources))
            start += len(one.sources)


def _gaps(
    every: _Messages,
    depart: Integers,
    arrive: Integers,
    queued: Sequence[tuple[int, int, int]],
    enter: Integers,
    finish: Integers,
) -> list[Gaps]:
    """Return when a rank was in the collective with nothing of its own, sent or awaited, on the wire.

    `queued` has (rank, begin, end) of what it had sent before.
    """
    integers, ranks = enter.dtype, np.arange(len(enter))
    before = np.array(queued, integers).reshape(-1, 3)
    # Each rank's spans, an empty one at its entering and one at its finishing among them, on one line of time after
    # another: a sort and a running maximum then go through all ranks at once.
    rank = np.concatenate([ranks, ranks, every.sources, every.targets, before[:, 0].astype(np.int64)])
    begin = np.concatenate([enter, finish, depart, depart, before[:, 1]])
    end = np.concatenate([enter, finish, arrive, arrive, before[:, 2]])
    line = rank.astype(integers) * (finish.max() + 1)
    begin = line + np.clip(begin, enter[rank], finish[rank])
    end = line + np.clip(end, enter[rank], finish[rank])
    order = np.argsort(begin, kind="stable")
    rank, line, begin = rank[order], line[order], begin[order]
    covered = np.maximum.accumulate(end[order])
    idle = np.flatnonzero((covered[:-1] < begin[1:]) & (rank[:-1] == rank[1:]))
    if not len(idle):
        return []
    return [Gaps(rank[idle], covered[idle] - line[idle], begin[idle + 1] - line[idle])]
