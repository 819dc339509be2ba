"""YAML read strictly: text to plain data, the place of every key and value, and a sentence for every trap.

YAML lets two equal keys pass, reads `no` as false, `010` as 8 and `12:30` as 750. Here each of these is a mistake with
a line, a column and a sentence. The mistaken value becomes `BROKEN` and reading goes on, so that all mistakes of a file
are found at once.

What is not here: which keys a scenario has (`scenario/`), and what is wrong with their values (`reading.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, NoReturn

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 40  # Levels of nesting; a scenario has about six.
_LONGEST = 1_000  # Characters in one value; beyond this it is no name, number or quantity.
_MOST_COPIED = 100_000  # Values that aliases may unfold to.

Path = tuple[str | int, ...]
_Meaning = tuple[object, str | None]  # What an unquoted text means, and what is wrong with it.


class _Broken(Enum):
    """Has one member, which stands where a value could not be read; a copy of it is itself."""

    BROKEN = "BROKEN"


BROKEN = _Broken.BROKEN


class Mark(NamedTuple):
    """A place in a text: line and column, counted from 1."""

    line: int
    column: int


class Mistake(NamedTuple):
    """What is wrong at `mark`, in a sentence."""

    mark: Mark
    path: Path
    sentence: str


@dataclass(frozen=True)
class Document:
    """One YAML text: its data, where each key and each value stands, and what is wrong with it."""

    data: object
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()


def read(text: str) -> Document:
    """Return the data of `text`, with the place of everything and all mistakes; never raises.

    An empty text has the data None; a text that is not YAML has the data BROKEN.

    >>> read("a: [1, x]").data
    {'a': [1, 'x']}
    >>> read("a: 1\\nb: no\\na: 2").mistakes[0].sentence
    '"no" is read as false by YAML; write false, or put it in quotes to mean the text'
    >>> read("a: 1\\na: 2").mistakes
    (Mistake(mark=Mark(line=2, column=1), path=('a',), sentence='this key stands in line 1 already; keep one of them'),)
    """
    composer = _Composer(text.removeprefix("\ufeff"))
    try:
        node = composer.document()
        unfolded = Document(None, {}, {})
        data = None if node is None else _unfold(node, (), unfolded, [0], copied=False)
    except _Unreadable as error:
        return Document(BROKEN, mistakes=(*composer.mistakes, error.mistake))
    return Document(data, unfolded.keys, unfolded.values, tuple(composer.mistakes))


def read_scalar(text: str) -> _Meaning:
    """Return what an unquoted `text` means, and what is wrong with it, if anything.

    >>> read_scalar("4"), read_scalar("0.5"), read_scalar("3 s"), read_scalar("~")
    ((4, None), (0.5, None), ('3 s', None), (None, None))
    >>> read_scalar("1e3")[1]
    '"1e3" is a number to some readers of YAML and text to others; write 1000 or 1.0e+3'
    """
    for pattern, meaning in _MEANINGS:
        if pattern.fullmatch(text):
            return meaning(text)
    return text, None


def dotted(path: Path) -> str:
    """Return a path as people write it.

    >>> dotted(("cluster", "nodes", 1, "speed"))
    'cluster.nodes[1].speed'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


# --- what an unquoted text means --------------------------------------------------------------------------------------


def _refused(sentence: str) -> _Meaning:
    return BROKEN, sentence


def _boolean_word(text: str) -> _Meaning:
    meant = "true" if text.lower() in ("yes", "on") else "false"
    return _refused(f'"{text}" is read as {meant} by YAML; write {meant}, or put it in quotes to mean the text')


def _leading_zero(text: str) -> _Meaning:
    sign, digits = text[: text[0] in "+-"], text.lstrip("+-0_").replace("_", "") or "0"
    if set(digits) & set("89") or digits == "0":
        return _refused(f'"{text}" has a leading zero, which readers of YAML differ about; write {sign}{digits}')
    octal = int(digits, 8)
    return _refused(
        f'"{text}" is read as {sign}{octal} by YAML; write {sign}{octal}, or {sign}{digits} without the zero'
    )


def _other_base(text: str) -> _Meaning:
    value = int(text.replace("_", ""), 0)
    return _refused(f'"{text}" is a number to some readers of YAML and text to others; write {value}')


def _underscored(text: str) -> _Meaning:
    plain = text.replace("_", "")
    return _refused(f'"{text}" is a number to some readers of YAML and text to others; write {plain}')


def _sexagesimal(text: str) -> _Meaning:
    total = 0.0
    for part in text.replace("_", "").lstrip("+-").split(":"):
        total = total * 60 + float(part)
    return _refused(
        f'"{text}" is read as {total:g} by YAML; write a duration with its unit, such as "12 min", or put it in quotes'
    )


def _bare_exponent(text: str) -> _Meaning:
    value = float(text)
    if abs(value) == float("inf"):
        return _not_finite(text)
    mantissa, exponent = re.split("[eE]", text)
    point, sign = "" if "." in mantissa else ".0", "" if exponent[0] in "+-" else "+"
    plain = f"{int(value) if value.is_integer() else value} or " if 1e-4 <= abs(value) < 1e16 else ""
    right = f"{plain}{mantissa}{point}e{sign}{exponent}"
    return _refused(f'"{text}" is a number to some readers of YAML and text to others; write {right}')


def _not_finite(text: str) -> _Meaning:
    return _refused(f'"{text}" is not a finite number; write a number')


def _date(text: str) -> _Meaning:
    return _refused(f'"{text}" is read as a date by YAML; put it in quotes')


def _finite(text: str) -> _Meaning:
    number = float(text)
    return (number, None) if abs(number) != float("inf") else _not_finite(text)


# In order: the first that matches the whole text holds; what none matches is text.
_MEANINGS: tuple[tuple[re.Pattern[str], Callable[[str], _Meaning]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: (None, None)),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: (text.lower() == "true", None)),
    (re.compile(r"yes|no|on|off", re.IGNORECASE), _boolean_word),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), lambda text: (int(text), None)),
    (re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?"), _finite),
    (re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"), _bare_exponent),
    (re.compile(r"[-+]?0[0-9_]+"), _leading_zero),
    (re.compile(r"[-+]?0(x[0-9a-f_]*[0-9a-f]|o[0-7_]*[0-7]|b[01_]*[01])", re.IGNORECASE), _other_base),
    (re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?)?"), _underscored),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), _sexagesimal),
    (re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE), _not_finite),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\s].*)?"), _date),
)


# --- text to nodes ----------------------------------------------------------------------------------------------------


class _Unreadable(Exception):
    """The text cannot be read any further."""

    def __init__(self, mistake: Mistake):
        super().__init__(mistake)
        self.mistake = mistake


@dataclass(frozen=True)
class _Node:
    """A value with its place; `content` is a scalar, a list of nodes, or a dict of (place of key, node)."""

    mark: Mark
    content: Any
    alias: bool = False


_OPEN = _Node(Mark(0, 0), None)  # Stands for an anchored node that is still being read.


class _Composer:
    """Reads events one by one, as `yaml.compose` does, and keeps what it loses: tags, equal keys, where aliases are."""

    def __init__(self, text: str):
        self.mistakes: list[Mistake] = []
        self._text = text
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._anchors: dict[str, _Node] = {}

    def document(self) -> _Node | None:
        """Return the root of the only document, or None for an empty text."""
        self._refuse_controls()
        self._next()  # The start of the stream.
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), ())
        self._next()  # The end of the document.
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            _stop(_mark(after.start_mark), (), "a second document begins here; a file holds one, so remove this line")
        return root

    def _node(self, event: Any, path: Path) -> _Node:
        mark = _mark(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, mark, path)
        if len(path) > _DEEPEST:
            _stop(mark, (), f"the nesting is deeper than {_DEEPEST} levels")
        if event.anchor is not None:
            self._anchors[event.anchor] = _OPEN
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(mark, self._scalar(event, path))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _Node(mark, self._sequence(path))
        else:
            node = _Node(mark, self._mapping(path))
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            node = self._mistake(mark, path, f'the tag "{tag}" is not read; write the value without it')
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, anchor: Any, mark: Mark, path: Path) -> _Node:
        target = self._anchors.get(anchor)
        if target is None:
            return self._mistake(mark, path, f'there is no anchor "&{anchor}" before this "*{anchor}"')
        if target is _OPEN:
            return self._mistake(mark, path, f'"*{anchor}" stands inside "&{anchor}", so it would hold itself')
        return _Node(mark, target.content, alias=True)

    def _scalar(self, event: Any, path: Path) -> object:
        value: object = event.value
        wrong: str | None = None
        if len(event.value) > _LONGEST:
            value, wrong = BROKEN, f"this value is longer than {_LONGEST:,} characters"
        elif event.style not in ("'", '"', "|", ">"):
            value, wrong = read_scalar(event.value)
        if wrong is not None:
            self._mistake(_mark(event.start_mark), path, wrong)
        return value

    def _sequence(self, path: Path) -> list[_Node]:
        items: list[_Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, tuple[Mark, _Node]] | _Broken:
        items: dict[str, tuple[Mark, _Node]] = {}
        merged = False
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            mark = _mark(event.start_mark)
            merged = merged or (isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style)
            key = self._key(event, mark, path)
            value = self._node(self._next(), path if key is None else (*path, key))
            if key in items:
                first = items[key][0].line
                self._mistake(mark, (*path, key), f"this key stands in line {first} already; keep one of them")
            elif key is not None:
                items[key] = mark, value
        return BROKEN if merged else items  # Nobody knows which keys it would have.

    def _key(self, event: Any, mark: Mark, path: Path) -> str | None:
        """Return the key that begins with `event`, or None after saying why it is not one."""
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, path)
            self._mistake(mark, path, "a key must be text, not a list, a mapping or an alias")
            return None
        if event.value == "<<" and not event.style:
            self._mistake(mark, path, 'the merge key "<<" is not read; write the keys out')
            return None
        key = self._node(event, path).content
        if key is not BROKEN and not isinstance(key, str):
            self._mistake(mark, path, f'a key must be text; "{event.value}" is not, unless it is put in quotes')
        return key if isinstance(key, str) else None

    def _mistake(self, mark: Mark, path: Path, sentence: str) -> _Node:
        self.mistakes.append(Mistake(mark, path, sentence))
        return _Node(mark, BROKEN)

    def _next(self) -> Any:
        try:
            return next(self._events)
        except yaml.MarkedYAMLError as error:
            mark, sentence = _syntax_error(error, self._text)
            _stop(mark, (), sentence)

    def _refuse_controls(self) -> None:
        found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", self._text)
        if found:
            before = self._text[: found.start()].split("\n")
            sentence = f"the control character U+{ord(found[0]):04X} stands here; is this a text file?"
            _stop(Mark(len(before), len(before[-1]) + 1), (), sentence)


def _stop(mark: Mark, path: Path, sentence: str) -> NoReturn:
    raise _Unreadable(Mistake(mark, path, sentence))


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> tuple[Mark, str]:
    """Return where a text stops being YAML, and why, in words that do not depend on libyaml's."""
    problem, context = error.problem or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    assert mark is not None, "a scanner or parser error has a place"
    if "cannot start any token" in problem:
        character = text.splitlines()[mark.line][mark.column]
        if character == "\t":
            return _mark(mark), "a tab cannot stand here; indent with spaces"
        return _mark(mark), f'unquoted text cannot begin with "{character}"; put it in quotes'
    if "mapping values are not allowed" in problem:
        return _mark(
            mark
        ), "this colon makes a key where none can stand; check the indentation, or put the text in quotes"
    if "while parsing a flow node" in context:
        return _mark(mark), "a bracket before this place is never closed"
    if "while parsing a flow" in context:
        kind, bracket = ("list", "[") if "sequence" in context else ("mapping", "{")
        return _mark(error.context_mark or mark), f'the {kind} that "{bracket}" opens here lacks a comma or its end'
    if "quoted scalar" in context or "double-quoted" in context:
        if "end of stream" in problem or "document" in problem:
            return _mark(error.context_mark or mark), "the quote that opens here is never closed"
        return _mark(error.context_mark or mark), "a backslash in this text is not one of YAML's; use single quotes"
    if "while parsing a block" in context and "node" not in context:
        return _mark(mark), "this does not continue what stands above; check the indentation and the quotes"
    return _mark(mark), "this is not YAML; check the indentation, the quotes and the brackets"


# --- nodes to data ----------------------------------------------------------------------------------------------------


def _unfold(node: _Node, path: Path, into: Document, copies: list[int], copied: bool) -> object:
    """Return the data of `node`, writing the places into `into`; `copies` counts what came through aliases."""
    copied = copied or node.alias
    copies[0] += copied
    if copies[0] > _MOST_COPIED:
        _stop(node.mark, (), f"the aliases unfold to more than {_MOST_COPIED:,} values; write fewer")
    if len(path) > _DEEPEST:
        _stop(node.mark, (), f"the nesting is deeper than {_DEEPEST} levels")
    into.values[path] = node.mark
    if isinstance(node.content, list):
        return [_unfold(item, (*path, index), into, copies, copied) for index, item in enumerate(node.content)]
    if isinstance(node.content, dict):
        for key, (mark, _) in node.content.items():
            into.keys[*path, key] = mark
        return {key: _unfold(item, (*path, key), into, copies, copied) for key, (_, item) in node.content.items()}
    return node.content
