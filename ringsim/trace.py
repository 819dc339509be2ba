"""The trace: what happened, in integers, one canonical JSON line an event; and the two digests.

An event is (time_ns, node, kind, fields). Lines are sorted by time, node, kind, and the order in which that node
recorded them (messages: by peer and tag): no global counter, so no accidental order between nodes. (At one instant
`collective_enter` therefore stands before the `compute_end` that it followed.) Two digests say whether two runs are the
same:

    schedule    what happened when: the same on every machine, whatever the detail of the trace
    numbers     losses, accuracies and parameters: the same bits in the same numerical environment

What is not here: what the events mean for the summary (`accounting.py`, `failures.py`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Detail = Literal["steps", "messages"]

# Every kind of event there is, and what its fields say. A kind that is not listed here cannot be recorded.
SCHEDULE_KINDS = {
    "step_begin": "a node begins a training step: step, epoch, generation, and the ids of its samples",
    "update": "a node holds the parameters after update `step`: generation, world_size; and, where updates are not all "
    "workers' in step, whose batches are in it, each [worker, that worker's step], and how stale their gradients are",
    "average": "a node's parameters after update `step` are replaced by what an average came to: step, generation",
    "memory": "a node keeps more than ever before: versions of parameters, size_bytes of all that it keeps to train",
    "compute_begin": "flop",
    "compute_end": "",
    "collective_enter": "plan, sequence, generation",
    "collective_finish": "plan, sequence, generation",
    "collective_abort": "plan, sequence, generation",
    "save_begin": "a node begins to save something in the store: name, size_bytes",
    "save_end": "and it is there: name, size_bytes",
    "save_refused": "or it is not, because somebody of a later generation has saved: name, size_bytes",
    "load_begin": "name",
    "load_end": "name, size_bytes; null if nothing is saved under that name",
    "commit": "step, generation",
    "restore": "a node goes on from the commit or the highest step of a new generation: step, from_step, generation",
    "world": "a node joins a group: generation, members",
    "carry": "a gradient of a failed step goes into a new ring: step, epoch, generation, from_generation, and the ids",
    "dropped": "a worker's samples of a step are given up: step, epoch, generation, worker, and the ids",
    "peer_lost": "a node learns that a connection broke: peer",
    "receive_timeout": "a node has waited in vain: source, timeout_ns",
    "suspect": "no heartbeat of a life of `peer` has come in time: peer, incarnation, timeout_ns",
    "crash": "notice",
    "pause": "a machine stands still",
    "resume": "it goes on",
    "pace": "a machine computes so many millionths as slowly as its speed says: slower_ppm",
    "link": "a direction of a link is now: to, bandwidth, latency_ns, drop_ppm, corrupt_ppm, detected_ppm, is_down",
    "partition": "groups of machines do not reach each other: groups",
    "heal": "they do again: groups",
    "wrong_number": "a message with a flipped bit that nobody notices: source, size_bytes",
    "restart": "incarnation",
    "ended": "a node's program has ended: reason",
    "link_bytes": "bytes that left on the link from this end: to, bytes",
    "outcome": "outcome",
}
NUMBERS_KINDS = {
    "loss": "the mean loss over a node's own batch: step, epoch, generation, loss, samples",
    "rate": "the learning rate of an update: step, generation, learning_rate",
    "evaluation": "on the test split: step, epoch, generation, loss, accuracy",
    "consensus": "how far replicas are apart, as the root of the mean square to their mean: step, generation, distance",
    "parameters": "sha256 of the final parameters' bytes",
}
MESSAGE_KINDS = {
    "depart": "the first byte of a message goes on the wire: to, tag, size_bytes",
    "deliver": "a message arrives: source, tag, size_bytes",
}
KINDS = SCHEDULE_KINDS | NUMBERS_KINDS | MESSAGE_KINDS

# Most of a trace, and nothing that the summary counts: the world counts busy times and bytes itself.
UNCOUNTED_KINDS = frozenset(("compute_begin", "compute_end", "collective_enter", "collective_finish", *MESSAGE_KINDS))

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True).encode


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `time_ns` on `node`."""

    time_ns: int
    node: str
    kind: str
    fields: dict[str, Any]

    def line(self) -> str:
        """Return the canonical JSON line.

        >>> Event(5, "node0", "commit", {"step": 3, "generation": 0}).line()
        '{"generation":0,"kind":"commit","node":"node0","step":3,"time_ns":5}'
        """
        form, arrange = _form(self.kind, tuple(self.fields))
        values = [value if type(value) is int else _json(value) for value in self.fields.values()]
        return form % arrange((_quoted(self.node), self.time_ns, *values))


@functools.lru_cache(maxsize=1_024)
def _form(kind: str, names: tuple[str, ...]) -> tuple[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]]:
    """Return the line of a kind of event with a hole for each value, and what puts (node, time_ns, the fields' values)
    in the order of the holes: few kinds, many lines.

    >>> form, arrange = _form("commit", ("step",))
    >>> form, arrange(("node", "time_ns", "step"))
    ('{"kind":"commit","node":%s,"step":%s,"time_ns":%s}', ('node', 'step', 'time_ns'))
    """
    places = {"node": 0, "time_ns": 1} | {name: place for place, name in enumerate(names, 2)}
    texts = dict.fromkeys(places, "%s") | {"kind": _escaped(kind)}
    pairs = [f"{_escaped(name)}:{texts[name]}" for name in sorted(texts)]
    return "{" + ",".join(pairs) + "}", operator.itemgetter(*(places[name] for name in sorted(places)))


def _escaped(name: str) -> str:
    return _canonical(name).replace("%", "%%")


def _json(value: object) -> str:
    if type(value) is str:
        return _quoted(value)
    if type(value) is float and math.isfinite(value):
        return float.__repr__(value)  # what JSON writes
    return _canonical(value)


_quoted = functools.lru_cache(maxsize=65_536)(_canonical)  # names of nodes and kinds come again and again


class Trace:
    """The log of a run, at detail `steps`, or with each message's departure and delivery as well.

    >>> trace = Trace()
    >>> trace.record(7, "node1", "compute_end")
    >>> trace.record(7, "node0", "compute_end")
    >>> [event.node for event in trace.events()]
    ['node0', 'node1']
    """

    def __init__(self, detail: Detail = "steps", watch: Callable[[Event], None] | None = None):
        """`watch` is called with each event as it is recorded; it must not change anything."""
        self.detail = detail
        self._events: list[Event] = []
        self._watch = watch

    def record(self, time_ns: int, node: str, kind: str, **fields: Any) -> None:
        """Write an event down. Fields must be JSON: integers, strings, booleans, lists; floats in numbers only."""
        self.write(time_ns, node, kind, fields)

    def write(self, time_ns: int, node: str, kind: str, fields: dict[str, Any]) -> None:
        """Write an event down whose fields are a dictionary of its own, which nobody changes any more."""
        assert kind in KINDS, f"{kind} is not a kind of event"
        if kind not in MESSAGE_KINDS or self.detail == "messages":
            event = Event(time_ns, node, kind, fields)
            self._events.append(event)
            if self._watch is not None:
                self._watch(event)

    def events(self) -> tuple[Event, ...]:
        """Return all events in canonical order."""
        # sorted() keeps the order of equals, which is the order in which that node recorded them.
        # Where messages are told, it takes more than this to place them.
        place = _place if self.detail == "messages" else operator.attrgetter("time_ns", "node", "kind")
        return tuple(sorted(self._events, key=place))


def _place(event: Event) -> tuple[Any, ...]:
    if event.kind not in MESSAGE_KINDS:
        return event.time_ns, event.node, event.kind
    # A collective in closed form tells its messages when it is over, so those of one instant go by whom and what.
    peer = event.fields["to"] if event.kind == "depart" else event.fields["source"]
    return event.time_ns, event.node, event.kind, peer, event.fields["tag"]


def digest(events: Iterable[Event], kinds: Iterable[str]) -> str:
    """Return `sha256:` and 64 hex digits over the lines of the given kinds.

    >>> digest([], SCHEDULE_KINDS)[:14]
    'sha256:e3b0c44'
    """
    wanted = frozenset(kinds)
    state = hashlib.sha256()
    for event in events:
        if event.kind in wanted:
            state.update(event.line().encode() + b"\n")
    return f"sha256:{state.hexdigest()}"
