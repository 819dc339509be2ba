"""What every way of training is held to, each under the same scenario: one table, one suite.

    all             finish, learn, and do the same again: twice, message by message, with ties broken in another order,
                    on one core with another hash seed; and may diverge without a warning
    all             keep the invariants (`ringsim/invariants.py`), undisturbed and whoever dies, for good or for a while
    in step         have the parameters of `local` after every update, up to the order of float additions

What is not here: what only some of them promise (the tests named after them), and faults of other kinds, at every
instant (`ringsim monkey`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import faults_at

from ringsim.invariants import broken
from ringsim.learning.engine import Engine
from ringsim.learning.memo import Memo
from ringsim.monkey.playing import play
from ringsim.result import Outcome, Result
from ringsim.scenario import STRATEGIES, Scenario, Task, added_machines
from ringsim.simulation import simulate

# Enough layers for a stage on each machine, and samples for two epochs, whose last steps are short.
TASK: dict[str, Any] = {
    "dataset": {"kind": "synthetic", "samples": 200, "features": 12, "classes": 4, "noise": 0.5},
    "model": {"kind": "mlp", "hidden": [12, 10, 8]},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "epochs": 2,
    "batch_size": 8,
    "evaluate_every": 1,
}
CLUSTER = {"nodes": 4, "speed": "10 MFLOP/s", "network": {"bandwidth": "10 Mbit/s", "latency": "100 us"}}
RETURNS = {"set_aside": {"cooldown": "0 s"}}
SERVED = {"name": "parameter_server"}

# Every strategy with every policy, and its forms that are not one setting apart from another.
IN_STEP: dict[str, dict[str, Any]] = {
    "local": {"name": "local"},
    "ring": {"name": "ring"},
    "ring, elastic": {"name": "ring", "on_failure": "elastic", **RETURNS},
    "ring, wait": {"name": "ring", "on_failure": "wait"},
    "ring, peer recovery": {"name": "ring", "on_failure": "peer_recovery", **RETURNS},
    "ring by tree": {"name": "ring", "collective": "tree"},
    "ring by halving-doubling": {"name": "ring", "collective": "halving_doubling"},
    "ring by hierarchical": {"name": "ring", "collective": "hierarchical"},
    "ring in buckets": {"name": "ring", "bucket_size": "256 B"},
    "server, wait": {**SERVED, "on_failure": "wait"},
    "server, timeout": {**SERVED, "on_failure": "timeout", "timeout": "50 ms"},
    "server in a chain": {**SERVED, "server": {"replicas": 2}},
    "server in shards": {**SERVED, "server": {"shards": 3}},
    "server on the workers' machines": {**SERVED, "server": {"co_located": True}},
    "server with checkpoints": {**SERVED, "server": {"checkpoint_every": 2}},
    "model parallel": {"name": "model_parallel"},
    "GPipe": {"name": "gpipe"},
    "GPipe with replicated stages": {"name": "gpipe", "micro_batches": 5, "workers": [2, 1, 1]},
    "GPipe in 3 pieces": {"name": "gpipe", "micro_batches": 3},
    "local SGD that averages each step": {"name": "local_sgd", "average_every": 1},
}
# In step, but not of all samples, or not of all machines.
OF_FEWER: dict[str, dict[str, Any]] = {
    "ring, spares": {"name": "ring", "on_failure": "spares", **RETURNS},
    "server, backup": {**SERVED, "on_failure": "backup"},
}
# Each gradient is an update of its own.
ASYNCHRONOUS: dict[str, dict[str, Any]] = {
    "server, bounded delay": {**SERVED, "consistency": {"kind": "bounded_delay", "tau": 2}},
    "server, SSP": {**SERVED, "consistency": {"kind": "ssp", "slack": 2}},
    "server, ASP": {**SERVED, "consistency": "asp"},
    "server, SSP and timeout": {
        **SERVED,
        "on_failure": "timeout",
        "timeout": "5 ms",
        "consistency": {"kind": "ssp", "slack": 2},
    },
    "server, bounded delay and short timeout": {
        **SERVED,
        "on_failure": "timeout",
        "timeout": "2 ms",
        "consistency": {"kind": "bounded_delay", "tau": 0},
    },
    "server, bounded delay and timeout": {
        **SERVED,
        "on_failure": "timeout",
        "timeout": "50 ms",
        "consistency": {"kind": "bounded_delay", "tau": 1},
    },
    "server, ASP and timeout": {**SERVED, "on_failure": "timeout", "timeout": "50 ms", "consistency": "asp"},
}
# Several mini-batches are under way, each an update.
PIPELINED: dict[str, dict[str, Any]] = {
    "PipeDream": {"name": "pipedream"},
    "PipeDream, vertical sync": {"name": "pipedream", "vertical_sync": True},
    "PipeDream, nothing stashed": {"name": "pipedream", "stashing": False},
    "PipeDream with replicated stages": {"name": "pipedream", "workers": [2, 1, 1]},
    "PipeDream with replicated stages, drained": {"name": "pipedream", "workers": [2, 1, 1], "drain": "epoch"},
    "PipeDream, drained": {"name": "pipedream", "drain": "epoch"},
    "SpecTrain": {"name": "spectrain"},
}
# Every worker has parameters of its own.
REPLICAS: dict[str, dict[str, Any]] = {
    "local SGD": {"name": "local_sgd"},
    "DiLoCo": {"name": "diloco"},
    "D-PSGD on a ring": {"name": "dpsgd"},
    "D-PSGD, complete": {"name": "dpsgd", "graph": "full"},
    "D-PSGD on a line, with a timeout": {"name": "dpsgd", "graph": "line", "timeout": "20 ms"},
    "gossip": {"name": "gossip"},
    "AD-PSGD": {"name": "adpsgd"},
}
# In step, but of gradients that have lost something.
COMPRESSED: dict[str, dict[str, Any]] = {
    "ring, fp16": {"name": "ring", "compression": "fp16"},
    "ring, top-k": {"name": "ring", "compression": {"kind": "topk", "share": "20 %"}},
    "ring, top-k that forgets": {
        "name": "ring",
        "compression": {"kind": "topk", "share": "20 %", "error_feedback": False},
    },
    "ring, QSGD": {"name": "ring", "compression": "qsgd"},
}
ALL = {**IN_STEP, **OF_FEWER, **ASYNCHRONOUS, **PIPELINED, **REPLICAS, **COMPRESSED}
every = pytest.mark.parametrize("name", ALL)


def scenario(name: str, faults: tuple[dict[str, Any], ...] = (), **cluster: Any) -> Scenario:
    """Return the scenario that all share, under one of the strategies."""
    return Scenario.model_validate(
        {
            "name": "every",
            "seed": 7,
            "task": TASK,
            "cluster": {**CLUSTER, **cluster},
            "strategy": ALL[name],
            "faults": list(faults),
        }
    )


@cache
def played(name: str) -> Result:
    return simulate(scenario(name))


def test_no_strategy_and_no_policy_is_left_out() -> None:
    held = {(settings.name, getattr(settings, "on_failure", None)) for settings in map(strategy_of, ALL)}
    assert held == set(STRATEGIES)


def strategy_of(name: str) -> Any:
    return scenario(name).strategy


@every
def test_it_finishes_and_learns(name: str) -> None:
    result = played(name)
    assert result.outcome is Outcome.FINISHED
    curve = [row.test_loss for row in result.metrics if row.test_loss is not None]
    assert curve[-1] < 0.8 * curve[0]
    assert result.accuracy is not None
    assert result.accuracy > 0.5


@every
def test_it_does_the_same_again(name: str) -> None:
    first = played(name)
    again = simulate(scenario(name), fidelity="message", shuffle_ties=3, share_replicas=False)
    assert broken(first, again) == {}
    twice = simulate(scenario(name))
    assert (twice.schedule_digest, twice.numbers_digest) == (first.schedule_digest, first.numbers_digest)


DIGESTS = """
import json
import test_every_strategy as suite
runs = {name: suite.played(name) for name in suite.ALL}
print(json.dumps({name: [run.schedule_digest, run.numbers_digest] for name, run in runs.items()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pins the cores")
def test_on_one_core_with_another_hash_seed_all_do_the_same() -> None:
    """This process has whatever cores there are; the other one has the first of them."""
    pinned = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    done = subprocess.run(
        [sys.executable, "-c", pinned + DIGESTS],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        name: [run.schedule_digest, run.numbers_digest] for name, run in ((name, played(name)) for name in ALL)
    }


@every
def test_it_may_diverge_in_silence(name: str) -> None:
    """Warnings are errors here: a rate at which nothing is finite any more is the user's to see, in the losses."""
    optimizer = {"kind": "momentum", "learning_rate": 1000.0, "momentum": 0.99}
    hot = {**TASK, "dataset": {**TASK["dataset"], "noise": 1000.0}, "optimizer": optimizer, "epochs": 4}
    result = simulate(scenario(name).model_copy(update={"task": Task.model_validate(hot)}))
    assert result.outcome is Outcome.FINISHED
    assert not np.isfinite(result.metrics[-1].test_loss)


@every
def test_what_it_reports_is_what_it_ends_with(name: str) -> None:
    """The last evaluation is of the parameters that the result hands out, and not of any before them."""
    result, task = played(name), scenario(name).task
    assert result.parameters is not None
    engine = Engine(task, seed=7, rows=task.batch_size)
    evaluation = engine.evaluate(engine.share(result.parameters))
    assert (result.loss, result.accuracy) == (evaluation.loss, evaluation.accuracy)


@pytest.mark.parametrize("name", IN_STEP)
def test_in_step_it_has_the_parameters_of_local_after_every_update(name: str) -> None:
    result, twin = played(name), played("local")
    assert result.steps == twin.steps
    assert result.parameters is not None
    assert twin.parameters is not None
    np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-5)
    for row, reference in zip(result.metrics, twin.metrics, strict=True):
        assert row.loss == pytest.approx(reference.loss, abs=1e-5)
        assert row.test_loss == pytest.approx(reference.test_loss, abs=1e-5)


@pytest.mark.parametrize("restart_after", [None, "4 ms"], ids=["for good", "for a while"])
@every
def test_whoever_dies_in_the_middle_it_keeps_its_promises(name: str, restart_after: str | None) -> None:
    middle = f"{played(name).virtual_time_ns // 2} ns"
    machines = [host.name for host in scenario(name).cluster.nodes]
    for node in (*machines, *added_machines(strategy_of(name))):
        crash = {"kind": "crash", "node": node, "at": middle}
        if restart_after is not None:
            crash["restart_after"] = restart_after
        result = simulate(scenario(name, (crash,)))
        assert len(result.failures) + len(result.faults_not_applicable) == 1
        assert broken(result) == {}, f"{node} dies"


MEMO = Memo()


@st.composite
def disturbed(draw: st.DrawFn) -> Scenario:
    """Draw a strategy, and up to three faults of any kind at any moment of its run."""
    name = draw(st.sampled_from(sorted(ALL)))
    calm = scenario(name)
    moments = st.integers(0, played(name).virtual_time_ns)
    lasting = st.sampled_from(["1 ns", "1 ms", "20 ms", "90 ms", None])
    speeds = draw(st.none() | st.lists(st.sampled_from([5, 10, 40]), min_size=4, max_size=4))
    nodes = (
        4
        if speeds is None
        else [{"name": f"node{rank}", "speed": f"{mflop} MFLOP/s"} for rank, mflop in enumerate(speeds)]
    )
    some = st.lists(moments.flatmap(lambda at_ns: faults_at(calm, at_ns, lasting)), min_size=1, max_size=3)
    return scenario(name, tuple(draw(some)), nodes=nodes)


@pytest.mark.parametrize("name", REPLICAS)
def test_what_it_reports_is_of_those_who_come_to_the_end(name: str) -> None:
    """Whoever dies shortly before it, in the last average, or while it only answers others."""
    task = scenario(name).task
    engine = Engine(task, seed=7, rows=task.batch_size)
    played_to_the_end = 0
    for node in ("node0", "node1", "node3"):
        for part in (80, 90, 97, 99):
            at = f"{played(name).virtual_time_ns * part // 100} ns"
            result = simulate(scenario(name, ({"kind": "crash", "node": node, "at": at},)))
            if result.parameters is not None:
                played_to_the_end += 1
                evaluation = engine.evaluate(engine.share(result.parameters))
                assert (result.loss, result.accuracy) == (evaluation.loss, evaluation.accuracy)
    assert played_to_the_end


@settings(max_examples=25, deadline=None)
@given(disturbed())
def test_whatever_happens_to_it_it_keeps_its_promises(disturbed: Scenario) -> None:
    assert play(disturbed, MEMO).violations == {}


@pytest.mark.long
@settings(max_examples=2_000, deadline=None)
@given(disturbed())
def test_whatever_happens_to_thousands_they_keep_their_promises(disturbed: Scenario) -> None:
    assert play(disturbed, MEMO).violations == {}
