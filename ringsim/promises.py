"""What policies say of themselves: after which deaths they come to the end, and which may go on without a sample.

The invariants hold them to it (`invariants.py`). What is not here: how they do it (`strategies/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ringsim.result import Result
from ringsim.scenario import RENDEZVOUS, SERVER, Asp, added_machines, worker_names

# (name, on_failure). These may go on without a worker's samples of a step; each is then listed in a `dropped` event.
MAY_DROP = frozenset({("parameter_server", "timeout"), ("parameter_server", "backup"), ("ring", "peer_recovery")})
# These go on without the samples of the dead, and say so nowhere: nobody knows who they are but their neighbours.
MAY_LACK = frozenset({("dpsgd", None), ("gossip", None), ("adpsgd", None)})


@dataclass(frozen=True)
class Losses:
    """What crashes took: ranks that died at some time, and those of them that never came back."""

    ever: frozenset[str]
    for_good: frozenset[str]

    def spare(self, name: str) -> bool:
        """Say whether this node never died."""
        return name not in self.ever


def _local(result: Result, losses: Losses) -> bool:
    return losses.spare(worker_names(result.scenario)[0])


def _all_spared(result: Result, losses: Losses) -> bool:
    return all(map(losses.spare, worker_names(result.scenario)))


def _any_spared(result: Result, losses: Losses) -> bool:
    return any(map(losses.spare, worker_names(result.scenario)))


def _ring_elastic(result: Result, losses: Losses) -> bool:
    settings = result.scenario.strategy
    spared = sum(map(losses.spare, worker_names(result.scenario)))
    # Each crash may re-form the ring twice: without the worker, and with it again.
    calm = 2 * sum(event.kind == "crash" for event in result.trace) <= getattr(settings, "reset_limit", 0)
    return calm and losses.spare(RENDEZVOUS) and spared >= max(1, getattr(settings, "min_workers", 1))


def _ring_has_spares(result: Result, losses: Losses) -> bool:
    # A spare has no state before it is called. If the first ring died before it heard of itself, it was of the first.
    rings = (event.fields["members"] for event in result.trace if event.kind == "world")
    workers = worker_names(result.scenario)
    called = workers[: len(workers) - getattr(result.scenario.strategy, "spares", 0)]
    return _ring_elastic(result, losses) and any(map(losses.spare, next(rings, called)))


def _ring_waits(result: Result, losses: Losses) -> bool:
    return _ring_elastic(result, losses) and not losses.for_good & set(worker_names(result.scenario))


def _server_waits(result: Result, losses: Losses) -> bool:
    if isinstance(getattr(result.scenario.strategy, "consistency", None), Asp):
        return _server_drops(result, losses)  # Nobody waits for anybody, and what the dead had to do is done by others.
    return _has_server(result, losses) and not losses.for_good & set(worker_names(result.scenario))


def _server_drops(result: Result, losses: Losses) -> bool:
    return _has_server(result, losses) and not losses.for_good >= set(worker_names(result.scenario))


def _server_has_backups(result: Result, losses: Losses) -> bool:
    missing = losses.for_good & set(worker_names(result.scenario))
    return _has_server(result, losses) and len(missing) <= getattr(result.scenario.strategy, "backups", 0)


def _has_server(result: Result, losses: Losses) -> bool:
    """Say whether the state is left: on some server of a chain, on all that hold a range, or in the store."""
    settings = getattr(result.scenario.strategy, "server", None)
    if getattr(settings, "checkpoint_every", None) is not None:
        return SERVER not in losses.for_good
    if getattr(settings, "co_located", False):
        return all(map(losses.spare, worker_names(result.scenario)))
    if getattr(settings, "shards", 1) > 1:
        return all(map(losses.spare, added_machines(result.scenario.strategy)))
    return any(map(losses.spare, added_machines(result.scenario.strategy)))


# (name, on_failure) -> whether it promises to come to the end of its task after these losses, all told by a reset.
PROMISES: Mapping[tuple[str, str | None], Callable[[Result, Losses], bool]] = {
    ("local", None): _local,
    ("ring", "abort"): _all_spared,
    ("ring", "elastic"): _ring_elastic,
    ("ring", "wait"): _ring_waits,
    ("ring", "spares"): _ring_has_spares,
    ("ring", "peer_recovery"): _ring_elastic,
    ("model_parallel", None): _all_spared,
    ("gpipe", None): _all_spared,
    ("pipedream", None): _all_spared,
    ("spectrain", None): _all_spared,
    ("local_sgd", None): _all_spared,
    ("diloco", None): _all_spared,
    ("dpsgd", None): _any_spared,
    ("gossip", None): _any_spared,
    ("adpsgd", None): _any_spared,
    ("parameter_server", "wait"): _server_waits,
    ("parameter_server", "timeout"): _server_drops,
    ("parameter_server", "backup"): _server_has_backups,
}


def policy(result: Result) -> tuple[str, str | None]:
    """Return (name, on_failure) of what was played; a user's own function has only its name."""
    settings = result.scenario.strategy
    return result.strategy, getattr(settings, "on_failure", None) if result.strategy == settings.name else None
