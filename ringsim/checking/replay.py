"""Play a scenario again under a condition, and compare event by event with what it gave before.

What is not here: which conditions there are (`conditions.py`), and how a difference is told (`difference.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ringsim.checking.conditions import USUAL, Condition
from ringsim.checking.difference import first_difference
from ringsim.errors import RingsimError
from ringsim.learning.runtime import ALREADY_STARTED, unpinned
from ringsim.report.run_folder import read_trace
from ringsim.result import Result
from ringsim.simulation import simulate
from ringsim.trace import Event


@dataclass(frozen=True)
class Finding:
    """What came out under a condition. `words`: the first difference, or why it was refused or skipped; else empty."""

    condition: str
    verdict: Literal["same", "differs", "refused", "skipped"]
    words: str = ""


def replay(
    result: Result,
    arguments: Sequence[str],
    conditions: Iterable[Condition],
    tell: Callable[[int], None] = lambda _: None,
) -> list[Finding]:
    """Play the run with these `ringsim run` arguments again under each condition; `tell` that one more is done.

    Raises RingsimError where it cannot be played again.
    """
    return list(_findings(result, arguments, conditions, tell))


def _findings(
    result: Result, arguments: Sequence[str], conditions: Iterable[Condition], tell: Callable[[int], None]
) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="ringsim-check-") as folder:
        for number, condition in enumerate(conditions):
            yield _finding(result, arguments, condition, Path(folder), number)
            tell(1)


def _finding(result: Result, arguments: Sequence[str], condition: Condition, folder: Path, number: int) -> Finding:
    if reason := condition.skipped():
        return Finding(condition.name, "skipped", reason)
    if condition.options:
        there: Sequence[Event] = simulate(result.scenario, **condition.options).trace
    else:
        out = folder / f"run{number}"
        compiled = folder / f"compiled-{condition.compiled or number}"
        done = process(condition, _PLAY, ["run", *arguments, "--quiet", "--out", str(out)], compiled)
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1].removeprefix("error: ")
        if not (out / "trace.jsonl").exists():
            if condition.may_be_refused and said.startswith(ALREADY_STARTED):
                return Finding(condition.name, "refused", said)
            raise RingsimError(f"it could not be played again ({condition.name}): {said} (exit code {done.returncode})")
        there = read_trace(out)
    difference = first_difference(result.trace, there)
    return Finding(condition.name, "same" if difference is None else "differs", difference or "")


_PLAY = "from ringsim.cli import main; main()"


def process(
    condition: Condition, program: str, arguments: Sequence[str], compiled: Path
) -> subprocess.CompletedProcess[str]:
    """Run a Python program under a condition, in a process that keeps what it compiles in the folder `compiled`."""
    # This process may have pinned its settings already; the other one has to do so by itself.
    variables = {**unpinned(os.environ), **condition.variables}
    if condition.flags:
        variables["XLA_FLAGS"] = f"{variables.get('XLA_FLAGS', '')} {condition.flags}".strip()
    moved = "" if condition.compiled == USUAL else _COMPILE_INTO.format(str(compiled))
    command = [sys.executable, "-c", "\n".join((condition.before, moved, program)), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


# There is no variable that moves a user's caches on every system.
_COMPILE_INTO = "import platformdirs; platformdirs.user_cache_dir = lambda *_, **__: {!r}"
