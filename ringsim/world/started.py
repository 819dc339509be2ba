"""The handle of a collective that a node has started. Implements `ringsim.node.Started`.

What is not here: who plays it (`node.py`, `stage.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import simpy

from ringsim.errors import NodeError
from ringsim.node import Operation
from ringsim.plan import Plan

if TYPE_CHECKING:
    from ringsim.world.node import SimNode


@dataclass(eq=False)
class Started:
    """Collective `sequence` of the node's group, and what comes of it."""

    node: SimNode
    plan: Plan
    buffer: Any
    sequence: int
    done: simpy.Event

    def result(self) -> Operation[Any]:
        return (yield self.done)

    def fail(self, error: NodeError) -> None:
        """It comes to nothing."""
        self.done.fail(error)
        # Who started it learns of it when it asks for the result; SimPy is not to complain before.
        self.done.defused = True
