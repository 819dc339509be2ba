"""Ring all-reduce with hot spares: who dies is replaced, and the ring keeps its size.

    node0  train, commit, train ✗ register ┊ join ─► restore rank 0's commit ─► train ...
    node1  train, commit, train ✝          ┊ back, after its cooldown: register, and wait as a spare
    node2  train, commit, train ✗ register ┊ join ─► restore ...
    node3  register, and wait .............┊ join ─► take rank 0's commit    ─► train ...

It is the elastic ring (`ring_elastic.py`) of at most N - k members, on N machines: who is too many stays registered at
the rendezvous, and costs nothing but its machine. After a death the ring needs no decision but the usual one: survivors
first, then those who wait, in the order in which they came. With no spare left it goes on with fewer, and who comes
back then joins at the next commit. A spare that is not needed is told to nobody, so it does not make the ring re-form.

The same idea as torchft's fixed size with spares, where a spare takes part in each all-reduce with zeros and so holds
the parameters already; here it gets them with the next broadcast. What is not here: anything but the rules.
"""

from __future__ import annotations

from functools import partial

from ringsim.scenario import RingSpares, Scenario, full_size
from ringsim.strategies.lobby import Rules
from ringsim.strategies.rendezvous import MACHINE, around_a_rendezvous, cooldown_ns
from ringsim.strategies.ring import shares_in_ring_order
from ringsim.strategies.ring_elastic import worker
from ringsim.strategies.training import Deployment


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank, spares included, and the rendezvous on a machine of its own."""
    settings = scenario.strategy
    assert isinstance(settings, RingSpares)
    rules = Rules(
        least=settings.min_workers,
        most=full_size(scenario),
        patience_ns=settings.rendezvous_timeout,
        timeout_ns=settings.timeout,
        reset_limit=settings.reset_limit,
        cooldown_ns=cooldown_ns(settings.set_aside),
        heartbeat=settings.heartbeat,
        is_saved=settings.checkpoint_every is not None,
    )
    run = partial(worker, scenario=scenario, settings=settings)
    return around_a_rendezvous(run, shares_in_ring_order(scenario, [MACHINE]), rules)
