"""The folder of a hunt: verdicts as JSON lines, so that a finished case is not played again.

    monkey.json    what the verdicts are of: the scenario, how long faults last, ringsim's own code, the environment
    cases.jsonl    a verdict a line, in the order in which they came

A line is written whole; one that a killed process left unfinished is cut off when the folder is opened again. What is
not here: the cases that break an invariant, which are scenarios of their own (`shrink.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ringsim
from ringsim.errors import UsageError
from ringsim.learning.runtime import environment
from ringsim.monkey.cases import Case, Durations
from ringsim.monkey.playing import Verdict
from ringsim.report.run_folder import prepare, write_whole
from ringsim.scenario import Scenario
from ringsim.scenario_file import dump

_HEADER, _CASES = "monkey.json", "cases.jsonl"


class Folder:
    """A folder that belongs to one hunt. `known` are the verdicts that it held when it was opened."""

    def __init__(self, path: Path, scenario: Scenario, durations: Durations):
        """Raises UsageError for a folder that cannot be written, or that holds the cases of something else."""
        prepare(path)
        self.path = path
        header = _header(scenario, durations)
        found = _read_header(path / _HEADER)
        if found is None:
            write_whole(path / _HEADER, json.dumps(header, indent=1) + "\n")
        elif found != header:
            other = next(key for key in header if found.get(key) != header[key])
            raise UsageError(f"{path} holds cases of another {other}; give another folder, or remove it")
        self.known = dict(_read_cases(path / _CASES))

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Write verdicts down."""
        text = "".join(json.dumps(verdict.line(), sort_keys=True) + "\n" for verdict in verdicts)
        try:
            with (self.path / _CASES).open("a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"cannot write {self.path / _CASES}: {error.strerror or error}") from None


def _header(scenario: Scenario, durations: Durations) -> dict[str, Any]:
    return {
        "scenario": hashlib.sha256(dump(scenario).encode()).hexdigest(),
        "version of ringsim": _code_digest(),
        "duration of faults": asdict(durations),
        "machine": environment(),
    }


def _code_digest() -> str:
    """Return the sha256 of ringsim's own code: what it was before a mend says nothing of what it is after."""
    root = Path(ringsim.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        code = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(code)}\n".encode() + code)
    return digest.hexdigest()


def _read_header(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not what `ringsim monkey` has written; give another folder, or remove it")
    return found


def _read_cases(path: Path) -> Iterable[tuple[Case, Verdict]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        os.truncate(path, len(whole))
    for number, line in enumerate(whole.decode("utf-8", "replace").splitlines(), start=1):
        try:
            verdict = Verdict.of(json.loads(line))
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{path}:{number}: is no verdict of a case; remove that line") from None
        yield verdict.case, verdict
