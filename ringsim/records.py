"""Golden records: what a scenario gave when it was recorded, beside its file, and whether it still does.

    scenarios/4node.yaml  ──record──►  scenarios/4node.record.json  ──verify──►  the same, or the first difference

The schedule must be the same everywhere. The numbers must be the same bits where the numerical environment is the
recorded one; elsewhere they are compared within the record's tolerances, and the answer says which of the two was done.
So that a difference can be placed, a record keeps a short fingerprint of everything up to each update. What is not
here: playing twice on this machine (`checking/`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringsim.errors import UsageError
from ringsim.result import TIMES, Result
from ringsim.trace import NUMBERS_KINDS, SCHEDULE_KINDS, Event
from ringsim.units import about_duration

FORMAT = 1
TOLERANCE = {"loss_relative": 0.02, "accuracy_absolute": 0.02}
_MOST_MARKS = 400


@dataclass(frozen=True)
class Verdict:
    """What verifying found. `difference` is None when the record is met."""

    difference: str | None
    numbers: str  # how the numbers were compared, in words


def record_path(scenario_path: Path) -> Path:
    """Return where the record of a scenario file is.

    >>> record_path(Path("scenarios/4node.yaml")).name
    '4node.record.json'
    """
    return scenario_path.with_suffix(".record.json")


def make(result: Result) -> dict[str, Any]:
    """Return the golden record of a run."""
    record = {
        "format": FORMAT,
        "scenario": result.scenario.name,
        "scenario_sha256": _scenario_sha256(result),
        "outcome": str(result.outcome),
        "outcome_sentence": result.outcome_sentence,
        "figures": figures(result),
        "loss": result.loss,
        "accuracy": result.accuracy,
        "tolerance": TOLERANCE,
        "digest": {"schedule": result.schedule_digest, "numbers": result.numbers_digest},
        "marks": marks(result.trace),
        "environment": dict(result.environment),
    }
    return {**record, "sha256": _seal(record)}


def _seal(record: Mapping[str, Any]) -> str:
    """Return a hash over everything else in a record, so that an edited or damaged one is told from a met one."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def figures(result: Result) -> dict[str, int]:
    """Return the figures that the schedule alone decides."""
    return {
        "workers": result.workers,
        "steps": result.steps,
        "steps_executed": result.steps_executed,
        "virtual_time_ns": result.virtual_time_ns,
        "bytes_sent": result.bytes_sent,
        "payload_bytes_sent": result.payload_bytes_sent,
        **{field: result.total_ns(field) for field in TIMES},
        "samples_counted": result.samples.counted,
        "samples_repeated": result.samples.repeated,
        "samples_lost": result.samples.lost,
    }


def marks(events: tuple[Event, ...]) -> list[list[Any]]:
    """Return [step, time_ns, schedule so far, numbers so far] at each first report of an update, evenly thinned out."""
    hashes = {"schedule": hashlib.sha256(), "numbers": hashlib.sha256()}
    made: list[list[Any]] = []
    latest = 0
    for event in events:
        line = event.line().encode() + b"\n"
        if event.kind in SCHEDULE_KINDS:
            hashes["schedule"].update(line)
        elif event.kind in NUMBERS_KINDS:
            hashes["numbers"].update(line)
        if event.kind == "update" and event.fields["step"] > latest:
            latest = event.fields["step"]
            made.append([latest, event.time_ns, *(state.hexdigest()[:8] for state in hashes.values())])
    every = -(-len(made) // _MOST_MARKS) or 1
    return made[::every]


def read(path: Path) -> dict[str, Any]:
    """Return a record. Raises UsageError with one sentence if there is none, or it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no record {path}; make one with: ringsim record {_scenario_of(path)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a golden record: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(f"{path} is not a golden record of format {FORMAT}; record it anew")
    if found.get("sha256") != _seal(found):
        raise UsageError(f"{path} has been edited or damaged since it was recorded; record it anew")
    return found


def verify(result: Result, record: Mapping[str, Any]) -> Verdict:
    """Compare a replay with its record: the schedule exactly, the numbers exactly or within tolerances."""
    from ringsim.learning.runtime import numbers_comparable

    same_place = numbers_comparable(result.environment, record["environment"])
    numbers = "bit for bit" if same_place else "within tolerances, because the numerical environment is another one"
    if _scenario_sha256(result) != record["scenario_sha256"]:
        return Verdict("the scenario has changed since it was recorded; record it anew if that was meant", numbers)
    # Where a value decides when to stop, the schedule can be promised only as far as the numbers.
    decided_by_values = result.scenario.task.target_accuracy is not None and not same_place
    difference = None if decided_by_values else _schedule_difference(result, record)
    if difference is None:
        difference = _bits_difference(result, record) if same_place else _tolerance_difference(result, record)
    return Verdict(difference, numbers)


def _scenario_sha256(result: Result) -> str:
    # Without defaults, so that a new key of a later ringsim does not make every record look changed.
    said = result.scenario.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _schedule_difference(result: Result, record: Mapping[str, Any]) -> str | None:
    if result.schedule_digest == record["digest"]["schedule"]:
        return None
    said = []
    if str(result.outcome) != record["outcome"]:
        said.append(f"the outcome is {result.outcome}, recorded was {record['outcome']}")
    for name, value in figures(result).items():
        if value != record["figures"].get(name):
            said.append(f"{name} is {value}, recorded was {record['figures'].get(name)}")
            break
    where = _first_mark(result, record, column=2)
    return f"the schedule differs {where}" + (": " + "; ".join(said) if said else "")


def _bits_difference(result: Result, record: Mapping[str, Any]) -> str | None:
    if result.numbers_digest == record["digest"]["numbers"]:
        return None
    where = _first_mark(result, record, column=3)
    return f"the numbers differ {where}: loss {result.loss!r}, recorded was {record['loss']!r}"


def _first_mark(result: Result, record: Mapping[str, Any], column: int) -> str:
    before = "from the start"
    for here, there in zip(marks(result.trace), record["marks"], strict=False):
        if here[column] != there[column]:
            return f"{before}, at or before update {here[0]} ({about_duration(here[1])} of virtual time)"
        before = f"after update {here[0]} ({about_duration(here[1])})"
    return before


def _tolerance_difference(result: Result, record: Mapping[str, Any]) -> str | None:
    tolerance = record["tolerance"]
    if (result.loss is None) != (record["loss"] is None):
        return f"the loss is {result.loss}, recorded was {record['loss']}"
    if result.loss is None or result.accuracy is None:
        return None
    far = abs(result.loss - record["loss"]) > tolerance["loss_relative"] * abs(record["loss"])
    if far or math.isnan(result.loss) != math.isnan(record["loss"]):  # What is not a number is never far from one.
        return f"the loss is {result.loss:.6f}, recorded was {record['loss']:.6f}"
    if abs(result.accuracy - record["accuracy"]) > tolerance["accuracy_absolute"]:
        return f"the accuracy is {result.accuracy:.4f}, recorded was {record['accuracy']:.4f}"
    return None


def _scenario_of(path: Path) -> str:
    return str(path).replace(".record.json", ".yaml")
