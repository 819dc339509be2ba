"""One scenario, played twice, and the invariants asked.

The second playing is message by message, and with SimPy's ties shuffled: it must be the same run. What is not here:
what the invariants are (`ringsim/invariants.py`), and which faults are in the scenario (`cases.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringsim import invariants
from ringsim.errors import InvariantBroken
from ringsim.learning.memo import Memo
from ringsim.monkey.cases import Case
from ringsim.result import Result
from ringsim.scenario import Scenario, added_machines, planned_steps, struck, worker_names
from ringsim.simulation import simulate
from ringsim.trace import Event

PLAYS = "plays"  # The invariant that nothing in ringsim itself breaks while a scenario is played.
PLAYS_SENTENCE = "It is played to its end without an error of ringsim's own."

# A run with more events than this for each step and node goes round in circles.
_EVENTS_A_STEP = 10_000
_EVENTS_AT_LEAST = 100_000

_EVENTS_A_LOOK = 256


@dataclass(frozen=True)
class Verdict:
    """What became of a case: its outcome, or `broken` where ringsim itself failed; None for what does not exist."""

    case: Case
    outcome: str
    recovery_ns: int | None = None  # from the fault to the next update
    accuracy: float | None = None  # where the training finished
    violations: Mapping[str, str] = field(default_factory=dict)  # invariant -> sentence

    def line(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "case": vars(self.case), "violations": dict(self.violations)}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Verdict:
        """Read what `line` gave.

        >>> verdict = Verdict(Case("crash", ("a",), 5), "lost", violations={"ends": "it does not"})
        >>> Verdict.of(verdict.line()) == verdict
        True
        """
        case = Case(line["case"]["kind"], tuple(line["case"]["target"]), line["case"]["at_ns"])
        return cls(case, line["outcome"], line["recovery_ns"], line["accuracy"], line["violations"])


@dataclass(frozen=True)
class Playing:
    """What two playings of a scenario gave; no result where ringsim itself failed."""

    result: Result | None
    violations: Mapping[str, str]


def play(scenario: Scenario, memo: Memo, look: Callable[[], None] = lambda: None) -> Playing:
    """Play a scenario twice. `look` is called now and then; what it raises, if no `Exception`, ends it."""
    limit = _EVENTS_AT_LEAST + _EVENTS_A_STEP * planned_steps(scenario) * (
        len(worker_names(scenario)) + len(added_machines(scenario.strategy))
    )
    # A number that another process finds as well, and that a case written to a file keeps.
    ties = zlib.crc32(repr(scenario.faults).encode())
    try:
        result = simulate(scenario, watch=_within(limit, look), memo=memo)
        again = simulate(scenario, fidelity="message", shuffle_ties=ties, watch=_within(limit, look), memo=memo)
    except Exception as error:
        return Playing(None, {PLAYS: f"{type(error).__name__}: {error}"})
    return Playing(result, invariants.broken(result, again))


def judge(case: Case, scenario: Scenario, memo: Memo, look: Callable[[], None] = lambda: None) -> Verdict:
    """Play a scenario that has the fault of `case`, the last of its faults, and say what became of it."""
    playing = play(scenario, memo, look)
    result = playing.result
    if result is None:
        return Verdict(case, "broken", violations=playing.violations)
    accuracy = result.accuracy if result.outcome.is_success else None
    return Verdict(case, str(result.outcome), _recovery_ns(case, scenario, result), accuracy, playing.violations)


def _recovery_ns(case: Case, scenario: Scenario, result: Result) -> int | None:
    """Return how long after the fault the next update came."""
    fault = scenario.faults[-1]
    own = fault.kind, struck(fault), case.at_ns
    resumed = [one.resumed_at_ns for one in result.failures if (one.kind, one.node, one.at_ns) == own]
    return next((moment - case.at_ns for moment in resumed if moment is not None), None)


def _within(limit: int, look: Callable[[], None]) -> Callable[[Event], None]:
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen > limit:
            raise InvariantBroken(f"{limit:,} events, the last at {event.time_ns} ns, and there is no end to it")
        if not seen % _EVENTS_A_LOOK:
            look()

    return watch
