"""Gradients, updates and evaluations: what a strategy asks of learning, and all that runs JAX.

    samples + parameters  --gradient-->  mean gradient, loss      one jitted call a worker
    state + mean gradient --update---->  state                    one optax call
    parameters            --evaluate-->  loss, accuracy           on the whole test split

Two rules hold everywhere. A result has the same bits whoever is computed beside it: each worker's gradient is a call of
its own, never a row of a `vmap`, whose bits change with the number of rows. And what an engine hands out never changes:
arrays are read-only, states are frozen. What is not here: the sum of gradients over workers (`collectives`), who takes
which samples (`sampler.py`), and the rate of a step (`learning_rate.py`).
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from ringsim.learning import optimizers
from ringsim.learning.data import load
from ringsim.learning.models.build import build
from ringsim.learning.models.checks import refuse_misfit
from ringsim.learning.models.model import Model, Parameters
from ringsim.learning.parameters import Layout, Version, layout
from ringsim.learning.pinned import jax, jnp
from ringsim.learning.runtime import quiet_cache
from ringsim.learning.side_by_side import SideBySide, pool
from ringsim.scenario import Adam, Momentum, Sgd, Task
from ringsim.seeds import words

# Test samples that one evaluation call takes; more are taken in several calls, so memory does not grow with the split.
EVALUATION_ROWS = 1_024

# Interned gradients that are kept although nobody holds them, so that the next replica's equal buffer finds its twin.
KEPT_GRADIENTS = 8

# A gradient of so much work is handed to a thread when it is asked for. Smaller ones wait until the first of them is
# needed, and are then computed together: handing one over costs as much as computing it (0.1 ms for an mlp). Below the
# second figure a call is over before another thread has its turn. It is the model's size that decides, and no bit
# depends on it.
SIDE_BY_SIDE_FLOP = 500_000_000
TOGETHER_FLOP = 4_000_000

_NO_SAMPLE = -1  # fills up a short batch


@dataclass(frozen=True, eq=False)
class Gradient:
    """The mean gradient over some samples, float32 [size], read-only, and their mean loss."""

    array: np.ndarray
    loss: float


@dataclass(frozen=True, eq=False)
class Deferred:
    """A gradient that may still be under way."""

    wait: Callable[[], Gradient]

    def value(self) -> Gradient:
        """Return the gradient, waiting for it if need be; every call gives the same object."""
        return self.wait()


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """What an optimizer remembers between updates: its arrays, read-only, in a fixed order. SGD has none."""

    leaves: tuple[np.ndarray, ...]
    id: int = field(init=False, default_factory=itertools.count().__next__)


@dataclass(frozen=True, eq=False)
class ModelState:
    """All that training needs to go on from: what a commit keeps and a broadcast sends."""

    parameters: Version
    optimizer: OptimizerState


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and share of right answers (0 to 1) on the test split."""

    loss: float
    accuracy: float


class Engine:
    """Computes for all workers of one run.

    task: of the scenario. seed: of the scenario; it draws the first parameters, data, and dropout. rows: the most
    samples that one gradient is ever asked for; shorter batches are padded to it and masked, so that each function is
    compiled once. share_replicas: store equal arrays once, and compute once what is asked twice; without it every
    replica pays for itself, and all results have the same bits. model: a user's own, instead of the task's. hold: is
    told each answer that is asked for, and its size in bytes; what it holds is not computed again (`memo.py`).

    Raises ScenarioInvalid where the task's model does not fit its data, UsageError where the user's own does not, and
    what `data.load` raises.

    >>> from ringsim.scenario import Softmax
    >>> engine = Engine(Task(steps=1, model=Softmax(kind="softmax")), seed=7, rows=4)
    >>> state = engine.initial()
    >>> gradient = engine.gradient(state.parameters, samples=(0, 1, 2)).value()
    >>> state = engine.update(state, gradient.array, learning_rate=0.1)
    >>> engine.size, engine.size_bytes(state)
    (650, 2600)
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        rows: int,
        share_replicas: bool = True,
        model: Model | None = None,
        hold: Callable[[object, int], None] | None = None,
    ):
        if rows < 1:
            raise ValueError(f"a gradient needs at least one row, not {rows}")
        self.rows = rows
        self.share_replicas = share_replicas
        self.dataset = load(task.dataset, seed)
        if model is not None:
            refuse_misfit(model, self.dataset.shape)
        self.model = model or build(task.model, self.dataset)
        told: int | None = task.flop_per_sample
        self.flop_per_sample: int = self.model.flop_per_sample if told is None else told
        self._seed = seed
        self.noise_key = words(seed, "noise").view(np.uint32)
        self._hold = hold
        work = rows * self.model.flop_per_sample
        self._is_large = work >= SIDE_BY_SIDE_FLOP
        self._functions = _functions(
            self.model, task.optimizer, rows, self.dataset.train_x.shape, self.dataset.test_x.shape, self._is_large
        )
        compiled = self._functions.gradient
        self._small: SideBySide[Gradient] = SideBySide(lambda: work >= TOGETHER_FLOP and compiled.is_compiled)
        self.layout = self._functions.layout
        self.size = self.layout.size
        self._train = (jnp.asarray(self.dataset.train_x), jnp.asarray(self.dataset.train_y))
        self._test = (jnp.asarray(self.dataset.test_x), jnp.asarray(self.dataset.test_y))
        self._initial: ModelState | None = None
        # The same arrays as JAX has them, to pass them on without a copy.
        self._on_device: WeakKeyDictionary[Version | OptimizerState, Any] = WeakKeyDictionary()
        # What is alive and may be asked for again. Nothing here keeps a result alive but `_recent`; `hold` may.
        self._by_array: WeakValueDictionary[int, Version] = WeakValueDictionary()  # by the array's address
        self._by_fingerprint: WeakValueDictionary[int, Version] = WeakValueDictionary()
        self._recent: deque[Version] = deque(maxlen=KEPT_GRADIENTS)
        self._gradients: WeakValueDictionary[tuple[int, tuple[int, ...], int], Deferred] = WeakValueDictionary()
        self._updates: WeakValueDictionary[tuple[int, int, int, float], ModelState] = WeakValueDictionary()
        self._evaluations: WeakKeyDictionary[Version, Evaluation] = WeakKeyDictionary()

    # --- parameters ---------------------------------------------------------------------------------------------------

    def initial(self) -> ModelState:
        """Return the state that training starts from: the seed's parameters, the optimizer's zeros."""
        if self._initial is None or not self.share_replicas:
            self._initial = self._draw_initial()
        return self._initial

    def _draw_initial(self) -> ModelState:
        key = words(self._seed, "parameters").view(np.uint32)
        flat = self._functions.initial(key)
        return self._state(flat, self._functions.memory(flat))

    def share(self, array: np.ndarray) -> Version:
        """Return the version whose bits are those of `array`, a float32 vector: a living one, or else a new one.

        Contents are compared, bit by bit; equality is found, never assumed. An array that can still be written to is
        copied, so what the caller does to it later changes nothing here. Raises ValueError for another shape or type,
        or for more than `size` numbers; fewer are a part of the parameters.
        """
        if array.dtype != np.float32 or array.ndim != 1 or len(array) > self.size:
            raise ValueError(f"expected {self.size} float32 numbers, not {array.dtype} {list(array.shape)}")
        if not self.share_replicas:
            return Version(_read_only(array))
        known = self._by_array.get(id(array))
        if known is not None and known.array is array:
            return known  # The same object: all ranks end a collective in closed form with one.
        bits = np.ascontiguousarray(array).view(np.uint32)
        # Any two equal arrays have equal sums. Two others with one sum merely push each other out of the table.
        fingerprint = int(np.add.reduce(bits, dtype=np.uint32))
        found = self._by_fingerprint.get(fingerprint)
        if found is None or not np.array_equal(found.array.view(np.uint32), bits):
            found = Version(_read_only(array))
            self._by_fingerprint[fingerprint] = found
            self._by_array[id(found.array)] = found
        return found

    def size_bytes(self, state: ModelState) -> int:
        """Return how many bytes it takes to send `state`: parameters and what the optimizer remembers."""
        return state.parameters.array.nbytes + sum(leaf.nbytes for leaf in state.optimizer.leaves)

    # --- parts and means ----------------------------------------------------------------------------------------------

    def cut(self, state: ModelState, part: slice) -> ModelState:
        """Return the state of a part of the parameters: what the optimizer remembers of each number is cut as well.

        Optimizers work element by element, so a part is updated as it would be in the whole.
        """
        size = len(state.parameters.array)
        leaves = (leaf[part] if leaf.shape == (size,) else leaf for leaf in state.optimizer.leaves)
        return ModelState(self.share(state.parameters.array[part]), OptimizerState(tuple(map(_read_only, leaves))))

    def join(self, parts: Sequence[ModelState]) -> ModelState:
        """Return the state whose parts these are, in order. What belongs to no number, such as a count, is the first's.

        >>> from ringsim.scenario import Adam, Softmax
        >>> engine = Engine(Task(steps=1, model=Softmax(kind="softmax"), optimizer=Adam(kind="adam")), seed=7, rows=4)
        >>> whole = engine.initial()
        >>> again = engine.join([engine.cut(whole, slice(0, 300)), engine.cut(whole, slice(300, None))])
        >>> bool((again.parameters.array == whole.parameters.array).all()), [x.shape for x in again.optimizer.leaves]
        (True, [(), (650,), (650,)])
        """
        sizes = [part.parameters.array.shape for part in parts]
        pieces = zip(*(part.optimizer.leaves for part in parts), strict=True)
        leaves = (np.concatenate(piece) if [leaf.shape for leaf in piece] == sizes else piece[0] for piece in pieces)
        parameters = self.share(np.concatenate([part.parameters.array for part in parts]))
        return ModelState(parameters, OptimizerState(tuple(map(_read_only, leaves))))

    def mean(self, versions: Sequence[Version]) -> Version:
        """Return the mean of some parameters, added up in the order given."""
        total = versions[0].array
        for version in versions[1:]:
            total = total + version.array
        return self.share(total * np.float32(1 / len(versions)) if len(versions) > 1 else total)

    # --- gradients ----------------------------------------------------------------------------------------------------

    def gradient(self, parameters: Version, samples: Sequence[int], epoch: int = 0) -> Deferred:
        """Start computing the mean gradient over training samples, named by index, and return it as a promise.

        What a model with dropout draws for a sample belongs to (seed, epoch, sample, layer): whoever computes it, and
        however often, draws the same. No samples give zeros and a loss of 0.0. Ask for all workers first and take the
        values later: those of a large model are computed side by side. Raises ValueError for more samples than `rows`,
        IndexError for one that does not exist. One whose value nobody takes may never be computed.
        """
        asked = (parameters.id, tuple(samples), epoch if self.model.draws else 0)
        if not self.share_replicas:
            return self._start(parameters, *asked[1:])
        promise = self._gradients.get(asked)
        if promise is None:
            promise = self._gradients[asked] = self._start(parameters, *asked[1:])
        if self._hold is not None:
            self._hold(promise, 4 * self.size)
        return promise

    def _start(self, parameters: Version, samples: tuple[int, ...], epoch: int) -> Deferred:
        if not samples:
            nothing = Gradient(_read_only(np.zeros(self.size, np.float32)), 0.0)
            return Deferred(lambda: nothing)
        if len(samples) > self.rows:
            raise ValueError(f"{len(samples)} samples do not fit in {self.rows} rows")
        if min(samples) < 0 or max(samples) >= len(self.dataset.train_y):
            raise IndexError(f"a sample outside 0 to {len(self.dataset.train_y) - 1}")
        rows = np.array(samples + (_NO_SAMPLE,) * (self.rows - len(samples)), np.int32)
        noise = (self.noise_key, np.int32(epoch))
        gradient = self._functions.gradient
        compute = functools.partial(_gradient, gradient, self.device(parameters), *self._train, rows, *noise)
        if self._is_large and gradient.is_compiled:
            return Deferred(pool().submit(compute).result)
        return Deferred(self._small.ask(compute))

    # --- updates and evaluations --------------------------------------------------------------------------------------

    def update(self, state: ModelState, mean_gradient: np.ndarray, learning_rate: float) -> ModelState:
        """Return the state after one step of the optimizer along `mean_gradient`, float32 [size], or that of a part.

        Replicas that come with the same state, rate, and equal gradients get one and the same result.
        """
        gradient = self.share(mean_gradient)
        rate = np.float32(learning_rate)
        if not self.share_replicas:
            return self._step(state, gradient, rate)
        if gradient not in self._recent:
            self._recent.append(gradient)
        asked = (state.parameters.id, state.optimizer.id, gradient.id, float(rate))
        result = self._updates.get(asked)
        if result is None:
            result = self._updates[asked] = self._step(state, gradient, rate)
        if self._hold is not None:
            self._hold(gradient, 4 * self.size)
            self._hold(result, self.size_bytes(result))
        return result

    def _step(self, state: ModelState, gradient: Version, rate: np.float32) -> ModelState:
        device = self.device
        memory = self._on_device.get(state.optimizer, state.optimizer.leaves)
        return self._state(*self._functions.update(device(state.parameters), memory, device(gradient), rate))

    def evaluate(self, parameters: Version) -> Evaluation:
        """Return loss and accuracy on the whole test split; computed once for a version."""
        known = self._evaluations.get(parameters) if self.share_replicas else None
        if known is not None:
            return known
        count = len(self.dataset.test_y)
        loss, right = 0.0, 0
        for start in range(0, count, EVALUATION_ROWS):
            sums = self._functions.evaluate(self.device(parameters), *self._test, np.int32(start))
            loss, right = loss + float(sums[0]), right + int(sums[1])
        result = Evaluation(loss / count, right / count)
        if self.share_replicas:
            self._evaluations[parameters] = result
        return result

    def compilations(self) -> dict[str, int]:
        """Return how often each function was compiled in this process, for all engines of this shape together."""
        functions = self._functions
        return {
            "initial": functions.initial.compilations(),
            "memory": functions.memory.compilations(),
            "gradient": functions.gradient.compilations(),
            "update": functions.update.compilations(),
            "evaluate": functions.evaluate.compilations(),
        }

    # --- between NumPy and JAX ----------------------------------------------------------------------------------------

    def device(self, version: Version) -> jax.Array:
        """Return the array of `version` as JAX holds it, passed to it at most once."""
        held = self._on_device.get(version)
        if held is None:
            held = self._on_device[version] = jnp.asarray(version.array)
        return held

    def _state(self, flat: jax.Array, memory: tuple[jax.Array, ...]) -> ModelState:
        """Return a new state whose NumPy arrays are views of what JAX computed."""
        parameters = Version(np.asarray(flat))
        optimizer = OptimizerState(tuple(np.asarray(leaf) for leaf in memory))
        self._on_device[parameters] = flat
        self._on_device[optimizer] = memory
        return ModelState(parameters, optimizer)


def _read_only(array: np.ndarray) -> np.ndarray:
    if _is_frozen(array) and array.flags.c_contiguous:
        return array
    array = array.copy()
    array.setflags(write=False)
    return array


def _is_frozen(array: np.ndarray) -> bool:
    """Return whether nobody can write to `array`, not even through the array that it is a view of."""
    return not array.flags.writeable and (not isinstance(array.base, np.ndarray) or _is_frozen(array.base))


def _gradient(compute: Callable[..., tuple[jax.Array, jax.Array]], *arguments: Any) -> Gradient:
    loss, array = compute(*arguments)
    # By way of NumPy, which looks at the memory of both: JAX's own way to a Python float takes half as long as an mlp.
    return Gradient(np.asarray(array), float(np.asarray(loss)))


# --- the jitted functions ---------------------------------------------------------------------------------------------


class Jitted:
    """A jitted function that says whether it is compiled, and compiles without a word about the cache on disk."""

    def __init__(self, function: Callable[..., Any]):
        self._function: Any = jax.jit(function)
        self.is_compiled = False

    def __call__(self, *arguments: Any) -> Any:
        if self.is_compiled:
            return self._function(*arguments)
        with quiet_cache():
            result = self._function(*arguments)
        self.is_compiled = True
        return result

    def compilations(self) -> int:
        return int(self._function._cache_size())


@dataclass(frozen=True, eq=False)
class _Functions:
    """The five functions of a model, each compiled once: their shapes are fixed by what `_functions` was asked."""

    layout: Layout
    initial: Jitted  # key words [2] -> flat
    memory: Jitted  # flat -> memory, the optimizer's arrays
    gradient: Jitted  # flat, train_x, train_y, rows [rows], key words [2], epoch -> mean loss, flat mean gradient
    update: Jitted  # flat, memory, flat gradient, rate -> flat, memory
    evaluate: Jitted  # flat, test_x, test_y, start -> sum of losses, number of right answers


@functools.lru_cache(maxsize=32)
def _functions(
    model: Model,
    settings: Sgd | Momentum | Adam,
    rows: int,
    train_shape: tuple[int, ...],
    test_shape: tuple[int, ...],
    is_large: bool,
) -> _Functions:
    """Return the functions for a model, an optimizer and a shape of the data: all runs of a process share them.

    `rows` and `train_shape` are only told apart here: jit would compile again for them, and `compilations` would lie.
    """
    del rows, train_shape
    optimizer = optimizers.optimizer(settings)
    where = layout(model)
    structure = jax.tree.structure(jax.eval_shape(lambda: optimizer.init(jnp.zeros(where.size, jnp.float32))))

    def initial(key_words: jax.Array) -> jax.Array:
        return where.flatten(model.init(_key(key_words)))

    def memory(flat: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jax.tree.leaves(optimizer.init(flat)))

    def mean_loss(
        parameters: list[Parameters],
        x: jax.Array,
        y: jax.Array,
        rows: jax.Array,
        key_words: jax.Array,
        epoch: jax.Array,
    ) -> jax.Array:
        keys = noise_keys(key_words, epoch, rows) if model.draws else None
        x, y, is_sample = _take(x, y, rows)
        losses = model.loss(model.apply(parameters, x, keys), y)
        return jnp.sum(jnp.where(is_sample, losses, 0)) / jnp.sum(is_sample)

    def mean_loss_of_flat(flat: jax.Array, *batch: jax.Array) -> jax.Array:
        return mean_loss(where.unflatten(flat), *batch)

    def gradient(flat: jax.Array, *batch: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The slices of `unflatten` have as their gradients vectors of full size, mostly zeros, which are added up. For
        # a small model that costs more than all else; a large one's are put together faster by XLA so.
        if is_large:
            loss, flat_gradient = jax.value_and_grad(mean_loss_of_flat)(flat, *batch)
            return loss, flat_gradient
        loss, parts = jax.value_and_grad(mean_loss)(where.unflatten(flat), *batch)
        return loss, where.flatten(parts)

    def update(
        flat: jax.Array, memory: tuple[jax.Array, ...], gradient: jax.Array, rate: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        flat, state = optimizer.update(flat, jax.tree.unflatten(structure, memory), gradient, rate)
        return flat, tuple(jax.tree.leaves(state))

    def evaluate(flat: jax.Array, x: jax.Array, y: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = start + jnp.arange(min(EVALUATION_ROWS, test_shape[0]), dtype=jnp.int32)
        x, y, is_sample = _take(x, y, jnp.where(rows < test_shape[0], rows, _NO_SAMPLE))
        outputs = model.apply(where.unflatten(flat), x)
        losses, right = model.loss(outputs, y), model.accuracy(outputs, y)
        return jnp.sum(jnp.where(is_sample, losses, 0)), jnp.sum(jnp.where(is_sample, right, 0))

    return _Functions(where, Jitted(initial), Jitted(memory), Jitted(gradient), Jitted(update), Jitted(evaluate))


def _key(key_words: jax.Array) -> jax.Array:
    key: jax.Array = jax.random.wrap_key_data(key_words, impl="threefry2x32")
    return key


def noise_keys(key_words: jax.Array, epoch: jax.Array, rows: jax.Array) -> jax.Array:
    """Return a key for each row, which belongs to the seed, the epoch and the sample; layers draw from it."""
    of_epoch = jax.random.fold_in(_key(key_words), epoch)
    keys: jax.Array = jax.vmap(jax.random.fold_in, (None, 0))(of_epoch, rows)
    return keys


def _take(x: jax.Array, y: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the samples of `rows`, their labels, and which rows are samples; the others repeat sample 0."""
    taken = jnp.maximum(rows, 0)
    # "clip" spares the check for indices outside the data, which are refused before they come here.
    return jnp.take(x, taken, axis=0, mode="clip"), jnp.take(y, taken, axis=0, mode="clip"), rows != _NO_SAMPLE
