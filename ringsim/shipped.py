"""The scenarios that come with ringsim: where they are, and the question each of them asks.

They live in `scenarios/` at the top of the repository, and inside the wheel; `scenarios/strategies/` has one for each
way of training. What is not here: reading a scenario (`scenario_file/`).
"""

from __future__ import annotations

import difflib
from pathlib import Path

from ringsim.errors import UsageError

_PACKAGE = Path(__file__).parent


def folder() -> Path:
    """Return the folder of the shipped scenarios: the wheel's, or the repository's."""
    inside = _PACKAGE / "scenarios"
    return inside if inside.is_dir() else _PACKAGE.parent / "scenarios"


def names() -> tuple[str, ...]:
    """Return the names of the shipped scenarios, in alphabetical order, those of folders below last.

    >>> "4node_fail" in names(), "strategies/ring" in names()
    (True, True)
    """
    found = (path.relative_to(folder()).with_suffix("").as_posix() for path in folder().rglob("*.yaml"))
    return tuple(sorted(found, key=lambda name: ("/" in name, name)))


def question(path: Path) -> str:
    """Return the question that a scenario file opens with: the comment lines from `# Question:` to the next heading."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not lines and text.startswith("Question:"):
            lines.append(text.removeprefix("Question:").strip())
        elif lines and (not line.startswith("#") or not text or text.startswith("Look at:")):
            break
        elif lines:
            lines.append(text)
    return " ".join(lines)


def find(name: str) -> Path:
    """Return the scenario file that `name` means: a path, or the name of a shipped one.

    Raises UsageError, with a suggestion, if there is neither.

    >>> find("4node_fail").name
    '4node_fail.yaml'
    """
    path = Path(name)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        shipped = path.with_suffix("").as_posix()
        if not path.exists() and shipped in names():
            raise UsageError(f"there is no file {name}; the shipped scenario is: ringsim run {shipped}")
        return path
    if name in names():
        return folder() / f"{name}.yaml"
    guess = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {guess[0]}?" if guess else "ringsim list shows the shipped ones"
    raise UsageError(f"there is no file and no shipped scenario called {name}; {hint}")
