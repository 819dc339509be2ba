"""Computations that wait for each other: each is made once, whoever asks first, and a step copies what it must.

What is not here: that gradients have the same bits on one thread and on two (`test_learning_bits.py`).
"""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

from ringsim.learning import side_by_side
from ringsim.learning.engine import Engine, Jitted
from ringsim.learning.side_by_side import SideBySide
from ringsim.scenario import Mlp, Scenario, Softmax, Task
from ringsim.simulation import simulate


@pytest.mark.parametrize("may_share", [True, False])
@pytest.mark.parametrize("first", [0, 3, 6])
def test_all_that_wait_are_made_once_when_the_first_is_needed(may_share, first, monkeypatch):
    monkeypatch.setattr(side_by_side, "_threads", lambda: 2)
    made: list[tuple[int, bool]] = []

    def compute(number: int) -> int:
        made.append((number, threading.current_thread() is threading.main_thread()))
        return 10 * number

    queue: SideBySide[int] = SideBySide(lambda: may_share)
    ask = [queue.ask(lambda number=number: compute(number)) for number in range(7)]
    assert made == []
    assert ask[first]() == 10 * first
    assert sorted(number for number, _ in made) == list(range(7))
    assert sum(is_main for _, is_main in made) == (4 if may_share else 7)
    assert [one() for one in ask] == [10 * number for number in range(7)]
    assert len(made) == 7


@pytest.mark.parametrize("broken", [0, 3], ids=["on the other thread", "on this one"])
def test_an_error_comes_out_where_an_answer_was_needed_and_the_others_still_can_be_asked(broken, monkeypatch):
    monkeypatch.setattr(side_by_side, "_threads", lambda: 2)
    queue: SideBySide[int] = SideBySide(lambda: True)
    ask = [queue.ask(lambda number=number: 6 // (number - broken)) for number in range(4)]
    with pytest.raises(ZeroDivisionError):
        ask[1]()
    assert [ask[number]() for number in range(4) if number != broken] == [
        6 // (number - broken) for number in range(4) if number != broken
    ]


def test_a_gradient_is_computed_when_it_is_needed_and_not_before(monkeypatch):
    engine = Engine(Task(steps=1, model=Softmax(kind="softmax")), seed=7, rows=5)
    parameters, calls = engine.initial().parameters, []
    call = Jitted.__call__
    monkeypatch.setattr(Jitted, "__call__", lambda jitted, *arguments: calls.append(jitted) or call(jitted, *arguments))
    promise = engine.gradient(parameters, (0, 1, 2))
    assert calls == []
    assert promise.value() is promise.value()
    assert len(calls) == 1


def test_an_array_is_known_again_by_what_it_is_and_not_by_where_it_was():
    engine = Engine(Task(steps=1, model=Softmax(kind="softmax")), seed=7, rows=5)
    array = np.ones(engine.size, np.float32)
    array.setflags(write=False)
    known = engine.share(array)
    assert engine.share(array) is known
    assert known.array is array
    # The table is by address, and addresses are used again.
    engine._by_array[id(other := np.zeros(engine.size, np.float32))] = known
    assert engine.share(other) is not known


WORKERS, STEPS = 8, 4


def test_a_step_makes_one_array_of_full_size_for_the_sum_and_one_for_the_rank_that_is_being_added():
    """`docs/performance.md` says so. What XLA writes is not counted here, and the sums of eight steps are kept."""
    hidden = 8_192
    scenario = Scenario.model_validate(
        {
            "name": "passes",
            "task": {"model": {"kind": "mlp", "hidden": [hidden]}, "steps": STEPS, "batch_size": 1},
            "cluster": {"nodes": WORKERS},
            "strategy": {"name": "ring"},
        }
    )
    full = 4 * Engine(Task(steps=1, model=Mlp(kind="mlp", hidden=(hidden,))), seed=0, rows=1).size
    simulate(scenario)
    tracemalloc.start()
    try:
        simulate(scenario)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert STEPS <= peak / full < STEPS + 1.5, peak / full
