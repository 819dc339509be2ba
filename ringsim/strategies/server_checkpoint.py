"""A parameter server that comes back: it saves its state every k updates, and its next life goes on from there.

    server0   update ─ update ─ save ═ answer ─ update ✗            ┌ load ─ update ─ update ─ save ═ answer ...
    node0        ─► push ─►                         ✗ lost, waits   └► goes back to what it is told

The step is that of `parameter_server.py`. A save is durable before anybody is answered, and nobody computes meanwhile:
that is its cost, the store's latency and the state's bytes. The end is saved too, so that what a worker was told is the
end remains it. A server whose machine restarts loads the last checkpoint (or begins at step 0, if there is none), and
tells every worker where training stands: a new generation. They go back to it; the steps after it are computed again.
Cost of a death: the restart, a load, the answers, and the steps since the last checkpoint.

A worker that loses the server waits for its next life, if need be for ever. What is not here: when to save (Young 1974,
Daly 2006: `checkpointing.py`), and the store (`world/storage.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ringsim.errors import PeerLost
from ringsim.node import Group, Node, Operation
from ringsim.scenario import SERVER, Scenario
from ringsim.strategies import parameter_server
from ringsim.strategies.parameter_server import (
    Answer,
    Desk,
    Hello,
    Push,
    Rules,
    answer,
    applied,
    worker,
)
from ringsim.strategies.training import Deployment, Role, State, Training


@dataclass(frozen=True)
class _Checkpoint:
    """What is saved: the state, the generation it was reached in, and the server's life that saved it."""

    state: State
    generation: int
    life: int


def deploy(scenario: Scenario, checkpoint_every: int) -> Deployment:
    """Put a worker on every rank, and the server on a machine of its own; both begin anew when it restarts."""
    everybody = parameter_server.whole_group(scenario)
    serve = partial(
        server, everybody=everybody, rules=parameter_server.rules(scenario), checkpoint_every=checkpoint_every
    )
    workers = [Role(name, partial(worker, group=everybody, ask=ask), restarts=True) for name in everybody.names]
    serving = Role(SERVER, serve, worker=False, restarts=True)
    return parameter_server.deployment(scenario, [*workers, serving])


def ask(node: Node, request: Push | Hello, size_bytes: int) -> Operation[Answer]:
    """Ask the server; if it dies, wait until its next life says where training stands."""
    try:
        return (yield from parameter_server.ask(node, request, size_bytes))
    except PeerLost:
        pass
    while True:
        try:
            # From anybody, because the news that this life of the server is gone is told only once.
            message = yield from node.receive(tag="parameters", expecting=(SERVER,))
        except PeerLost:
            continue
        news: Answer = message.payload
        if news.place > request.place:
            return news


def server(node: Node, training: Training, everybody: Group, rules: Rules, checkpoint_every: int) -> Operation[State]:
    """Collect, average, update, now and then save, answer."""
    state, group = training.initial(), everybody
    if node.incarnation > 0:
        state, group = yield from _last_checkpoint(node, training, everybody)
        answer(node, training, state, group, everybody)
    while not training.is_finished(state):
        desk = Desk(node, training, state, group)
        update = yield from desk.completed(everybody, rules)
        begun_anew = update.next_group.generation > group.generation
        state, group = applied(node, training, state, update, reports=True), update.next_group
        # A generation is saved before anybody is in it, so that no later life can use its number again.
        if state.step % checkpoint_every == 0 or training.is_finished(state) or begun_anew:
            checkpoint = _Checkpoint(state, group.generation, node.incarnation)
            yield from node.save(SERVER, checkpoint, training.state_size_bytes(state))
        answer(node, training, state, group, everybody if training.is_finished(state) else desk.served(everybody))
    return state


def _last_checkpoint(node: Node, training: Training, everybody: Group) -> Operation[tuple[State, Group]]:
    """Return where to go on from, and everybody in a new generation: each life since then has had one of its own."""
    checkpoint: _Checkpoint = (yield from node.load(SERVER)) or _Checkpoint(training.initial(), 0, 0)
    group = Group(checkpoint.generation + node.incarnation - checkpoint.life, everybody.members)
    return training.restore(node, checkpoint.state, checkpoint.state, group), group
