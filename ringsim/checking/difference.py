"""The first event or number in which two runs differ, in words. What is not here: playing them (`replay.py`)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from ringsim.trace import NUMBERS_KINDS, Event
from ringsim.units import about_duration

# So much of a sha256 is told: two that differ do not begin with the same.
_TOLD = 16


def first_difference(here: Sequence[Event], there: Sequence[Event]) -> str | None:
    """Return the first event that differs between two traces, in words, or None where all are the same.

    >>> loss = [Event(1_200_000_000, "node0", "loss", {"step": 3, "loss": number}) for number in (0.5, 0.25)]
    >>> first_difference(loss[:1], loss[1:])
    'at 1.2 s, node0: loss of step 3: 0.5 here, 0.25 there'
    >>> first_difference([Event(5, "node0", "commit", {"step": 1})], [])
    'at 5 ns, node0: commit {"step":1} here, nothing there'
    """
    for one, other in itertools.zip_longest(here, there):
        if one is None or other is None or one.line() != other.line():
            words = _words(one, other)
            is_parameters = one is not None and other is not None and one.kind == other.kind == "parameters"
            return f"{words}, {_of_other_numbers(here, there)}" if is_parameters else words
    return None


def _of_other_numbers(here: Sequence[Event], there: Sequence[Event]) -> str:
    """Say what became of the other numbers where the parameters differ: at the last instant some come after them."""
    kinds = NUMBERS_KINDS.keys() - {"parameters"}
    number = first_difference(*([event for event in events if event.kind in kinds] for events in (here, there)))
    return f"and {number}" if number else "though every loss, learning rate and evaluation has the same bits"


def _words(one: Event | None, other: Event | None) -> str:
    if one is None or other is None:
        place = one or other
        assert place is not None, "two traces do not end twice"
        return f"{_place(place)}: {_whole(one)} here, {_whole(other)} there"
    if _name(one) == _name(other):
        fields = "; ".join(_fields(one, other))
        # The loss of an event of that kind need not be called so twice.
        fields = fields[len(one.kind) :] if fields.startswith(f"{one.kind}: ") else f", {fields}"
        return f"{_place(min(one, other, key=_order))}: {_name(one)[1]}{fields}"
    first = min(one, other, key=_order)
    texts = [_whole(event) + ("" if _place(event) == _place(first) else f" {_place(event)}") for event in (one, other)]
    return f"{_place(first)}: {texts[0]} here, {texts[1]} there"


def _order(event: Event) -> tuple[int, str]:
    return event.time_ns, event.node


def _place(event: Event) -> str:
    """Return when and where; what belongs to the run as a whole is on no node."""
    return f"at {about_duration(event.time_ns)}" + (f", {event.node}" if event.node else "")


def _name(event: Event) -> tuple[str, str]:
    """Return what an event is called; two of one name are the same event, with other fields."""
    return event.node, event.kind + (f" of step {event.fields['step']}" if "step" in event.fields else "")


def _fields(one: Event, other: Event) -> Iterator[str]:
    """Yield each field that differs, with both values."""
    here, there = ({"time_ns": event.time_ns, **event.fields} for event in (one, other))
    for name in sorted(here.keys() | there.keys()):
        for place, a, b in _numbers(name, here.get(name), there.get(name)):
            yield f"{place}: {_text(a)} here, {_text(b)} there"


def _numbers(name: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of what differs, and both values: of two lists the first element, or how many there are."""
    if _text(one) == _text(other):
        return
    if isinstance(one, list) and isinstance(other, list):
        for index, pair in enumerate(zip(one, other, strict=False)):
            if _text(pair[0]) != _text(pair[1]):
                yield from _numbers(f"{name}[{index}]", *pair)
                return
        yield f"number of {name}", len(one), len(other)
    elif name == "sha256":
        yield name, one[:_TOLD], other[:_TOLD]
    else:
        yield name, one, other


def _whole(event: Event | None) -> str:
    return "nothing" if event is None else f"{event.kind} {_text(event.fields)}"


def _text(value: Any) -> str:
    """Return a value as the trace has it: two floats that differ in one bit have two texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
