"""The net under a ring: rank 0 saves the state every k updates, for the case that nobody is left who has it.

    node0  commit ═ save ═ update, commit, update ✝   ┊ back, empty: register ┊ load ═ give it to all ─► train ...
    node1  commit  waits   update, commit, update ✝   ┊ back, empty: register ┊        take it        ─► train ...

As long as one survivor has the state, the store is not asked. The save is synchronous: rank 0 computes nothing
meanwhile, and the others wait for it at their next collective. Cost of a save: the store's latency and the state's
bytes over its bandwidth. Cost of the loss of all: the restart, a load of the same length, the broadcast, and the
updates since the save. What is not here: knowing that nobody is left (`rendezvous.py`), how often to save
(`checkpointing.py`), and the store (`world/storage.py`).
"""

from __future__ import annotations

from ringsim.node import Node, Operation
from ringsim.strategies.membership import Ring
from ringsim.strategies.training import State, Training

_NAME = "ring"


def save_if_due(node: Node, training: Training, state: State, every: int | None) -> Operation[None]:
    """Save the state, as rank 0, after every so many updates; None: never. A later ring's save is not replaced."""
    if every is not None and node.rank == 0 and state.step % every == 0 and not training.is_finished(state):
        yield from node.save(_NAME, state, training.state_size_bytes(state), token=node.group.generation)


def is_wanted(node: Node, ring: Ring, every: int | None) -> bool:
    """Say whether this node is the one to load it: rank 0 of a ring of which nobody has the state."""
    return every is not None and node.rank == 0 and not any(standing.has_state for standing in ring.standings)


def last_checkpoint(node: Node, training: Training) -> Operation[State]:
    """Return what was saved last, or the state before the first update if nothing was."""
    saved: State | None = yield from node.load(_NAME)
    return training.initial() if saved is None else saved
