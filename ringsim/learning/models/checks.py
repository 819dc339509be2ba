"""Whether a user's own model does what `Layer` and `Model` say: the shapes and types of all that its functions return.

Only shapes are computed (`jax.eval_shape`), no numbers: it costs a large model no more than a small one. What is not
here: whether a layer treats each row by itself, which no shape tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringsim.errors import UsageError
from ringsim.learning.data import Shape
from ringsim.learning.models.model import Layer, Model, Parameters
from ringsim.learning.pinned import jax, jnp

ROWS = 3  # A number that no batch is likely to have, so that a function made for one batch size is found out.


def refuse_misfit(model: Model, shape: Shape) -> None:
    """Raise UsageError at the first function of `model` that does not fit the data, the next layer, or its own word.

    >>> from ringsim.learning.models.layers import dense
    >>> refuse_misfit(Model((dense("hidden", 64, 8), dense("logits", 8, 10))), Shape(64, 10, None))
    >>> refuse_misfit(Model((dense("logits", 64, 10),), loss=lambda outputs, labels: outputs), Shape(64, 10, None))
    Traceback (most recent call last):
    ...
    ringsim.errors.UsageError: the model's loss must return float32 [rows], one for each sample; \
for 3 rows it returns float32 [3, 10]
    """
    outputs = _rows_of((shape.features,), "float32")
    for layer in model.layers:
        parameters, inputs = _drawn(layer), outputs
        outputs = _outputs(f"apply of layer {layer.name}", layer, layer.apply, parameters, inputs)
        if layer.train is not None:
            keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), ROWS))
            _outputs(f"train of layer {layer.name}", layer, layer.train, parameters, inputs, keys)
    labels = _rows_of((), "int32")
    for name, function, dtype in (("loss", model.loss, "float32"), ("accuracy", model.accuracy, "bool")):
        found = _returned(f"the model's {name} fails on {_described(outputs)}", function, outputs, labels)
        _expect(f"the model's {name}", found, (), dtype, "one for each sample")


def _outputs(what: str, layer: Layer, function: Callable[..., Any], parameters: Parameters, *inputs: Any) -> Any:
    """Return the shape of a layer's outputs, which must be what the layer says."""
    outputs = _returned(f"{what} fails on {_described(inputs[0])}", function, parameters, *inputs)
    _expect(what, outputs, layer.output_shape, "float32", "its output_shape")
    return outputs


def _rows_of(shape: tuple[int, ...], dtype: str) -> Any:
    return jax.eval_shape(lambda: jnp.zeros((ROWS, *shape), dtype))


def _drawn(layer: Layer) -> Parameters:
    """Return the shapes of a layer's parameters."""
    types: list[object] = []

    def init(key: jax.Array) -> Parameters:
        parameters = layer.init(key)
        # Noted here, because `eval_shape` gives float32 for NumPy's float64.
        types.extend(getattr(leaf, "dtype", type(leaf).__name__) for leaf in jax.tree.leaves(parameters))
        return parameters

    key = jax.eval_shape(lambda: jax.random.key(0))
    parameters = _returned(f"init of layer {layer.name} fails", init, key)
    for found in types:
        if found != jnp.float32:
            raise UsageError(f"the parameters of layer {layer.name} must be float32 arrays, not {found}")
    return parameters


def _returned(failure: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the shapes that `function` gives for shapes."""
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:  # It is the user's code: it may raise anything, and what it raised stands below.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{failure}: {reason}") from error


def _expect(what: str, found: Any, shape: tuple[int, ...], dtype: str, why: str) -> None:
    if _described(found) != _described(_rows_of(shape, dtype)):
        right = ", ".join(map(str, ("rows", *shape)))
        raise UsageError(f"{what} must return {dtype} [{right}], {why}; for {ROWS} rows it returns {_described(found)}")


def _described(found: Any) -> str:
    if isinstance(found, jax.ShapeDtypeStruct):
        return f"{found.dtype} {list(found.shape)}"
    return f"a {type(found).__name__}"
