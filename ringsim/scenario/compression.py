"""The keys of `compression`: how a gradient is made smaller before it travels. What is not here: doing it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WrapSerializer

from ringsim.scenario.cluster import as_short, kind_alone, or_kind
from ringsim.scenario.settings import PositiveShare, Settings


class Fp16(Settings):
    """Numbers of 16 bits, added up as such (Horovod)."""

    kind: Literal["fp16"]


class TopK(Settings):
    """Of each gradient only the elements of largest magnitude (Stich et al. 2018)."""

    kind: Literal["topk"]
    share: PositiveShare = Field(10_000, description="so many of them")
    error_feedback: bool = Field(True, description="what was left out is added to the next gradient")


class Qsgd(Settings):
    """Eight bits for each element, rounded at random (Alistarh et al. 2017)."""

    kind: Literal["qsgd"]


Compression = Annotated[
    Annotated[Fp16 | TopK | Qsgd, Field(discriminator="kind", json_schema_extra=or_kind("fp16", "topk", "qsgd"))]
    | None,
    BeforeValidator(kind_alone),
    WrapSerializer(as_short),
]
COMPRESSION: Any = Field(
    default=None,
    description="make gradients smaller before they travel; default: they travel as they are",
)
