"""ringsim: a deterministic laboratory for distributed training.

>>> import ringsim
>>> result = ringsim.simulate(ringsim.load("1node", overrides=["task.epochs=1"]).scenario)
>>> result.steps
12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringsim.result import Outcome, Result
    from ringsim.scenario import Scenario
    from ringsim.scenario_file import Loaded, parse
    from ringsim.simulation import simulate
    from ringsim.strategies.training import State, Training

__version__ = "0.1.0"
__all__ = ["Loaded", "Outcome", "Result", "Scenario", "State", "Training", "load", "parse", "simulate"]

_HOME = {
    "Loaded": "ringsim.scenario_file",
    "Outcome": "ringsim.result",
    "Result": "ringsim.result",
    "Scenario": "ringsim.scenario",
    "State": "ringsim.strategies.training",
    "Training": "ringsim.strategies.training",
    "parse": "ringsim.scenario_file",
    "simulate": "ringsim.simulation",
}


def load(name: str, overrides: tuple[str, ...] | list[str] = (), seed: int | None = None) -> Loaded:
    """Read a scenario file, or a shipped scenario by its name; `overrides` are as in `--set`.

    Raises ScenarioInvalid with every mistake, UsageError if there is no such file.
    """
    from ringsim import scenario_file, shipped

    return scenario_file.load(shipped.find(name), overrides=overrides, seed=seed)


def __getattr__(name: str) -> Any:
    # Lazily, because `ringsim --help` must not wait for jax.
    if name not in _HOME:
        raise AttributeError(f"module 'ringsim' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
