"""Every key of a scenario file, with its unit, its default and its meaning: frozen data, no behaviour.

    Scenario
    ├── task        what is learned: dataset, model, optimizer, how long
    ├── cluster     the machines and the network between them
    ├── strategy    how they train together (told apart by `name`, and `on_failure`)
    └── faults      what goes wrong, and when (told apart by `kind`)

What is not here: reading YAML and saying where a mistake is (`scenario_file/`), and what the settings do
(`strategies/`, `world/`, `learning/`).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    WrapSerializer,
    model_serializer,
    model_validator,
)

from ringsim.units import DURATION, RATE, SHARE, SIZE, SPEED, WORK, Dimension

DIGITS_TRAIN_SIZE = 1_437  # The shipped digits: 1,797 images, of which every fifth is for testing.

# Names that strategies give to machines of their own; a scenario must not use them for a node.
SERVER, RENDEZVOUS, SWITCH = "server0", "rendezvous", "switch"


def _quantity(dimension: Dimension) -> Any:
    def parse(value: Any) -> Any:
        # An integer is what a default or an already validated model holds; the YAML reader refuses bare numbers.
        return dimension.parse(value)

    return Annotated[
        int,
        BeforeValidator(parse),
        PlainSerializer(dimension.format, return_type=str),
        WithJsonSchema(
            {
                "type": "string",
                "description": f"{dimension.a_name}, such as {dimension.example}",
                "pattern": rf"^\s*\d[\d_]*(\.\d+)?\s*({'|'.join(dimension.factors)})\s*$",
                "examples": [dimension.example],
            }
        ),
    ]


Duration: Any = _quantity(DURATION)
Size: Any = _quantity(SIZE)
Rate: Any = _quantity(RATE)
Speed: Any = _quantity(SPEED)
Work: Any = _quantity(WORK)
PositiveDuration: Any = _quantity(replace(DURATION, smallest=1))
PositiveSize: Any = _quantity(replace(SIZE, smallest=1))
Share: Any = _quantity(SHARE)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


# A machine, or a switch: those have a dot in their names, but for the switch of a star.
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=130)]


class Settings(BaseModel):
    """The manners of every model here: frozen, strict, and no key that nobody reads."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=False)


# --- task -------------------------------------------------------------------------------------------------------------


class Digits(Settings):
    """Handwritten digits: 1,797 real images of 8x8 (UCI), 1,437 to train on and 360 to test on. Shipped."""

    kind: Literal["digits"]


class Synthetic(Settings):
    """Clouds of points, one around each class's seeded centre; a fifth more are drawn to test on."""

    kind: Literal["synthetic"]
    samples: int = Field(1_024, ge=1, le=10_000_000, description="points to train on")
    features: int = Field(32, ge=1, le=100_000, description="numbers in a point")
    classes: int = Field(10, ge=2, le=10_000)
    noise: float = Field(1.0, ge=0, le=1_000, description="spread around the centre; the centres have spread 1")


class Softmax(Settings):
    """One linear layer: softmax regression."""

    kind: Literal["softmax"]


class Mlp(Settings):
    """Fully connected layers with ReLU between them."""

    kind: Literal["mlp"]
    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        default=(128,), strict=False, description="widths of the hidden layers"
    )


class Cnn(Settings):
    """The MNIST network of the Keras and Horovod examples: conv 32, conv 64, max pool, dense 128, dense."""

    kind: Literal["cnn"]


class Sgd(Settings):
    """Plain stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: float = Field(default=0.1, gt=0, le=1_000)


class Momentum(Settings):
    """Gradient descent with a velocity: v = momentum * v + gradient."""

    kind: Literal["momentum"]
    learning_rate: float = Field(0.1, gt=0, le=1_000)
    momentum: float = Field(0.9, ge=0, lt=1)


class Adam(Settings):
    """Adam (Kingma and Ba 2015): a step size of its own for each parameter."""

    kind: Literal["adam"]
    learning_rate: float = Field(0.001, gt=0, le=1_000)
    b1: float = Field(0.9, ge=0, lt=1)
    b2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0, le=1)


class Task(Settings):
    """What is learned, from what, how and for how long."""

    dataset: Annotated[Digits | Synthetic, Field(discriminator="kind")] = Digits(kind="digits")
    model: Annotated[Softmax | Mlp | Cnn, Field(discriminator="kind")] = Mlp(kind="mlp")
    epochs: int | None = Field(None, ge=1, le=1_000_000, description="passes over the training samples (or say steps)")
    steps: int | None = Field(None, ge=1, le=100_000_000, description="updates (or say epochs)")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="samples a step for each worker")
    optimizer: Annotated[Sgd | Momentum | Adam, Field(discriminator="kind")] = Sgd(kind="sgd")
    learning_rate_scaling: Literal["none", "linear", "sqrt", "inverse"] = Field(
        "none", description="how the rate follows the number of workers k: times 1, k, sqrt(k) or 1/k"
    )
    warm_up_epochs: float = Field(
        0.0, ge=0, le=1_000_000, description="the scaled rate is reached gradually over so many epochs (Goyal 2018)"
    )
    evaluate_every: int | None = Field(None, ge=1, description="steps between evaluations; default: only at the end")
    target_accuracy: Share | None = Field(None, description="stop at the first evaluation that reaches it")
    flop_per_sample: Work | None = Field(
        None, description="work of one sample, forward and backward; default: counted from the model's shape"
    )


# --- cluster ----------------------------------------------------------------------------------------------------------


class Straggle(Settings):
    """Now and then a computation takes several times as long."""

    probability: Share = Field(examples=["5 %"])
    factor: float = Field(gt=1, le=1_000_000, examples=[4])


def _name_is_optional(schema: dict[str, Any]) -> None:
    # In a file a machine without a name gets one by its place in the list.
    schema.pop("required", None)


class Host(Settings):
    """One machine. What it does not say, `cluster` and `cluster.network` say for it."""

    model_config = ConfigDict(json_schema_extra=_name_is_optional)

    name: Name = Field(examples=["node0"])
    speed: Speed | None = None
    jitter: Share | None = None
    straggle: Straggle | None = None
    shard_weight: float = Field(1.0, gt=0, le=1_000_000, description="takes so many times batch_size samples a step")
    processes: int = Field(1, ge=1, le=1_024, description="ranks on this machine, sharing its speed and network card")
    bandwidth: Rate | None = None
    latency: Duration | None = None


def kind_alone(value: Any) -> Any:
    """Return the mapping that a name stands for: `topology: ring` is short for `topology: {kind: ring}`."""
    return {"kind": value} if isinstance(value, str) else value


def _as_short(value: Any, handler: Any) -> Any:
    # The other way round, where there is nothing else to say.
    fields = {key: inner for key, inner in handler(value).items() if inner is not None}
    return fields["kind"] if set(fields) == {"kind"} else fields


def _or_kind(*kinds: str) -> Any:
    def extend(schema: dict[str, Any]) -> None:
        as_mapping = {key: schema.pop(key) for key in ("oneOf", "discriminator") if key in schema}
        schema["anyOf"] = [{"enum": list(kinds)}, as_mapping]
        if isinstance(schema.get("default"), dict):
            schema["default"] = schema["default"]["kind"]

    return extend


class Star(Settings):
    """Every machine has one link to one switch."""

    kind: Literal["star"]


class Ring(Settings):
    """Every machine has a link to the next, and the last to the first. No switches."""

    kind: Literal["ring"]


class Line(Settings):
    """Every machine has a link to the next. No switches."""

    kind: Literal["line"]


class Full(Settings):
    """Every machine has a link to every other. No switches."""

    kind: Literal["full"]


class Torus(Settings):
    """A grid of machines whose every row closes to a ring, in each dimension. No switches."""

    kind: Literal["torus"]
    dimensions: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(
        strict=False,
        examples=[[2, 2]],
        description="machines in each dimension; the product is the number of machines, the last counts fastest",
    )


class TwoTier(Settings):
    """Racks of machines: each has a link to its rack's switch, and each rack one to the core switch."""

    kind: Literal["two_tier"]
    racks: int = Field(
        ge=1, le=100_000, examples=[2], description="machines are spread over them as evenly as possible"
    )
    placement: Literal["blocks", "in_turn"] = Field(
        "blocks", description="blocks: they fill one rack after another; in_turn: the next machine is in the next rack"
    )
    oversubscription: float = Field(
        1.0, gt=0, le=1_000_000, description="a rack's machines together, against its link to the core"
    )


class FatTree(Settings):
    """Three tiers of equal switches with k ports each, and bandwidth for all at once (Al-Fares 2008)."""

    kind: Literal["fat_tree"]
    k: int | None = Field(
        default=None, ge=2, le=128, description="ports of a switch, even; k*k*k/4 machines fit; default: the least"
    )


class Site(Settings):
    """One place of a wide-area network: a switch and its machines."""

    name: Name = Field(examples=["a"])
    nodes: int = Field(ge=1, le=100_000, examples=[2], description="how many machines, of those that come next")


class Wan(Settings):
    """Sites far from each other: a star in each, and a link between every two of their switches."""

    kind: Literal["wan"]
    sites: tuple[Site, ...] = Field(
        strict=False, examples=[[{"name": "a", "nodes": 2}, {"name": "b", "nodes": 2}]], description="machines in order"
    )
    latencies: tuple[Annotated[tuple[Duration, ...], Field(strict=False)], ...] = Field(
        strict=False,
        examples=[[["0 s", "10 ms"], ["10 ms", "0 s"]]],
        description="from each site (row) to each (column); from a site to itself 0 s",
    )
    bandwidth: Rate | None = Field(None, description="of the links between sites; default: as all others")


class Graph(Settings):
    """Any graph: its links are those of `network.links`, or of a file, which is read when the scenario is."""

    kind: Literal["graph"]
    file: str | None = Field(
        None, min_length=1, description="GraphML (.graphml) or node-link JSON (.json), beside the scenario"
    )


Topology = Annotated[
    Star | Ring | Line | Full | Torus | TwoTier | FatTree | Wan | Graph,
    Field(discriminator="kind"),
    BeforeValidator(kind_alone),
    WrapSerializer(_as_short),
]


class Link(Settings):
    """One link between two machines or switches, in both directions unless it says `one_way`."""

    source: NodeName = Field(examples=["node0"])
    target: NodeName = Field(examples=["switch"])
    bandwidth: Rate | None = None
    latency: Duration | None = None
    drop: Share | None = None
    one_way: bool = Field(False, description="only from source to target")


class Background(Settings):
    """Somebody else's traffic between two machines."""

    source: str = Field(examples=["node0"])
    target: str = Field(examples=["node1"])
    rate: Rate | None = Field(None, description="at most so much; default: its fair share")
    start: Duration = 0
    stop: Duration | None = Field(None, description="default: it never stops")
    burst: PositiveDuration | None = Field(None, description="it sends for so long, then pauses; default: always")
    pause: PositiveDuration | None = Field(None, description="it is silent for so long, then sends again")


class Ideal(Settings):
    """Payload only: not one byte of framing."""

    kind: Literal["ideal"]


class Framed(Settings):
    """Every `payload` bytes of a message travel with `header` bytes more (TCP on Ethernet: 1,448 B and 66 B)."""

    kind: Literal["framed"]
    payload: PositiveSize = 1_448
    header: Size = 66


class Tcp(Settings):
    """Framing, acknowledgements and slow start, as of a TCP connection on Ethernet."""

    kind: Literal["tcp"]
    payload: PositiveSize = Field(1_448, description="data bytes of a segment")
    header: Size = Field(66, description="bytes that each segment has more")
    acknowledgement: Size = Field(66, description="size of an acknowledgement, which travels the other way")
    acknowledge_every: int = Field(2, ge=1, le=1_000_000, description="segments to an acknowledgement")
    initial_window: int = Field(
        default=10, ge=1, le=1_000_000, description="segments that a cold connection sends before it waits (RFC 6928)"
    )
    retransmission_timeout: PositiveDuration = Field(
        200 * 10**6, description="a connection that was idle for longer than this and a round trip is cold again"
    )


Transport = Annotated[
    Ideal | Framed | Tcp, Field(discriminator="kind"), BeforeValidator(kind_alone), WrapSerializer(_as_short)
]


class Loopback(Settings):
    """How ranks on one machine reach each other."""

    bandwidth: Rate = 100 * 10**9
    latency: Duration = 1_000


class Network(Settings):
    """The graph between the machines. Rates are per direction (full duplex); `latency` is one link's."""

    topology: Topology = Field(
        default=Star(kind="star"),
        json_schema_extra=_or_kind("star", "ring", "line", "full", "fat_tree", "graph"),
        description="how machines are linked; a kind that has nothing else to say may stand alone: topology: ring",
    )
    bandwidth: Rate = 10**9
    latency: Duration = 50_000
    drop: Share = Field(0, description="how probable it is that a link loses a message")
    resend_after: PositiveDuration = Field(
        200 * 10**6, description="a message that was lost is sent again after so long"
    )
    message_overhead: Duration = Field(
        default=0, description="time a connection is busy before each message's first byte"
    )
    transport: Transport = Field(
        default=Ideal(kind="ideal"),
        json_schema_extra=_or_kind("ideal", "framed", "tcp"),
        description="bytes and waiting beside the payload; transport: tcp is short for transport: {kind: tcp}",
    )
    loopback: Loopback = Loopback()
    links: tuple[Link, ...] = Field(
        (), strict=False, description="under topology graph these are the links; elsewhere they change single ones"
    )
    background: tuple[Background, ...] = Field((), strict=False, description="traffic that is not of the training")


def _count_to_hosts(nodes: Any) -> Any:
    if isinstance(nodes, int) and not isinstance(nodes, bool):
        if not 1 <= nodes <= 100_000:
            raise ValueError("must be from 1 to 100000, or a list of machines")
        return [{"name": f"node{index}"} for index in range(nodes)]
    if not isinstance(nodes, (list, tuple)):
        raise ValueError('must be a number of machines, such as 4, or a list of them, such as [{name: "node0"}]')
    return [
        {"name": f"node{index}", **node} if isinstance(node, dict) and "name" not in node else node
        for index, node in enumerate(nodes)
    ]


def _or_count(schema: dict[str, Any]) -> None:
    as_list = {key: schema.pop(key) for key in ("type", "items")}
    schema["oneOf"] = [{"type": "integer", "minimum": 1, "maximum": 100_000}, as_list]


class Cluster(Settings):
    """The machines, by number or by name, and the network between them."""

    nodes: Annotated[
        tuple[Host, ...],
        BeforeValidator(_count_to_hosts),
        Field(
            strict=False,
            min_length=1,
            examples=[4],
            json_schema_extra=_or_count,
            description="how many machines (node0, node1, ...), or a list of them",
        ),
    ]
    speed: Speed = 10 * 10**9
    jitter: Share = Field(0, description="each computation takes up to so much more or less, evenly (seeded)")
    straggle: Straggle | None = None
    network: Network = Network()


# --- strategy ---------------------------------------------------------------------------------------------------------


class Local(Settings):
    """One machine, the first, computes every sample: the reference for all others."""

    name: Literal["local"]


_ORDER: Any = Field(
    default="listed",
    description="of the ranks in the ring: as the cluster lists them, or so that neighbours are near each other",
)
_BUCKET_SIZE: Any = Field(
    default=None,
    description="all-reduce so many bytes of the gradient as soon as they are there; default: all at the end",
)
_CYCLE_TIME: Any = Field(
    default=None, description="all-reduce a bucket so long after its first gradient was there, even if it is not full"
)


class RingAbort(Settings):
    """Synchronous data parallelism by ring all-reduce; a death ends the job for all, as in plain MPI."""

    name: Literal["ring"]
    on_failure: Literal["abort"] = "abort"
    timeout: Duration | None = Field(None, description="give up a receive after so long; default: never")
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
    commit_every: int = Field(1, ge=1, description="steps between commits; a failure rolls back to the last one")
    min_workers: int = Field(1, ge=1, description="below this the job waits, and at last fails")
    reset_limit: int = Field(
        default=100, ge=1, description="the job fails if the ring is re-formed so often without a new commit"
    )
    rendezvous_timeout: Duration = Field(
        600 * 10**9, description="with fewer than min_workers the job fails when nobody comes for so long"
    )
    set_aside: SetAside | None = Field(None, description="default: a machine that failed never joins again")
    timeout: Duration | None = Field(
        30 * 10**9, description="give up a neighbour in a collective, and a member at the rendezvous, after so long"
    )
    order: Literal["listed", "topology"] = _ORDER
    bucket_size: PositiveSize | None = _BUCKET_SIZE
    cycle_time: PositiveDuration | None = _CYCLE_TIME


class Server(Settings):
    """The parameter server's own machine; what it does not say is as `cluster.network` says."""

    speed: Speed | None = Field(default=None, description="how fast it averages; default: averaging takes no time")
    bandwidth: Rate | None = None
    latency: Duration | None = None


class ParameterServerWait(Settings):
    """One server, all workers in step (BSP); it waits for every worker, if need be for ever."""

    name: Literal["parameter_server"]
    on_failure: Literal["wait"] = "wait"
    server: Server = Server()


class ParameterServerTimeout(Settings):
    """One server, all workers in step (BSP); a worker that is lost or late is dropped and the others go on."""

    name: Literal["parameter_server"]
    on_failure: Literal["timeout"]
    timeout: Duration = Field(10 * 10**9, description="how long after the latest push the missing ones are dropped")
    server: Server = Server()


# (name, on_failure) -> settings. The first policy of a name is the one that holds when a file says none.
STRATEGIES: dict[tuple[str, str | None], type[Settings]] = {
    ("local", None): Local,
    ("ring", "abort"): RingAbort,
    ("ring", "elastic"): RingElastic,
    ("parameter_server", "wait"): ParameterServerWait,
    ("parameter_server", "timeout"): ParameterServerTimeout,
}
STRATEGY_NAMES = tuple(dict.fromkeys(name for name, _ in STRATEGIES))


def policies(name: str) -> tuple[str, ...]:
    """Return the failure policies of a strategy, the default first.

    >>> policies("ring")
    ('abort', 'elastic')
    """
    return tuple(policy for key, policy in STRATEGIES if key == name and policy is not None)


def added_machines(strategy: Settings) -> tuple[str, ...]:
    """Return the names of the machines that a strategy adds to those of the cluster.

    >>> added_machines(ParameterServerWait(name="parameter_server")), added_machines(Local(name="local"))
    (('server0',), ())
    """
    if isinstance(strategy, (ParameterServerWait, ParameterServerTimeout)):
        return (SERVER,)
    return (RENDEZVOUS,) if isinstance(strategy, RingElastic) else ()


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
    | Annotated[ParameterServerWait, Tag("parameter_server/wait")]
    | Annotated[ParameterServerTimeout, Tag("parameter_server/timeout")],
    Discriminator(_strategy_tag),
]


# --- faults -----------------------------------------------------------------------------------------------------------


def _or_time(schema: dict[str, Any]) -> None:
    as_mapping = {key: schema.pop(key) for key in ("type", "properties", "additionalProperties")}
    schema["oneOf"] = [as_mapping["properties"]["time"]["anyOf"][0], as_mapping]


class At(Settings):
    """When: a virtual time (`at: 3 s`), or a node's own progress (`at: {step: 12, segment: 3}`).

    `step: 12` is the moment the node begins the step after update 12; with `segment: 3`, the moment it has received
    the third message of that step's collectives.
    """

    model_config = ConfigDict(json_schema_extra=_or_time)

    time: Duration | None = None
    step: int | None = Field(None, ge=0)
    segment: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _time_alone(cls, value: Any) -> Any:
        return {"time": value} if isinstance(value, (str, int, float)) else value

    @model_serializer(mode="wrap")
    def _as_written(self, handler: Any) -> Any:
        fields = {key: value for key, value in handler(self).items() if value is not None}
        return fields["time"] if set(fields) == {"time"} else fields


class Crash(Settings):
    """A machine dies with all it held; after `restart_after` it is back, empty."""

    kind: Literal["crash"]
    node: str = Field(examples=["node0"])
    at: At = Field(examples=["3 s"])
    restart_after: PositiveDuration | None = Field(None, description="default: it stays dead")
    notice: Literal["reset", "silence"] = Field(
        "reset", description="reset: its connections break (a process died); silence: nothing comes any more (a cable)"
    )


Fault = Annotated[Crash, Field(discriminator="kind")]


# --- the whole --------------------------------------------------------------------------------------------------------


class Scenario(Settings):
    """One experiment. The same scenario and the same ringsim give the same events and numbers, every time."""

    name: Name = Field(examples=["my_scenario"])
    seed: int = Field(0, ge=0, lt=2**63)
    task: Task = Field(examples=[{"steps": 20}])
    cluster: Cluster = Field(examples=[{"nodes": 4}])
    strategy: Strategy = Field(examples=[{"name": "ring"}])
    faults: tuple[Crash, ...] = Field(
        (),
        strict=False,
        examples=[[{"kind": "crash", "node": "node0", "at": "3 s"}]],
        description="what goes wrong, when",
    )
    max_virtual_time: Duration = Field(1_000 * 3_600 * 10**9, description="a run that lasts longer has stalled")


def worker_names(scenario: Scenario) -> tuple[str, ...]:
    """Return the ranks of the cluster in order: a machine's name, or `name.0`, `name.1`, ... if it runs several.

    >>> worker_names(Scenario.model_validate({"name": "a", "task": {"steps": 1}, "strategy": {"name": "ring"},
    ...                                       "cluster": {"nodes": [{"name": "a"}, {"name": "b", "processes": 2}]}}))
    ('a', 'b.0', 'b.1')
    """
    return tuple(name for host in scenario.cluster.nodes for name in rank_names(host))


def rank_names(host: Host) -> tuple[str, ...]:
    """Return the names of the ranks on one machine."""
    if host.processes == 1:
        return (host.name,)
    return tuple(f"{host.name}.{index}" for index in range(host.processes))


def share(scenario: Scenario, host: Host) -> int:
    """Return how many samples each rank of `host` takes a step: `batch_size` times its weight, at least one."""
    return max(1, int(exactly(host.shard_weight) * scenario.task.batch_size))


def exactly(number: float) -> Decimal:
    """Return the number that the file says, and not the binary one next to it.

    >>> int(0.29 * 100), int(exactly(0.29) * 100)
    (28, 29)
    """
    return Decimal(repr(number))


def worker_shares(scenario: Scenario) -> dict[str, int]:
    """Return how many samples a step each worker takes, by name."""
    return {name: share(scenario, host) for host in scenario.cluster.nodes for name in rank_names(host)}


def global_batch_size(scenario: Scenario) -> int:
    """Return how many samples a step takes while every worker is there."""
    return sum(share(scenario, host) * host.processes for host in scenario.cluster.nodes)


def train_size(scenario: Scenario) -> int:
    """Return how many samples an epoch has."""
    dataset = scenario.task.dataset
    return dataset.samples if isinstance(dataset, Synthetic) else DIGITS_TRAIN_SIZE


def planned_steps(scenario: Scenario) -> int:
    """Return how many updates the run takes if nobody is missing."""
    if scenario.task.steps is not None:
        return scenario.task.steps
    assert scenario.task.epochs is not None, "a scenario has epochs or steps"
    return scenario.task.epochs * -(-train_size(scenario) // global_batch_size(scenario))
