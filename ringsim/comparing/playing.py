"""All entries of a comparison played on one scenario, each against its local twin.

One `Memo` serves all runs: what one has computed, the next does not compute again. What is not here: reading entries
(`entries.py`), and how a run is shown while it plays: whoever asks passes the function that plays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ringsim.comparing.requirements import (
    AgainstLocal,
    Requirements,
    against_local,
    played_tolerance,
    promised_tolerance,
    requirements,
)
from ringsim.result import Result
from ringsim.scenario import Local, Scenario

Play = Callable[[Scenario], Result]


@dataclass(frozen=True)
class Standing:
    """How one entry came out. `heading`: what it is called. Without a result the scenario cannot have it: `reason`."""

    heading: tuple[str, ...]
    result: Result | None = None
    against: AgainstLocal | None = None
    requirements: Requirements | None = None
    reason: str | None = None

    def with_command(self, command: str) -> Standing:
        """Return the same, with the command that repeats the run."""
        return self if self.result is None else replace(self, result=self.result.with_command(command))

    def line(self) -> dict[str, Any]:
        """Return it as JSON: the run's summary, and what it takes a second run to say."""
        if self.result is None or self.against is None or self.requirements is None:
            return {"strategy": self.heading[-1], "outcome": None, "not_played": self.reason}
        return {
            **self.result.summary(),
            "against_local": asdict(self.against),
            "requirements": asdict(self.requirements),
        }


@dataclass
class Arena:
    """Plays each scenario once, however often it is asked for: the local twin of several is one."""

    play: Play
    played: list[tuple[Scenario, Result]] = field(default_factory=list)

    def result(self, scenario: Scenario) -> Result:
        """Return how a scenario came out."""
        for known, result in self.played:
            if known == scenario:
                return result
        result = self.play(scenario)
        self.played.append((scenario, result))
        return result

    def standing(self, heading: Callable[[Result], tuple[str, ...]], scenario: Scenario, crashes: bool) -> Standing:
        """Return how a scenario stands against its local twin. crashes: play the death of each machine as well."""
        result = self.result(scenario)
        against = against_local(result, self.result(local_twin(scenario)))
        # Crashes are played once each, and nobody asks for them again.
        tolerance = played_tolerance(result, self.play) if crashes else promised_tolerance(result)
        return Standing(heading(result), result, against, requirements(result, against, tolerance))


def local_twin(scenario: Scenario) -> Scenario:
    """Return the same training on one machine, and without faults."""
    return scenario.model_copy(update={"strategy": Local(name="local"), "faults": ()})
