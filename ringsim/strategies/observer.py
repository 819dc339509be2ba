"""`Observer`: evaluates what no node holds alone: replicas that differ, or parts of the parameters.

    node0 ── state after update 10 ─┐
    node1 ── state after update 10 ─┼─► the whole: parts joined, or replicas' mean ──► loss, accuracy, distance
    node2 ── state after update 10 ─┘

It is nobody in the simulated world: it sees without a message, and takes no time, so no strategy can decide anything by
what it sees. Where every node holds the whole, nodes evaluate themselves (`training.py`). What is not here: the trace,
which hears of it when the run is over (`simulation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ringsim.learning.engine import Engine, Evaluation
from ringsim.learning.parameters import Version

if TYPE_CHECKING:
    from ringsim.strategies.training import State

# How the replicas of a deployment are to each other: equal after each update, or each node's own.
Replicas = Literal["equal", "own"]


@dataclass(frozen=True)
class Seen:
    """What the observer found after an update. `consensus`: of replicas that are each node's own."""

    nodes: tuple[str, ...]
    epoch: int
    evaluation: Evaluation
    consensus: float | None


class Observer:
    """Collects what nodes hold after the same update, until the run is over. workers: who has samples, by rank."""

    def __init__(self, engine: Engine, workers: Sequence[str]):
        self._engine = engine
        self._ranks = {name: rank for rank, name in enumerate(workers)}
        self._held: dict[tuple[int, int], dict[str, State]] = {}

    def keep(self, node: str, generation: int, state: State) -> None:
        """Take what a node holds after update `state.step`; the last word counts."""
        self._held.setdefault((generation, state.step), {})[node] = state

    def end(self, finished: Mapping[str, State]) -> None:
        """Hear who came to the end, and with what: what is seen last is of these, and of nobody who fell out there."""
        last = max(self._held, default=None)
        if last is not None and any(state.step == last[1] for state in finished.values()):
            self._held[last] = dict(finished)

    def _place(self, node: str) -> tuple[int, str]:
        return (self._ranks.get(node, len(self._ranks)), node)

    def found(self, replicas: Replicas) -> dict[tuple[int, int], Seen]:
        """Return what was found, by (generation, update), of those updates after which the whole was there."""
        found = {}
        for place, held in sorted(self._held.items()):
            # Whoever was first at this instant: the mean has the bits of rank order.
            states = {name: held[name] for name in sorted(held, key=self._place)}
            parameters = whole(self._engine, states, replicas)
            if parameters is not None:
                versions = [state.model.parameters for state in states.values()]
                apart = consensus(versions, parameters) if replicas == "own" else None
                epoch = next(iter(states.values())).cursor.epoch
                found[place] = Seen(tuple(states), epoch, self._engine.evaluate(parameters), apart)
        return found


def whole(engine: Engine, states: Mapping[str, State], replicas: Replicas) -> Version | None:
    """Return the parameters that some nodes hold together, or None where a part is missing.

    Of equal replicas any will do; of others it is the mean, in the order given.
    """
    if not states:
        return None
    if all(state.part is None for state in states.values()):
        versions = [state.model.parameters for state in states.values()]
        return engine.mean(versions) if replicas == "own" else versions[0]
    parts: dict[int, State] = {}
    for state in states.values():
        assert state.part is not None, "some nodes hold a part, and others all"
        if state.part[0] < state.part[1]:  # A layer such as pooling has no parameters, and so may a stage.
            parts.setdefault(state.part[0], state)
    ordered = [parts[start] for start in sorted(parts)]
    ends = [0, *(state.part[1] for state in ordered if state.part is not None)]
    if sorted(parts) != ends[:-1] or ends[-1] != engine.size:
        return None
    return engine.join([state.model for state in ordered]).parameters


def consensus(versions: Sequence[Version], mean: Version) -> float:
    """Return the consensus distance: the root of the mean square distance to the mean (Kong et al. 2021, section 3).

    >>> at = lambda *numbers: Version(np.array(numbers, np.float32))
    >>> consensus([at(0, 3), at(0, -3)], at(0, 0))
    3.0
    """
    squares = [float(np.square(version.array.astype(np.float64) - mean.array).sum()) for version in versions]
    return float(np.sqrt(sum(squares) / len(squares)))
