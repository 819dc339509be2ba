"""Data, sampling, rates, models, optimizers and the engine, each against an oracle that shares no code with it.

What is not here: that bits do not depend on cores, caches and processes (`test_learning_bits.py`).
"""

from __future__ import annotations

import gc
import hashlib
import itertools
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringsim.errors import ScenarioInvalid
from ringsim.learning.data import Shape, load
from ringsim.learning.engine import Engine
from ringsim.learning.learning_rate import learning_rate
from ringsim.learning.models.build import build
from ringsim.learning.models.cnn import cnn
from ringsim.learning.models.layers import dense
from ringsim.learning.models.model import Model
from ringsim.learning.parameters import layout
from ringsim.learning.pinned import jax, jnp
from ringsim.learning.sampler import Batch, Cursor, Sampler
from ringsim.scenario import DIGITS_TRAIN_SIZE, Adam, Cnn, Digits, Mlp, Momentum, Sgd, Softmax, Synthetic, Task

DIGITS = Digits(kind="digits")
SOFTMAX, MLP, CNN = Softmax(kind="softmax"), Mlp(kind="mlp", hidden=(16,)), Cnn(kind="cnn")
SGD, MOMENTUM, ADAM = Sgd(kind="sgd"), Momentum(kind="momentum"), Adam(kind="adam")
MODELS = [pytest.param(model, id=model.kind) for model in (SOFTMAX, MLP, CNN)]
OPTIMIZERS = [pytest.param(optimizer, id=optimizer.kind) for optimizer in (SGD, MOMENTUM, ADAM)]
ROWS = 12


def engine(model=MLP, optimizer=SGD, **options) -> Engine:
    return Engine(Task(steps=1, model=model, optimizer=optimizer), seed=7, rows=ROWS, **options)


# --- data -------------------------------------------------------------------------------------------------------------


def test_digits_are_the_shipped_ones_in_the_stated_split():
    data = load(DIGITS, seed=0)
    assert data.train_x.shape == (DIGITS_TRAIN_SIZE, 64)
    assert data.test_x.shape == (360, 64)
    assert data.train_x.dtype == data.test_x.dtype == np.float32
    assert data.train_y.dtype == data.test_y.dtype == np.int32
    assert (data.train_x.min(), data.train_x.max()) == (0, 1)
    assert data.shape == Shape(64, 10, (8, 8, 1))
    decoded = hashlib.sha256()
    for array, kind in ((data.train_x, "<f4"), (data.train_y, "<i4"), (data.test_x, "<f4"), (data.test_y, "<i4")):
        decoded.update(array.astype(kind).tobytes())
    assert decoded.hexdigest() == "0c61957c77604ac2309de79adb3c6b27e79355b9506f440ea45328d33dd2dfa6"


def test_digits_carry_their_attribution():
    text = resources.files("ringsim.learning").joinpath("DATA_LICENSE.md").read_text("utf-8")
    for word in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0", "creativecommons.org/licenses/by/4.0"):
        assert word in text


def test_synthetic_points_are_the_same_on_every_machine():
    settings = Synthetic(kind="synthetic", samples=5_001, features=3, classes=4, noise=0.5)
    data = load(settings, seed=7)
    assert data.train_x.shape == (5_001, 3)
    assert data.test_x.shape == (1_001, 3)
    assert data.shape == Shape(3, 4, None)
    digest = hashlib.sha256(data.train_x.astype("<f4").tobytes() + data.test_x.astype("<f4").tobytes())
    assert digest.hexdigest() == "99fe905fb00edd4b0eac28bf0f78702e232f569f95b9574f68707aa13466eb57"
    assert not np.array_equal(load(settings, seed=8).train_x, data.train_x)


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_synthetic_points_spread_around_their_centres(noise):
    data = load(Synthetic(kind="synthetic", samples=4_000, features=8, classes=2, noise=noise), seed=1)
    for label in range(2):
        assert data.train_x[data.train_y == label].std(axis=0) == pytest.approx(noise, abs=0.1)
    centre = data.train_x[data.train_y == 0].mean(axis=0)
    assert data.test_x[data.test_y == 0].mean(axis=0) == pytest.approx(centre, abs=0.4)


def test_data_cannot_be_written_to():
    data = load(DIGITS, seed=0)
    for array in (data.train_x, data.train_y, data.test_x, data.test_y):
        assert not array.flags.writeable


# --- sampling ---------------------------------------------------------------------------------------------------------

NAMES = ("node0", "node1", "node2", "node3")


@given(
    seed=st.integers(0, 2**62),
    train_size=st.integers(1, 200),
    shares=st.tuples(*[st.integers(1, 40)] * 4),
    memberships=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), min_size=1, max_size=8),
)
def test_an_epoch_takes_each_sample_once_whatever_the_membership(seed, train_size, shares, memberships):
    sampler = Sampler(seed, train_size, dict(zip(NAMES, shares, strict=True)))
    cursor, taken = Cursor(), []
    for members in itertools.cycle(memberships):
        batches = sampler.batches(cursor, members)
        assert {batch.total for batch in batches} == {sum(len(batch.samples) for batch in batches)}
        taken += [sample for batch in batches for sample in batch.samples]
        cursor = sampler.after(cursor, members)
        if cursor.epoch == 1:
            break
    assert cursor == Cursor(1, 0)
    assert sorted(taken) == list(range(train_size))


@given(
    train_size=st.integers(1, 200),
    shares=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    steps=st.integers(0, 12),
)
def test_the_ranks_together_take_what_one_worker_with_all_shares_would(train_size, shares, steps):
    names = [f"node{rank}" for rank in range(len(shares))]
    many = Sampler(3, train_size, dict(zip(names, shares, strict=True)))
    one = Sampler(3, train_size, {"node0": sum(shares)})
    cursor = Cursor()
    for _ in range(steps):
        cursor = one.after(cursor, ["node0"])
    batches = many.batches(cursor, names)
    assert many.after(cursor, names) == one.after(cursor, ["node0"])
    (block,) = one.batches(cursor, ["node0"])
    assert tuple(sample for batch in batches for sample in batch.samples) == block.samples
    for batch, share in zip(batches, shares, strict=True):
        assert abs(len(batch.samples) - block.total * share / sum(shares)) < 1
    if block.total == sum(shares):
        assert [len(batch.samples) for batch in batches] == shares


def test_epochs_are_shuffled_each_in_its_own_order():
    sampler = Sampler(seed=7, train_size=50, shares={"node0": 50})
    first, second = (sampler.batches(Cursor(epoch), ["node0"])[0].samples for epoch in (0, 1))
    assert first != second
    assert first == Sampler(7, 50, {"node0": 50}).batches(Cursor(), ["node0"])[0].samples


def test_the_weight_is_rounded_once():
    assert Batch((1, 2), 3).weight.dtype == np.float32
    assert Batch((1, 2), 3).weight == np.float32(2 / 3)


def test_a_step_without_members_or_past_the_end_is_refused():
    sampler = Sampler(seed=7, train_size=10, shares={"node0": 4})
    with pytest.raises(ValueError, match="at least one member"):
        sampler.batches(Cursor(), [])
    with pytest.raises(ValueError, match="outside an epoch of 10 samples"):
        sampler.batches(Cursor(0, 10), ["node0"])


# --- learning rate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scaling", "warm_up_epochs", "world", "progress_epochs", "expected"),
    [
        ("none", 0.0, 4, 0.0, 0.1),
        ("linear", 0.0, 4, 0.0, 0.4),
        ("sqrt", 0.0, 4, 0.0, 0.2),
        ("inverse", 0.0, 4, 0.0, 0.025),
        ("linear", 0.0, 2.5, 0.0, 0.25),
        ("linear", 5.0, 4, 0.0, 0.1),
        ("linear", 5.0, 4, 1.0, 0.16),
        ("linear", 5.0, 4, 2.5, 0.25),
        ("linear", 5.0, 4, 5.0, 0.4),
        ("linear", 5.0, 4, 80.0, 0.4),
        ("linear", 5.0, 3, 2.5, 0.2),  # a worker was lost during warm-up
        ("inverse", 2.0, 4, 1.0, 0.0625),
        ("none", 5.0, 4, 1.0, 0.1),
    ],
)
def test_learning_rate_rules(scaling, warm_up_epochs, world, progress_epochs, expected):
    task = Task(steps=1, optimizer=SGD, learning_rate_scaling=scaling, warm_up_epochs=warm_up_epochs)
    assert learning_rate(task, world, progress_epochs) == pytest.approx(expected, rel=1e-12)


def test_the_rate_after_warm_up_is_exactly_the_scaled_one():
    task = Task(steps=1, optimizer=ADAM, learning_rate_scaling="linear", warm_up_epochs=0.7)
    assert learning_rate(task, 3, 0.7) == 0.001 * 3


def test_a_rate_for_nobody_is_refused():
    with pytest.raises(ValueError, match="positive number of workers"):
        learning_rate(Task(steps=1), 0, 0.0)


# --- models -----------------------------------------------------------------------------------------------------------


def test_the_cnn_is_the_one_of_the_keras_and_horovod_examples():
    model = cnn(CNN, Shape(784, 10, (28, 28, 1)))
    where = layout(model)  # Shapes only: nothing of this size is computed.
    assert where.size == 1_199_882
    assert {part.name: part.stop - part.start for part in where.slices} == {
        "conv1": 3 * 3 * 1 * 32 + 32,
        "conv2": 3 * 3 * 32 * 64 + 64,
        "pool": 0,
        "dense": 12 * 12 * 64 * 128 + 128,
        "logits": 128 * 10 + 10,
    }
    forward = 2 * (26 * 26 * 32 * 9 + 24 * 24 * 64 * 9 * 32 + 9216 * 128 + 128 * 10)
    assert model.flop_per_sample == 3 * forward == 71_954_688
    outputs = jax.eval_shape(model.apply, jax.eval_shape(lambda: model.init(jax.random.key(0))), jnp.zeros((5, 784)))
    assert outputs.shape == (5, 10)


@pytest.mark.parametrize("settings", MODELS)
def test_a_layer_says_its_output_shape_and_size(settings):
    data = load(DIGITS, seed=0)
    model = build(settings, data)
    parameters = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    x = jnp.zeros((3, 64))
    for layer, layer_parameters in zip(model.layers, parameters, strict=True):
        x = jax.eval_shape(layer.apply, layer_parameters, x)
        assert x.shape == (3, *layer.output_shape)
    assert model.layers[-1].output_shape == (10,)
    assert build(settings, load(DIGITS, seed=1)) is model


def test_flop_per_sample_are_the_scenarios_if_it_says_them():
    assert engine(SOFTMAX).flop_per_sample == 3 * 2 * 64 * 10
    assert Engine(Task(steps=1, flop_per_sample="5 MFLOP"), seed=7, rows=1).flop_per_sample == 5_000_000


def test_the_cnn_refuses_data_without_images():
    task = Task(steps=1, dataset=Synthetic(kind="synthetic"), model=CNN)
    with pytest.raises(ScenarioInvalid, match=r"task\.model: cnn needs images"):
        Engine(task, seed=7, rows=4)


def test_the_flat_vector_and_the_layers_hold_the_same_numbers():
    model = build(CNN, load(DIGITS, seed=0))
    where = layout(model)
    flat = jnp.arange(where.size, dtype=jnp.float32)
    parameters = where.unflatten(flat)
    assert np.array_equal(where.flatten(parameters), flat)
    conv2 = next(index for index, part in enumerate(where.slices) if part.name == "conv2")
    part = where.slices[conv2]
    assert np.array_equal(parameters[conv2]["bias"], flat[part.start : part.start + 64])
    alone = where.unflatten_layer(conv2, flat[part.start : part.stop])
    assert np.array_equal(alone["kernel"], parameters[conv2]["kernel"])


def test_first_parameters_follow_the_seed_and_the_layers_index_alone():
    key = jax.random.key(3)
    two = Model((dense("a", 5, 4), dense("b", 4, 2))).init(key)
    three = Model((dense("c", 5, 4), dense("d", 4, 2), dense("e", 2, 2))).init(key)
    assert np.array_equal(two[0]["kernel"], three[0]["kernel"])
    assert np.array_equal(two[1]["kernel"], three[1]["kernel"])
    limit = np.sqrt(6 / 9)
    assert 0.8 * limit < np.abs(two[0]["kernel"]).max() <= limit
    assert not np.asarray(two[0]["bias"]).any()
    mlp = Task(steps=1, model=MLP)
    first, again, other = (Engine(mlp, seed, ROWS).initial().parameters.array for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_of_the_users_own():
    def absolute_error(outputs, labels):
        return jnp.abs(outputs[:, 0] - labels)

    own = Model((dense("line", 64, 1),), absolute_error, lambda outputs, labels: absolute_error(outputs, labels) < 0.5)
    mine = engine(model=SOFTMAX)
    with_own = Engine(Task(steps=1, model=SOFTMAX), seed=7, rows=ROWS, model=own)
    assert (mine.size, with_own.size) == (650, 65)
    data, flat = with_own.dataset, with_own.initial().parameters.array
    outputs = data.train_x[:3].astype(np.float64) @ flat[1:] + flat[0]
    gradient = with_own.gradient(with_own.initial().parameters, (0, 1, 2)).value()
    assert gradient.loss == pytest.approx(np.abs(outputs - data.train_y[:3]).mean(), rel=1e-5)
    assert gradient.array[0] == pytest.approx(np.sign(outputs - data.train_y[:3]).mean(), rel=1e-5)


# --- gradients --------------------------------------------------------------------------------------------------------


def numpy_gradient(flat: np.ndarray, widths: list[int], x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Backpropagation written out for fully connected layers in float64; each layer is its bias, then its kernel."""
    flat, x = flat.astype(np.float64), x.astype(np.float64)
    layers, start = [], 0
    for inputs, outputs in itertools.pairwise(widths):
        kernel = start + outputs
        layers.append((flat[start:kernel], flat[kernel : kernel + inputs * outputs].reshape(inputs, outputs)))
        start = kernel + inputs * outputs
    activations = [x]
    for index, (bias, kernel) in enumerate(layers):
        z = activations[-1] @ kernel + bias
        activations.append(z if index == len(layers) - 1 else np.maximum(z, 0))
    e = np.exp(activations[-1] - activations[-1].max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    delta = (p - np.eye(widths[-1])[y]) / len(y)
    parts = []
    for index in reversed(range(len(layers))):
        parts.append(np.concatenate([delta.sum(axis=0), (activations[index].T @ delta).ravel()]))
        delta = (delta @ layers[index][1].T) * (activations[index] > 0)
    return float(loss), np.concatenate(parts[::-1])


@pytest.mark.parametrize(("settings", "widths"), [(SOFTMAX, [64, 10]), (MLP, [64, 16, 10])], ids=["softmax", "mlp"])
@pytest.mark.parametrize("count", [ROWS, 5, 1])
def test_gradients_are_those_of_backpropagation_by_hand(settings, widths, count):
    here = engine(settings)
    samples = tuple(range(100, 100 + count))
    start = here.initial().parameters
    gradient = here.gradient(start, samples).value()
    rows = list(samples)
    loss, expected = numpy_gradient(start.array, widths, here.dataset.train_x[rows], here.dataset.train_y[rows])
    assert gradient.loss == pytest.approx(loss, rel=1e-5)
    assert np.allclose(gradient.array, expected, rtol=1e-4, atol=1e-6)


def test_the_cnns_gradient_is_the_slope_of_its_loss():
    here = engine(CNN)
    samples, start = tuple(range(ROWS)), here.initial().parameters
    gradient = here.gradient(start, samples).value().array
    direction = gradient / np.linalg.norm(gradient)
    step = np.float32(0.005)
    ahead, behind = (
        here.gradient(here.share(start.array + sign * step * direction), samples).value().loss for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(np.linalg.norm(gradient), rel=0.02)


@pytest.mark.parametrize("settings", MODELS)
def test_a_short_batch_is_padded_and_masked(settings):
    padded = engine(settings)
    fitting = Engine(Task(steps=1, model=settings), seed=7, rows=5)
    start = padded.initial().parameters
    samples = (3, 14, 15, 92, 65)
    short = padded.gradient(start, samples).value()
    exact = fitting.gradient(fitting.share(start.array), samples).value()
    assert short.loss == pytest.approx(exact.loss, rel=1e-6)
    assert np.allclose(short.array, exact.array, rtol=1e-4, atol=1e-7)


def test_no_samples_give_zeros():
    nothing = engine().gradient(engine().initial().parameters, ()).value()
    assert nothing.loss == 0.0
    assert nothing.array.shape == (engine().size,)
    assert not nothing.array.any()


def test_samples_that_do_not_fit_or_exist_are_refused():
    here = engine()
    start = here.initial().parameters
    with pytest.raises(ValueError, match="13 samples do not fit in 12 rows"):
        here.gradient(start, range(13))
    with pytest.raises(IndexError, match="outside 0 to 1436"):
        here.gradient(start, (0, DIGITS_TRAIN_SIZE))
    with pytest.raises(IndexError, match="outside 0 to 1436"):
        here.gradient(start, (-1,))
    with pytest.raises(ValueError, match="at least one row"):
        Engine(Task(steps=1), seed=7, rows=0)


@pytest.mark.parametrize("settings", MODELS)
def test_a_gradient_has_the_same_bits_alone_and_beside_others(settings, monkeypatch):
    inline = engine(settings, share_replicas=False)
    monkeypatch.setattr("ringsim.learning.engine.SIDE_BY_SIDE_FLOP", 0)  # Computed on threads, small as it is.
    here = engine(settings, share_replicas=False)
    start = here.initial().parameters
    batches = [tuple(range(first, first + ROWS - index % 3)) for index, first in enumerate(range(0, 240, ROWS))]
    alone = [here.gradient(start, samples).value() for samples in batches]
    for crowd in (batches, batches[3:5], batches[::-1]):
        promises = [here.gradient(start, samples) for samples in crowd]
        for samples, promise in zip(crowd, promises, strict=True):
            expected = alone[batches.index(samples)]
            assert promise.value().array.tobytes() == expected.array.tobytes()
            assert promise.value().loss == expected.loss
    for samples, expected in zip(batches, alone, strict=True):
        assert inline.gradient(start, samples).value().array.tobytes() == expected.array.tobytes()


# --- updates and evaluations ------------------------------------------------------------------------------------------


def numpy_updates(optimizer, start: np.ndarray, gradients: list[np.ndarray], rates: list[float]) -> np.ndarray:
    """The three optimizers as their papers write them, in float64."""
    parameters = start.astype(np.float64)
    velocity, mean, square = (np.zeros_like(parameters) for _ in range(3))
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = gradient.astype(np.float64)
        match optimizer:
            case Sgd():
                direction = g
            case Momentum():
                direction = velocity = optimizer.momentum * velocity + g
            case Adam():
                mean = optimizer.b1 * mean + (1 - optimizer.b1) * g
                square = optimizer.b2 * square + (1 - optimizer.b2) * g * g
                unbiased = mean / (1 - optimizer.b1**step), square / (1 - optimizer.b2**step)
                direction = unbiased[0] / (np.sqrt(unbiased[1]) + optimizer.eps)
        parameters = parameters - rate * direction
    return parameters


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_those_of_the_papers(optimizer):
    here = engine(SOFTMAX, optimizer)
    state = here.initial()
    start = state.parameters.array
    gradients = [here.gradient(state.parameters, range(first, first + 5)).value().array for first in range(0, 40, 5)]
    rates = [0.1, 0.1, 0.2, 0.2, 0.3, 0.05, 0.05, 0.1]  # The rate changes as workers come and go.
    for gradient, rate in zip(gradients, rates, strict=True):
        state = here.update(state, gradient, rate)
    assert np.allclose(state.parameters.array, numpy_updates(optimizer, start, gradients, rates), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("optimizer", "vectors", "counters"), [(SGD, 1, 0), (MOMENTUM, 2, 0), (ADAM, 3, 1)])
def test_a_state_has_the_bytes_of_all_it_holds(optimizer, vectors, counters):
    here = engine(SOFTMAX, optimizer)
    assert here.size_bytes(here.initial()) == 4 * (650 * vectors + counters)


def test_evaluation_is_that_of_the_whole_test_split():
    settings = Synthetic(kind="synthetic", samples=6_000, features=5, classes=3)  # 1,200 test points: two calls
    here = Engine(Task(steps=1, dataset=settings, model=SOFTMAX), seed=7, rows=4)
    parameters = here.initial().parameters
    data = here.dataset
    flat = parameters.array.astype(np.float64)
    outputs = data.test_x @ flat[3:].reshape(5, 3) + flat[:3]
    evaluation = here.evaluate(parameters)
    assert evaluation.accuracy == np.mean(outputs.argmax(axis=1) == data.test_y)
    assert evaluation.loss == pytest.approx(numpy_gradient(flat, [5, 3], data.test_x, data.test_y)[0], rel=1e-6)
    assert here.evaluate(parameters) is evaluation


def test_every_function_is_compiled_once():
    here = Engine(Task(steps=1, model=Mlp(kind="mlp", hidden=(3,)), optimizer=ADAM), seed=7, rows=6)
    state = here.initial()
    for count in (6, 1, 4, 0):
        gradient = here.gradient(state.parameters, range(count)).value().array
        # From an array of NumPy's own as from JAX's.
        state = here.update(here.update(state, gradient, 0.1), gradient.copy(), 1)
        here.evaluate(state.parameters)
        here.evaluate(here.share(state.parameters.array.copy()))
    again = Engine(Task(steps=1, model=Mlp(kind="mlp", hidden=(3,)), optimizer=ADAM), seed=8, rows=6)
    again.gradient(again.initial().parameters, (1, 2)).value()
    once = {"initial": 1, "memory": 1, "gradient": 1, "update": 1, "evaluate": 1}
    assert here.compilations() == again.compilations() == once


def test_it_learns():
    task = Task(steps=1, model=Mlp(kind="mlp"), optimizer=SGD)
    here = Engine(task, seed=7, rows=128)
    sampler = Sampler(7, DIGITS_TRAIN_SIZE, {"node0": 128})
    state, cursor = here.initial(), Cursor()
    while cursor.epoch < 8:
        (batch,) = sampler.batches(cursor, ["node0"])
        state = here.update(state, here.gradient(state.parameters, batch.samples).value().array, 0.5)
        cursor = sampler.after(cursor, ["node0"])
    assert here.evaluate(state.parameters).accuracy > 0.93


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_what_an_engine_hands_out_cannot_be_written_to():
    for share_replicas in (True, False):
        here = engine(SOFTMAX, ADAM, share_replicas=share_replicas)
        state = here.initial()
        gradient = here.gradient(state.parameters, (1, 2)).value().array
        state = here.update(state, gradient, 0.1)
        own = np.ones(here.size, np.float32)
        shared = here.share(own)
        own[0] = 5
        assert shared.array[0] == 1
        view = own[:]
        view.setflags(write=False)
        shared = here.share(view)  # Read-only itself, but its owner can still write.
        own[0] = 6
        assert shared.array[0] == 5
        nothing = here.gradient(state.parameters, ()).value().array
        for array in (gradient, state.parameters.array, *state.optimizer.leaves, shared.array, nothing):
            assert not array.flags.writeable


def test_equal_contents_become_one_version_and_others_do_not():
    here = engine(SOFTMAX)
    first = here.initial().parameters.array.copy()
    version = here.share(first)
    assert here.share(first.copy()) is version
    flipped = first.copy()
    flipped.view(np.uint32)[17] ^= 1
    swapped = first.copy()
    swapped[[20, 30]] = first[[30, 20]]  # the same sum of bits
    negative_zero = np.where(first == 0, np.float32(-0.0), first)
    for other in (flipped, swapped, negative_zero):
        assert here.share(other) is not version
        assert here.share(other).array.tobytes() == other.tobytes()


@pytest.mark.parametrize("array", [np.zeros(651, np.float32), np.zeros(650), np.zeros((1, 650), np.float32)])
def test_only_vectors_of_float32_are_shared(array):
    with pytest.raises(ValueError, match="expected 650 float32 numbers"):
        engine(SOFTMAX).share(array)


def test_equal_replicas_are_computed_once():
    here = engine(SOFTMAX)
    state = here.initial()
    promises = [here.gradient(state.parameters, (1, 2, 3)) for _ in range(4)]
    assert len({id(promise.value()) for promise in promises}) == 1
    buffers = [promises[0].value().array.copy() for _ in range(4)]
    states = [here.update(state, buffer, 0.1) for buffer in buffers]
    assert all(one is states[0] for one in states)
    assert here.update(state, buffers[0], 0.2) is not states[0]
    buffers[1].view(np.uint32)[5] ^= 1
    assert here.update(state, buffers[1], 0.1) is not states[0]


def test_nothing_is_kept_that_nobody_holds():
    here = engine(SOFTMAX)
    state = here.initial()
    for step in range(20):
        state = here.update(state, here.gradient(state.parameters, (step,)).value().array, 0.1)
        here.evaluate(state.parameters)
    gc.collect()
    kept = here._recent.maxlen
    assert len(here._gradients) == 0
    assert len(here._updates) == 1
    assert len(here._by_fingerprint) <= kept
    assert len(here._evaluations) == 1
    assert len(here._on_device) <= kept + 4  # the latest state and the first


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_unshared_replicas_have_the_same_bits(optimizer):
    assert _trained(optimizer, share_replicas=True) == _trained(optimizer, share_replicas=False)


def _trained(optimizer, share_replicas: bool) -> list[bytes | float]:
    """Two replicas train on the mean of their two gradients; return all that came out."""
    here = engine(MLP, optimizer, share_replicas=share_replicas)
    sampler = Sampler(7, DIGITS_TRAIN_SIZE, {"node0": 12, "node1": 6})
    states, cursor, results = [here.initial()] * 2, Cursor(0, DIGITS_TRAIN_SIZE - 40), []
    for _ in range(5):
        batches = sampler.batches(cursor, ["node0", "node1"])
        promises = [
            here.gradient(state.parameters, batch.samples) for state, batch in zip(states, batches, strict=True)
        ]
        parts = [promise.value().array * batch.weight for promise, batch in zip(promises, batches, strict=True)]
        states = [here.update(state, parts[0] + parts[1], 0.1) for state in states]
        assert (states[0] is states[1]) == share_replicas
        results += [state.parameters.array.tobytes() for state in states]
        results += [leaf.tobytes() for state in states for leaf in state.optimizer.leaves]
        results += [promise.value().loss for promise in promises] + [here.evaluate(states[1].parameters).loss]
        cursor = sampler.after(cursor, ["node0", "node1"])
    return results
