"""The keys of `faults`: what goes wrong, and when. Told apart by `kind`.

    crash, pause, slow_down, churn                  machines
    link_down, link_degrade, drop, corrupt          links
    partition, switch_down                          several at once

What is not here: what a fault does (`world/faults.py`), and which moments a distribution gives (`world/waits.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_serializer, model_validator

from ringsim.scenario.settings import Duration, Name, NodeName, PositiveDuration, PositiveShare, Rate, Settings

ANY = "any"  # As a fault's node: one of the cluster's machines that are up, drawn anew each time.

# --- when -------------------------------------------------------------------------------------------------------------


class Exponential(Settings):
    """Failures without a memory: whatever has happened, the next is as far away."""

    kind: Literal["exponential"]
    mean: PositiveDuration = Field(examples=["20 s"], description="from one to the next")


class Weibull(Settings):
    """A shape below 1 has many failures soon and few later, as new machines have; above 1 they wear out."""

    kind: Literal["weibull"]
    scale: PositiveDuration = Field(examples=["20 s"], description="63 % of the waits are shorter")
    shape: float = Field(1.0, ge=0.01, le=100)


class Llama3(Settings):
    """Training Llama 3 405B: 419 unexpected interruptions in 54 days on 16,384 GPUs (Dubey et al. 2024)."""

    kind: Literal["llama_3"]
    accelerated: float = Field(1.0, gt=0, le=1e15, description="so many times as often as in reality")


class Li2014(Settings):
    """Jobs of 100, 1,000 and 10,000 machine-hours: 7.8, 13.7 and 24.7 % of them fail (Li et al. 2014)."""

    kind: Literal["li_2014"]
    accelerated: float = Field(1.0, gt=0, le=1e15, description="so many times as often as in reality")


Wait = Annotated[Exponential | Weibull | Llama3 | Li2014, Field(discriminator="kind")]


def _or_time(schema: dict[str, Any]) -> None:
    as_mapping = {key: schema.pop(key) for key in ("type", "properties", "additionalProperties")}
    schema["oneOf"] = [as_mapping["properties"]["time"]["anyOf"][0], as_mapping]


class At(Settings):
    """When: a virtual time (`at: 3 s`), a node's own progress (`at: {step: 12, segment: 3}`), or again and again.

    `step: 12` is the moment the node begins the step after update 12; with `segment: 3`, the moment it has received
    the third message of that step's collectives. `node` says whose step it is, where that is not the node that fails.
    """

    model_config = ConfigDict(json_schema_extra=_or_time)

    time: Duration | None = None
    step: int | None = Field(None, ge=0)
    segment: int | None = Field(None, ge=1)
    node: NodeName | None = Field(
        None, description="with step: the machine whose step it is; default: the fault's node"
    )
    every: Wait | None = Field(None, description="again and again, with seeded waits between")
    start: Duration | None = Field(None, description="with every: when the first wait begins; default: at 0 s")
    stop: Duration | None = Field(None, description="with every: nothing more from then on; default: it goes on")
    file: str | None = Field(
        None, min_length=1, description="rows of time and node (CSV), beside the scenario, which is read with it"
    )

    @model_validator(mode="before")
    @classmethod
    def _time_alone(cls, value: Any) -> Any:
        return {"time": value} if isinstance(value, (str, int, float)) else value

    @model_serializer(mode="wrap")
    def _as_written(self, handler: Any) -> Any:
        fields = {key: value for key, value in handler(self).items() if value is not None}
        return fields["time"] if set(fields) == {"time"} else fields


_AT: Any = Field(examples=["3 s"])
_LASTS: Any = Field(default=None, description="it is over after so long; default: never")
_NODE: Any = Field(examples=["node0"], description="a machine, or any: one that is up, drawn anew each time")
_NOTICE: Any = Field(
    default="reset",
    description="reset: its connections break (a process died); silence: nothing comes any more (a cable)",
)

# --- machines ---------------------------------------------------------------------------------------------------------


class Crash(Settings):
    """A machine dies with all it held; after `restart_after` it is back, empty."""

    kind: Literal["crash"]
    node: str = _NODE
    at: At = _AT
    restart_after: PositiveDuration | None = Field(None, description="default: it stays dead")
    notice: Literal["reset", "silence"] = _NOTICE


class Pause(Settings):
    """A machine stands still, as a stopped process or a virtual machine that is moved: what comes for it waits."""

    kind: Literal["pause"]
    node: str = _NODE
    at: At = _AT
    lasts: PositiveDuration | None = _LASTS


class SlowDown(Settings):
    """A machine computes slower: it throttles, or somebody else works there too."""

    kind: Literal["slow_down"]
    node: str = _NODE
    at: At = _AT
    factor: float = Field(gt=1, le=1_000_000, examples=[4], description="so many times as long")
    lasts: PositiveDuration | None = _LASTS


class Churn(Settings):
    """Machines come and go: each is up for a drawn time, then dead for a drawn time, again and again."""

    kind: Literal["churn"]
    nodes: tuple[Name, ...] | None = Field(
        default=None, strict=False, min_length=1, description="which machines; default: all of the cluster"
    )
    up: Wait = Field(examples=[{"kind": "exponential", "mean": "20 s"}])
    down: Wait = Field(examples=[{"kind": "exponential", "mean": "2 s"}])
    notice: Literal["reset", "silence"] = _NOTICE


# --- links ------------------------------------------------------------------------------------------------------------

_SOURCE: Any = Field(examples=["node0"])
_TARGET: Any = Field(examples=["switch"])
_ONE_WAY: Any = Field(default=False, description="only from source to target")


class LinkDown(Settings):
    """Nothing passes a link: what is on its way waits, and flows on when the link is up again."""

    kind: Literal["link_down"]
    source: NodeName = _SOURCE
    target: NodeName = _TARGET
    at: At = _AT
    lasts: PositiveDuration | None = _LASTS
    one_way: bool = _ONE_WAY


class LinkDegrade(Settings):
    """A link has another bandwidth or latency for a while."""

    kind: Literal["link_degrade"]
    source: NodeName = _SOURCE
    target: NodeName = _TARGET
    at: At = _AT
    bandwidth: Rate | None = None
    latency: Duration | None = None
    lasts: PositiveDuration | None = _LASTS
    one_way: bool = _ONE_WAY


class Drop(Settings):
    """A link loses messages, which are sent again after `network.resend_after`."""

    kind: Literal["drop"]
    source: NodeName = _SOURCE
    target: NodeName = _TARGET
    at: At = _AT
    probability: PositiveShare = Field(examples=["5 %"], description="of each message")
    lasts: PositiveDuration | None = _LASTS
    one_way: bool = _ONE_WAY


class Corrupt(Settings):
    """A link flips one bit of a message: a checksum finds it and the message is sent again, or nobody notices."""

    kind: Literal["corrupt"]
    source: NodeName = _SOURCE
    target: NodeName = _TARGET
    at: At = _AT
    probability: PositiveShare = Field(examples=["5 %"], description="of each message")
    detected: bool = Field(True, description="false: the wrong number is used")
    lasts: PositiveDuration | None = _LASTS
    one_way: bool = _ONE_WAY


# --- several at once --------------------------------------------------------------------------------------------------


class Partition(Settings):
    """The network falls apart: machines of different groups do not reach each other until it heals."""

    kind: Literal["partition"]
    groups: tuple[Annotated[tuple[Name, ...], Field(strict=False, min_length=1)], ...] = Field(
        strict=False,
        min_length=2,
        examples=[[["node0"], ["node1"]]],
        description="machines; one that is in no group reaches all",
    )
    at: At = _AT
    lasts: PositiveDuration | None = _LASTS


class SwitchDown(Settings):
    """A switch dies with all under it: its links are down, and the machines that are linked to it crash."""

    kind: Literal["switch_down"]
    switch: NodeName = Field(examples=["rack0.switch"])
    at: At = _AT
    restart_after: PositiveDuration | None = Field(None, description="default: it stays dead")
    notice: Literal["reset", "silence"] = Field(
        "silence", description="reset: connections to its machines break; silence: nothing comes any more"
    )


LinkFault = LinkDown | LinkDegrade | Drop | Corrupt
Fault = Annotated[
    Crash | Pause | SlowDown | Churn | LinkDown | LinkDegrade | Drop | Corrupt | Partition | SwitchDown,
    Field(discriminator="kind"),
]


def struck(fault: Fault) -> str:
    """Return what a fault strikes, in words.

    >>> struck(LinkDown(kind="link_down", source="node0", target="switch", at="3 s"))
    'node0 - switch'
    """
    if isinstance(fault, (Crash, Pause, SlowDown)):
        return fault.node
    if isinstance(fault, Churn):
        return "every machine" if fault.nodes is None else ", ".join(fault.nodes)
    if isinstance(fault, Partition):
        return " | ".join(", ".join(group) for group in fault.groups)
    if isinstance(fault, SwitchDown):
        return fault.switch
    return f"{fault.source} {'->' if fault.one_way else '-'} {fault.target}"
