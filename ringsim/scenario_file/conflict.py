"""`Conflict`: keys that are each right alone and do not agree with each other.

What is not here: which those are (`checks.py`, `network.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from ringsim.scenario_file.strict_yaml import Path


class Conflict(NamedTuple):
    """What is wrong at `path`, in a sentence, and all the paths that it rests on if it is not this one alone."""

    path: Path
    sentence: str
    rests_on: tuple[Path, ...] = ()
