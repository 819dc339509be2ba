"""Pieces of sentences: a list in words, a value in quotes, a guess at what was meant.

What is not here: sentences.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 60  # Characters of a value that a sentence shows.


def close(word: Any, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` is probably a slip of, or None.

    >>> close("Rign", ["local", "ring"]), close(3, ["local"])
    ('ring', None)
    """
    folded = {choice.lower(): choice for choice in choices}
    guess = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.65) if isinstance(word, str) else []
    return folded[guess[0]] if guess else None


def listed(words: Sequence[str], last: str = "or") -> str:
    """Return words as a sentence lists them.

    >>> listed(["reset"]), listed(["a", "b", "c"], "and")
    ('reset', 'a, b and c')
    """
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def no_machine(name: str, names: Sequence[str], others: Sequence[str] = ()) -> str:
    """Say that there is no machine `name`, which there are, and which of these or of `others` was probably meant.

    >>> no_machine("node9", ["node0", "node1", "node2"])
    'there is no node9; the nodes are node0 to node2'
    >>> no_machine("fats", ["fast", "slow"])
    'there is no fats; the nodes are fast and slow; did you mean "fast"?'
    """
    counted = list(names) == [f"node{index}" for index in range(len(names))]
    known = f"{names[0]} to {names[-1]}" if counted and len(names) > 1 else listed(names[:20], "and")
    guess = close(name, [*names, *others])
    # Of numbered nodes none is closer to a number that does not exist than the others.
    hint = "" if guess is None or (counted and re.fullmatch("node[0-9]+", name)) else f'; did you mean "{guess}"?'
    are = "nodes are" if len(names) > 1 else "only node is"
    called = shown(name)[1:-1] or "machine without a name"
    return f"there is no {called}; the {are} {known}{hint}"


def shown(value: Any) -> str:
    """Return a value from a file as a sentence shows it.

    >>> shown("4"), shown(4), shown(True), shown([4])
    ('"4"', '4', 'true', 'a list')
    """
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "an empty value" if value is None else str(value).lower()
    return f'"{shortened(value)}"' if isinstance(value, str) else shortened(str(value))


def of_units(sentence: str, value: Any) -> str:
    """Return a sentence of `units` with its subject in front, and a long value cut short.

    >>> of_units("has no unit", 5), of_units('"a b" is not a rate', "a b")
    ('5 has no unit', '"a b" is not a rate')
    """
    if isinstance(value, str):
        sentence = sentence.replace(value, shortened(value))
    return f"{shown(value)} {sentence}" if sentence.startswith(("has ", "is ")) else sentence


def shortened(text: str) -> str:
    """Return a text cut to what fits into a sentence."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def one_line(text: str) -> str:
    """Return a text without line breaks and what else cannot be printed.

    >>> one_line("a\\nb")
    'a b'
    """
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
