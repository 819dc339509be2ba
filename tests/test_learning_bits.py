"""The same bits in other processes: cores, threads, variables, a fresh cache or a warm one, whoever imported JAX first.

What is not here: what the bits should be near to (`test_learning.py`).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ringsim.learning import runtime

ROOT = Path(__file__).parents[1]

# Trains the cnn for a few steps, on threads, and prints a digest over all that came out.
TRAIN = """
import hashlib, json
from ringsim.learning import engine
from ringsim.learning.runtime import environment
from ringsim.scenario import Adam, Cnn, Task

engine.SIDE_BY_SIDE_FLOP = 0
here = engine.Engine(Task(steps=1, model=Cnn(kind="cnn"), optimizer=Adam(kind="adam")), seed=7, rows=64)
state, digest = here.initial(), hashlib.sha256()
for step in range(4):
    promises = [here.gradient(state.parameters, range(start, start + 64 - step)) for start in (0, 64, 640)]
    for promise in promises:
        digest.update(promise.value().array.tobytes())
        digest.update(promise.value().loss.hex().encode())
        state = here.update(state, promise.value().array, 0.01)
digest.update(state.parameters.array.tobytes())
digest.update(here.evaluate(state.parameters).loss.hex().encode())
print(json.dumps({"digest": digest.hexdigest(), "environment": environment()}))
"""
ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
JAX_FIRST = (
    "import warnings, jax, jax.numpy\n"
    "warnings.filterwarnings('ignore', message='ringsim has set jax_enable_x64=False')\n"
)
JAX_STARTED = "import jax; jax.jit(lambda x: x + 1)(1)\n"
START = "from ringsim.learning.runtime import start_jax; start_jax(); start_jax()\n"

IS_X86_64 = runtime.is_x86_64(platform.machine())

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="pins cores, and moves the cache by XDG_CACHE_HOME")


def start(program: str, **variables: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_", "PJRT_"))}
    # A warning about anything, such as a cache that cannot be written, fails the program.
    command = [sys.executable, "-W", "error", "-c", program]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env={**kept, **variables}, stdout=pipe, stderr=pipe, text=True)


def threads(number: str) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), number)


def answer(process: subprocess.Popen[str]) -> dict:
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return json.loads(printed)


@needs_linux
def test_bits_do_not_depend_on_cores_or_threads_or_cache_or_variables_or_who_imports_jax_first(tmp_path):
    no_folder = tmp_path / "file"
    no_folder.touch()
    cache = str(tmp_path / "cache")
    one_core = start(ONE_CORE + TRAIN, XDG_CACHE_HOME=cache, PYTHONHASHSEED="1", **threads("1"))
    # Without a pinned PJRT_NPROC and instruction set, each of these two gave other bits by itself.
    callers = {"PJRT_NPROC": "1", "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2" if IS_X86_64 else ""}
    uncached = start(TRAIN, XDG_CACHE_HOME=str(no_folder), PYTHONHASHSEED="2", **callers)
    answers = [answer(one_core), answer(uncached)]
    compiled = sorted(Path(cache).rglob("*-cache"))
    assert any("gradient" in path.name for path in compiled)
    warm = start(TRAIN, XDG_CACHE_HOME=cache, **threads("3"))
    jax_first = start(ONE_CORE + JAX_FIRST + TRAIN, XDG_CACHE_HOME=cache, JAX_ENABLE_X64="1")
    answers += [answer(warm), answer(jax_first)]
    assert sorted(Path(cache).rglob("*-cache")) == compiled
    assert all(one == answers[0] for one in answers[1:])
    assert runtime.numbers_comparable(answers[0]["environment"], runtime.environment())


@needs_linux
def test_a_broken_cache_entry_is_compiled_again_in_silence(tmp_path):
    program = """
from ringsim.learning.engine import Engine
from ringsim.scenario import Softmax, Task
engine = Engine(Task(steps=1, model=Softmax(kind="softmax")), seed=7, rows=2)
print('"' + engine.gradient(engine.initial().parameters, (0, 1)).value().loss.hex() + '"')
"""
    first = answer(start(program, XDG_CACHE_HOME=str(tmp_path)))
    for path in tmp_path.rglob("*gradient*-cache"):
        path.write_bytes(path.read_bytes()[:100])
    assert answer(start(program, XDG_CACHE_HOME=str(tmp_path))) == first


def test_jax_started_with_other_settings_is_refused():
    process = start(JAX_STARTED + START, JAX_ENABLE_X64="1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    (sentence,) = [line for line in errors.splitlines() if "EnvironmentRefused: " in line]
    assert "JAX was already started with " in sentence
    assert "jax_enable_x64=True" in sentence
    assert "jax_cpu_enable_async_dispatch=True" in sentence
    assert "PJRT_NPROC=(not set)" in sentence
    assert "import ringsim.learning.pinned before the first use of JAX" in sentence


def test_jax_started_with_the_very_settings_is_taken_as_it_is():
    flags = runtime.xla_flags("", str(runtime.environment()["machine"]))
    # JAX 0.10 does not read the switch of asynchronous dispatch from the environment.
    program = "import jax; jax.config.update('jax_cpu_enable_async_dispatch', False)\n" + JAX_STARTED + START
    process = start(program, PJRT_NPROC="2", JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, printed, errors) == (0, "", "")


def test_what_does_not_need_jax_does_not_import_it():
    process = start(
        "import sys\n"
        "from ringsim.learning import data, learning_rate, runtime, sampler\n"
        "runtime.environment(); data.load(data.Digits(kind='digits'), 0)\n"
        "print([name for name in ('jax', 'jaxlib', 'optax', 'simpy') if name in sys.modules])"
    )
    assert process.communicate(timeout=60) == ("[]\n", "")


def test_the_environment_is_plain_data_and_names_the_processor():
    here = runtime.environment()
    assert json.loads(json.dumps(here)) == here
    assert list(here) == list(runtime.environment())
    assert set(runtime.COMPARABLE_KEYS) <= set(here)
    if sys.platform == "linux":
        assert here["processor"]


@pytest.mark.parametrize("key", runtime.COMPARABLE_KEYS)
def test_numbers_are_comparable_only_where_everything_that_decides_them_is_equal(key):
    here = runtime.environment()
    assert runtime.numbers_comparable(here, {**here, "python": "2.7", "ringsim": "9"})
    assert not runtime.numbers_comparable(here, {**here, key: "another"})
    assert not runtime.numbers_comparable({name: value for name, value in here.items() if name != key}, here)
