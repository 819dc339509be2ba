"""A parameter server, all workers in step (BSP, tau = 0; Li et al. 2014, Smola 2010).

    node0  ▓▓ gradient ▓▓ ─ push ─┐                    ┌─ new parameters ─► ▓▓ gradient ▓▓
    node1  ▓▓ gradient ▓▓ ─ push ─┼─► server: weighted ┼─ new parameters ─► ▓▓ gradient ▓▓
    node2  ▓▓ gradient ▓▓ ─ push ─┘   mean, update     └─ new parameters ─► ▓▓ gradient ▓▓

All workers start from the same parameters, so nobody pulls at first; later the server's answer is the pull. Cost of a
step after the slowest computation, S bytes, one server whose link is the bottleneck (incast in, then the same out):

    T = 2 (path latency + ceil(8 N S / bandwidth of the server))

    on_failure: wait       the server waits for every worker, if need be for ever: the seed paper's objection
    on_failure: timeout    a worker that is lost, or late by the timeout, is dropped; the mean is over those alive

Adding up takes no time, as in the ring, unless the scenario gives the server a speed: then a multiplication and an
addition for each number pushed.

A worker that restarts asks for the parameters and takes part again: at once where it is still waited for, else from the
next step on. The server holds the only copy of the parameters: its death is the end. What is not here: staleness,
several servers, replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.node import Group, Member, Message, Node, Operation
from ringsim.scenario import (
    SERVER,
    Host,
    ParameterServerTimeout,
    ParameterServerWait,
    Scenario,
    worker_names,
    worker_shares,
)
from ringsim.strategies.training import Deployment, Role, State, Training

_REQUEST_BYTES = 64


@dataclass(frozen=True)
class _Push:
    step: int
    samples: int
    gradient: np.ndarray


@dataclass(frozen=True)
class _Hello:
    """A restarted worker asks where training stands."""


@dataclass(frozen=True)
class _Answer:
    """The parameters, and who takes part in the next step. Charged to the network: the parameters."""

    state: State
    group: Group


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster, and the server on a machine of its own."""
    settings = scenario.strategy
    assert isinstance(settings, (ParameterServerWait, ParameterServerTimeout))
    names = worker_names(scenario)
    group = Group(0, tuple(Member(name, 0) for name in names))
    timeout_ns = settings.timeout if isinstance(settings, ParameterServerTimeout) else None
    workers = [Role(name, partial(worker, group=group), restarts=True) for name in names]
    averages = settings.server.speed is not None
    serve = partial(server, everybody=group, timeout_ns=timeout_ns, averaging_takes_time=averages)
    serving = Role(SERVER, serve, worker=False)
    # Copied, not constructed: the settings are in base units already, not in words.
    machine = Host(name=SERVER).model_copy(update=dict(settings.server))
    return Deployment([*workers, serving], worker_shares(scenario), (machine,))


def worker(node: Node, training: Training, group: Group) -> Operation[State]:
    """Push gradients, get parameters."""
    state = training.initial()
    if node.incarnation > 0:
        node.send(SERVER, _Hello(), _REQUEST_BYTES, tag="request")
        state, group = yield from _answer(node)
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        push = _Push(state.step, len(batch.samples), gradient.array)
        node.send(SERVER, push, training.gradient_size_bytes, tag="request")
        while state.step <= push.step:
            # An answer to what our former life pushed may still come before the one to this push.
            state, group = yield from _answer(node)
    return state


def _answer(node: Node) -> Operation[tuple[State, Group]]:
    message = yield from node.receive(SERVER, tag="parameters")
    return message.payload.state, message.payload.group


def server(
    node: Node, training: Training, everybody: Group, timeout_ns: int | None, averaging_takes_time: bool
) -> Operation[State]:
    """Collect, average, update, answer. With no timeout, wait for everybody."""
    state, group = training.initial(), everybody
    while not training.is_finished(state):
        desk = _Desk(node, training, state, group)
        yield from desk.collect(timeout_ns)
        pushes = desk.in_rank_order()
        if pushes:
            if averaging_takes_time:
                yield from node.compute(2 * len(pushes) * training.engine.size)
            contributors = desk.give_up_missing()
            mean = weighted_mean(pushes)
            state = training.update(node, state, mean, group, reports=True, contributors=contributors)
        # A step that is begun anew, because nobody of its group is left, is told apart by its generation. Members stand
        # in the order of the scenario, so that the sums do too.
        generation = group.generation if pushes else group.generation + 1
        present = desk.pushes.keys() | desk.newcomers.keys()
        group = Group(generation, tuple(member for member in everybody.members if member.name in present))
        for name in (everybody if training.is_finished(state) else group).names:
            node.send(name, _Answer(state, group), training.gradient_size_bytes, tag="parameters")
    return state


def weighted_mean(pushes: Sequence[_Push]) -> np.ndarray:
    """Return the mean gradient, each weighed by its samples, added up in the order given."""
    total = max(1, sum(push.samples for push in pushes))
    mean: np.ndarray = np.float32(pushes[0].samples / total) * pushes[0].gradient
    for push in pushes[1:]:
        mean = mean + np.float32(push.samples / total) * push.gradient
    return mean


class _Desk:
    """One step's pushes, who is not waited for any more, and who wants to take part from the next step on."""

    def __init__(self, node: Node, training: Training, state: State, group: Group):
        self.pushes: dict[str, _Push] = {}
        self.newcomers: dict[str, None] = {}
        self._lost: dict[str, None] = {}
        self._node = node
        self._training = training
        self._state = state
        self._group = group  # who the step's samples were cut among

    def collect(self, timeout_ns: int | None) -> Operation[None]:
        """Wait for the pushes; with a timeout, not for those who are lost, or late by so much after the latest one.

        Ends without any push if everybody is lost and only newcomers are left.
        """
        while self._missing() or not (self.pushes or self.newcomers):
            # Before the first push nobody is late: they all compute.
            patience_ns = timeout_ns if self.pushes else None
            try:
                message = yield from self._node.receive(
                    tag="request", timeout_ns=patience_ns, expecting=self._missing() or self._group.names
                )
            except PeerLost as lost:
                if timeout_ns is not None:
                    self._lost[lost.peer] = None
                    self.newcomers.pop(lost.peer, None)
            except ReceiveTimeout:
                self._lost.update(dict.fromkeys(self._missing()))
            else:
                self._take(message)

    def in_rank_order(self) -> list[_Push]:
        """Return the pushes in rank order, whatever the order in which they came."""
        return [self.pushes[name] for name in self._group.names if name in self.pushes]

    def give_up_missing(self) -> Group:
        """Write down whose samples are lost with this step; return those whose are not."""
        for name in self._group.names:
            if name not in self.pushes:
                self._training.drop(self._node, self._state, name, self._group)
        return Group(
            self._group.generation, tuple(member for member in self._group.members if member.name in self.pushes)
        )

    def _missing(self) -> list[str]:
        return [name for name in self._group.names if name not in self.pushes and name not in self._lost]

    def _take(self, message: Message) -> None:
        name, request = message.source, message.payload
        if name not in self._group.names:
            self.newcomers[name] = None  # given up in an earlier step: restarted since, or only late
        elif isinstance(request, _Push) and request.step == self._state.step:
            self.pushes[name] = request
        else:
            # It has restarted within the step: it computes the very samples that were its own.
            self._lost.pop(name, None)
            answer = _Answer(self._state, self._group)
            self._node.send(name, answer, self._training.gradient_size_bytes, tag="parameters")
