"""The keys of a scenario file as JSON Schema, for editors.

What is not here: what each key means (`scenario/`). Nothing else imports this, so only those who ask wait for it.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ringsim.scenario import Scenario


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of scenario files, with the meaning of each key.

    >>> json_schema()["properties"]["seed"]["default"]
    0
    """
    schema = Scenario.model_json_schema(schema_generator=_SchemaWithUnits)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "ringsim scenario"}


class _SchemaWithUnits(GenerateJsonSchema):
    """Shows the defaults of quantities as a file writes them, `50 us`, where pydantic would show 50000."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        shown = super().default_schema(schema)
        inner = schema["schema"]
        inner = inner["schema"] if inner["type"] == "nullable" else inner
        write = inner.get("serialization", {}).get("function")
        if write is not None and isinstance(shown.get("default"), int):
            shown["default"] = write(shown["default"])
        return shown
