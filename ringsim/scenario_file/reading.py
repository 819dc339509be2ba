"""Reading scenario files: YAML to a `Scenario`, or to every mistake at once with its place.

    load, parse     a file or a text, with overrides from the command line, to a scenario

A mistake is found by one of three: `strict_yaml` (the text), `shape` (each key alone) or `checks`
(keys that must agree with each other). To report all three together, mistaken values are replaced by examples and the
rest is checked; a finding that rests on a replaced value is not reported.

What is not here: what each key means (`scenario/`), the sentences of the three, and the way back (`writing.py`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ringsim.errors import Problem, ScenarioInvalid, UsageError
from ringsim.scenario import Scenario, Settings
from ringsim.scenario_file import failure_rows
from ringsim.scenario_file.checks import conflicts
from ringsim.scenario_file.failure_rows import Row
from ringsim.scenario_file.network import may_be_added
from ringsim.scenario_file.shape import (
    TAGS,
    Finding,
    choices_of,
    repair,
    setting,
    spell_out,
    tag_of,
    tags_of,
    validated,
    value_at,
    variant_of,
)
from ringsim.scenario_file.strict_yaml import BROKEN, Mark, Path, dotted, read
from ringsim.scenario_file.words import listed, one_line, shown
from ringsim.topology import graph_file


@dataclass(frozen=True)
class Loaded:
    """A scenario, and sentences about what overrides made of its file."""

    scenario: Scenario
    notes: tuple[str, ...] = ()
    written: _Written | None = field(default=None, repr=False, compare=False)

    def placed(self, error: ScenarioInvalid) -> ScenarioInvalid:
        """Return the error with its places in the file: what only playing could find comes with its keys alone.

        >>> loaded = parse("{name: a, task: {steps: 3}, cluster: {nodes: 4}, strategy: {name: ring}}", "a")
        >>> print(loaded.placed(ScenarioInvalid((Problem("", "task.steps", "is not what I meant"),))))
        a:1:25: task.steps: is not what I meant
        """
        if self.written is None:
            return error
        return _invalid(self.written, [Finding(_path(each.path), each.sentence) for each in error.problems])


def load(path: str | FilePath, overrides: Sequence[str] = (), seed: int | None = None) -> Loaded:
    """Return the scenario in the file `path`, with `overrides` such as `cluster.nodes=8` applied from left to right.

    Raises UsageError if there is no such file or an override makes no sense, ScenarioInvalid with every mistake.

    >>> load("no_such_file.yaml")
    Traceback (most recent call last):
    ...
    ringsim.errors.UsageError: there is no file no_such_file.yaml
    """
    try:
        if FilePath(path).exists() and not FilePath(path).is_dir() and not FilePath(path).is_file():
            raise UsageError(f"{path} is not a regular file")
        raw = FilePath(path).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a scenario file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig").split("\n")
        place = f"{path}:{len(before)}:{len(before[-1]) + 1}"
        raise ScenarioInvalid((Problem(place, "", "this is not UTF-8 text; save the file as UTF-8"),)) from None
    return parse(text, str(path), overrides, seed)


def parse(text: str, source: str = "<scenario>", overrides: Sequence[str] = (), seed: int | None = None) -> Loaded:
    """Return the scenario that `text` says; `source` is its name in the places of mistakes.

    Raises UsageError if an override makes no sense, ScenarioInvalid with every mistake.

    >>> text = "{name: a, task: {steps: 3}, cluster: {nodes: 4}, strategy: {name: ring, on_failure: elastic}}"
    >>> parse(text, overrides=["cluster.nodes=8", "strategy.name=local"], seed=7).notes
    ('dropped strategy.on_failure: elastic, which local does not have',)
    >>> parse("{name: a, task: {steps: 3}, cluster: {nods: 4}, strategy: {name: rong}}", "a")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ringsim.errors.ScenarioInvalid: a:1:39: cluster.nods: there is no key "nods" here; did you mean "nodes"?
    a:1:66: strategy.name: there is no strategy "rong"; choose local, ring, ...; did you mean "ring"?
    """
    document = read(text)
    written = _Written(source, document.data, dict(document.keys), dict(document.values))
    findings = [Finding(path, sentence, mark=mark) for mark, path, sentence in document.mistakes]
    if not isinstance(document.data, dict):
        if document.data is not BROKEN:
            findings.append(Finding((), _not_a_mapping(document.data), mark=document.values.get((), Mark(1, 1))))
        raise _invalid(written, findings)
    written.spell_out()
    notes = _override(written, overrides, seed)
    _settle_folder(written)
    findings += _read_graph(written) + _read_failures(written)
    scenario, more = _check(written.data)
    if scenario is None or findings or more:
        raise _invalid(written, (*findings, *_of_rows(written, more)))
    return Loaded(scenario, tuple(notes), written)


# --- what is written and where ----------------------------------------------------------------------------------------


@dataclass
class _Written:
    """The data of a scenario after overrides, and where each part of it was written: in the file, or in an override."""

    source: str
    data: Any
    keys: dict[Path, Mark]
    values: dict[Path, Mark]
    given: dict[Path, str] = field(default_factory=dict)  # What the command line gave, in its words.
    rows: dict[int, tuple[int, Row]] = field(default_factory=dict)  # Faults of a file: the one that names it, its row.

    def replace(self, path: Path, words: str) -> None:
        """Note that the value at `path` now comes from the command line."""
        for places in (self.keys, self.values, self.given):
            for inner in [key for key in places if key[: len(path)] == path]:
                del places[inner]
        self.given[path] = words

    def stand_in(self, path: Path, place: Path) -> None:
        """Note that what is at `path` was made of what stands at `place`."""
        for places in (self.keys, self.values):
            if place in places:
                places[path] = places[place]
        words = next((words for given, words in self.given.items() if given == place[: len(given)]), None)
        if words is not None:
            self.given[path] = words

    def spell_out(self) -> None:
        """Put mappings in place of names that stand for them; a name keeps its place."""
        for path in spell_out(self.data):
            if path in self.values:
                self.values[(*path, "kind")] = self.values[path]


def _invalid(written: _Written, findings: Iterable[Finding]) -> ScenarioInvalid:
    """Return the error that lists `findings`, those of the file in its order, then those of the command line."""
    found = {}
    for finding in findings:
        mark, place = _place(written, finding)
        problem = Problem(place, one_line(dotted(finding.path)), one_line(finding.sentence))
        found[problem] = (mark is None, mark or Mark(0, 0), problem.path)
    return ScenarioInvalid(tuple(sorted(found, key=lambda problem: found[problem])))


def _place(written: _Written, finding: Finding) -> tuple[Mark | None, str]:
    """Return where a finding is: at the scalar, or at the key of a mapping or list, or at what would hold it."""
    mark = finding.mark
    value = value_at(written.data, finding.path)
    if mark is None and not finding.unknown and not isinstance(value, (dict, list)):
        mark = written.values.get(finding.path)
    for length in range(len(finding.path), -1, -1):
        inner = finding.path[:length]
        if mark is None and inner in written.given:
            return None, written.given[inner]
        mark = mark or written.keys.get(inner) or written.values.get(inner)
    mark = mark or Mark(1, 1)
    return mark, f"{written.source}:{mark.line}:{mark.column}"


def _not_a_mapping(data: Any) -> str:
    if data is None:
        return 'the file is empty; "ringsim new FILE" writes a scenario to start from'
    return f"a scenario is a mapping of keys such as name, task, cluster and strategy, not {shown(data)}"


# --- overrides --------------------------------------------------------------------------------------------------------


def _override(written: _Written, overrides: Sequence[str], seed: int | None) -> list[str]:
    """Apply overrides to what is written; return notes on what they pushed out."""
    before = copy.deepcopy(written.data) if overrides else None
    for words in overrides:
        path, value = _split(words)
        container, new = _container(written.data, path, words)
        container[path[-1]] = value
        written.spell_out()
        written.replace(new, one_line(f"--set {words}"))
    if seed is not None:
        written.data["seed"] = seed
        written.replace(("seed",), f"--seed {seed}")
    notes = []
    for path in [path for path in written.given if path[-1] in TAGS]:
        notes += _drop_foreign(written, path[:-1], before)
    return notes + _drop_other_length(written)


def _split(words: str) -> tuple[Path, Any]:
    """Return the path and the value of an override such as `faults[0].at=3 s`."""
    key, equals, text = words.partition("=")
    if not equals:
        raise UsageError(one_line(f"--set {words}: write key=value, such as --set cluster.nodes=8"))
    if not re.fullmatch(r"\w+(\.\w+|\[\d{1,9}\])*", key, re.ASCII):
        raise UsageError(one_line(f"--set {words}: {shown(key)} is not a path of keys, such as faults[0].at"))
    document = read(text)
    if document.mistakes:
        raise UsageError(one_line(f"--set {words}: {document.mistakes[0].sentence}"))
    return _path(key), document.data


def _path(key: str) -> Path:
    """Return the path that a key such as `faults[0].at` goes."""
    steps = key.replace("[", ".").replace("]", "").split(".")
    return tuple(int(step) if re.fullmatch("[0-9]{1,9}", step) else step for step in steps)


def _container(data: Any, path: Path, words: str) -> tuple[Any, Path]:
    """Return the mapping or list that holds the end of `path`, made where it is missing, and the path that is new."""
    container, new = data, path
    for depth, step in enumerate(path):
        here = dotted(path[:depth]) or "a scenario"
        if isinstance(container, list) != isinstance(step, int):
            right = f"is a list; say which entry, such as {here}[0]" if isinstance(container, list) else "is not a list"
            raise UsageError(f"--set {one_line(words)}: {here} {right}")
        if isinstance(step, int) and step >= len(container):
            entries = "1 entry" if len(container) == 1 else f"{len(container)} entries"
            raise UsageError(f"--set {one_line(words)}: {here} has {entries}, counted from 0")
        if depth + 1 < len(path):
            inner = container[step] if isinstance(step, int) else container.get(step)
            if not isinstance(inner, (dict, list)):
                new = path[: depth + 1] if new == path else new
                inner = container[step] = _opened(data, path[: depth + 1], inner, path[depth + 1])
            container = inner
    return container, new


def _opened(data: Any, path: Path, value: Any, step: str | int) -> Any:
    """Return what the scalar `value` at `path` becomes when something is set at `step` inside it."""
    if path == ("cluster", "nodes") and type(value) is int and 1 <= value <= 100_000:
        return [{} for _ in range(value)]
    if isinstance(step, int):
        return []
    info, _ = setting(path, data)
    default = info.default if info is not None else None
    return {key: getattr(default, key) for key in tags_of(type(default))} if isinstance(default, Settings) else {}


def _drop_foreign(written: _Written, path: Path, before: Any) -> list[str]:
    """Drop what the file says for another variant than the one an override has chosen at `path`."""
    models: Sequence[type[Settings]] = setting(path, written.data)[1]
    mapping, old = value_at(written.data, path), value_at(before, path)
    if len(models) < 2 or not isinstance(mapping, dict) or not isinstance(old, dict):
        return []
    was, dropped = variant_of(models, old), list[str]()
    for tag in TAGS:
        fitting = [model for model in models if mapping.get(tag) in choices_of([model], tag)]
        if tag in mapping and not fitting and not _is_given(written, (*path, tag)):
            dropped.append(f"{dotted((*path, tag))}: {mapping.pop(tag)}")
        models = fitting or models
    now = variant_of(models, mapping)
    if now is None or now is was:
        return [_dropped(dropped, tag_of(models[0]))] if dropped else []
    name = tag_of(now) if was is None or tag_of(now) != tag_of(was) else f"on_failure: {tags_of(now)['on_failure']}"
    for key in [key for key in mapping if key not in now.model_fields and was and key in was.model_fields]:
        if not _is_given(written, (*path, key)):
            del mapping[key]
            dropped.append(dotted((*path, key)))
    return [_dropped(dropped, name)] if dropped else []


def _dropped(what: Sequence[str], name: str) -> str:
    return f"dropped {listed(what, 'and')}, which {name} does not have"


def _drop_other_length(written: _Written) -> list[str]:
    """Drop the file's epochs if an override says steps, and the other way round."""
    task = written.data.get("task")
    for given, other in (("steps", "epochs"), ("epochs", "steps")):
        says = ("task", given) in written.given and task[given] is not None
        if says and task.get(other) is not None and not _is_given(written, ("task", other)):
            del task[other]
            return [f"dropped task.{other}, because --set gives task.{given}"]
    return []


def _is_given(written: _Written, path: Path) -> bool:
    return any(given[: len(path)] == path[: len(given)] for given in written.given)


# --- what lies beside the file ----------------------------------------------------------------------------------------


def _settle_folder(written: _Written) -> None:
    """Make the folder of a data set a whole path: a run folder's scenario then finds it too.

    In a file it is beside the file, on the command line it is where that was typed.
    """
    dataset = value_at(written.data, ("task", "dataset"))
    folder = value_at(dataset, ("folder",))
    if isinstance(folder, str) and folder:
        is_typed = _is_given(written, ("task", "dataset", "folder"))
        beside = FilePath.cwd() if is_typed else FilePath(written.source).parent.absolute()
        dataset["folder"] = str(beside / folder)


# --- a graph from a file ----------------------------------------------------------------------------------------------


def _read_graph(written: _Written) -> list[Finding]:
    """Put the links of the file that topology graph names into the scenario, which then stands for itself."""
    network = value_at(written.data, ("cluster", "network"))
    topology = value_at(network, ("topology",))
    file = value_at(topology, ("file",))
    path: Path = ("cluster", "network", "topology", "file")
    if not isinstance(file, str) or value_at(topology, ("kind",)) != "graph":
        return []
    if network.get("links"):
        topology["file"] = BROKEN
        return [Finding(path, "stands beside links; keep one of them")]
    names = dict.fromkeys(_machine_names(value_at(written.data, ("cluster", "nodes"))))
    try:
        links = graph_file.read(
            FilePath(written.source).parent / file, lambda name: name in names or may_be_added(name)
        )
    except ValueError as error:
        topology["file"] = BROKEN
        return [Finding(path, one_line(str(error)))]
    network["links"] = links
    del topology["file"]
    written.stand_in(("cluster", "network", "links"), path)
    return []


def _read_failures(written: _Written) -> list[Finding]:
    """Put a fault for each row of a file in place of one that names the file; those after the first come last."""
    faults = value_at(written.data, ("faults",))
    findings = []
    for index, fault in enumerate(list(faults) if isinstance(faults, list) else []):
        at = value_at(fault, ("at",))
        if not isinstance(at, dict) or at.get("file") is None:
            continue
        of_rows, wrong = _faults_of_rows(fault, at, FilePath(written.source).parent)
        findings += [Finding(("faults", index, "at", "file"), one_line(sentence)) for sentence in wrong]
        faults[index] = BROKEN
        places = index, *range(len(faults), len(faults) + len(of_rows) - 1)
        for place, (row, one) in zip(places, of_rows, strict=False):
            faults[place : place + 1] = [one]
            written.rows[place] = index, row
    return findings


def _faults_of_rows(
    fault: dict[str, Any], at: dict[str, Any], folder: FilePath
) -> tuple[list[tuple[Row, dict[str, Any]]], list[str]]:
    """Return the faults that the rows of a file make of one, each with its row, and what is wrong with others."""
    name = at["file"]
    if name is BROKEN:
        return [], []  # That is told already.
    if not isinstance(name, str) or not name:
        return [], [f"must be the name of a file, such as failures.csv, not {shown(name)}"]
    if len(at) > 1:
        return [], ["says the times; keep no other key beside it"]
    try:
        rows, no_rows = failure_rows.read(folder / name)
    except ValueError as error:
        return [], [str(error)]
    of_rows, wrong = failure_rows.spread(fault, rows)
    return of_rows, no_rows + wrong


def _of_rows(written: _Written, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Tell what is wrong with a row where its file is named, and what all rows of a fault have in common once."""
    for finding in findings:
        section, index, *keys = (*finding.path, None, None)[: max(3, len(finding.path))]
        if section != "faults" or index not in written.rows:
            yield finding
            continue
        origin, row = written.rows[index]
        if keys[0] == "at" or (keys[0] == "node" and row.node is not None):
            yield Finding(("faults", origin, "at", "file"), f"{row}: {finding.sentence}")
        elif index == origin:
            yield finding


def _machine_names(nodes: Any) -> list[str]:
    """Return the names of the machines that plain data gives, as far as it is right."""
    if isinstance(nodes, int):
        return [f"node{index}" for index in range(min(nodes, 100_000))]
    listed_nodes = nodes if isinstance(nodes, list) else []
    return [str(node.get("name", f"node{index}")) for index, node in enumerate(listed_nodes) if isinstance(node, dict)]


# --- every mistake at once --------------------------------------------------------------------------------------------


def _check(data: dict[str, Any]) -> tuple[Scenario | None, list[Finding]]:
    """Return the scenario that `data` is, and every mistake in its shape and between its keys."""
    scenario, shape = validated(data)
    meant = {(*finding.path[:-1], finding.meant) for finding in shape if finding.meant is not None}
    findings = [
        finding
        for finding in shape
        if value_at(data, finding.path) is not BROKEN and (*finding.path, finding.missing) not in meant
    ]
    touched: set[Path] = set()
    repaired, mistakes = copy.deepcopy(data), shape
    for _ in range(3):
        if not mistakes:
            break
        touched |= repair(repaired, mistakes)
        scenario, mistakes = validated(repaired)
    if scenario is None:
        return None, findings
    for path, sentence, rests_on in conflicts(scenario):
        if not any(_overlap(used, changed) for used in rests_on or (path,) for changed in touched):
            findings.append(Finding(path, sentence))
    return (None if shape else scenario), findings


def _overlap(a: Path, b: Path) -> bool:
    return a[: len(b)] == b[: len(a)]
