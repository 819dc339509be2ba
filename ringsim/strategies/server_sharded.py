"""Parameter servers that each hold a range of the parameters, all workers in step (Li et al. 2014, section 3.3).

    node0  ▓▓ gradient ▓▓ ─┬─ first half ──► server0: mean, update ─┬─► ▓▓ gradient ▓▓
    node1  ▓▓ gradient ▓▓ ─┤                                        ├─► ▓▓ gradient ▓▓
    node2  ▓▓ gradient ▓▓ ─┴─ second half ─► server1: mean, update ─┴─► ▓▓ gradient ▓▓

The M ranges are contiguous and as long as each other, but for one number. Each server has the optimizer's memory of its
own range. A worker pushes all slices at once, and goes on when it has the new ones of all servers. Cost of a step after
the slowest computation, S bytes, N workers (Jiang et al. 2020, BytePS, section 2):

    T = 2 (path latency + max(ceil(8 S / bandwidth of a worker), ceil(8 N S/M / bandwidth of a server)))

on_failure: wait. A worker that restarts asks every server: one may have completed the step in which it died and another
not, never more, since each step needs everybody. So a server keeps the range from before its last update too, and the
worker computes once more what the others wait for. A server's death is the end: its range is gone. What is not here:
servers on the workers' own machines (`server_co_located.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ringsim.collectives.vectors import join, segment_bounds
from ringsim.errors import PeerLost
from ringsim.node import Group, Node, Operation
from ringsim.scenario import ParameterServerWait, Scenario, added_machines, worker_shares
from ringsim.strategies.parameter_server import Push, machines, place_of, weighted_mean, whole_group
from ringsim.strategies.training import Deployment, Role, State, Training

_REQUEST_BYTES = 64


@dataclass(frozen=True)
class Hello:
    """A restarted worker asks where training stands."""


@dataclass(frozen=True)
class Range:
    """A server's range of the parameters after update `step`. Charged to the network: its numbers."""

    step: int
    numbers: np.ndarray


@dataclass(frozen=True)
class Standing:
    """What a restarted worker is told: the range as it is, and as it was before. Charged: both."""

    now: Range
    before: Range


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster, and each server on a machine of its own."""
    settings, group = scenario.strategy, whole_group(scenario)
    assert isinstance(settings, ParameterServerWait)
    servers, takes_time = added_machines(settings), settings.server.speed is not None
    workers = [Role(name, partial(worker, group=group, servers=servers), restarts=True) for name in group.names]
    serving = [
        Role(name, partial(server, group=group, servers=servers, averaging_takes_time=takes_time), worker=False)
        for name in servers
    ]
    return Deployment([*workers, *serving], worker_shares(scenario), machines(scenario))


def ranges(size: int, holders: Sequence[str]) -> dict[str, slice]:
    """Return which numbers of the parameters each of them holds.

    >>> ranges(5, ["server0", "server1"])
    {'server0': slice(0, 3, None), 'server1': slice(3, 5, None)}
    """
    bounds = segment_bounds(size, len(holders))
    return {name: slice(bounds[index], bounds[index + 1]) for index, name in enumerate(holders)}


def worker(node: Node, training: Training, group: Group, servers: Sequence[str]) -> Operation[State]:
    """Push slices of gradients, get ranges of the parameters."""
    state, where = training.initial(), ranges(training.engine.size, servers)
    if node.incarnation > 0:
        state = yield from _rejoined(node, training, group, servers)
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        for name, part in where.items():
            numbers = gradient.array[part]
            push = Push(place_of(state, group), len(batch.samples), numbers)
            node.send(name, push, numbers.nbytes, tag="request")
        found = []
        for name in servers:
            found.append((yield from _newer(node, name, state)))
        cursor = training.sampler.after(state.cursor, group.names)
        state = assembled(training, state, found, cursor=cursor, step=state.step + 1)
        state = evaluated(node, training, state, group)
    return state


def assembled(training: Training, state: State, found: Sequence[np.ndarray], **changes: object) -> State:
    """Return the state whose parameters are these ranges; what the optimizer remembers is with who holds them."""
    parameters = training.engine.share(join(found))
    return replace(state, model=replace(state.model, parameters=parameters), **changes)  # type: ignore[arg-type]


def evaluated(node: Node, training: Training, state: State, group: Group) -> State:
    """Evaluate what is due; the first worker tells of it."""
    is_first = node.name == group.names[0]
    return training.evaluated(node, state, group, is_first, training.is_due(state), training.is_finished(state))


def _newer(node: Node, name: str, state: State) -> Operation[np.ndarray]:
    """Wait for a range that is newer: one to what our former life pushed may still come before the one to this."""
    while True:
        message = yield from node.receive(name, tag="parameters")
        answer: Range = message.payload
        if answer.step > state.step:
            return answer.numbers


def _rejoined(node: Node, training: Training, group: Group, servers: Sequence[str]) -> Operation[State]:
    """Ask every server where training stands; return what the one that is behind the others waits for."""
    for name in servers:
        node.send(name, Hello(), _REQUEST_BYTES, tag="request")
    told: list[Standing] = []
    for name in servers:
        told.append((yield from node.receive(name, tag="standing")).payload)
    step = min(standing.now.step for standing in told)
    found = [one.now.numbers if one.now.step == step else one.before.numbers for one in told]
    cursor = training.sampler.after_steps(step, group.names)
    state = assembled(training, training.initial(), found, cursor=cursor, step=step)
    return evaluated_before(training, state) if step else state


def evaluated_before(training: Training, state: State) -> State:
    """Return the state as it was left by its evaluation: at its target, it may be."""
    return replace(state, reached_target=training.is_due(state) and training.is_at_target(state))


# --- a server ---------------------------------------------------------------------------------------------------------


def server(
    node: Node, training: Training, group: Group, servers: Sequence[str], averaging_takes_time: bool
) -> Operation[None]:
    """Collect, average, update, answer; for as long as there are workers."""
    part = ranges(training.engine.size, servers)[node.name]
    whole = training.initial()
    state = replace(whole, model=training.engine.cut(whole.model, part), part=(part.start, part.stop))
    before = state
    while True:
        pushes = yield from _collected(node, state, before, group)
        if averaging_takes_time:
            yield from node.compute(2 * len(pushes) * (part.stop - part.start))
        mean, before = weighted_mean([pushes[name] for name in group.names]), state
        state = updated(node, training, state, mean, group, reports=node.name == servers[0])
        for name in group.names:
            node.send(name, _range(state), state.model.parameters.array.nbytes, tag="parameters")


def updated(node: Node, training: Training, state: State, mean: np.ndarray, group: Group, *, reports: bool) -> State:
    """Apply the mean of everybody's gradient to a range of the parameters."""
    cursor = training.sampler.after(state.cursor, group.names)
    size = len(group.members)
    return training.applied(node, state, mean, group, cursor, reports=reports, whose=group, world_size=size)


def _collected(node: Node, state: State, before: State, group: Group) -> Operation[Mapping[str, Push]]:
    """Wait until everybody's slice of this step is there, whoever dies meanwhile."""
    pushes: dict[str, Push] = {}
    while len(pushes) < len(group.members):
        try:
            missing = [name for name in group.names if name not in pushes]
            message = yield from node.receive(tag="request", expecting=missing)
        except PeerLost:
            continue  # It may come back, and nobody goes on without it.
        request, size_bytes = message.payload, state.model.parameters.array.nbytes
        if isinstance(request, Hello):
            standing = Standing(_range(state), _range(before))
            node.send(message.source, standing, 2 * size_bytes, tag="standing")
        elif request.place == place_of(state, group):
            pushes[message.source] = request
        else:
            # It has restarted, and computed again what it had pushed here before.
            node.send(message.source, _range(state), size_bytes, tag="parameters")
    return pushes


def _range(state: State) -> Range:
    return Range(state.step, state.model.parameters.array)
