"""The keys of `faults`: what goes wrong, and when. Told apart by `kind`.

What is not here: what a fault does (`world/faults.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_serializer, model_validator

from ringsim.scenario.settings import Duration, PositiveDuration, Settings


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
