"""The keys of strategies in which every worker has parameters of its own. What is not here: what they do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ringsim.scenario.settings import AllReduceName, Name, Patience, PositiveDuration, PositiveShare, Settings

_AVERAGE_EVERY: Any = Field(default=4, ge=1, le=1_000_000, description="steps that each worker takes by itself")
_COLLECTIVE: Any = Field(default="ring", description="how what is averaged is added up: which all-reduce")
_TIMEOUT: Any = Field(default=None, description="give up a receive after so long; default: never")


class LocalSgd(Settings):
    """Every worker trains by itself, and now and then all average their parameters (Stich 2019)."""

    name: Literal["local_sgd"]
    average_every: int = _AVERAGE_EVERY
    collective: AllReduceName = _COLLECTIVE
    timeout: Patience | None = _TIMEOUT


class DiLoCo(Settings):
    """As local_sgd, but how far the workers came is a gradient for an outer optimizer (Douillard et al. 2023)."""

    name: Literal["diloco"]
    average_every: int = _AVERAGE_EVERY
    outer_learning_rate: float = Field(0.7, gt=0, le=1_000, description="of the outer Nesterov momentum")
    outer_momentum: float = Field(0.9, ge=0, lt=1, description="of the outer Nesterov momentum")
    collective: AllReduceName = _COLLECTIVE
    timeout: Patience | None = _TIMEOUT


class DPsgd(Settings):
    """Every worker averages its parameters with its neighbours' in a graph, each step (Lian et al. 2017)."""

    name: Literal["dpsgd"]
    graph: Literal["ring", "line", "star", "full"] = Field("ring", description="whose neighbour each worker is")
    edges: tuple[Annotated[tuple[Name, ...], Field(strict=False, min_length=2, max_length=2)], ...] | None = Field(
        None, strict=False, description="the graph by hand: pairs of workers; default: as graph says"
    )
    timeout: PositiveDuration | None = Field(
        None, description="a step goes on without neighbours whose parameters have not come for so long; default: never"
    )


class Gossip(Settings):
    """Every worker sends its parameters to another one now and then, and waits for nobody (Blot et al. 2016)."""

    name: Literal["gossip"]
    probability: PositiveShare = Field(250_000, description="how probable it is that a step ends with a message")


class AdPsgd(Settings):
    """Every second worker averages with one of the others after each gradient, in pairs (Lian et al. 2018)."""

    name: Literal["adpsgd"]


Decentralised = LocalSgd | DiLoCo | DPsgd | Gossip | AdPsgd
