"""Contests of whole trainings by ring all-reduce, against plain JAX over the same samples in the same process.

    softmax   on synthetic points   so many workers that nearly all of the time is overhead: the worst case
    cnn       on 28x28 images       few workers with much to compute: the usual case
    mlp       on digits             many workers with little to compute, against one gradient of all their samples
    numbers   of that training      its gradients, sums and updates alone, without virtual time, against the same

Both sides end at the same loss, up to the order of float additions. What is not here: the loop
(`learning/plain_loop.py`), and one core against all (`children.py`).
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

from ringsim.bench.case import Contest, Ways
from ringsim.collectives.ring import sum_in_ring_order
from ringsim.collectives.vectors import Weighted
from ringsim.learning.engine import Engine
from ringsim.learning.plain_loop import Rows, plain_loop, rows_of
from ringsim.learning.sampler import Batch, Cursor, Sampler
from ringsim.scenario import Scenario, train_size, worker_names, worker_shares
from ringsim.simulation import simulate

STEPS = 100
SAMPLES_A_WORKER = 64  # of softmax: an epoch is a whole number of steps, so no batch is short
IMAGES = {"kind": "digits28"}
CNN_STEPS, MLP_STEPS = 12, 50  # an epoch of digits is one full step of 1,024 samples and a short one of 413


def softmax_scenario(workers: int) -> Scenario:
    """Return 100 steps of softmax regression, 32 samples a worker."""
    dataset = {"kind": "synthetic", "samples": SAMPLES_A_WORKER * workers}
    return _scenario(workers, dataset, {"kind": "softmax"}, steps=STEPS, batch_size=32)


def cnn_scenario(workers: int) -> Scenario:
    """Return a few steps of the convolutional network on 28x28 images, 32 samples a worker."""
    return _scenario(workers, IMAGES, {"kind": "cnn"}, steps=CNN_STEPS, batch_size=32)


def mlp_scenario(workers: int) -> Scenario:
    """Return 25 epochs of 64-256-128-10 on digits, 16 samples a worker: with 64 workers, every second step is short."""
    return _scenario(workers, {"kind": "digits"}, {"kind": "mlp", "hidden": [256, 128]}, steps=MLP_STEPS, batch_size=16)


def memory_scenario(workers: int) -> Scenario:
    """Return three steps of the convolutional network with Adam, which keeps two numbers for each parameter."""
    optimizer = {"kind": "adam"}
    return _scenario(workers, IMAGES, {"kind": "cnn"}, steps=3, batch_size=4, optimizer=optimizer)


def _scenario(workers: int, dataset: object, model: object, **task: object) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "bench",
            "task": {"dataset": dataset, "model": model, **task},
            "cluster": {"nodes": workers},
            "strategy": {"name": "ring"},
        }
    )


def against_loop(scenario: Scenario) -> Contest:
    """Return a training against a loop with a gradient call for each worker; the answer is the loss, in nats."""
    rows = scenario.task.batch_size
    steps = _batches(scenario)
    return _contest(scenario, [[rows_of(one.samples, rows, one.total, one.epoch) for one in step] for step in steps])


def against_big_batch(scenario: Scenario) -> Contest:
    """Return a training against one gradient call a step; the answer is the loss, in nats.

    A short step is filled up to the full one's rows, as each worker's batch is in the simulation: both compute as much.
    """
    rows = sum(worker_shares(scenario).values())
    steps: list[list[Rows]] = []
    for step in _batches(scenario):
        samples = tuple(itertools.chain.from_iterable(batch.samples for batch in step))
        steps.append([rows_of(samples, rows, len(samples), step[0].epoch)])
    return _contest(scenario, steps)


def numbers_against_big_batch(scenario: Scenario) -> Contest:
    """Return the numbers of a training, without its time, against the same: what the engine alone takes."""
    big = against_big_batch(scenario)
    return Contest(partial(numbers_alone, scenario), big.reference, same=big.same)


def numbers_alone(scenario: Scenario) -> float:
    """Compute what the workers of a ring compute, bit by bit, in a plain loop; return the loss on the test split.

    No events, no accounts, no trace, no digests: only gradients, their weighted sum in ring order, and the update.
    """
    engine = Engine(scenario.task, scenario.seed, rows=scenario.task.batch_size)
    state, rate = engine.initial(), scenario.task.optimizer.learning_rate
    for step in _batches(scenario):
        asked = [engine.gradient(state.parameters, batch.samples, batch.epoch) for batch in step]
        weighted = [Weighted(one.value().array, batch.weight) for batch, one in zip(step, asked, strict=True)]
        state = engine.update(state, sum_in_ring_order(weighted), rate)
    return engine.evaluate(state.parameters).loss


def _contest(scenario: Scenario, steps: list[list[Rows]]) -> Contest:
    engine = Engine(scenario.task, scenario.seed, rows=scenario.task.batch_size)
    initial: list[Any] = engine.layout.unflatten(engine.device(engine.initial().parameters))
    rate = scenario.task.optimizer.learning_rate
    return Contest(
        partial(simulate, scenario),
        partial(plain_loop, engine.model, engine.dataset, initial, steps, rate, engine.noise_key),
        same=lambda loss, expected: math.isclose(loss, expected, rel_tol=1e-3),
        answer=lambda result: result.loss,
        ways=lambda result: Ways(result.collectives_in_closed_form, result.collectives_by_messages),
    )


def _batches(scenario: Scenario) -> list[tuple[Batch, ...]]:
    """Return what every worker takes in every step."""
    sampler = Sampler(scenario.seed, train_size(scenario), worker_shares(scenario))
    names, cursor, steps = worker_names(scenario), Cursor(), []
    for _ in range(scenario.task.steps or 0):
        steps.append(sampler.batches(cursor, names))
        cursor = sampler.after(cursor, names)
    return steps
