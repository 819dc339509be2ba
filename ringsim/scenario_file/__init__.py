"""Scenario files: YAML to a `Scenario`, or to every mistake at once with its place; and back.

    reading.py      load, parse, dump, JSON Schema, a template; puts the findings of the others together
    strict_yaml.py  text to plain data with places, and without YAML's traps
    shape.py        each key alone: what pydantic finds, in our words
    checks.py       keys that must agree with each other; those of the network in network.py
    conflict.py     what such a check finds
    words.py        suggestions and lists in sentences

Imports nothing heavy, so that `ringsim validate` is quick. What is not here: what each key means (`scenario.py`).
"""

from ringsim.scenario_file.reading import MODELINE, Loaded, dump, json_schema, load, parse, template

__all__ = ["MODELINE", "Loaded", "dump", "json_schema", "load", "parse", "template"]
