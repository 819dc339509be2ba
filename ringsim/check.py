"""`check`: play a scenario twice and see that it is the same.

The second time in another process, with another number of cores and another hash seed. What is not here: comparing with
what was recorded elsewhere (`records.py`).
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringsim.errors import RingsimError
from ringsim.report.run_folder import read_trace
from ringsim.result import Result
from ringsim.trace import Event
from ringsim.units import about_duration


@dataclass(frozen=True)
class Replay:
    """How the second run was made different, and the first event or number that came out otherwise (None: none)."""

    how: str
    difference: str | None


def replay(result: Result, arguments: Sequence[str]) -> Replay:
    """Play the run with these `ringsim run` arguments again in another process, and compare event by event."""
    cores = _other_cores()
    with tempfile.TemporaryDirectory(prefix="ringsim-check-") as folder:
        command = [sys.executable, "-m", "ringsim", "run", *arguments, "--quiet", "--out", folder]
        hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        done = subprocess.run(
            command if cores is None else [sys.executable, "-c", _PINNED, ",".join(map(str, cores)), *command[1:]],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        if not (Path(folder) / "trace.jsonl").exists():
            raise RingsimError(f"the second run failed (exit code {done.returncode}): {done.stderr.strip()}")
        difference = first_difference(result.trace, read_trace(Path(folder)))
    pinned = "" if cores is None else ", on 1 core" if len(cores) == 1 else f", on {len(cores)} cores"
    return Replay(f"another process, PYTHONHASHSEED={hash_seed}{pinned}", difference)


def first_difference(here: Sequence[Event], there: Sequence[Event]) -> str | None:
    """Return the first event that differs between two traces, in words.

    >>> first_difference([Event(5, "node0", "update", {"step": 1})], [])
    'at 5 ns, node0: update {"step":1} here, nothing there'
    """
    for one, other in itertools.zip_longest(here, there):
        if one is None or other is None or one.line() != other.line():
            place = one if one is not None else other
            return f"at {about_duration(place.time_ns)}, {place.node}: {_words(one)} here, {_words(other)} there"
    return None


# Run `python ARGUMENTS...` with the process bound to the cores of the first argument.
_PINNED = """
import os, sys
os.sched_setaffinity(0, [int(core) for core in sys.argv[1].split(",")])
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def _other_cores() -> list[int] | None:
    """Return another number of cores: one instead of several, or all instead of one; None where there is no choice."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    mine = sorted(os.sched_getaffinity(0))
    everything = list(range(os.cpu_count() or 1))
    return mine[:1] if len(mine) > 1 else everything if len(everything) > 1 else None


def _words(event: Event | None) -> str:
    if event is None:
        return "nothing"
    return f"{event.kind} {json.dumps(event.fields, sort_keys=True, separators=(',', ':'))}"
