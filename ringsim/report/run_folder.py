"""The folder a run leaves on disk: the resolved scenario, summary.json, metrics.csv and trace.jsonl.

Every file is written under a temporary name and renamed when it is whole, so a killed run leaves no half file under a
final name. What is not here: reading them back (`read_trace` apart, which `check` needs).
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from ringsim.errors import UsageError
from ringsim.result import Result, StepRow
from ringsim.scenario_file import dump
from ringsim.trace import Event


def prepare(folder: Path) -> None:
    """Make the folder, so that a run that cannot be written is refused before it is played. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to the folder {folder}: {error.strerror or error}") from None


def write(result: Result, folder: Path) -> tuple[Path, ...]:
    """Write everything about a run into `folder`; return the files."""
    prepare(folder)
    contents = {
        "scenario.yaml": dump(result.scenario),
        "summary.json": json.dumps(result.summary(), indent=2) + "\n",
        "metrics.csv": metrics_csv(result.metrics),
        "trace.jsonl": trace_jsonl(result.trace),
    }
    return tuple(write_whole(folder / name, text) for name, text in contents.items())


def write_whole(path: Path, text: str) -> Path:
    """Write a text file so that it is there whole or not at all. Raises UsageError if it cannot be written."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def metrics_csv(rows: Iterable[StepRow]) -> str:
    """Return one line for each executed update; empty cells where nothing was evaluated.

    >>> print(metrics_csv([]).strip())
    step,generation,epoch,virtual_time_ns,loss,learning_rate,world_size,test_loss,accuracy,committed
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(StepRow))
    for row in rows:
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in asdict(row).values())
    return text.getvalue()


def trace_jsonl(events: Iterable[Event]) -> str:
    """Return the trace, one canonical JSON line an event."""
    return "".join(event.line() + "\n" for event in events)


def read_trace(folder: Path) -> tuple[Event, ...]:
    """Return the events of a run folder."""
    events = []
    for line in (folder / "trace.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        events.append(Event(record.pop("time_ns"), record.pop("node"), record.pop("kind"), record))
    return tuple(events)
