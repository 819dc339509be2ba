"""Contests of fresh processes: what a user waits for before anything is played, and before the first step is made.

    validate     `ringsim validate`             against the imports of any such program: YAML, a command line, pydantic
    first step   a scenario, up to the instant  cold, no function being compiled yet, against warm;
                 of the first `update` event    warm, against plain JAX: its imports, one gradient and one update

Pydantic is imported with one model, because it imports most of itself when the first model is defined. All find their
bytecode in a folder of their own, which the first round fills, as an installation does: else a machine that is told to
write none would compile ringsim in every round. Compiled functions have a folder of their own too. What is not here:
how `validate` keeps it short, which is by importing little (`cli.py`).
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

# Ends with 0 at the first update, and with 1 if there was none.
_FIRST_STEP = """
import os, sys
from ringsim.scenario_file import load
from ringsim.simulation import simulate
simulate(load(sys.argv[1]).scenario, watch=lambda event: os._exit(0) if event.kind == "update" else None)
sys.exit(1)
"""

# The template's mlp and batch, on zeros, from a cache on disk as ringsim has one.
_PLAIN_STEP = """
import os, sys
os.environ["PJRT_NPROC"] = "2"
import jax, jax.numpy as jnp, optax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
def loss(parameters, x, y):
    (first, second), (one, two) = parameters
    logits = jax.nn.relu(x @ first + one) @ second + two
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))
optimizer = optax.sgd(0.1)
def step(parameters, state, x, y):
    change, state = optimizer.update(jax.grad(loss)(parameters, x, y), state, parameters)
    return optax.apply_updates(parameters, change), state
parameters = (jnp.zeros((64, 128)), jnp.zeros((128, 10))), (jnp.zeros(128), jnp.zeros(10))
x, y = jnp.zeros((32, 64)), jnp.zeros(32, int)
jax.block_until_ready(jax.jit(step)(parameters, optimizer.init(parameters), x, y))
"""


def validate(nodes: int) -> Contest:
    """Return `ringsim validate` of the template for so many machines; the answer is the exit code, 0 for both."""
    folder, path = _prepared(nodes)
    return Contest(
        partial(_exit_code, folder, "-m", "ringsim", "validate", str(path)),
        partial(_exit_code, folder, "-c", _REFERENCE),
    )


def first_step_cold(nodes: int) -> Contest:
    """Return the template's first step where nothing is compiled, against the warm one; the answer is the exit code."""
    folder, path = _prepared(nodes)

    def cold() -> int:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        return _exit_code(folder, "-c", _FIRST_STEP, str(path))

    # Each cold round leaves the cache that the warm one after it finds.
    return Contest(cold, partial(_exit_code, folder, "-c", _FIRST_STEP, str(path)))


def first_step_warm(nodes: int) -> Contest:
    """Return the template's first step with all functions in the cache, against plain JAX; the answer is the exit code.

    Both have been run once before.
    """
    folder, path = _prepared(nodes)
    ours = partial(_exit_code, folder, "-c", _FIRST_STEP, str(path))
    plain = partial(_exit_code, folder, "-c", _PLAIN_STEP, str(folder / "plain"))
    for fill in (ours, plain):
        fill()
    return Contest(ours, plain)


def _prepared(nodes: int) -> tuple[Path, Path]:
    """Return a folder that is gone when this process ends, and the template in it."""
    folder = Path(tempfile.mkdtemp(prefix="ringsim-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "bench.yaml"
    path.write_text(template(nodes, "bench"), encoding="utf-8")
    return folder, path


def _exit_code(folder: Path, *arguments: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, check=False, env=environment).returncode
