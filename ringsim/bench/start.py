"""The contest of `ringsim validate` in a fresh process: what a user waits for before anything is played.

The reference is a process that imports what any such program needs: YAML, a command line, and pydantic with one model,
because pydantic imports most of itself when the first model is defined. What is not here: how `validate` keeps it
short, which is by importing little (`cli.py`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from ringsim.bench.case import Contest
from ringsim.scenario_file import template

_REFERENCE = """
import yaml, click, pydantic
class Model(pydantic.BaseModel):
    number: int
"""


def validate(nodes: int) -> Contest:
    """Return `ringsim validate` of the template for so many machines; the answer is the exit code, 0 for both."""
    text = template(nodes, "bench")
    return Contest(partial(_validate, text), lambda: _exit_code("-c", _REFERENCE))


def _validate(text: str) -> int:
    # The file is written within the time: it takes as good as none beside a process.
    with tempfile.TemporaryDirectory(prefix="ringsim-bench-") as folder:
        path = Path(folder, "bench.yaml")
        path.write_text(text, encoding="utf-8")
        return _exit_code("-m", "ringsim", "validate", str(path))


def _exit_code(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode
