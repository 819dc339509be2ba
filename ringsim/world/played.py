"""What is left of a run when it is over, as plain data; and the books that the world keeps for it meanwhile.

What is not here: what it means (`simulation.py`, `accounting.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ringsim.world.account import Account
from ringsim.world.faults import Strike
from ringsim.world.traffic import Traffic

Ending = Literal["over", "stalled", "late", "in vain"]


@dataclass(frozen=True)
class Injected:
    """A fault that happened: which of the scenario's, what it struck, when, and until when.

    ranks: those that the others may miss now.
    """

    number: int
    struck: str
    ranks: tuple[str, ...]
    at_ns: int
    ended_at_ns: int | None = None


@dataclass
class Collectives:
    """How many collectives were played each way; one that was disturbed on its way was played by messages."""

    in_closed_form: int = 0
    by_messages: int = 0


@dataclass
class Books:
    """What the world writes down on the way."""

    results: dict[str, Any] = field(default_factory=dict)
    failures: list[tuple[int, int, str, str]] = field(default_factory=list)  # time, index of the node, its name, why
    injected: dict[Strike, Injected] = field(default_factory=dict)
    not_applicable: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Played:
    """What is left when a run is over."""

    ending: Ending
    time_ns: int
    results: Mapping[str, Any]  # what the programs that reached their end returned
    failures: Mapping[str, str]  # why the others ended, in words and in order
    waiting: Mapping[str, str]  # who still waits, for what
    accounts: Mapping[str, Account]
    traffic: Traffic
    collectives: Collectives
    injected: tuple[Injected, ...]
    not_applicable: frozenset[int]  # faults on machines that do not exist under this strategy
