"""What no node holds alone: parts that are joined, replicas that differ, and states that are cut.

What is not here: the strategies that need it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ringsim.learning.engine import Engine
from ringsim.learning.sampler import Cursor
from ringsim.scenario import Adam, Softmax, Task
from ringsim.strategies.observer import Observer, whole
from ringsim.strategies.training import State

TASK = Task(steps=1, model=Softmax(kind="softmax"), optimizer=Adam(kind="adam"))


@pytest.fixture
def engine() -> Engine:
    return Engine(TASK, seed=7, rows=4)


def state(engine: Engine, part: slice | None = None) -> State:
    """Return the first state, or a part of it."""
    model = engine.initial()
    if part is None:
        return State(0, Cursor(), model)
    start, stop, _ = part.indices(engine.size)
    return State(0, Cursor(), engine.cut(model, part), part=(start, stop))


def test_a_part_is_updated_as_it_would_be_in_the_whole(engine: Engine) -> None:
    gradient = engine.gradient(engine.initial().parameters, (0, 1, 2)).value().array
    at_once = engine.update(engine.initial(), gradient, 0.1)
    cuts = [slice(0, 17), slice(17, 400), slice(400, None)]
    parts = [engine.update(engine.cut(engine.initial(), cut), gradient[cut], 0.1) for cut in cuts]
    joined = engine.join(parts)
    np.testing.assert_allclose(joined.parameters.array, at_once.parameters.array, rtol=1e-6, atol=1e-7)
    for one, other in zip(joined.optimizer.leaves, at_once.optimizer.leaves, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_parts_make_the_whole_only_if_none_is_missing(engine: Engine) -> None:
    first, rest, again = state(engine, slice(0, 300)), state(engine, slice(300, None)), state(engine, slice(0, 300))
    joined = whole(engine, {"b": rest, "a": first, "c": again}, "equal")
    assert joined is not None
    np.testing.assert_array_equal(joined.array, engine.initial().parameters.array)
    assert whole(engine, {"a": first, "c": again}, "equal") is None
    assert whole(engine, {"b": rest}, "equal") is None
    assert whole(engine, {}, "equal") is None


def test_replicas_of_their_own_are_averaged_and_their_distance_is_told(engine: Engine) -> None:
    near = state(engine)
    size = np.float32(engine.size)
    away = engine.share(near.model.parameters.array + np.float32(2))
    far = replace(near, model=replace(near.model, parameters=away))
    observer = Observer(engine, ["node0", "node1"])
    observer.keep("node1", 0, far)  # whoever is first
    observer.keep("node0", 0, near)
    (seen,) = observer.found("own").values()
    assert seen.nodes == ("node0", "node1")
    assert seen.consensus == pytest.approx(np.sqrt(size), rel=1e-6)  # each is 1 away from the mean, in every number
    between = engine.evaluate(engine.share(near.model.parameters.array + np.float32(1)))
    assert seen.evaluation.loss == pytest.approx(between.loss, rel=1e-5)
    (seen,) = observer.found("equal").values()
    assert seen.consensus is None
