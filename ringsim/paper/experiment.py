"""The paper's network trained on one, three and four machines, by both of its learning rates, over some seeds.

A run takes a minute or more, so what came of it is kept in a file, and is not played again while the scenario and the
numerical environment are the same. What is not here: the tables and the picture (`report/paper.py`).
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringsim import scenario_file, shipped
from ringsim.errors import UsageError
from ringsim.learning.runtime import environment, numbers_comparable
from ringsim.report.run_folder import prepare, write_whole
from ringsim.result import Result
from ringsim.scenario import Scenario, global_batch_size, train_size
from ringsim.scenario_file import dump

# The shipped scenarios of the three trainings, by what the paper calls them.
CLUSTERS = {"local": "paper/local", "3 nodes": "paper/3nodes", "4 nodes": "paper/4nodes"}

# Its text divides the rate by the number of workers; its figure has 0.001 times three.
RULES = {"multiplied": "linear", "divided": "inverse"}

# What no override may change, and why. Of other keys only those of the task may be set.
_SET_HERE = {
    "seed": "the trainings are of seeds 0, 1, ...; say how many with --seeds",
    "task.learning_rate_scaling": "both rules are played: linear and inverse",
    "task.evaluate_every": "the trainings are evaluated at the end of each epoch",
    "task.target_accuracy": "all trainings take all their epochs",
}

Play = Callable[[Scenario], Result]


@dataclass(frozen=True)
class Epoch:
    """Mean loss of an epoch's steps; loss and accuracy (0 to 1) on the test split at its end."""

    train_loss: float
    test_loss: float
    accuracy: float


@dataclass(frozen=True)
class Curve:
    """What came of one training."""

    cluster: str
    rule: str
    seed: int
    epochs: tuple[Epoch, ...]
    virtual_time_ns: int
    numbers_digest: str


@dataclass(frozen=True)
class Training:
    """One training to be done: a cluster, a rule for the learning rate, a seed."""

    cluster: str
    rule: str
    scenario: Scenario

    @property
    def scenario_sha256(self) -> str:
        """What tells a training from one with other settings."""
        return hashlib.sha256(dump(self.scenario).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """Where its curve is kept. Another one of other settings has another name."""
        names = self.cluster.replace(" ", ""), self.rule, f"seed{self.scenario.seed}", self.scenario_sha256[:8]
        return f"{'-'.join(names)}.json"


def trainings(seeds: int, overrides: Sequence[str] = ()) -> list[Training]:
    """Return all trainings: seed after seed, so that what is done first is a whole picture of one seed.

    Raises ScenarioInvalid where the overrides do not fit, UsageError where they are of what is set here.

    >>> [one.file_name.rpartition("-")[0] for one in trainings(seeds=1)][:2]
    ['local-multiplied-seed0', 'local-divided-seed0']
    """
    return [
        Training(cluster, rule, _scenario(name, scaling, seed, overrides))
        for seed in range(seeds)
        for cluster, name in CLUSTERS.items()
        for rule, scaling in RULES.items()
    ]


def _scenario(name: str, scaling: str, seed: int, overrides: Sequence[str]) -> Scenario:
    for words in overrides:
        key = words.partition("=")[0].strip()
        if key in _SET_HERE:
            raise UsageError(f"--set {key}: {_SET_HERE[key]}")
        if not key.startswith("task."):
            raise UsageError(f"--set {key}: only keys of the task may be set here, such as task.epochs=3")
    chosen = [f"task.learning_rate_scaling={scaling}", *overrides]
    scenario = scenario_file.load(shipped.folder() / f"{name}.yaml", overrides=chosen, seed=seed).scenario
    steps_an_epoch = -(-train_size(scenario) // global_batch_size(scenario))
    task = scenario.task.model_copy(update={"evaluate_every": steps_an_epoch})
    return scenario.model_copy(update={"task": task})


def curves(todo: Sequence[Training], folder: Path, play: Play) -> Iterator[tuple[Curve, bool]]:
    """Yield the curve of each training, played and then kept in `folder`; or from there, and True.

    Raises UsageError where the folder cannot be written, or a training does not come to its end.
    """
    prepare(folder)
    for training in todo:
        path = folder / training.file_name
        kept = _kept(path, training)
        if kept is not None:
            yield kept, True
            continue
        found = _curve(training, play(training.scenario))
        write_whole(path, json.dumps({**_origin(training), "curve": asdict(found)}, indent=1) + "\n")
        yield found, False


def _curve(training: Training, result: Result) -> Curve:
    if not result.outcome.is_success:
        raise UsageError(f"{training.cluster}, rate {training.rule}: {result.outcome_sentence}")
    epochs = []
    for number in sorted({row.epoch for row in result.metrics}):
        rows = [row for row in result.metrics if row.epoch == number]
        last, losses = rows[-1], [row.loss for row in rows if row.loss is not None]
        assert last.test_loss is not None, "every epoch ends with an evaluation"
        assert last.accuracy is not None
        epochs.append(Epoch(statistics.fmean(losses), last.test_loss, last.accuracy))
    return Curve(
        training.cluster,
        training.rule,
        result.scenario.seed,
        tuple(epochs),
        result.virtual_time_ns,
        result.numbers_digest,
    )


def _origin(training: Training) -> dict[str, Any]:
    """Return what must be the same for a curve to be taken from its file."""
    return {"scenario_sha256": training.scenario_sha256, "environment": environment()}


def _kept(path: Path, training: Training) -> Curve | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        here, there = _origin(training), kept["environment"]
        is_same = kept["scenario_sha256"] == here["scenario_sha256"] and numbers_comparable(here["environment"], there)
        is_same = is_same and here["environment"]["ringsim"] == there["ringsim"]
        fields = kept["curve"]
        return Curve(**{**fields, "epochs": tuple(Epoch(**epoch) for epoch in fields["epochs"])}) if is_same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # Not there, or not from here: it is played.
