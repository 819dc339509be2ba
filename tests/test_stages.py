"""One stage alone, and how layers are cut into stages: against the whole model, and against every other cut.

What is not here: stages on nodes (`test_pipelines.py`).
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringsim.learning.engine import Engine
from ringsim.learning.stages import Stage
from ringsim.scenario import Cnn, Mlp, Softmax, Task, layer_count
from ringsim.strategies.partition import balanced, by_hand

SAMPLES = (3, 1, 4, 15, 9)
EPOCH = 2  # names what dropout draws
ROWS = 6
TASKS = {
    "mlp": Task(steps=1, model=Mlp(kind="mlp", hidden=(16, 12, 8))),
    "cnn": Task(steps=1, model=Cnn(kind="cnn")),
}


def pieces(task: Task, cut: list[tuple[int, int]]) -> tuple[np.ndarray, float]:
    """Return the joined gradients of the stages of a cut, and the loss."""
    engine = Engine(task, seed=3, rows=ROWS)
    whole = engine.initial().parameters.array
    stages = [Stage(engine, *layers, ROWS) for layers in cut]
    parts = [engine.share(whole[stage.part]) for stage in stages]
    inputs = [stages[0].samples(SAMPLES)]
    for stage, part in itertools.islice(zip(stages, parts, strict=True), len(stages) - 1):
        inputs.append(stage.forward(part, inputs[-1], SAMPLES, EPOCH))
    loss, gradient, above = stages[-1].backward_from_labels(parts[-1], inputs[-1], SAMPLES, EPOCH, weight=1.0)
    gradients = [gradient]
    for stage, part, given_to in reversed(list(zip(stages, parts, inputs, strict=True))[:-1]):
        gradient, above = stage.backward(part, given_to, SAMPLES, EPOCH, above)
        gradients.append(gradient)
    return np.concatenate(gradients[::-1]), loss


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mlp", sizes)
        for count in range(1, 5)
        for sizes in itertools.product(range(1, 5), repeat=count)
        if sum(sizes) == 4
    ]
    + [("cnn", (5,)), ("cnn", (1, 1, 1, 1, 1)), ("cnn", (2, 3)), ("cnn", (3, 1, 1))],
    ids=str,
)
def test_stages_together_have_the_gradient_of_the_whole(name: str, sizes: tuple[int, ...]) -> None:
    task = TASKS[name]
    engine = Engine(task, seed=3, rows=ROWS)
    expected = engine.gradient(engine.initial().parameters, SAMPLES, EPOCH).value()
    gradient, loss = pieces(task, by_hand(sizes))
    np.testing.assert_allclose(gradient, expected.array, rtol=0, atol=1e-5)
    assert loss == pytest.approx(expected.loss, abs=1e-5)


def test_padding_is_no_sample() -> None:
    """A piece that does not fill its rows has the gradient that it has alone."""
    task = TASKS["mlp"]
    engine = Engine(task, seed=3, rows=64)
    part = engine.initial().parameters
    losses, gradients = [], []
    for rows in (len(SAMPLES), 64):
        stage = Stage(engine, 0, 4, rows)
        loss, gradient, _ = stage.backward_from_labels(part, stage.samples(SAMPLES), SAMPLES, EPOCH, weight=1.0)
        losses.append(loss)
        gradients.append(gradient)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=0, atol=1e-6)


# Layers that need no work, such as a pool, among them.
WORK = st.lists(st.integers(0, 50), min_size=1, max_size=9)


@settings(deadline=None)
@given(WORK, st.data())
def test_no_cut_has_a_faster_slowest_stage(flop: list[int], data: Any) -> None:
    stages = data.draw(st.integers(1, len(flop)))
    replicas = data.draw(st.lists(st.integers(1, 4), min_size=stages, max_size=stages))
    cut = balanced(flop, replicas)
    assert len(cut) == stages
    assert [layer for start, stop in cut for layer in range(start, stop)] == list(range(len(flop)))
    assert all(start < stop for start, stop in cut)
    assert slowest(flop, cut, replicas) == min(slowest(flop, other, replicas) for other in cuts(len(flop), stages))
    best = [
        other for other in cuts(len(flop), stages) if slowest(flop, other, replicas) == slowest(flop, cut, replicas)
    ]
    assert cut == min(best), "of cuts as good, the one whose first stages are the shortest"


def cuts(layers: int, stages: int) -> list[list[tuple[int, int]]]:
    inner = itertools.combinations(range(1, layers), stages - 1)
    return [list(itertools.pairwise([0, *places, layers])) for places in inner]


def slowest(flop: list[int], cut: list[tuple[int, int]], replicas: list[int]) -> Fraction:
    return max(Fraction(sum(flop[start:stop]), shared) for (start, stop), shared in zip(cut, replicas, strict=True))


@pytest.mark.parametrize("model", [Softmax(kind="softmax"), Mlp(kind="mlp", hidden=(7, 5)), Cnn(kind="cnn")])
def test_layers_are_counted_as_the_model_has_them(model: Any) -> None:
    assert layer_count(model) == len(Engine(Task(steps=1, model=model), seed=0, rows=1).model.layers)
