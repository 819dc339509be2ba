"""What every model of a scenario has in common: its manners, and values with a unit.

What is not here: the keys themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from ringsim.units import DURATION, POSITIVE_DURATION, RATE, SHARE, SIZE, SPEED, WORK, Dimension


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
PositiveDuration: Any = _quantity(POSITIVE_DURATION)
# How long to wait for somebody, where null is for ever.
Patience: Any = _quantity(replace(POSITIVE_DURATION, instead="for never write null"))
PositiveSize: Any = _quantity(replace(SIZE, smallest=1))
Share: Any = _quantity(SHARE)
PositiveShare: Any = _quantity(replace(SHARE, smallest=1))
AllReduceName = Literal["ring", "tree", "halving_doubling", "hierarchical"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


# A machine, or a switch: those have a dot in their names, but for the switch of a star.
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=130)]


class Settings(BaseModel):
    """The manners of every model here: frozen, strict, and no key that nobody reads."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=False)
