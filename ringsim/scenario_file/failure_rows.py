"""When machines failed, from a file: rows of a time and a node, as a log of failures has them.

    time,node
    3 s,node1
    7.5 s,node3

Each row becomes a fault of the scenario, which then stands for itself. Times have units. The header may be missing, and
so may the node, where the fault names one. What is not here: whether the machines exist (`faults.py`).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ringsim.scenario_file.words import of_units
from ringsim.units import DURATION


def read(path: Path) -> list[tuple[str, str | None]]:
    """Return the times and nodes in a file. Raises ValueError with a sentence that names the line."""
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
    rows: list[tuple[str, str | None]] = []
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or cells[0].startswith("#") or (not rows and cells[0] == "time"):
            continue
        if len(cells) > 2:
            raise ValueError(f'line {number} of "{path.name}" has {len(cells)} columns; write a time and a node')
        try:
            DURATION.parse(cells[0])
        except ValueError as error:
            raise ValueError(f'line {number} of "{path.name}": {of_units(str(error), cells[0])}') from None
        rows.append((cells[0], cells[1] if len(cells) == 2 and cells[1] else None))
    if not rows:
        raise ValueError(f'"{path.name}" has no rows of a time and a node, such as 3 s,node1')
    return rows


def spread(fault: dict[str, Any], rows: list[tuple[str, str | None]]) -> list[dict[str, Any]]:
    """Return the faults that one fault of plain data becomes, one for each row.

    >>> spread({"kind": "crash", "at": {"file": "a.csv"}}, [("3 s", "node1"), ("4 s", "node0")])[1]
    {'kind': 'crash', 'at': '4 s', 'node': 'node0'}
    """
    return [{**fault, "at": time, **({} if node is None else {"node": node})} for time, node in rows]
