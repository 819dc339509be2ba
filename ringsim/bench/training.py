"""The contest of a whole training by ring all-reduce on many workers, against a plain JAX loop over the same samples.

Softmax regression on synthetic points: the gradients are so cheap that nearly all of the time is overhead, so this is
the worst case. Both end at the same loss, up to the order of float additions. What is not here: the loop
(`learning/plain_loop.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ringsim.bench.case import Contest, Ways
from ringsim.learning.engine import Engine
from ringsim.learning.plain_loop import plain_loop
from ringsim.learning.sampler import Cursor, Sampler
from ringsim.scenario import Scenario, train_size, worker_names, worker_shares
from ringsim.simulation import simulate

STEPS = 100
BATCH_SIZE = 32
SAMPLES_A_WORKER = 2 * BATCH_SIZE  # An epoch is a whole number of steps, so no batch is short.


def ring_training(workers: int) -> Contest:
    """Return a training of 100 steps; the answer is the loss at its end, in nats."""
    scenario = _scenario(workers)
    sampler = Sampler(scenario.seed, train_size(scenario), worker_shares(scenario))
    engine = Engine(scenario.task, scenario.seed, rows=BATCH_SIZE)
    initial, steps = engine.initial().parameters.array, _steps(sampler, worker_names(scenario))
    rate = scenario.task.optimizer.learning_rate
    return Contest(
        lambda: simulate(scenario),
        lambda: plain_loop(engine.dataset, initial, steps, rate),
        same=lambda loss, expected: math.isclose(loss, expected, rel_tol=1e-3),
        answer=lambda result: result.loss,
        ways=lambda result: Ways(result.collectives_in_closed_form, result.collectives_by_messages),
    )


def _scenario(workers: int) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "bench",
            "task": {
                "dataset": {"kind": "synthetic", "samples": SAMPLES_A_WORKER * workers},
                "model": {"kind": "softmax"},
                "steps": STEPS,
                "batch_size": BATCH_SIZE,
            },
            "cluster": {"nodes": workers},
            "strategy": {"name": "ring"},
        }
    )


def _steps(sampler: Sampler, members: Sequence[str]) -> list[list[np.ndarray]]:
    """Return what every worker takes in every step, as arrays that JAX takes as they are."""
    steps, cursor, names = [], Cursor(), tuple(members)
    for _ in range(STEPS):
        steps.append([np.array(batch.samples, np.int32) for batch in sampler.batches(cursor, names)])
        cursor = sampler.after(cursor, names)
    return steps
