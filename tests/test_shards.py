"""Label-skewed shards: each worker's own samples, every sample once an epoch, mixtures as Dirichlet's.

What is not here: how a step is cut (`test_learning.py`).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringsim import load, simulate
from ringsim.errors import ScenarioInvalid
from ringsim.learning.sampler import Cursor, Sampler
from ringsim.learning.shards import label_skewed

SHARES = st.lists(st.integers(1, 7), min_size=1, max_size=5).map(
    lambda sizes: {f"node{index}": size for index, size in enumerate(sizes)}
)
ALPHAS = st.sampled_from([0.001, 0.3, 1.0, 1000.0])


def taken(sampler: Sampler, members: list[str], epoch: int) -> dict[str, list[int]]:
    """Return what each member takes in an epoch."""
    found: dict[str, list[int]] = {name: [] for name in members}
    cursor = Cursor(epoch, 0)
    while cursor.epoch == epoch:
        for name, batch in zip(members, sampler.batches(cursor, members), strict=True):
            found[name] += batch.samples
        cursor = sampler.after(cursor, members)
    return found


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 4), min_size=1, max_size=60), SHARES, ALPHAS)
def test_each_worker_takes_its_own_samples_and_each_sample_is_taken_once(seed, labels, shares, alpha) -> None:
    sampler = Sampler(seed, len(labels), shares, label_skewed(seed, np.array(labels, np.int32), shares, alpha))
    first, second = (taken(sampler, list(shares), epoch) for epoch in (0, 1))
    assert sorted(sample for samples in first.values() for sample in samples) == list(range(len(labels)))
    assert {name: sorted(samples) for name, samples in first.items()} == {
        name: sorted(samples) for name, samples in second.items()
    }


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), SHARES)
def test_who_is_left_takes_the_samples_of_the_missing(labels, shares) -> None:
    sampler = Sampler(3, len(labels), shares, label_skewed(3, np.array(labels, np.int32), shares, 0.3))
    left = list(shares)[:1]
    assert sorted(taken(sampler, left, 0)[left[0]]) == list(range(len(labels)))


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_mixtures_are_dirichlets(alpha: float) -> None:
    """While no label runs out, two draws of a worker agree with a chance of (1 + alpha sum of p^2) / (1 + alpha)."""
    workers, labels = 4_000, np.arange(40_000, dtype=np.int32) % 10
    shares = {f"node{index}": 1 for index in range(workers)}
    drawn = label_skewed(5, labels, shares, alpha).args[1]  # type: ignore[attr-defined]
    agree = np.mean([labels[drawn[name][0]] == labels[drawn[name][1]] for name in shares])
    expected = (1 + alpha * 10 * 0.1**2) / (1 + alpha)
    assert abs(agree - expected) < 4 * np.sqrt(expected * (1 - expected) / workers)


def test_as_many_samples_as_the_shares_say() -> None:
    labels = np.arange(120, dtype=np.int32) % 3
    shares = {"node0": 1, "node1": 3, "node2": 2}
    sampler = Sampler(1, 120, shares, label_skewed(1, labels, shares, 1.0))
    assert [len(samples) for samples in taken(sampler, list(shares), 0).values()] == [20, 60, 40]


SKEWED = [
    "task={dataset: {kind: digits}, model: {kind: softmax}, epochs: 2, batch_size: 16}",
    "task.shards={kind: dirichlet, alpha: 0.1}",
    "faults=[]",
]


def labels_of_workers(overrides: list[str]) -> dict[str, set[int]]:
    """Return which samples each worker began a step with."""
    result = simulate(load("4node", overrides=[*SKEWED, *overrides]).scenario)
    found: dict[str, set[int]] = {}
    for event in result.trace:
        if event.kind == "step_begin":
            found.setdefault(event.node, set()).update(event.fields["samples"])
    return found


@pytest.mark.parametrize(
    "strategy", ["{name: ring}", "{name: local_sgd, average_every: 3}", "{name: parameter_server}"]
)
def test_a_run_keeps_to_the_shards(strategy: str) -> None:
    owned = list(labels_of_workers([f"strategy={strategy}"]).values())
    assert len(owned) == 4
    assert sum(map(len, owned)) == len(set().union(*owned)) == 1_437


def test_local_training_takes_the_same_steps() -> None:
    results = [
        simulate(load("4node", overrides=[*SKEWED, f"strategy={{name: {name}}}"]).scenario)
        for name in ("ring", "local")
    ]
    steps = []
    for result in results:
        samples: dict[int, set[int]] = {}
        for event in result.trace:
            if event.kind == "step_begin":
                samples.setdefault(event.fields["step"], set()).update(event.fields["samples"])
        steps.append(samples)
    assert steps[0] == steps[1]
    np.testing.assert_allclose(results[0].parameters, results[1].parameters, rtol=0, atol=1e-5)


def test_after_a_death_every_sample_still_counts_once() -> None:
    elastic = "strategy={name: ring, on_failure: elastic, commit_every: 5}"
    crash = "faults=[{kind: crash, node: node1, at: {step: 12}}]"
    result = simulate(load("4node", overrides=[*SKEWED[:2], elastic, crash]).scenario)
    assert result.failures[0].detected_at_ns is not None
    assert [(epoch.counted, epoch.lost) for epoch in result.epochs] == [(1_437, 0)] * 2


def test_skew_costs_those_who_average_seldom() -> None:
    """Federated averaging over mixtures that hardly overlap falls behind the same over a shuffle, over five seeds."""

    def accuracy(shards: str, seed: int) -> float:
        overrides = [*SKEWED[:1], f"task.shards={shards}", "strategy={name: local_sgd, average_every: 22}"]
        found = simulate(load("4node", overrides=overrides, seed=seed).scenario).accuracy
        assert found is not None
        return found

    pairs = [
        (accuracy("{kind: dirichlet, alpha: 0.01}", seed), accuracy("{kind: shuffled}", seed)) for seed in range(5)
    ]
    assert all(skewed < shuffled for skewed, shuffled in pairs), pairs


def test_a_server_that_hands_samples_out_has_no_shards_to_keep_to() -> None:
    asp = "strategy={name: parameter_server, consistency: asp}"
    with pytest.raises(ScenarioInvalid, match=r"task.shards: gives each worker samples of its own.*choose shuffled"):
        load("4node", overrides=[*SKEWED, asp])
