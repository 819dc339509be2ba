"""Contests of whole trainings in processes of their own: all cores against one, and how much memory one takes.

    this process   asks "run"  ──►  a child, which has JAX and all functions ready  ──►  its loss, digest and memory

A child is started and warmed up before the race, so its start is in no time. Which cores it may use is set before it
starts JAX, because XLA's threads are started there and take over what is set. What is not here: what is trained
(`training.py`), and the time that a start takes (`start.py`).
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ringsim.bench.case import Contest
from ringsim.errors import InvariantBroken
from ringsim.scenario import Scenario
from ringsim.scenario_file import dump, parse

_LISTEN = "from ringsim.bench.children import listen; listen()"


def cores(scenario: Scenario) -> Contest:
    """Return a training on all cores against the same on one; the answer is the digest of all numbers.

    There is no reference where a process cannot be held to one core.
    """
    can_hold = hasattr(os, "sched_setaffinity")
    reference = Child(scenario, one_core=True).run if can_hold else None
    return Contest(Child(scenario).run, reference, answer=_numbers, same=lambda here, there: here == _numbers(there))


def memory(scenario: Scenario) -> Contest:
    """Return a training in a fresh process for each run; the answer is how many bytes it has held at most."""
    return Contest(lambda: _alone(scenario), peak_bytes=lambda answer: int(answer["peak_bytes"]))


def _alone(scenario: Scenario) -> dict[str, Any]:
    child = Child(scenario, warm=False)
    try:
        return child.run()
    finally:
        child.end()


def listen() -> None:
    """Be a child: play the scenario that the first line of standard input tells, once for each line that follows."""
    told = json.loads(sys.stdin.readline())
    if told["one_core"]:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from ringsim.simulation import simulate

    scenario = parse(told["scenario"]).scenario
    for _ in sys.stdin:
        result = simulate(scenario)
        answer = {"numbers_digest": result.numbers_digest, "loss": result.loss, "peak_bytes": peak_bytes()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def peak_bytes() -> int:
    """Return the most memory that this process has held at once, with all libraries in it."""
    status = Path("/proc/self/status")
    if status.exists():
        # The kernel's other figure, ru_maxrss, begins with that of the process that started this one.
        fields = dict(line.split(":", 1) for line in status.read_text("ascii").splitlines())
        return int(fields["VmHWM"].removesuffix("kB")) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _numbers(answer: dict[str, Any]) -> str:
    return str(answer["numbers_digest"])


class Child:
    """A process that plays one scenario as often as it is asked to."""

    def __init__(self, scenario: Scenario, *, one_core: bool = False, warm: bool = True):
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", _LISTEN], stdin=pipe, stdout=pipe, text=True)
        atexit.register(self._process.kill)
        self._say({"scenario": dump(scenario), "one_core": one_core})
        if warm:
            self.run()

    def run(self) -> dict[str, Any]:
        """Play it once, and return what came of it: numbers_digest, loss, peak_bytes."""
        self._say("run")
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise InvariantBroken(f"a process that was to play the scenario is gone, with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Let it go; it plays no more."""
        self._process.communicate()

    def _say(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
