"""A case that breaks an invariant, made as small as it goes, and written as a scenario that anybody can play.

The scenario's other faults are left out one by one, and the fault itself is replaced by a simpler kind, as long as the
same invariant breaks, until nothing can be left out any more. (Zeller and Hildebrandt, *Simplifying and isolating
failure-inducing input*, 2002; with so few faults, one at a time is enough.) What is not here: which cases are looked at
(`hunt.py`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ringsim.monkey.cases import KINDS, Case, Durations, with_fault
from ringsim.report.run_folder import write_whole
from ringsim.scenario import Scenario
from ringsim.scenario_file import dump

# What a scenario breaks: a sentence by invariant.
Breaks = Callable[[Scenario], dict[str, str]]


@dataclass(frozen=True)
class Shrunk:
    """The smallest scenario found that still breaks an invariant, and the sentence about it."""

    invariant: str
    case: Case  # as it was found
    scenario: Scenario
    sentence: str
    file: Path | None = None

    @property
    def command(self) -> str | None:
        """The command that plays it again."""
        return None if self.file is None else shlex.join(["ringsim", "monkey", str(self.file), "--limit", "0"])

    def summary(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "invariant": self.invariant,
            "case": str(self.case),
            "sentence": self.sentence,
            "faults": [fault.model_dump(mode="json", exclude_none=True) for fault in self.scenario.faults],
            "file": None if self.file is None else str(self.file),
            "command": self.command,
        }


def shrink(
    scenario: Scenario, case: Case, durations: Durations, invariant: str, sentence: str, breaks: Breaks
) -> Shrunk:
    """Return the smallest scenario found in which the fault of `case` breaks `invariant`.

    `sentence`: what was said of the case as it was found. `breaks` plays a scenario.
    """
    best = Shrunk(invariant, case, with_fault(scenario, case, durations), sentence)

    def tried(candidate: Scenario) -> Shrunk | None:
        said = breaks(candidate).get(invariant)
        return None if said is None else replace(best, scenario=candidate, sentence=said)

    kind, before = case.kind, None
    while best is not before:
        before = best
        for own in best.scenario.faults[:-1]:
            fewer = tuple(fault for fault in best.scenario.faults if fault is not own)
            best = tried(best.scenario.model_copy(update={"faults": fewer})) or best
        simpler = KINDS[kind].simpler
        if simpler is not None:
            others = best.scenario.model_copy(update={"faults": best.scenario.faults[:-1]})
            found = tried(with_fault(others, replace(case, kind=simpler), durations))
            best, kind = (best, kind) if found is None else (found, simpler)
    return best


def write(shrunk: Shrunk, folder: Path) -> Shrunk:
    """Write it as a whole scenario file into `folder`; return it with its file."""
    name = f"{shrunk.scenario.name}_{shrunk.invariant}_{shrunk.case.kind}.yaml"
    done = replace(shrunk, file=folder / name)
    modeline, _, rest = dump(shrunk.scenario).partition("\n")
    said = f"# Breaks the invariant {shrunk.invariant}: {' '.join(shrunk.sentence.split())}\n# Again: {done.command}\n"
    write_whole(folder / name, f"{modeline}\n{said}{rest}")
    return done
