"""Scenario files: YAML to a `Scenario`, or to every mistake at once with its place; and back.

    reading.py      load, parse; puts the findings of the next four together
    strict_yaml.py  text to plain data with places, and without YAML's traps
    shape.py        each key alone: what pydantic finds, in our words
    checks.py       keys that must agree with each other; those of the network in network.py
    conflict.py     what such a check finds
    words.py        suggestions and lists in sentences
    writing.py      dump; a template to start from
    schema.py       JSON Schema; not imported here, because only `ringsim schema` needs it

Imports nothing heavy, so that `ringsim validate` is quick. What is not here: what each key means (`scenario/`).
"""

from ringsim.scenario_file.reading import Loaded, load, parse
from ringsim.scenario_file.writing import MODELINE, dump, template

__all__ = ["MODELINE", "Loaded", "dump", "load", "parse", "template"]
