"""Replicated parameter servers in a chain: no single death loses anything (van Renesse and Schneider, OSDI 2004).

    workers ─ pushes ─► server0 ── mean gradient ──► server1 ── mean gradient ──► server2
            ◄─ answers ─  head  ◄─ acknowledgement ──         ◄─ acknowledgement ── tail

Li et al. (OSDI 2014) call it replication after aggregation: one gradient goes down the chain for each step. With
`replicate: pushes` it is one for each worker, N S bytes instead of S, and numbers are the same. The head collects and
averages as in `parameter_server.py`. Every server passes the mean on, and applies it when it is acknowledged; the tail
applies it at once: there the step is decided. What one server has applied, all those before it still hold, so whoever
is left finishes the very same step. Only then are the workers answered. Cost of a step with k servers, beside that of
one:

    (k - 1) (2 path latencies + ceil(8 S / bandwidth) + ceil(8 * 64 B / bandwidth))    N S for S with `pushes`

    the head dies       the next one alive is the head; a worker sends its push again, until it is answered
    another one dies    the one before it passes on to the next, beginning with what was not acknowledged

Both are harmless if they come twice: a push or a mean of an older step is answered with the newest. A server that
restarts holds nothing and does not come back. What is not here: finding out who is silent.
"""

from __future__ import annotations

from functools import partial

from ringsim.errors import PeerLost
from ringsim.node import Group, Node, Operation
from ringsim.scenario import Scenario, added_machines
from ringsim.strategies import parameter_server
from ringsim.strategies.parameter_server import (
    Answer,
    Desk,
    Hello,
    Push,
    Rules,
    Update,
    answer,
    applied,
    newer_answer,
    place_of,
)
from ringsim.strategies.training import Deployment, Role, State, Training

_ACKNOWLEDGEMENT_BYTES = 64


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank, and each server on a machine of its own."""
    everybody, chain = parameter_server.whole_group(scenario), added_machines(scenario.strategy)
    rules = parameter_server.rules(scenario)
    workers = [Role(name, partial(worker, group=everybody, chain=chain), restarts=True) for name in everybody.names]
    servers = [
        Role(name, partial(server, everybody=everybody, rules=rules, chain=chain), worker=False) for name in chain
    ]
    return parameter_server.deployment(scenario, [*workers, *servers])


# --- the worker -------------------------------------------------------------------------------------------------------


def worker(node: Node, training: Training, group: Group, chain: tuple[str, ...]) -> Operation[State]:
    """Push gradients, get parameters; who the head is, is found out as they die."""
    return (yield from parameter_server.worker(node, training, group, partial(_ask, alive=list(chain))))


def _ask(node: Node, request: Push | Hello, size_bytes: int, alive: list[str]) -> Operation[Answer]:
    """Ask the head; if it dies, ask the next one the same. `alive`: those not known to be dead, the head first."""
    while True:
        node.send(alive[0], request, size_bytes, tag="request")
        try:
            return (yield from newer_answer(node, alive[0], request))
        except PeerLost:
            if len(alive) == 1:
                raise
            del alive[0]


# --- the servers ------------------------------------------------------------------------------------------------------


def server(node: Node, training: Training, everybody: Group, rules: Rules, chain: tuple[str, ...]) -> Operation[State]:
    """Follow those before us in the chain while there are any, then lead."""
    place = chain.index(node.name)
    before, after = dict.fromkeys(chain[:place]), dict.fromkeys(chain[place + 1 :])
    state, group = training.initial(), everybody
    state, group = yield from _follow(node, training, state, group, rules, before, after)
    if training.is_finished(state):
        answer(node, training, state, group, everybody)
    while not training.is_finished(state):
        desk = Desk(node, training, state, group)
        update = yield from desk.completed(everybody, rules)
        for name in desk.broken:
            after.pop(name, None)
        state, group = yield from _replicated(node, training, state, rules, update, after)
        answer(node, training, state, group, everybody if training.is_finished(state) else desk.served(everybody))
    return state


def _follow(
    node: Node,
    training: Training,
    state: State,
    group: Group,
    rules: Rules,
    before: dict[str, None],
    after: dict[str, None],
) -> Operation[tuple[State, Group]]:
    """Apply what comes down the chain until nobody is left before us.

    Pushes that come early stay unread until we lead.
    """
    while before:
        try:
            message = yield from node.receive(tag="update", expecting=list(before)[-1:])
        except PeerLost as lost:
            before.pop(lost.peer, None)
            after.pop(lost.peer, None)
            continue
        update: Update = message.payload
        assert update.place <= place_of(state, group), f"{node.name} has missed an update"
        if place_of(state, group) == update.place:
            state, group = yield from _replicated(node, training, state, rules, update, after)
        node.send(message.source, None, _ACKNOWLEDGEMENT_BYTES, tag=_acknowledgement(update))
    return state, group


def _replicated(
    node: Node, training: Training, state: State, rules: Rules, update: Update, after: dict[str, None]
) -> Operation[tuple[State, Group]]:
    """Pass an update on to the first alive of those after us, and apply it once it is acknowledged."""
    gradients = 1 if rules.replicates == "means" else len(update.contributors.members)
    while after:
        successor = next(iter(after))
        node.send(successor, update, gradients * training.gradient_size_bytes, tag="update")
        try:
            yield from node.receive(successor, tag=_acknowledgement(update))
            break
        except PeerLost:
            del after[successor]
    # The tail is where a step is decided, so it tells the trace of it: whoever dies later, it is told.
    return applied(node, training, state, update, reports=not after), update.next_group


def _acknowledgement(update: Update) -> str:
    return f"acknowledgement of {update.place}"
