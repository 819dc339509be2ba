"""When machines failed, from a file: rows of a time and a node, as a log of failures has them.

    time,node
    3 s,node1
    7.5 s,node3

Each row becomes a fault of the scenario, which then stands for itself. Times have units. The header may be missing. The
node stands in the rows or in the fault; a fault that strikes something else has rows of a time alone. What is not here:
whether the machines exist (`faults.py`).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ringsim.scenario import Fault
from ringsim.scenario_file.shape import tag_of
from ringsim.scenario_file.words import of_units
from ringsim.units import DURATION

# Whether a kind of fault strikes one machine, which its key "node" names.
_STRIKES_A_NODE = {
    tag_of(fault): "node" in fault.model_fields for fault in get_args(get_args(Fault)[0]) if "at" in fault.model_fields
}


@dataclass(frozen=True)
class Row:
    """A row of a file, and where it stands."""

    file: str
    line: int
    time: str
    node: str | None = None

    def __str__(self) -> str:
        """Say where it stands.

        >>> print(Row("failures.csv", 2, "3 s"))
        line 2 of "failures.csv"
        """
        return f'line {self.line} of "{self.file}"'


def read(path: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a file, and a sentence about each line that is none.

    Raises ValueError with a sentence if the file cannot be read, or has nothing in it.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True))
    except FileNotFoundError:
        raise ValueError(f'there is no file "{path}"') from None
    except UnicodeDecodeError:
        raise ValueError(f'"{path}" is not UTF-8 text; save the file as UTF-8') from None
    except OSError as error:
        raise ValueError(f'"{path}" cannot be read: {error.strerror}') from None
    except csv.Error as error:
        raise ValueError(f'"{path}" cannot be read as rows of time and node: {error}') from None
    rows, wrong = list[Row](), list[str]()
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or cells[0].startswith("#") or (not rows and not wrong and cells[0] == "time"):
            continue
        row = Row(path.name, number, cells[0], cells[1] if len(cells) > 1 and cells[1] else None)
        if mistake := _mistake(row, cells):
            wrong.append(mistake)
        else:
            rows.append(row)
    if not rows and not wrong:
        raise ValueError(f'"{path.name}" has no rows of a time and a node, such as 3 s,node1')
    return rows, wrong


def _mistake(row: Row, cells: Sequence[str]) -> str | None:
    """Say what keeps the cells of a line from being a row."""
    strange = next((letter for letter in "".join(cells) if not letter.isprintable()), None)
    if strange is not None:
        return f"{row}: the control character U+{ord(strange):04X} stands here; is this a text file?"
    if len(cells) > 2:
        return f"{row} has {len(cells)} columns; write a time and a node"
    try:
        DURATION.parse(row.time)
    except ValueError as error:
        return f"{row}: {of_units(str(error), row.time)}"
    return None


def spread(fault: dict[str, Any], rows: Sequence[Row]) -> tuple[list[tuple[Row, dict[str, Any]]], list[str]]:
    """Return the faults that one fault of plain data becomes, one for each row, and what is wrong with other rows.

    Wrong is a row where it and the fault both name a node, or neither does, or a fault has none.

    >>> rows = [Row("a.csv", 1, "3 s", "node1"), Row("a.csv", 2, "4 s", "node0")]
    >>> faults, wrong = spread({"kind": "crash", "at": {"file": "a.csv"}}, rows)
    >>> faults[1][1], wrong
    ({'kind': 'crash', 'at': '4 s', 'node': 'node0'}, [])
    """
    faults, wrong = list[tuple[Row, dict[str, Any]]](), list[str]()
    kind = str(fault.get("kind"))
    for row in rows:
        if row.node is not None and "node" in fault:
            wrong.append(f"{row} names a node, and so does the fault; keep one of them")
        elif row.node is not None and not _STRIKES_A_NODE.get(kind, True):
            wrong.append(f"{row} names a node, and a {kind} strikes none; write the time alone")
        elif row.node is None and "node" not in fault and _STRIKES_A_NODE.get(kind, False):
            wrong.append(f"{row} names no node; write one there, or for all rows in the fault")
        else:
            node = {} if row.node is None else {"node": row.node}
            faults.append((row, {**fault, "at": row.time, **node}))
    return faults, wrong
