"""The keys of `strategy`: how machines train together. Told apart by `name`, and by `on_failure`.

What is not here: those of pipelines (`pipelines.py`) and of replicas that differ (`decentralised.py`), and what the
settings do (`strategies/`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WrapSerializer

from ringsim.scenario.cluster import as_short, kind_alone, or_kind
from ringsim.scenario.compression import COMPRESSION, Compression
from ringsim.scenario.decentralised import AdPsgd, DiLoCo, DPsgd, Gossip, LocalSgd
from ringsim.scenario.pipelines import GPipe, ModelParallel, PipeDream, SpecTrain
from ringsim.scenario.settings import (
    AllReduceName,
    Duration,
    Patience,
    PositiveDuration,
    PositiveSize,
    Rate,
    Settings,
    Speed,
)

# Names that strategies give to machines of their own; a scenario must not use them for a node.
SERVER, RENDEZVOUS, SWITCH = "server0", "rendezvous", "switch"


class Local(Settings):
    """One machine, the first, computes every sample: the reference for all others."""

    name: Literal["local"]


_ORDER: Any = Field(
    default="listed",
    description="of the ranks in the ring: as the cluster lists them, or so that neighbours are near each other",
)
_COLLECTIVE: Any = Field(default="ring", description="how the gradients are added up: which all-reduce")
_BUCKET_SIZE: Any = Field(
    default=None,
    description="all-reduce so many bytes of the gradient as soon as they are there; default: all at the end",
)
_CYCLE_TIME: Any = Field(
    default=None, description="all-reduce a bucket so long after its first gradient was there, even if it is not full"
)


_COMMIT_EVERY: Any = Field(default=1, ge=1, description="steps between commits; a failure rolls back to the last one")
_MIN_WORKERS: Any = Field(default=1, ge=1, description="below this the job waits, and at last fails")
_RESET_LIMIT: Any = Field(
    default=100, ge=1, description="the job fails if the ring is re-formed so often without a new commit"
)
_RENDEZVOUS_TIMEOUT: Any = Field(
    default=600 * 10**9, description="with fewer than min_workers the job fails when nobody comes for so long"
)
_SET_ASIDE: Any = Field(default=None, description="default: a machine that failed never joins again")
_CHECKPOINT_EVERY: Any = Field(
    default=None, ge=1, description="updates between saves, from which it goes on if nobody is left; default: none"
)
_TIMEOUT: Any = Field(
    default=30 * 10**9,
    description="give up a neighbour in a collective, and a member at the rendezvous, after so long",
)

_INTERVAL: Any = Field(default=100 * 10**6, description="between two heartbeats")
_SILENCE: Any = Field(default=5 * 10**9, description="without a heartbeat for so long, its sender is taken for dead")
_HEARTBEAT: Any = Field(default=None, description="default: a death is found by its reset, or by a timeout")


class NeighbourHeartbeat(Settings):
    """A neighbour in the ring whose heartbeats do not come is taken for dead."""

    interval: PositiveDuration = _INTERVAL
    timeout: PositiveDuration = _SILENCE


class Heartbeat(Settings):
    """A member of the ring whose heartbeats do not come is taken for dead, and accused at the rendezvous."""

    interval: PositiveDuration = _INTERVAL
    timeout: PositiveDuration = _SILENCE
    by: Literal["neighbours", "rendezvous"] = Field("neighbours", description="who watches, and accuses")


class RingAbort(Settings):
    """Synchronous data parallelism by ring all-reduce; a death ends the job for all, as in plain MPI."""

    name: Literal["ring"]
    on_failure: Literal["abort"] = "abort"
    timeout: Patience | None = Field(None, description="give up a receive after so long; default: never")
    heartbeat: NeighbourHeartbeat | None = _HEARTBEAT
    compression: Compression = COMPRESSION
    collective: AllReduceName = _COLLECTIVE
    order: Literal["listed", "topology"] = _ORDER
    bucket_size: PositiveSize | None = _BUCKET_SIZE
    cycle_time: PositiveDuration | None = _CYCLE_TIME


class SetAside(Settings):
    """What becomes of a machine that failed and comes back."""

    cooldown: Duration = Field(examples=["10 s"], description="how long it waits before it may join again")


class RingElastic(Settings):
    """Ring all-reduce that goes on without the dead and takes back those who return (Horovod elastic)."""

    name: Literal["ring"]
    on_failure: Literal["elastic"]
    commit_every: int = _COMMIT_EVERY
    checkpoint_every: int | None = _CHECKPOINT_EVERY
    min_workers: int = _MIN_WORKERS
    reset_limit: int = _RESET_LIMIT
    rendezvous_timeout: Duration = _RENDEZVOUS_TIMEOUT
    set_aside: SetAside | None = _SET_ASIDE
    timeout: Patience | None = _TIMEOUT
    heartbeat: Heartbeat | None = _HEARTBEAT
    collective: AllReduceName = _COLLECTIVE
    order: Literal["listed", "topology"] = _ORDER
    bucket_size: PositiveSize | None = _BUCKET_SIZE
    cycle_time: PositiveDuration | None = _CYCLE_TIME


class RingWait(Settings):
    """Ring all-reduce in which nobody goes on without the dead: all wait until they are back."""

    name: Literal["ring"]
    on_failure: Literal["wait"]
    commit_every: int = _COMMIT_EVERY
    checkpoint_every: int | None = _CHECKPOINT_EVERY
    reset_limit: int = _RESET_LIMIT
    timeout: Patience | None = Field(30 * 10**9, description="give up a neighbour in a collective after so long")
    heartbeat: Heartbeat | None = _HEARTBEAT
    collective: AllReduceName = _COLLECTIVE
    order: Literal["listed", "topology"] = _ORDER
    bucket_size: PositiveSize | None = _BUCKET_SIZE
    cycle_time: PositiveDuration | None = _CYCLE_TIME


class RingSpares(Settings):
    """Ring all-reduce that keeps its size: machines stand by, and one of them takes the place of who dies."""

    name: Literal["ring"]
    on_failure: Literal["spares"]
    spares: int = Field(1, ge=1, description="so many ranks, the last of the cluster, stand by")
    commit_every: int = _COMMIT_EVERY
    checkpoint_every: int | None = _CHECKPOINT_EVERY
    min_workers: int = _MIN_WORKERS
    reset_limit: int = _RESET_LIMIT
    rendezvous_timeout: Duration = _RENDEZVOUS_TIMEOUT
    set_aside: SetAside | None = _SET_ASIDE
    timeout: Patience | None = _TIMEOUT
    heartbeat: Heartbeat | None = _HEARTBEAT
    collective: AllReduceName = _COLLECTIVE
    order: Literal["listed", "topology"] = _ORDER
    bucket_size: PositiveSize | None = _BUCKET_SIZE
    cycle_time: PositiveDuration | None = _CYCLE_TIME


class RingPeerRecovery(Settings):
    """Ring all-reduce that rolls nothing back: survivors finish the step, and who returns copies a peer (torchft)."""

    name: Literal["ring"]
    on_failure: Literal["peer_recovery"]
    checkpoint_every: int | None = _CHECKPOINT_EVERY
    min_workers: int = _MIN_WORKERS
    reset_limit: int = _RESET_LIMIT
    rendezvous_timeout: Duration = _RENDEZVOUS_TIMEOUT
    set_aside: SetAside | None = _SET_ASIDE
    timeout: Patience | None = _TIMEOUT
    heartbeat: Heartbeat | None = _HEARTBEAT
    order: Literal["listed", "topology"] = _ORDER


# Those that may all-reduce in buckets, and not only in a ring; those that re-form it at a rendezvous; and all.
BucketedRing = RingAbort | RingElastic | RingWait | RingSpares
ElasticRing = RingElastic | RingWait | RingSpares | RingPeerRecovery
AnyRing = RingAbort | ElasticRing


class Server(Settings):
    """The parameter server: its own machine, as `cluster.network` says where this does not, and what its death does."""

    speed: Speed | None = Field(default=None, description="how fast it averages; default: averaging takes no time")
    bandwidth: Rate | None = None
    latency: Duration | None = None
    checkpoint_every: int | None = Field(
        None, ge=1, description="updates between saves, from which it goes on if its machine restarts; default: none"
    )
    replicas: int = Field(1, ge=1, le=64, description="servers in a chain, each on a machine like this, that hold all")
    replicate: Literal["means", "pushes"] = Field(
        "means", description="what goes down the chain: a step's mean gradient, or every worker's"
    )
    shards: int = Field(1, ge=1, le=64, description="servers, each on a machine like this, that hold a range each")
    co_located: bool = Field(False, description="every worker's machine serves a range: no machine is added")


class Bsp(Settings):
    """All workers in step: one update of all their gradients, and nobody begins before it (bulk synchronous)."""

    kind: Literal["bsp"]


class BoundedDelay(Settings):
    """Each gradient is an update; a worker pulls the newest parameters, and is never more than tau steps ahead."""

    kind: Literal["bounded_delay"]
    tau: int = Field(2, ge=0, le=1_000_000, description="steps that a worker may be ahead of the slowest")


class Ssp(Settings):
    """As bounded delay, but from a copy as old as that allows, and the own gradients since (stale synchronous)."""

    kind: Literal["ssp"]
    slack: int = Field(2, ge=0, le=1_000_000, description="steps that a worker may be ahead of the slowest")


class Asp(Settings):
    """Each gradient is an update, and nobody waits for anybody (asynchronous)."""

    kind: Literal["asp"]


Consistency = Annotated[
    Bsp | BoundedDelay | Ssp | Asp,
    Field(discriminator="kind"),
    BeforeValidator(kind_alone),
    WrapSerializer(as_short),
]
_CONSISTENCY: Any = Field(
    default=Bsp(kind="bsp"),
    json_schema_extra=or_kind("bsp", "bounded_delay", "ssp", "asp"),
    description="how far workers may be apart; a kind that has nothing else to say may stand alone: consistency: asp",
)


class ParameterServerWait(Settings):
    """A parameter server; it waits for every worker, if need be for ever."""

    name: Literal["parameter_server"]
    on_failure: Literal["wait"] = "wait"
    consistency: Consistency = _CONSISTENCY
    server: Server = Server()


class ParameterServerTimeout(Settings):
    """A parameter server; a worker that is lost or late is dropped and the others go on."""

    name: Literal["parameter_server"]
    on_failure: Literal["timeout"]
    consistency: Consistency = _CONSISTENCY
    timeout: PositiveDuration = Field(
        10 * 10**9, description="how long after the latest push the missing ones are dropped"
    )
    server: Server = Server()


class ParameterServerBackup(Settings):
    """One server, all workers in step (BSP); the last ones of each step are not waited for (Chen 2016)."""

    name: Literal["parameter_server"]
    on_failure: Literal["backup"]
    backups: int = Field(1, ge=1, le=100_000, description="so many pushes of each step are not waited for")
    server: Server = Server()


# (name, on_failure) -> settings. The first policy of a name is the one that holds when a file says none.
STRATEGIES: dict[tuple[str, str | None], type[Settings]] = {
    ("local", None): Local,
    ("ring", "abort"): RingAbort,
    ("ring", "elastic"): RingElastic,
    ("ring", "wait"): RingWait,
    ("ring", "spares"): RingSpares,
    ("ring", "peer_recovery"): RingPeerRecovery,
    ("parameter_server", "wait"): ParameterServerWait,
    ("parameter_server", "timeout"): ParameterServerTimeout,
    ("parameter_server", "backup"): ParameterServerBackup,
    ("model_parallel", None): ModelParallel,
    ("gpipe", None): GPipe,
    ("pipedream", None): PipeDream,
    ("spectrain", None): SpecTrain,
    ("local_sgd", None): LocalSgd,
    ("diloco", None): DiLoCo,
    ("dpsgd", None): DPsgd,
    ("gossip", None): Gossip,
    ("adpsgd", None): AdPsgd,
}
STRATEGY_NAMES = tuple(dict.fromkeys(name for name, _ in STRATEGIES))


def policies(name: str) -> tuple[str, ...]:
    """Return the failure policies of a strategy, the default first.

    >>> policies("ring")
    ('abort', 'elastic', 'wait', 'spares', 'peer_recovery')
    """
    return tuple(policy for key, policy in STRATEGIES if key == name and policy is not None)


def added_machines(strategy: Settings) -> tuple[str, ...]:
    """Return the names of the machines that a strategy adds to those of the cluster.

    >>> added_machines(ParameterServerWait(name="parameter_server")), added_machines(Local(name="local"))
    (('server0',), ())
    """
    if isinstance(strategy, (ParameterServerWait, ParameterServerTimeout, ParameterServerBackup)):
        servers = 0 if strategy.server.co_located else max(strategy.server.replicas, strategy.server.shards)
        return tuple(f"server{index}" for index in range(servers))
    return (RENDEZVOUS,) if isinstance(strategy, ElasticRing) else ()


def _strategy_tag(value: Any) -> str | None:
    """Return which settings a strategy's mapping is for; None when name or on_failure is not one that exists."""
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    name = fields.get("name")
    if name not in STRATEGY_NAMES:
        return None
    default = (policies(name) or (None,))[0]
    policy = fields.get("on_failure", default)
    if default is None:
        return str(name)
    return f"{name}/{policy}" if policy in policies(name) else None


Strategy = Annotated[
    Annotated[Local, Tag("local")]
    | Annotated[RingAbort, Tag("ring/abort")]
    | Annotated[RingElastic, Tag("ring/elastic")]
    | Annotated[RingWait, Tag("ring/wait")]
    | Annotated[RingSpares, Tag("ring/spares")]
    | Annotated[RingPeerRecovery, Tag("ring/peer_recovery")]
    | Annotated[ParameterServerWait, Tag("parameter_server/wait")]
    | Annotated[ParameterServerTimeout, Tag("parameter_server/timeout")]
    | Annotated[ParameterServerBackup, Tag("parameter_server/backup")]
    | Annotated[ModelParallel, Tag("model_parallel")]
    | Annotated[GPipe, Tag("gpipe")]
    | Annotated[PipeDream, Tag("pipedream")]
    | Annotated[SpecTrain, Tag("spectrain")]
    | Annotated[LocalSgd, Tag("local_sgd")]
    | Annotated[DiLoCo, Tag("diloco")]
    | Annotated[DPsgd, Tag("dpsgd")]
    | Annotated[Gossip, Tag("gossip")]
    | Annotated[AdPsgd, Tag("adpsgd")],
    Discriminator(_strategy_tag),
]
