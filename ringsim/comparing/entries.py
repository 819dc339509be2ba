"""What `compare --strategies` is given: a list of ways to train, each as overrides of the scenario.

    ring                                          the strategy; what the file says of it holds on, where it has it too
    ring:elastic                                  with that failure policy
    ring:all                                      with each of its policies
    {name: parameter_server, on_failure: backup}  these settings and no others
    server_chain                                  those of a shipped scenario, or of a file.yaml
    all                                           every strategy there is, with its default settings

Commas inside brackets and quotes belong to an entry. What is not here: whether the scenario can have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ringsim import shipped
from ringsim.errors import UsageError
from ringsim.scenario import STRATEGY_NAMES, policies
from ringsim.scenario_file.strict_yaml import BROKEN, read
from ringsim.scenario_file.words import close, listed, one_line, shortened

ALL = "all"
_CLOSES = {"{": "}", "[": "]", '"': '"', "'": "'"}


@dataclass(frozen=True)
class Entry:
    """One way to train. `is_asked`: by itself, and not as one of all; then the scenario must be able to have it."""

    words: str
    overrides: tuple[str, ...]
    is_asked: bool = True


def entries(text: str) -> tuple[Entry, ...]:
    """Return the entries of a list. Raises UsageError for one that means nothing, with a suggestion.

    >>> [entry.overrides for entry in entries("ring, {name: ring, timeout: 3 s}")]
    [('strategy.name=ring',), ('strategy={name: ring, timeout: 3 s}',)]
    >>> entries("ring:elstic")
    Traceback (most recent call last):
    ...
    ringsim.errors.UsageError: --strategies ring:elstic: ring has no failure policy "elstic"; did you mean "elastic"?
    """
    return tuple(entry for words in split(text) for entry in _read(words))


def split(text: str) -> list[str]:
    """Return the parts of a list between those commas that stand in no brackets and no quotes.

    >>> split("ring, {name: ring, order: listed},local")
    ['ring', '{name: ring, order: listed}', 'local']
    """
    parts, closing = [""], ""  # the brackets and quotes that are open, the innermost last
    for letter in text:
        if letter == "," and not closing:
            parts.append("")
            continue
        parts[-1] += letter
        if closing and letter == closing[-1]:
            closing = closing[:-1]
        elif letter in _CLOSES and closing[-1:] not in ("'", '"'):
            closing += _CLOSES[letter]
    if closing:
        raise UsageError(f"--strategies {_shown(text)}: a {closing[-1]} is missing at the end")
    return [part.strip() for part in parts]


def _read(words: str) -> list[Entry]:
    name, colon, policy = words.partition(":")
    if words == ALL:
        return [Entry(name, (f"strategy={{name: {name}}}",), is_asked=False) for name in STRATEGY_NAMES]
    if words.startswith("{"):
        return [Entry(words, (f"strategy={_settings(words)}",))]
    if words in STRATEGY_NAMES:
        return [Entry(words, (f"strategy.name={words}",))]
    if words in shipped.names() or words.endswith((".yaml", ".yml")):
        return [Entry(words, (f"strategy={_of_file(words)}",))]
    if name.strip() in STRATEGY_NAMES and colon:
        return _with_policy(words, name.strip(), policy.strip())
    guess = close(words, [ALL, *STRATEGY_NAMES, *shipped.names()])
    hint = f'did you mean "{guess}"?' if guess else f"choose {listed([*STRATEGY_NAMES, ALL])}"
    raise UsageError(f'there is no strategy "{_shown(words)}"; {hint}' if words else f"--strategies: {hint}")


def _with_policy(words: str, name: str, policy: str) -> list[Entry]:
    known = policies(name)
    if policy == ALL and known:
        return [replaced for one in known for replaced in _of_all(name, one)]
    if policy in known:
        return [Entry(words, (f"strategy.name={name}", f"strategy.on_failure={policy}"))]
    guess = close(policy, known)
    choices = f"it has {listed(known, 'and')}" if known else "it has none"
    hint = f'did you mean "{guess}"?' if guess else choices
    raise UsageError(f'--strategies {_shown(words)}: {name} has no failure policy "{_shown(policy)}"; {hint}')


def _of_all(name: str, policy: str) -> list[Entry]:
    overrides = (f"strategy.name={name}", f"strategy.on_failure={policy}")
    return [Entry(f"{name}:{policy}", overrides, is_asked=False)]


def _settings(words: str) -> str:
    """Return a mapping of settings as it stands, once it is one that names a strategy there is."""
    document = read(words)
    if document.mistakes or document.data is BROKEN:
        sentence = document.mistakes[0].sentence if document.mistakes else "this is not YAML"
        raise UsageError(f"--strategies {_shown(words)}: {sentence}")
    name = document.data.get("name") if isinstance(document.data, dict) else None
    if name is None:
        raise UsageError(
            f"--strategies {_shown(words)}: name the strategy, such as {{name: ring, on_failure: elastic}}"
        )
    if name not in STRATEGY_NAMES:
        guess = close(name, STRATEGY_NAMES)
        hint = f'did you mean "{guess}"?' if guess else f"choose {listed(STRATEGY_NAMES)}"
        raise UsageError(f'--strategies {_shown(words)}: there is no strategy "{name}"; {hint}')
    return words


def _of_file(words: str) -> str:
    """Return the strategy's settings of another scenario file, as a mapping on one line."""
    path: Path = shipped.find(words)
    try:
        data: Any = read(path.read_text(encoding="utf-8-sig")).data
    except (OSError, ValueError) as error:
        raise UsageError(f"--strategies {_shown(words)}: {path} cannot be read: {error}") from None
    settings = data.get("strategy") if isinstance(data, dict) else None
    if isinstance(settings, str):
        settings = {"name": settings}
    if not isinstance(settings, dict):
        raise UsageError(f"--strategies {_shown(words)}: {path} has no strategy")
    return yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, width=10**6).strip()


def _shown(words: str) -> str:
    return shortened(one_line(words))
