"""The keys of `cluster`: the machines, by number or by name, and the network between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WrapSerializer

from ringsim.scenario.settings import (
    Duration,
    Name,
    NodeName,
    PositiveDuration,
    PositiveSize,
    Rate,
    Settings,
    Share,
    Size,
    Speed,
)


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


def as_short(value: Any, handler: Any) -> Any:
    # The other way round, where there is nothing else to say.
    written = handler(value)
    if written is None:
        return None
    fields = {key: inner for key, inner in written.items() if inner is not None}
    return fields["kind"] if set(fields) == {"kind"} else fields


def or_kind(*kinds: str) -> Any:
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
    WrapSerializer(as_short),
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
    Ideal | Framed | Tcp, Field(discriminator="kind"), BeforeValidator(kind_alone), WrapSerializer(as_short)
]


class Loopback(Settings):
    """How ranks on one machine reach each other."""

    bandwidth: Rate = 100 * 10**9
    latency: Duration = 1_000


class Network(Settings):
    """The graph between the machines. Rates are per direction (full duplex); `latency` is one link's."""

    topology: Topology = Field(
        default=Star(kind="star"),
        json_schema_extra=or_kind("star", "ring", "line", "full", "fat_tree", "graph"),
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
        json_schema_extra=or_kind("ideal", "framed", "tcp"),
        description="bytes and waiting beside the payload; transport: tcp is short for transport: {kind: tcp}",
    )
    loopback: Loopback = Loopback()
    links: tuple[Link, ...] = Field(
        (), strict=False, description="under topology graph these are the links; elsewhere they change single ones"
    )
    background: tuple[Background, ...] = Field((), strict=False, description="traffic that is not of the training")


class Storage(Settings):
    """One durable store that all machines reach, each by a way of its own, and that no fault touches."""

    bandwidth: Rate = Field(8 * 10**9, description="shared by all who save and load at the same time")
    latency: Duration = Field(10**6, description="of each save and load, before its first byte")


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
    storage: Storage = Storage()
