"""The shape of a scenario: what the models of `scenario/` find wrong in plain data, in sentences of our own.

The models are walked beside the data, so that a sentence can name the keys of the setting that is meant, the variant
that another key belongs to, and an example. Mistaken values can be replaced by examples, so that the rest of a scenario
can be checked too.

What is not here: text and places (`strict_yaml.py`, `reading.py`), and keys that must agree with each other
(`checks.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ringsim.scenario import Scenario, Settings, exactly, kind_alone
from ringsim.scenario_file.strict_yaml import Mark, Path, dotted
from ringsim.scenario_file.words import close, listed, of_units, shown

TAGS = ("kind", "name", "on_failure")  # The keys that tell the variants of a setting apart, in the order of choosing.


class Finding(NamedTuple):
    """One mistake: the path it is shown at, and what becomes of the data when it is repaired."""

    path: Path
    sentence: str
    missing: str | None = None  # The key that the mapping at `path` lacks.
    unknown: bool = False  # The key at `path` is wrong, not its value.
    meant: str | None = None  # The key that was meant by an unknown one.
    variant: bool = False  # The mapping around `path` cannot be understood without it.
    mark: Mark | None = None  # Where it is, if the path does not say.


def validated(data: Any) -> tuple[Scenario | None, list[Finding]]:
    """Return the scenario that plain `data` is, or None and everything that is wrong with its shape."""
    try:
        return Scenario.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    return None, [_finding(dict(detail), data) for detail in details]


def spell_out(data: Any, models: Sequence[type[Settings]] = (Scenario,), here: Path = ()) -> list[Path]:
    """Put the mapping in place of every name that stands for one; return where.

    >>> data = {"cluster": {"network": {"topology": "ring"}}}
    >>> spell_out(data), data
    ([('cluster', 'network', 'topology')], {'cluster': {'network': {'topology': {'kind': 'ring'}}}})
    """
    model, found = variant_of(models, data) if isinstance(data, dict) else None, list[Path]()
    for key, info in model.model_fields.items() if model is not None else ():
        value = data.get(key)
        if isinstance(value, str) and any(getattr(part, "func", None) is kind_alone for part in info.metadata):
            data[key] = kind_alone(value)
            found.append((*here, key))
        elif isinstance(value, dict):
            found += spell_out(value, models_in(info.annotation), (*here, key))
    return found


def repair(data: Any, findings: list[Finding]) -> set[Path]:
    """Replace what is mistaken in `data` by an example, or leave it out; return the paths that are not as written."""
    touched: set[Path] = set()
    for finding in sorted(findings, key=lambda finding: -len(finding.path)):
        path = finding.path
        if finding.missing is not None and not finding.variant:
            path = (*path, finding.missing)
        elif finding.variant and finding.missing is None:
            path = path[:-1]
        info, models = setting(path, data)
        while isinstance(path[-1], int) and not models:
            path = path[:-1]
        touched |= {path, (*path[:-1], finding.meant)} if finding.meant else {path}
        container, step = value_at(data, path[:-1]), path[-1]
        if isinstance(step, int) and isinstance(container, list):
            container[step] = _stand_in(models[0])
        elif isinstance(container, dict) and info is not None and info.is_required():
            container[step] = _example(info)
        elif isinstance(container, dict):
            container.pop(step, None)
    return touched


# --- the models, walked beside the data -------------------------------------------------------------------------------


def models_in(annotation: Any) -> tuple[type[Settings], ...]:
    """Return the models that an annotation names; more than one is a choice by `kind`, `name` or `on_failure`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in models_in(part))


def tags_of(model: type[Settings]) -> dict[str, str]:
    """Return the values that tell this variant from others: `{"name": "ring", "on_failure": "abort"}`."""
    return {key: values[0] for key in TAGS if (values := _literals(model.model_fields.get(key)))}


def tag_of(model: type[Settings]) -> str:
    return next(iter(tags_of(model).values()))


def _literals(info: FieldInfo | None) -> tuple[str, ...]:
    return get_args(info.annotation) if info is not None and get_origin(info.annotation) is Literal else ()


def choices_of(models: Iterable[type[Settings]], tag: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags[tag] for tags in map(tags_of, models) if tag in tags))


def variant_of(models: Sequence[type[Settings]], mapping: Any) -> type[Settings] | None:
    """Return the model that a mapping is for, or None if it does not say."""
    if len(models) == 1:
        return models[0]
    for model in models:
        fields = model.model_fields
        if isinstance(mapping, dict) and all(
            mapping.get(key, fields[key].default) == value for key, value in tags_of(model).items()
        ):
            return model
    return None


def setting(path: Path, data: Any) -> tuple[FieldInfo | None, tuple[type[Settings], ...]]:
    """Return the field at `path`, and the models its value, or each of its items, may have."""
    info: FieldInfo | None = None
    models: tuple[type[Settings], ...] = (Scenario,)
    for step in path:
        if isinstance(step, str):
            model = variant_of(models, data)
            info = model.model_fields.get(step) if model is not None else None
            models = models_in(info.annotation) if info is not None else ()
        data = value_at(data, (step,))
    return info, models


def _path(location: Path, data: Any) -> Path:
    """Return the path in the file for pydantic's location, which also names the variant of each choice."""
    path: Path = ()
    models: tuple[type[Settings], ...] = (Scenario,)
    for step in location:
        if isinstance(data, dict) and len(models) > 1:
            chosen = variant_of(models, data)
            models = (chosen,) if chosen is not None else ()
        elif isinstance(data, (dict, list)):
            path = (*path, step)
            if isinstance(step, str):
                info = models[0].model_fields.get(step) if models else None
                models = models_in(info.annotation) if info is not None else ()
            data = value_at(data, (step,))
    return path


def value_at(data: Any, path: Path) -> Any:
    """Return what stands at `path`, or None."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _example(info: FieldInfo) -> Any:
    """Return a value that may stand at a field: its first example, its only literal, or its default."""
    for values in (info.examples or (), _literals(info)):
        if values:
            return copy.deepcopy(values[0])
    return list(info.default) if isinstance(info.default, tuple) else info.default


def _stand_in(model: type[Settings]) -> dict[str, Any]:
    """Return the least that a model accepts."""
    return {key: _example(info) for key, info in model.model_fields.items() if info.is_required()}


# --- pydantic's findings in our words ---------------------------------------------------------------------------------

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
}
# What people call a key whose name they do not know.
_SYNONYMS = {"time": "at", "when": "at", "duration": "lasts", "for": "lasts", "failures": "faults"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _finding(error: dict[str, Any], data: Any) -> Finding:
    """Return what one of pydantic's errors means in a scenario file."""
    path = _path(error["loc"], data)
    info, models = setting(path, data)
    value = value_at(data, path)
    if error["type"] == "missing":
        return _missing_key(path, data)
    if error["type"] == "extra_forbidden":
        return _unknown_key(path, data)
    if len(models) > 1 and isinstance(value, dict) and error["type"] != "tuple_type":
        return _unclear_variant(path, models, value)
    if models and error["type"] not in ("value_error", "tuple_type", "too_short"):
        return Finding(path, _wrong_mapping(info, models, value))
    return Finding(path, _wrong_value(error, path, info, value))


def _wrong_value(error: dict[str, Any], path: Path, info: FieldInfo | None, value: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    optional = "; or leave the key out" if value is None and info is not None and not info.is_required() else ""
    if kind == "value_error":
        return of_units(str(context["error"]), value) + optional
    if kind == "literal_error":
        return _no_such(str(path[-1]), value, _literals(info)) + optional
    if kind in _EXPECTED:
        says_all = kind == "bool_type" or isinstance(path[-1], int)
        example = _example(info) if info is not None and not says_all else None
        such_as = f", such as {_flow(example)}" if example is not None else ""
        in_an_entry = isinstance(path[-1], str) and isinstance(path[-2:][0], int)
        each = f"; write an entry of {path[-3]} for each" if isinstance(value, list) and in_an_entry else ""
        return f"must be {_EXPECTED[kind]}{such_as}, {_but(value)}{each}{optional}"
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"must be {words} {exactly(context[bound]).normalize():f}, {_but(value)}"
    if kind == "too_short":
        least = context["min_length"]
        return f"must have at least {least} {'item' if least == 1 else 'items'}"
    if kind == "too_long":
        most = context["max_length"]
        return f"must have at most {most} {'item' if most == 1 else 'items'}, not {len(value)}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters, not {len(value)}"
    if kind == "string_pattern_mismatch":
        return f'must be letters, digits, "-" and "_", and begin with a letter or a digit, {_but(value)}'
    return f"{shown(value)} cannot stand here"


def _wrong_mapping(info: FieldInfo | None, models: Sequence[type[Settings]], value: Any) -> str:
    optional = "; or leave the key out" if value is None and info is not None and not info.is_required() else ""
    if len(models) > 1:
        tag = next(iter(tags_of(models[0])))
        choices = choices_of(models, tag)
        choice = value if value in choices else choices[0]
        example = _stand_in(next(model for model in models if tags_of(model)[tag] == choice))
        return f"must be a mapping, such as {_flow(example)}, {_but(value)}{optional}"
    keys = listed(tuple(models[0].model_fields), "and")
    alone = [f"like {example}, or " for example in (info and info.examples) or () if isinstance(example, str)]
    mapping = f"{''.join(alone[:1])}a mapping with the {'keys' if ' ' in keys else 'key'} {keys}"
    return f"must be {mapping}, {_but(value)}{optional}"


def _missing_key(path: Path, data: Any) -> Finding:
    info, _ = setting(path, data)
    example = f", such as {path[-1]}: {_flow(_example(info))}" if info is not None else ""
    return Finding(path[:-1], f'lacks the key "{path[-1]}"{example}', missing=str(path[-1]))


def _unknown_key(path: Path, data: Any) -> Finding:
    """Say of a key that nobody reads which one was meant, or to which variant or part of the file it belongs."""
    *outer, key = path
    model = _model_at(tuple(outer), data)
    assert model is not None, "only the fields of a chosen model are compared"
    near = [dotted(place) for place in _near(path, data)]
    hint = f"; did you mean {listed(near[:2])}?" if near else ""
    if belongs := _belongs(path, data):
        return Finding(path, belongs + hint, unknown=True)
    no_key = f"there is no key {shown(key)} here"
    synonym = _SYNONYMS.get(str(key))
    if guess := synonym if synonym in model.model_fields else close(key, model.model_fields):
        return Finding(path, f"{no_key}; did you mean {shown(guess)}?", unknown=True, meant=guess)
    keys = listed(tuple(model.model_fields), "and")
    the_keys = f"; the {'keys are' if ' ' in keys else 'only key is'} {keys}"
    return Finding(path, no_key + (hint or the_keys), unknown=True)


def _belongs(path: Path, data: Any) -> str:
    """Say which other variants of what holds `path`, the nearest that has any, have its last key; "" if none has."""
    for length in range(len(path) - 1, 0, -1):
        place, inner = path[:length], tuple(step for step in path[length:] if isinstance(step, str))
        model, (_, models) = _model_at(place, data), setting(place, data)
        owners = [other for other in models if inner in _keys_in(other)]
        if model is None or not owners:
            continue
        near = [owner for owner in owners if "on_failure" in tags_of(model) and tag_of(owner) == tag_of(model)]
        if near:
            policies = listed(choices_of(near, "on_failure"))
            return f'"{path[-1]}" belongs to on_failure: {policies}, and here it is {tags_of(model)["on_failure"]}'
        label = place[-1] if isinstance(place[-1], str) else "kind"
        names = listed(tuple(dict.fromkeys(map(tag_of, owners))))
        return f'"{path[-1]}" belongs to {label} {names}, and here it is {tag_of(model)}'
    return ""


def _unclear_variant(path: Path, models: Sequence[type[Settings]], mapping: dict[str, Any]) -> Finding:
    """Say which of `kind`, `name` and `on_failure` keeps a mapping from being one of `models`."""
    for tag in TAGS:
        choices = choices_of(models, tag)
        if choices and tag in mapping and mapping[tag] not in choices:
            label = path[-1] if tag != "on_failure" and isinstance(path[-1], str) else tag
            return Finding((*path, tag), _no_such(label, mapping[tag], choices), variant=True)
        if tag not in mapping and all(tag in model.model_fields for model in models) and tag != "on_failure":
            typo = close(tag, [key for key in mapping if not any(key in model.model_fields for model in models)])
            hint = f'; did you mean "{tag}" by "{typo}"?' if typo else ""
            return Finding(path, f'lacks the key "{tag}": {listed(choices)}{hint}', missing=tag, variant=True)
        models = [model for model in models if tags_of(model).get(tag) == mapping.get(tag)] or models
    return Finding(path, "cannot be told apart; write its kind or name", missing="kind", variant=True)


def _no_such(key: str, value: Any, choices: Sequence[str]) -> str:
    subject = "has no value" if value is None else f"there is no {key} {shown(value)}"
    guess = close(value, choices)
    return f"{subject}; choose {listed(choices)}" + (f'; did you mean "{guess}"?' if guess else "")


def _near(path: Path, data: Any) -> list[Path]:
    """Return where near `path` its last key may stand: further in, further out, or as a key of another section."""
    *outer, key = path
    model = _model_at(tuple(outer), data)
    inner_keys = sorted(_keys_in(model), key=len) if model is not None else []
    inside = [(*outer, *inner) for inner in inner_keys if inner[-1] == key]
    holders = [(here, _model_at(here, data)) for here in (path[:length] for length in range(len(outer) - 1, 0, -1))]
    outside = [(*here, key) for here, holder in holders if holder is not None and key in holder.model_fields]
    sections = _keys_in(Scenario) if len(path) <= 2 else ()
    others = [place for place in sections if len(place) <= 2 and place[-1] == key and place != path]
    found = dict.fromkeys([*inside, *outside, *others])
    # Which fault is meant nobody knows, but for a key of one.
    return [place for place in found if path[0] == "faults" or place[0] != "faults"]


def _model_at(path: Path, data: Any) -> type[Settings] | None:
    """Return the model of the mapping at `path`, or None if there is no mapping or it does not say."""
    _, models = setting(path, data)
    mapping = value_at(data, path)
    return variant_of(models, mapping) if isinstance(mapping, dict) else None


def _keys_in(model: type[Settings], before: Path = ()) -> Iterator[Path]:
    """Yield the path of every key in a model, in whichever variants."""
    for key, info in model.model_fields.items():
        yield (*before, key)
        for inner in models_in(info.annotation):
            yield from _keys_in(inner, (*before, key))


def _but(value: Any) -> str:
    return "and has no value" if value is None else f"not {shown(value)}"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.dump(value, Dumper=yaml.SafeDumper, default_flow_style=True, sort_keys=False, width=10_000).split("\n")[
        0
    ]
