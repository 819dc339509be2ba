"""Ring all-reduce that goes on with all of its members or not at all.

    node0  train, commit, train ✗ register ┊                        ┊ join ─► restore rank 0's commit ─► train ...
    node1  train, commit, train ✝ ........ ┊ back, empty: register  ┊ join ─► take rank 0's commit   ─► train ...
    node2  train, commit, train ✗ register ┊                        ┊ join ─► restore ...

It is the elastic ring (`ring_elastic.py`) whose least and greatest size are both N, with endless patience: survivors
wait at the rendezvous for who is missing, if need be for ever. A machine that is back is taken at once, because nothing
has gone on without it. So no step is ever taken by fewer: the batches, the learning rate and, but for the order of
ranks and a rollback, the numbers are those of a run in which nobody died. What it costs is the time until the last one
is back. If all die, or all but those who had not got the state yet, it is gone, unless it was saved. What is not here:
anything of its own.
"""

from __future__ import annotations

from functools import partial

from ringsim.scenario import RingWait, Scenario
from ringsim.strategies.lobby import Rules
from ringsim.strategies.rendezvous import MACHINE, around_a_rendezvous
from ringsim.strategies.ring import shares_in_ring_order
from ringsim.strategies.ring_elastic import worker
from ringsim.strategies.training import Deployment


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank, and a rendezvous that waits for all of them on a machine of its own."""
    settings = scenario.strategy
    assert isinstance(settings, RingWait)
    shares = shares_in_ring_order(scenario, [MACHINE])
    rules = Rules(
        least=len(shares),
        most=len(shares),
        patience_ns=None,
        timeout_ns=None,
        reset_limit=settings.reset_limit,
        forgives=True,
        heartbeat=settings.heartbeat,
        is_saved=settings.checkpoint_every is not None,
    )
    return around_a_rendezvous(partial(worker, scenario=scenario, settings=settings), shares, rules)
