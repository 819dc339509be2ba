"""What must not matter to a run, as a table. What is not here: playing under a condition (`replay.py`)."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringsim.learning.runtime import INSTRUCTION_SET_FLAG, is_x86_64


def _always() -> str | None:
    return None


def _without_choice_of_cores() -> str | None:
    if not hasattr(os, "sched_setaffinity"):
        return f"{platform.system()} does not let a process choose its cores"
    return "this machine has one core" if os.cpu_count() == 1 else None


def _without_x86_64() -> str | None:
    machine = platform.machine()
    return None if is_x86_64(machine) else f"ringsim pins an instruction set on x86-64 only, and this is {machine}"


@dataclass(frozen=True)
class Condition:
    """One way of playing a scenario. With `options` it is played in this process, else in one of its own.

    before: Python that the process runs before it meets ringsim, as earlier cells of a notebook would. compiled: what
    conditions with this name compile, they share; with none, each compiles for itself. flags: of XLA, beside the
    caller's. may_be_refused: not to play at all is the promised answer. skipped: why it is impossible here.

    >>> Condition("another hash seed", variables={"PYTHONHASHSEED": "3"}).skipped() is None
    True
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    flags: str = ""
    before: str = ""
    compiled: str | None = None
    may_be_refused: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    skipped: Callable[[], str | None] = _always


_ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
_ALL_CORES = "import os; os.sched_setaffinity(0, range(os.cpu_count()))"


def _threads(number: int) -> Mapping[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(number))


# Each compiles afresh, but for the second: what a condition does to compiling would not show in code found compiled.
CONDITIONS = (
    Condition("compiled afresh", compiled="shared"),
    Condition("found compiled", compiled="shared"),
    Condition("one core", before=_ONE_CORE, skipped=_without_choice_of_cores),
    Condition("all cores", before=_ALL_CORES, skipped=_without_choice_of_cores),
    Condition("OMP_NUM_THREADS=1, of BLAS too", _threads(1)),
    Condition("OMP_NUM_THREADS=3, of BLAS too", _threads(3)),
    Condition("PJRT_NPROC=1", {"PJRT_NPROC": "1"}),
    Condition("PYTHONHASHSEED=0", {"PYTHONHASHSEED": "0"}),
    Condition("PYTHONHASHSEED=4711", {"PYTHONHASHSEED": "4711"}),
    Condition("XLA_FLAGS of SSE4_2", flags=f"{INSTRUCTION_SET_FLAG}=SSE4_2", skipped=_without_x86_64),
    Condition("JAX imported before", before="import jax.numpy; jax.config.update('jax_enable_x64', True)"),
    Condition("JAX used before", before="import jax; jax.jit(lambda x: x + 1)(1)", may_be_refused=True),
    Condition("message by message", options={"fidelity": "message"}),
    Condition("ties shuffled", options={"shuffle_ties": 1}),
    Condition("replicas apart", options={"share_replicas": False}),
)


def another_process() -> Condition:
    """Return what `check` tries unless told more: another hash seed, and one core instead of several or all of one.

    What the user's runs have compiled is used, so that it takes no longer than a run.
    """
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    before, cores = "", ""
    if _without_choice_of_cores() is None:
        is_on_one = len(os.sched_getaffinity(0)) == 1
        before, cores = (_ALL_CORES, ", on all cores") if is_on_one else (_ONE_CORE, ", on 1 core")
    name = f"another process, PYTHONHASHSEED={hash_seed}{cores}"
    return Condition(name, {"PYTHONHASHSEED": hash_seed}, before=before, compiled=USUAL)


# The name of what all runs of this user compile.
USUAL = "usual"
