"""The keys of strategies that cut the layers over the workers. What is not here: what they do (`strategies/`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ringsim.scenario.settings import Settings

_LAYERS: Any = Field(
    default=None,
    strict=False,
    description="how many layers each stage has, such as [1, 2, 1]; default: so that the slowest has the least work",
)
_WORKERS: Any = Field(
    default=None,
    strict=False,
    description="how many workers have each stage, such as [2, 1, 1]; default: one each",
)
_DRAIN: Any = Field(default="never", description="epoch: everything under way comes back before a new epoch begins")


class ModelParallel(Settings):
    """Every worker has some of the layers; one mini-batch goes through them at a time."""

    name: Literal["model_parallel"]
    layers: tuple[Annotated[int, Field(ge=1)], ...] | None = _LAYERS


class GPipe(Settings):
    """Every worker has some of the layers; pieces of a mini-batch follow one another, and make one update."""

    name: Literal["gpipe"]
    micro_batches: int = Field(4, ge=1, le=100_000, description="pieces of a mini-batch")
    workers: tuple[Annotated[int, Field(ge=1)], ...] | None = _WORKERS
    layers: tuple[Annotated[int, Field(ge=1)], ...] | None = _LAYERS


class PipeDream(Settings):
    """Every worker has some of the layers; mini-batches follow one another, and each makes an update (1F1B)."""

    name: Literal["pipedream"]
    stashing: bool = Field(True, description="a backward pass has the weights of its forward pass, not the newest")
    vertical_sync: bool = Field(False, description="a mini-batch has weights of one age at all stages")
    drain: Literal["never", "epoch"] = _DRAIN
    workers: tuple[Annotated[int, Field(ge=1)], ...] | None = _WORKERS
    layers: tuple[Annotated[int, Field(ge=1)], ...] | None = _LAYERS


class SpecTrain(Settings):
    """As pipedream, but all passes are at weights that are predicted, and none is stashed."""

    name: Literal["spectrain"]
    drain: Literal["never", "epoch"] = _DRAIN
    layers: tuple[Annotated[int, Field(ge=1)], ...] | None = _LAYERS


Pipelined = ModelParallel | GPipe | PipeDream | SpecTrain
