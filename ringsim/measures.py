"""What can be measured of any strategy, so that all of them stand side by side: from the events of a run alone.

    how fast      virtual time to the target accuracy, and for an epoch; samples for each second
    the network   the busiest link
    what it keeps versions of the parameters, and bytes; how stale gradients were, how far replicas are apart
    who sees what whose raw gradient which node could see

Only who sees what is told by the strategy (`strategies/exposure.py`), and so is what a node keeps that tells of no
memory (`strategies/footprint.py`): no event shows it. What is not here: what became of samples and steps
(`accounting.py`), where nodes' time went (the world's accounts), and what needs a second run to compare with
(`comparing.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringsim.trace import Event

if TYPE_CHECKING:
    from ringsim.result import StepRow

_MILLION = 10**6
_S = 10**9

# Which part of each owner's gradient each observer could see: observer -> owner -> 0..1. What is not listed is 0.
Seen = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class LinkBytes:
    """What left on one direction of a link in the whole run, framing, acknowledgements and background included."""

    source: str
    target: str
    bytes: int


@dataclass(frozen=True)
class Memory:
    """The most that a node ever kept in order to train: versions of its parameters, and bytes of everything."""

    node: str
    versions: int
    size_bytes: int


@dataclass(frozen=True)
class Staleness:
    """How many updates old the parameters were at which gradients were taken; `histogram`: how many updates each."""

    mean: float
    maximum: int
    histogram: Mapping[int, int]


@dataclass(frozen=True)
class Exposure:
    """Who could see whose raw gradient, as a part of it, while nobody is missing.

    `mean` is over all pairs of an observer and another's gradient.
    """

    seen: Seen
    maximum: float
    mean: float


@dataclass(frozen=True)
class Measures:
    """All of them, for one run. None where a run has nothing to measure, or a strategy does not say."""

    time_to_target_ns: int | None
    epoch_ns: int | None
    samples_per_second: float | None
    busiest_link: LinkBytes | None
    memory: tuple[Memory, ...]
    staleness: Staleness | None
    consensus: float | None
    exposure: Exposure | None
    raw_sample_bytes_sent: int = 0  # no strategy sends samples: they go by number, and every machine has the data


def time_to_target_ns(rows: Iterable[StepRow], target_ppm: int | None) -> int | None:
    """Return when an update that counts was first seen to be as accurate as that; None: never, or nobody asked.

    A strategy whose nodes cannot evaluate does not stop there, but has been there all the same.
    """
    if target_ppm is None:
        return None
    reached = (
        row.virtual_time_ns
        for row in rows
        if row.committed and row.accuracy is not None and round(row.accuracy * _MILLION, 3) >= target_ppm
    )
    return next(reached, None)


def epoch_ns(virtual_time_ns: int, counted: int, train_size: int) -> int | None:
    """Return the virtual time for as many samples that count as an epoch has, at the run's mean rate.

    >>> epoch_ns(virtual_time_ns=600, counted=200, train_size=100), epoch_ns(600, 0, 100)
    (300, None)
    """
    return virtual_time_ns * train_size // counted if counted else None


def samples_per_second(virtual_time_ns: int, counted: int) -> float | None:
    """Return how many samples that count there were for each second of virtual time."""
    return counted * _S / virtual_time_ns if virtual_time_ns else None


def busiest_link(events: Iterable[Event]) -> LinkBytes | None:
    """Return the direction of a link on which most bytes left, the first of equals; None if nobody sent anything.

    >>> left = lambda node, to, count: Event(9, node, "link_bytes", {"to": to, "bytes": count})
    >>> busiest_link([left("a", "b", 5), left("b", "a", 7)])
    LinkBytes(source='b', target='a', bytes=7)
    """
    links = [
        LinkBytes(event.node, event.fields["to"], event.fields["bytes"])
        for event in events
        if event.kind == "link_bytes" and event.fields["bytes"]
    ]
    return max(links, key=lambda link: link.bytes, default=None)


def peak_memory(events: Iterable[Event], otherwise: Iterable[Memory]) -> tuple[Memory, ...]:
    """Return the most that each node of `otherwise` has told it kept; what is there, of those that told nothing."""
    told: dict[str, Memory] = {}
    for event in events:
        if event.kind == "memory":
            before = told.get(event.node, Memory(event.node, 0, 0))
            told[event.node] = Memory(
                event.node,
                max(before.versions, event.fields["versions"]),
                max(before.size_bytes, event.fields["size_bytes"]),
            )
    return tuple(told.get(memory.node, memory) for memory in otherwise)


def staleness(events: Iterable[Event]) -> Staleness | None:
    """Return how stale the gradients of all updates were that say it; None if none does.

    >>> update = lambda old: Event(0, "a", "update", {"step": 1, "generation": 0, "world_size": 1, "staleness": old})
    >>> staleness([update(0), update(3), update(3)])
    Staleness(mean=2.0, maximum=3, histogram={0: 1, 3: 2})
    """
    told = [event.fields["staleness"] for event in events if event.kind == "update" and "staleness" in event.fields]
    if not told:
        return None
    return Staleness(sum(told) / len(told), max(told), dict(sorted(Counter(told).items())))


def consensus(events: Sequence[Event]) -> float | None:
    """Return how far replicas were apart when it was last asked; None where they are equal by construction."""
    return next((event.fields["distance"] for event in reversed(events) if event.kind == "consensus"), None)


def exposure(
    seen: Seen, observers: Sequence[str], owners: Sequence[str], machines: Mapping[str, str] | None = None
) -> Exposure:
    """Return the most and the mean of what observers could see of others' gradients, and all of it that is not 0.

    machines: where each of them runs, if not on one of its own; on one machine nothing is hidden, and nothing counts.

    >>> exposure({"server0": {"a": 1.0, "b": 1.0}}, observers=["a", "b", "server0"], owners=["a", "b"])
    Exposure(seen={'server0': {'a': 1.0, 'b': 1.0}}, maximum=1.0, mean=0.5)
    """
    at = machines or {}
    pairs = [
        (observer, owner)
        for observer in observers
        for owner in owners
        if at.get(observer, observer) != at.get(owner, owner)
    ]
    parts = {pair: seen.get(pair[0], {}).get(pair[1], 0.0) for pair in pairs}
    kept: dict[str, dict[str, float]] = {}
    for (observer, owner), part in parts.items():
        if part:
            kept.setdefault(observer, {})[owner] = part
    return Exposure(kept, max(parts.values(), default=0.0), sum(parts.values()) / max(1, len(parts)))
