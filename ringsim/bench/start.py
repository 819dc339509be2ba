"""The contest of `ringsim validate` in a fresh process: what a user waits for before anything is played.

The reference is a process that imports what any such program needs: YAML, a command line, and pydantic with one model,
because pydantic imports most of itself when the first model is defined. Both find their bytecode in a folder of their
own, which the first round fills, as an installation does: else a machine that is told to write none would compile
ringsim in every round. What is not here: how `validate` keeps it short, which is by importing little (`cli.py`).
"""

from __future__ import annotations

import atexit
import os
import shutil
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
    folder = Path(tempfile.mkdtemp(prefix="ringsim-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "bench.yaml"
    path.write_text(template(nodes, "bench"), encoding="utf-8")
    return Contest(
        partial(_exit_code, folder, "-m", "ringsim", "validate", str(path)),
        partial(_exit_code, folder, "-c", _REFERENCE),
    )


def _exit_code(folder: Path, *arguments: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, check=False, env=environment).returncode
