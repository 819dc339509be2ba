"""A whole hunt: the base run, the cases that are drawn, what became of them, and the smallest of those that are wrong.

    scout    play the scenario as it is, find its instants, draw the cases     ──► Ground
    hunt     play the cases that nobody has played yet, shrink what is wrong    ──► Hunt, with its summary

The summary is a function of the scenario and of what was asked for: it is the same on any number of processes, and
whether a hunt was interrupted or not. What is not here: speed, which is no part of it (`Speed`, told beside it).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringsim.learning.data import load
from ringsim.learning.memo import Memo
from ringsim.learning.models.build import build
from ringsim.monkey import shrink
from ringsim.monkey.cases import Case, Durations, Product, instants, product
from ringsim.monkey.crowd import Batch, play_all
from ringsim.monkey.folder import Folder
from ringsim.monkey.playing import Playing, Verdict, play
from ringsim.scenario import Scenario
from ringsim.simulation import simulate

# What heals does so after this part of the base run, if nobody says otherwise.
_PART = 10


@dataclass(frozen=True)
class Wishes:
    """What is asked for."""

    kinds: Sequence[str]
    limit: int = 1_000  # cases at most
    seed: int = 0  # of the order in which they are drawn
    restart_after_ns: int | None = None  # None: a tenth of the base run
    lasts_ns: int | None = None  # ... the same


@dataclass(frozen=True)
class Ground:
    """The scenario as it is, and the cases that were drawn. A base run that is wrong has none."""

    scenario: Scenario
    wishes: Wishes
    base: Playing
    durations: Durations
    product: Product
    cases: tuple[Case, ...]


@dataclass
class Speed:
    """How fast it went, by the clock on the wall: no part of a summary."""

    played: int = 0
    seconds: float = 0.0
    asked: int = 0  # gradients
    computed: int = 0


@dataclass(frozen=True)
class Hunt:
    """What a hunt has found."""

    ground: Ground
    verdicts: tuple[Verdict, ...]  # in the order of kinds, targets and instants
    shrunk: tuple[shrink.Shrunk, ...]
    speed: Speed = field(default_factory=Speed)

    @property
    def violations(self) -> dict[str, int]:
        """How many cases break each invariant; the base run counts for one."""
        found = [*(verdict.violations for verdict in self.verdicts), self.ground.base.violations]
        return dict(sorted(Counter(name for one in found for name in one).items()))

    def outcomes(self) -> dict[str, dict[str, int]]:
        """Return how many cases of each kind had which outcome."""
        counts: dict[str, Counter[str]] = {kind: Counter() for kind in self.ground.wishes.kinds}
        for verdict in self.verdicts:
            counts[verdict.case.kind][verdict.outcome] += 1
        return {kind: dict(sorted(count.items())) for kind, count in counts.items()}

    @property
    def slowest(self) -> Verdict | None:
        """The case after which it took longest until training went on."""
        went_on = [verdict for verdict in self.verdicts if verdict.recovery_ns is not None]
        return max(went_on, key=lambda verdict: verdict.recovery_ns or 0, default=None)

    @property
    def worst(self) -> Verdict | None:
        """The case that finished with the least accuracy."""
        ended = [verdict for verdict in self.verdicts if verdict.accuracy is not None]
        return min(ended, key=lambda verdict: verdict.accuracy or 0.0, default=None)

    def summary(self) -> dict[str, Any]:
        """Return all that does not depend on how fast it went, as JSON."""
        ground, slowest, worst = self.ground, self.slowest, self.worst
        base = ground.base.result
        return {
            "scenario": ground.scenario.name,
            "seed": ground.wishes.seed,
            "base": {
                "outcome": None if base is None else str(base.outcome),
                "outcome_sentence": None if base is None else base.outcome_sentence,
                "accuracy": None if base is None else base.accuracy,
                "instants": len(ground.product.instants),
                "violations": dict(ground.base.violations),
            },
            "restart_after_ns": ground.durations.restart_after_ns,
            "lasts_ns": ground.durations.lasts_ns,
            "cases": ground.product.size,
            "tried": len(self.verdicts),
            "outcomes": self.outcomes(),
            "worst_recovery": slowest and {"case": str(slowest.case), "ns": slowest.recovery_ns},
            "worst_accuracy": worst and {"case": str(worst.case), "accuracy": worst.accuracy},
            "violations": self.violations,
            "shrunk": [one.summary() for one in self.shrunk],
        }


def scout(scenario: Scenario, wishes: Wishes) -> Ground:
    """Play the scenario as it is, and draw the cases. Raises what `load` and `build` raise of its data and model."""
    build(scenario.task.model, load(scenario.task.dataset, scenario.seed))  # Mistakes there break no invariant.
    memo = Memo()
    base = play(scenario, memo)
    length_ns = 0 if base.result is None else base.result.virtual_time_ns
    part_ns = max(1, length_ns // _PART)
    durations = Durations(wishes.restart_after_ns or part_ns, wishes.lasts_ns or part_ns)
    moments: tuple[int, ...] = ()
    if wishes.limit and not base.violations:
        moments = instants(simulate(scenario, trace="messages", memo=memo))
    every = product(scenario, wishes.kinds, moments)
    cases = tuple(every.drawn(wishes.limit, wishes.seed)) if moments else ()
    return Ground(scenario, wishes, base, durations, every, cases)


def hunt(ground: Ground, jobs: int, out: Path | None = None, done: Callable[[int], None] = lambda _: None) -> Hunt:
    """Play the cases, those that the folder `out` knows excepted; `done` is told how many are through, as they come."""
    folder = None if out is None else Folder(out, ground.scenario, ground.durations)
    verdicts: dict[Case, Verdict] = {}
    if folder is not None:
        verdicts = {case: folder.known[case] for case in ground.cases if case in folder.known}
        done(len(verdicts))
    speed, began = Speed(), time.perf_counter()

    def take(batch: Batch) -> None:
        if folder is not None:
            folder.add(batch.verdicts)
        verdicts.update((verdict.case, verdict) for verdict in batch.verdicts)
        speed.played += len(batch.verdicts)
        speed.asked, speed.computed = speed.asked + batch.asked, speed.computed + batch.computed
        done(len(batch.verdicts))

    play_all(ground.scenario, ground.durations, [case for case in ground.cases if case not in verdicts], jobs, take)
    speed.seconds = time.perf_counter() - began
    order = {strike: number for number, strike in enumerate(ground.product.strikes)}
    in_order = sorted(verdicts.values(), key=lambda one: (order[one.case.kind, one.case.target], one.case.at_ns))
    return Hunt(ground, tuple(in_order), tuple(_smallest(ground, in_order, out or Path())), speed)


def _smallest(ground: Ground, verdicts: Sequence[Verdict], folder: Path) -> list[shrink.Shrunk]:
    """Shrink and write, for each invariant and kind of fault, the first case that is wrong."""
    memo = Memo()
    first: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        for invariant in verdict.violations:
            first.setdefault((invariant, verdict.case.kind), verdict)

    def breaks(scenario: Scenario) -> dict[str, str]:
        return dict(play(scenario, memo).violations)

    found = []
    for (invariant, _), verdict in sorted(first.items()):
        sentence = verdict.violations[invariant]
        small = shrink.shrink(ground.scenario, verdict.case, ground.durations, invariant, sentence, breaks)
        found.append(shrink.write(small, folder))
    return found
