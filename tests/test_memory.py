"""Memory: what nobody needs any more goes at once, and not when Python next looks for garbage.

A run looks for garbage rarely, so a ring of references that holds a gradient would keep hundreds of them. What is not
here: how much a run takes in all, which `ringsim bench` measures.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from ringsim.collectives.parameter_server import ParameterServerAllReduce
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.tree import TreeAllReduce
from ringsim.learning.engine import Gradient, ModelState
from ringsim.node import Node, Operation
from ringsim.plan import Plan
from ringsim.scenario import worker_names
from ringsim.scenario_file import parse
from ringsim.simulation import simulate
from ringsim.world.world import Fidelity
from tests.worlds import cluster, group_of, tell

LENGTH = 1_000


@pytest.fixture(autouse=True)
def _no_collection():
    """Leave references alone to count what is needed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("fidelity", ["auto", "message"])
@pytest.mark.parametrize("plan", [RingAllReduce(), TreeAllReduce(), ParameterServerAllReduce()], ids=lambda x: x.name)
def test_the_vectors_of_a_collective_go_when_it_is_over(plan: Plan, fidelity: Fidelity) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    counts: list[int] = []

    def run(node: Node, group) -> Operation[None]:
        node.join(group)
        for _ in range(8):
            buffer = np.ones(LENGTH, np.float32)
            alive.append(weakref.ref(buffer))
            result = yield from node.collective(plan, buffer)
            alive.append(weakref.ref(result))
            del buffer, result
            if node.rank == 0:
                counts.append(sum(one() is not None for one in alive))

    scenario = cluster(3)
    group = group_of(worker_names(scenario))
    tell(scenario, {name: partial(run, group=group) for name in group.names}, fidelity=fidelity)
    # One collective's buffers and results, and those of the next, which others may have entered already.
    assert max(counts) <= 4 * 3, counts


def _added_to(alive: weakref.WeakSet[object], make: Callable[..., None]) -> Callable[..., None]:
    def init(self, *fields, **named) -> None:
        make(self, *fields, **named)
        alive.add(self)

    return init


@pytest.mark.parametrize("strategy", ["{name: ring}", "{name: parameter_server}", "{name: gpipe}", "{name: local_sgd}"])
def test_the_states_of_a_training_go_with_its_steps(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[object] = weakref.WeakSet()
    states: list[int] = []
    for kind in (ModelState, Gradient):
        monkeypatch.setattr(kind, "__init__", _added_to(alive, kind.__init__))

    def watch(event) -> None:
        if event.kind == "update" and event.node in ("node0", "server0"):
            states.append(len(alive))

    scenario = parse(f"""
name: memory
task:
  dataset: {{kind: synthetic, samples: 640, features: 16}}
  model: {{kind: mlp, hidden: [8]}}
  steps: 40
  batch_size: 4
cluster: {{nodes: 2}}
strategy: {strategy}
""").scenario
    simulate(scenario, watch=watch)
    assert 0 < states[-1] <= states[9] + 2, states
