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


def read(path: Path) -> list[Row]:
    """Return the rows of a file, at least one. Raises ValueError with a sentence that names the line."""
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
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or cells[0].startswith("#") or (not rows and cells[0] == "time"):
            continue
        row = Row(path.name, number, cells[0], cells[1] if len(cells) == 2 and cells[1] else None)
        if len(cells) > 2:
            raise ValueError(f"{row} has {len(cells)} columns; write a time and a node")
        try:
            DURATION.parse(row.time)
        except ValueError as error:
            raise ValueError(f"{row}: {of_units(str(error), row.time)}") from None
        rows.append(row)
    if not rows:
        raise ValueError(f'"{path.name}" has no rows of a time and a node, such as 3 s,node1')
    return rows


def spread(fault: dict[str, Any], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the faults that one fault of plain data becomes, one for each row.

    Raises ValueError where a row and the fault both name a node, or neither does, or a fault has none.

    >>> rows = [Row("a.csv", 1, "3 s", "node1"), Row("a.csv", 2, "4 s", "node0")]
    >>> spread({"kind": "crash", "at": {"file": "a.csv"}}, rows)[1]
    {'kind': 'crash', 'at': '4 s', 'node': 'node0'}
    """
    kind = str(fault.get("kind"))
    for row in rows:
        if row.node is not None and "node" in fault:
            raise ValueError(f"{row} names a node, and so does the fault; keep one of them")
        if row.node is not None and not _STRIKES_A_NODE.get(kind, True):
            raise ValueError(f"{row} names a node, and a {kind} strikes none; write the time alone")
        if row.node is None and "node" not in fault and _STRIKES_A_NODE.get(kind, False):
            raise ValueError(f"{row} names no node; write one there, or for all rows in the fault")
    return [{**fault, "at": row.time, **({} if row.node is None else {"node": row.node})} for row in rows]
