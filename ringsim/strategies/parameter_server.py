"""A parameter server, all workers in step (BSP, tau = 0; Li et al. 2014, Smola 2010).

    node0  ▓▓ gradient ▓▓ ─ push ─┐                    ┌─ new parameters ─► ▓▓ gradient ▓▓
    node1  ▓▓ gradient ▓▓ ─ push ─┼─► server: weighted ┼─ new parameters ─► ▓▓ gradient ▓▓
    node2  ▓▓ gradient ▓▓ ─ push ─┘   mean, update     └─ new parameters ─► ▓▓ gradient ▓▓

All workers start from the same parameters, so nobody pulls at first; later the server's answer is the pull. Cost of a
step after the slowest computation, S bytes, one server whose link is the bottleneck (incast in, then the same out):

    T = 2 (path latency + ceil(8 N S / bandwidth of the server))

    on_failure: wait       the server waits for every worker, if need be for ever: the seed paper's objection
    on_failure: timeout    a worker that is lost, or late by the timeout, is dropped; the mean is over those alive
    on_failure: backup     the first N - b pushes of each step are enough (Chen et al. 2016); the others are thrown away

Adding up takes no time, as in the ring, unless the scenario gives the server a speed: then a multiplication and an
addition for each number pushed.

A worker that restarts asks for the parameters and takes part again: at once where it is still waited for, else from the
next step on. The server holds the only copy of the parameters: its death is the end. What is not here: a server that
comes back (`server_checkpoint.py`), one that is replicated (`server_chain.py`), staleness, several servers.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.node import Group, Member, Message, Node, Operation
from ringsim.scenario import (
    SERVER,
    Host,
    ParameterServerBackup,
    ParameterServerTimeout,
    ParameterServerWait,
    Scenario,
    added_machines,
    worker_names,
    worker_shares,
)
from ringsim.strategies.training import Deployment, Role, State, Training

_REQUEST_BYTES = 64

# How far training has come: the generation, and the step in it. A later one is greater.
Place = tuple[int, int]


@dataclass(frozen=True)
class Push:
    """A worker's gradient at the parameters of `place`. Charged to the network: the gradient."""

    place: Place
    samples: int
    gradient: np.ndarray


@dataclass(frozen=True)
class Hello:
    """A restarted worker asks where training stands: whatever it hears is news to it."""

    place: Place = (-1, -1)


@dataclass(frozen=True)
class Answer:
    """The parameters, and who takes part in the next step. Charged to the network: the parameters."""

    state: State
    group: Group

    @property
    def place(self) -> Place:
        return place_of(self.state, self.group)


# Send the server so many bytes, and wait for an answer that is news to whoever asks.
Ask = Callable[[Node, Push | Hello, int], Operation[Answer]]


@dataclass(frozen=True)
class Rules:
    """When a step is complete: all pushes but `backups` are in; with a timeout, those of who is alive and in time."""

    timeout_ns: int | None
    backups: int
    averaging_takes_time: bool
    replicates: Literal["means", "pushes"] = "means"


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster, and the server on a machine of its own."""
    everybody = whole_group(scenario)
    workers = [Role(name, partial(worker, group=everybody, ask=ask), restarts=True) for name in everybody.names]
    serving = Role(SERVER, partial(server, everybody=everybody, rules=rules(scenario)), worker=False)
    return deployment(scenario, [*workers, serving])


def deployment(scenario: Scenario, roles: Sequence[Role]) -> Deployment:
    """Add the servers' machines. A step has all workers while nobody is missing, but for the backups."""
    shares = worker_shares(scenario)
    full_size = max(1, len(shares) - rules(scenario).backups)
    return Deployment(roles, shares, machines(scenario), full_size)


def whole_group(scenario: Scenario) -> Group:
    """Return all workers, in their first lives."""
    return Group(0, tuple(Member(name, 0) for name in worker_names(scenario)))


def rules(scenario: Scenario) -> Rules:
    """Return when a step of this scenario is complete."""
    settings = scenario.strategy
    assert isinstance(settings, (ParameterServerWait, ParameterServerTimeout, ParameterServerBackup))
    return Rules(
        timeout_ns=settings.timeout if isinstance(settings, ParameterServerTimeout) else None,
        backups=settings.backups if isinstance(settings, ParameterServerBackup) else 0,
        averaging_takes_time=settings.server.speed is not None,
        replicates=settings.server.replicate,
    )


def machines(scenario: Scenario) -> tuple[Host, ...]:
    """Return the servers' machines, which are all alike."""
    settings = scenario.strategy
    assert isinstance(settings, (ParameterServerWait, ParameterServerTimeout, ParameterServerBackup))
    # Copied, not constructed: the settings are in base units already, not in words.
    own = {key: getattr(settings.server, key) for key in ("speed", "bandwidth", "latency")}
    return tuple(Host(name=name).model_copy(update=own) for name in added_machines(settings))


# --- the worker -------------------------------------------------------------------------------------------------------


def worker(node: Node, training: Training, group: Group, ask: Ask) -> Operation[State]:
    """Push gradients, get parameters."""
    state = training.initial()
    if node.incarnation > 0:
        answer = yield from ask(node, Hello(), _REQUEST_BYTES)
        state, group = answer.state, answer.group
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        push = Push(place_of(state, group), len(batch.samples), gradient.array)
        answer = yield from ask(node, push, training.gradient_size_bytes)
        if answer.state.step < state.step:
            training.restore(node, state, answer.state, answer.group)  # The server has gone back, and we with it.
        state, group = answer.state, answer.group
    return state


def ask(node: Node, request: Push | Hello, size_bytes: int) -> Operation[Answer]:
    """Ask the one server there is."""
    node.send(SERVER, request, size_bytes, tag="request")
    return (yield from newer_answer(node, SERVER, request))


def newer_answer(node: Node, server: str, request: Push | Hello) -> Operation[Answer]:
    """Wait for an answer that is news: one to what our former life pushed may still come before the one to this."""
    while True:
        message = yield from node.receive(server, tag="parameters")
        answer: Answer = message.payload
        if answer.place > request.place:
            return answer


# --- the server -------------------------------------------------------------------------------------------------------


def server(node: Node, training: Training, everybody: Group, rules: Rules) -> Operation[State]:
    """Collect, average, update, answer."""
    state, group = training.initial(), everybody
    while not training.is_finished(state):
        desk = Desk(node, training, state, group)
        update = yield from desk.completed(everybody, rules)
        state, group = applied(node, training, state, update, reports=True), update.next_group
        answer(node, training, state, group, everybody if training.is_finished(state) else desk.served(everybody))
    return state


def answer(node: Node, training: Training, state: State, group: Group, to: Group) -> None:
    """Send the parameters to everybody in `to`."""
    for name in to.names:
        node.send(name, Answer(state, group), training.gradient_size_bytes, tag="parameters")


@dataclass(frozen=True)
class Update:
    """What a step comes to: whose gradients are in the mean, and who takes part in the next step.

    Without a mean, since nobody of the step's group is left, the step is begun anew by the next group.
    """

    group: Group
    step: int
    mean: np.ndarray | None
    contributors: Group
    next_group: Group

    @property
    def place(self) -> Place:
        return self.group.generation, self.step


def applied(node: Node, training: Training, state: State, update: Update, reports: bool) -> State:
    """Return the state after an update; write down whose samples are given up with it."""
    if update.mean is None:
        return state
    there = update.contributors.ranks
    batches = zip(update.group.names, training.batches(state, update.group), strict=True)
    for name, batch in batches:
        if name not in there:
            node.record(
                "dropped",
                step=state.step,
                epoch=state.cursor.epoch,
                generation=update.group.generation,
                worker=name,
                samples=[int(sample) for sample in batch.samples],
            )
    return training.update(node, state, update.mean, update.group, reports=reports, contributors=update.contributors)


def weighted_mean(pushes: Sequence[Push]) -> np.ndarray:
    """Return the mean gradient, each weighed by its samples, added up in the order given."""
    total = max(1, sum(push.samples for push in pushes))
    mean: np.ndarray = np.float32(pushes[0].samples / total) * pushes[0].gradient
    for push in pushes[1:]:
        mean = mean + np.float32(push.samples / total) * push.gradient
    return mean


class Desk:
    """One step's pushes, who is not waited for any more, and who wants to take part from the next step on."""

    def __init__(self, node: Node, training: Training, state: State, group: Group):
        self.pushes: dict[str, Push] = {}
        self.newcomers: dict[str, None] = {}
        self.broken: dict[str, None] = {}  # connections, to whomever
        self._lost: dict[str, None] = {}
        self._node = node
        self._training = training
        self._state = state
        self._group = group  # who the step's samples were cut among

    def completed(self, everybody: Group, rules: Rules) -> Operation[Update]:
        """Wait until the step is complete, average, and return what it comes to."""
        yield from self._collect(rules)
        pushes = [self.pushes[name] for name in self._group.names if name in self.pushes]  # in rank order
        if pushes and rules.averaging_takes_time:
            yield from self._node.compute(2 * len(pushes) * self._training.engine.size)
        # A step that is begun anew, because nobody of its group is left, is told apart by its generation.
        generation = self._group.generation if pushes else self._group.generation + 1
        present = everybody if rules.timeout_ns is None else self.served(everybody)
        return Update(
            self._group,
            self._state.step,
            weighted_mean(pushes) if pushes else None,
            those(self._group, self.pushes),
            Group(generation, present.members),
        )

    def served(self, everybody: Group) -> Group:
        """Return who waits for an answer, in the order of the scenario, so that sums are made in it too."""
        return those(everybody, self.pushes.keys() | self.newcomers.keys())

    def _collect(self, rules: Rules) -> Operation[None]:
        """Wait for the pushes; with a timeout, not for those who are lost, or late by so much after the latest one.

        Ends without any push if everybody is lost and only newcomers are left.
        """
        while len(self._missing()) > rules.backups or not (self.pushes or self.newcomers):
            # Before the first push nobody is late: they all compute.
            patience_ns = rules.timeout_ns if self.pushes else None
            try:
                message = yield from self._node.receive(
                    tag="request", timeout_ns=patience_ns, expecting=self._missing() or self._group.names
                )
            except PeerLost as lost:
                self.broken[lost.peer] = None
                if rules.timeout_ns is not None:
                    self._lost[lost.peer] = None
                    self.newcomers.pop(lost.peer, None)
            except ReceiveTimeout:
                self._lost.update(dict.fromkeys(self._missing()))
            else:
                self._take(message)

    def _missing(self) -> list[str]:
        return [name for name in self._group.names if name not in self.pushes and name not in self._lost]

    def _take(self, message: Message) -> None:
        name, request = message.source, message.payload
        if name not in self._group.names:
            self.newcomers[name] = None  # given up in an earlier step: restarted since, or only late
        elif isinstance(request, Push) and request.place == place_of(self._state, self._group):
            self.pushes[name] = request
        else:
            # It is behind: too late for its step, or restarted within this one, and then it computes its own samples.
            self._lost.pop(name, None)
            answer(self._node, self._training, self._state, self._group, those(self._group, {name}))


def place_of(state: State, group: Group) -> Place:
    """Return how far training has come."""
    return group.generation, state.step


def those(group: Group, names: Container[str]) -> Group:
    """Return the members of `group` that are among `names`, in its order."""
    return Group(group.generation, tuple(member for member in group.members if member.name in names))
