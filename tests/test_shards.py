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
from ringsim.result import Result

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
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), SHARES, st.data())
def test_whoever_is_there_takes_all_and_first_its_own(labels, shares, data) -> None:
    """With other members at every step, in any order: nobody has another's sample while that one lacks room for it."""
    shards = label_skewed(3, np.array(labels, np.int32), shares, 0.3)
    sampler = Sampler(3, len(labels), shares, shards)
    owner = {int(sample): name for name, samples in shards.samples.items() for sample in samples}
    plain, cursor, seen = Sampler(3, len(labels), shares), Cursor(), []
    while cursor.epoch == 0:
        members = data.draw(
            st.permutations(sorted(shares)).flatmap(lambda x: st.integers(1, len(x)).map(lambda n: x[:n]))
        )
        batches = sampler.batches(cursor, members)
        sizes = [len(batch.samples) for batch in plain.batches(cursor, members)]
        assert [len(batch.samples) for batch in batches] == sizes, "as many as without owners"
        own = {
            member: sum(owner[sample] == member for sample in batch.samples)
            for member, batch in zip(members, batches, strict=True)
        }
        block = [sample for batch in batches for sample in batch.samples]
        for member, batch in zip(members, batches, strict=True):
            there = sum(owner[sample] == member for sample in block)
            assert own[member] == min(there, len(batch.samples))
        seen += block
        cursor = sampler.after(cursor, members)
    assert sorted(seen) == list(range(len(labels)))


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_mixtures_are_dirichlets(alpha: float) -> None:
    """While no label runs out, two draws of a worker agree with a chance of (1 + alpha sum of p^2) / (1 + alpha)."""
    workers, labels = 4_000, np.arange(40_000, dtype=np.int32) % 10
    shares = {f"node{index}": 1 for index in range(workers)}
    drawn = label_skewed(5, labels, shares, alpha).samples
    agree = np.mean([labels[drawn[name][0]] == labels[drawn[name][1]] for name in shares])
    expected = (1 + alpha * 10 * 0.1**2) / (1 + alpha)
    assert abs(agree - expected) < 4 * np.sqrt(expected * (1 - expected) / workers)


def test_which_samples_of_a_label_a_worker_has_is_drawn_too() -> None:
    labels = np.zeros(1_000, np.int32)
    shares = {"node0": 1, "node1": 1}
    one, other = (label_skewed(seed, labels, shares, 1.0).samples["node0"] for seed in (1, 2))
    # Of two draws of half of all, a half is in both, give or take four standard deviations.
    assert abs(len({*one.tolist()} & {*other.tolist()}) - 250) < 4 * 8
    assert one.tolist() != sorted(one.tolist())


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


def own_part(result: Result, since_epoch: int) -> dict[str, float]:
    """Return which part of what each worker took in later epochs it had taken in the first, before any fault."""
    first: dict[str, set[int]] = {}
    later: dict[str, list[int]] = {}
    for event in result.trace:
        if event.kind == "step_begin":
            if event.fields["epoch"] == 0:
                first.setdefault(event.node, set()).update(event.fields["samples"])
            elif event.fields["epoch"] >= since_epoch:
                later.setdefault(event.node, []).extend(event.fields["samples"])
    return {name: float(np.mean([sample in first.get(name, ()) for sample in took])) for name, took in later.items()}


CRASH = "faults=[{kind: crash, node: node1, at: {step: 24}%s}]"  # in the second of three epochs


def test_who_is_back_takes_its_own_again() -> None:
    ring = "strategy={name: ring, on_failure: wait, commit_every: 5}"
    scenario = load("4node", overrides=[*SKEWED[:2], "task.epochs=8", ring, CRASH % ", restart_after: 50 ms"]).scenario
    result = simulate(scenario)
    assert result.failures[0].recovered_at_ns is not None
    assert [(epoch.counted, epoch.lost) for epoch in result.epochs] == [(1_437, 0)] * 8
    # In the short step at an epoch's end the others may differ by a sample or two.
    assert all(part > 0.99 for part in own_part(result, since_epoch=7).values()), own_part(result, 7)


def test_those_who_are_left_share_the_samples_of_the_dead() -> None:
    elastic = "strategy={name: ring, on_failure: elastic, commit_every: 5}"
    result = simulate(load("4node", overrides=[*SKEWED[:2], "task.epochs=4", elastic, CRASH % ""]).scenario)
    assert [(epoch.counted, epoch.lost) for epoch in result.epochs] == [(1_437, 0)] * 4
    parts = own_part(result, since_epoch=2)
    assert set(parts) == {"node0", "node2", "node3"}
    for part in parts.values():
        assert part == pytest.approx(3 / 4, abs=0.02), "its own quarter, and a third of the dead one's"


def test_a_ring_in_the_order_of_the_network_keeps_to_the_shards() -> None:
    racks = "cluster.network.topology={kind: two_tier, racks: 2, placement: in_turn}"
    nodes = "cluster.nodes=6"
    ring = "strategy={name: ring, order: topology}"
    owned = list(labels_of_workers([racks, nodes, ring]).values())
    # The short last step is cut in the ring's order, which may give a worker one sample more or less than it owns.
    assert len(set().union(*owned)) == 1_437
    assert sum(map(len, owned)) <= 1_437 + 6


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


def test_an_alpha_of_more_decimals_than_are_used_is_refused() -> None:
    with pytest.raises(ScenarioInvalid, match=r"shards\.alpha: must have at most three decimals, such as 0\.123, not"):
        load("4node", overrides=["task.shards={kind: dirichlet, alpha: 0.12345}"])
