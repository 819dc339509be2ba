"""A parameter server whose workers are not in step (Li et al. 2014, Ho et al. 2013): each gradient is an update.

    node0  ▓▓ gradient ▓▓ ─push─┐   ┌─► ▓▓ gradient ▓▓ ─push─┐
    node1  ▓▓▓▓▓▓ gradient ▓▓▓▓▓│▓▓▓│─push─┐   ┌─► ▓▓▓▓▓▓▓▓▓▓│▓▓
    server0                     └─update 1─┴─update 2────────┴─update 3

    1  the server hands out samples with the parameters (`tickets.py`), as many as its rule allows (`consistency.py`)
    2  a worker computes the gradient of each ticket and pushes it; with the last one it asks for more
    3  the server applies each gradient as it comes, though others have changed the parameters meanwhile: it is stale
       by the number of updates between its pull and its own

The parameters and the optimizer are the server's. A rate is that of one worker's samples: N workers make N updates
where BSP makes one. Nobody asks at first, for all know the first parameters and the first tickets. Cost, if nobody
waits for another: a worker's step takes its computation and 2 (path latency + ceil(8 S / bandwidth)) for S bytes. The
server's link carries S for each gradient in each direction: if N ceil(8 S / bandwidth) is more, that is what counts.

    on_failure: wait      the gate waits for who is dead; its samples go to others as soon as the server hears of it
    on_failure: timeout   the gate does not count who is lost, or silent for so long while somebody waits; others do its
                          work too, and the first gradient that comes is used

A worker that restarts asks again. The server's death is the end. What is not here: servers that outlive a death.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.learning.sampler import Cursor
from ringsim.node import Group, Member, Message, Node, Operation
from ringsim.scenario import SERVER, ParameterServerTimeout, ParameterServerWait, Scenario, worker_shares
from ringsim.strategies.consistency import Rule, rule_of
from ringsim.strategies.parameter_server import machines
from ringsim.strategies.tickets import Ticket, Tickets
from ringsim.strategies.training import Deployment, Role, State, Training

_REQUEST_BYTES = 64


@dataclass(frozen=True)
class Push:
    """The gradient of a worker's step. `asks`: it has nothing to compute now. Charged to the network: the gradient."""

    step: int
    gradient: np.ndarray
    asks: bool


@dataclass(frozen=True)
class Hello:
    """A worker has nothing to compute, and may know nothing of what its former life was to do."""


@dataclass(frozen=True)
class Answer:
    """The parameters, and what to compute from them: nothing, if training is over. `life`: whose question it answers.

    Charged to the network: the parameters, and under SSP what the optimizer remembers. A ticket is a few counters.
    """

    state: State
    tickets: tuple[Ticket, ...]
    life: int | None


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster, and the server on a machine of its own."""
    settings = scenario.strategy
    assert isinstance(settings, (ParameterServerWait, ParameterServerTimeout))
    rule, shares = rule_of(settings.consistency), worker_shares(scenario)
    patience_ns = settings.timeout if isinstance(settings, ParameterServerTimeout) else None
    takes_time = settings.server.speed is not None
    serving = partial(server, rule=rule, patience_ns=patience_ns, updating_takes_time=takes_time)
    roles = [Role(name, partial(worker, rule=rule), restarts=True) for name in shares]
    roles.append(Role(SERVER, serving, worker=False))
    return Deployment(roles, shares, machines(scenario), full_size=1, is_finished=is_over)


def is_over(training: Training, state: State) -> bool:
    """Say whether as many samples are in the updates as the task asks for, or the target is reached."""
    return state.reached_target or state.cursor >= _end(training)


def _end(training: Training) -> Cursor:
    if training.task.epochs is not None:
        return Cursor(training.task.epochs, 0)
    assert training.task.steps is not None
    return training.sampler.after_steps(training.task.steps, training.workers)


def _opening(training: Training, rule: Rule) -> tuple[Tickets, dict[str, tuple[Ticket, ...]]]:
    """Return what everybody knows at first: the tickets that each worker, in rank order, begins with."""
    tickets = Tickets(training.sampler, _end(training))
    return tickets, {name: tickets.hand_out(name, rule.allowance(0, 0)) for name in training.workers}


def worker(node: Node, training: Training, rule: Rule) -> Operation[State]:
    """Compute what the tickets say, push each gradient, and ask for more with the last one."""
    alone = _alone(node.name)
    state, tickets = training.initial(), _opening(training, rule)[1][node.name]
    if node.incarnation > 0 or not tickets:
        node.send(SERVER, Hello(), _REQUEST_BYTES, tag="request")
        state, tickets = yield from _answer(node)
    while tickets:
        for ticket in tickets:
            here = replace(state, step=ticket.step, cursor=ticket.cursor)
            training.begin(node, here, ticket.batch, alone)
            gradient = yield from training.gradient(node, here, ticket.batch, alone)
            asks = ticket is tickets[-1]
            push = Push(ticket.step, gradient.array, asks)
            node.send(SERVER, push, training.gradient_size_bytes, tag="request")
            if not asks:
                state = training.own_write(state, gradient.array, alone)
        state, tickets = yield from _answer(node)
    return state


def _answer(node: Node) -> Operation[tuple[State, tuple[Ticket, ...]]]:
    """Wait for the answer to this life: one to what our former life asked may still come before it."""
    while True:
        message = yield from node.receive(SERVER, tag="parameters")
        answer: Answer = message.payload
        if answer.life in (None, node.incarnation):
            return answer.state, answer.tickets


def _alone(name: str) -> Group:
    return Group(0, (Member(name, 0),))


# --- the server -------------------------------------------------------------------------------------------------------


def server(
    node: Node, training: Training, rule: Rule, patience_ns: int | None, updating_takes_time: bool
) -> Operation[State]:
    """Apply each gradient as it comes, and answer whoever may go on."""
    tickets, _ = _opening(training, rule)
    desk = Desk(tickets, rule, training.workers)
    state = training.initial()
    while not is_over(training, state):
        try:
            waits_ns = patience_ns if desk.asking else None
            message = yield from node.receive(tag="request", timeout_ns=waits_ns, expecting=desk.awaited())
        except PeerLost as lost:
            desk.give_up(lost.peer, counts_on=patience_ns is None, may_come=False)
        except ReceiveTimeout:
            for name in desk.awaited():
                desk.give_up(name, counts_on=False, may_come=True)
        else:
            ticket = desk.take(message)
            if ticket is not None:
                if updating_takes_time:
                    yield from node.compute(2 * training.engine.size)
                state = _updated(node, training, state, message, ticket, desk.staleness(message.source, state))
        for name, some in desk.served(state):
            answer = Answer(state, some, desk.lives[name])
            node.send(name, answer, rule.pull_size_bytes(training, state), tag="parameters")
    for name in training.workers:
        node.send(name, Answer(state, (), None), training.gradient_size_bytes, tag="parameters")
    return state


def _updated(node: Node, training: Training, state: State, message: Message, ticket: Ticket, staleness: int) -> State:
    """Apply one worker's gradient; evaluate as often as strategies do whose workers are in step."""
    alone, sampler = _alone(message.source), training.sampler
    fields = {"world_size": 1, "batches": [[message.source, ticket.step]], "staleness": staleness}
    cursor = sampler.moved(state.cursor, len(ticket.samples))
    gradient = message.payload.gradient
    after = training.applied(node, state, gradient, alone, cursor, reports=True, whose=alone, **fields)
    every = training.task.evaluate_every
    steps, before = (sampler.steps_at(one.cursor, training.workers) for one in (after, state))
    due = every is not None and steps // every > before // every
    return training.evaluated(node, after, alone, True, due, is_over(training, after))


@dataclass
class Desk:
    """What the server knows of its workers."""

    tickets: Tickets
    rule: Rule
    workers: Sequence[str]
    asking: dict[str, None] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    _finished: dict[str, int] = field(default_factory=dict)
    _pulled: dict[str, int] = field(default_factory=dict)  # at which version, and own updates since
    _left_out: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._finished = dict.fromkeys(self.workers, 0)
        self._pulled = dict.fromkeys(self.workers, 0)
        self.lives = dict.fromkeys(self.workers, 0)

    def awaited(self) -> list[str]:
        """Return who is still to push or to ask, of those whom we count on."""
        return [name for name in self.workers if name not in self.asking and name not in self._left_out]

    def take(self, message: Message) -> Ticket | None:
        """Take a request; return the ticket whose gradient it brings, if that is wanted."""
        name, request = message.source, message.payload
        if message.incarnation < self.lives[name]:
            return None  # Its former life has sent it; what that was to do is done by others.
        self._left_out.pop(name, None)
        self.lives[name] = message.incarnation
        if isinstance(request, Hello):
            self.tickets.take_back(name, may_come=False)
            self.asking[name] = None
            return None
        if request.asks:
            self.asking[name] = None
        ticket = self.tickets.used(name, request.step)
        self._finished[name] += ticket is not None
        return ticket

    def staleness(self, name: str, state: State) -> int:
        """Return how many updates of others came between the pull of a worker and its gradient's use."""
        stale = state.step - self._pulled[name]
        self._pulled[name] += 1  # Its own gradient is no news to it.
        return stale

    def give_up(self, name: str, counts_on: bool, may_come: bool) -> None:
        """Somebody is dead, or late: others do its work, and unless we count on its return the gate is without it.

        may_come: it may live, and come with its gradients all the same.
        """
        self.tickets.take_back(name, may_come)
        self.asking.pop(name, None)
        if not counts_on:
            self._left_out[name] = None

    def served(self, state: State) -> list[tuple[str, tuple[Ticket, ...]]]:
        """Hand out what the rule allows to those who ask, the slowest first."""
        served = []
        for name in sorted(self.asking, key=lambda name: (self._finished[name], self.workers.index(name))):
            finished = self._finished[name]
            counted = [self._finished[other] for other in self.workers if other not in self._left_out]
            some = self.tickets.hand_out(name, self.rule.allowance(finished, min(counted)))
            if some:
                del self.asking[name]
                self._pulled[name] = state.step
                served.append((name, some))
        return served
