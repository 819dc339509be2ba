"""A graph from a file, as the links that `network.links` would list: GraphML (.graphml) or node-link JSON (.json).

    GraphML            <edge source="node0" target="west"> with data named bandwidth, latency and drop, or the
                       <default> of their keys
    node-link JSON     {"directed": false, "nodes": [{"id": "node0"}, ...],
                        "links": [{"source": "node0", "target": "west", "latency": "5 ms"}, ...]}

`links` may also be called `edges`: networkx has written both. Nodes that are machines have their names; any other is a
switch, called `west.switch` in a scenario if its name has no dot. Links of a directed graph go one way. Bandwidth,
latency and drop are quantities with their units, as in a scenario; other attributes are not read. What is not here:
whether the links fit the machines (`scenario_file/network.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_READ = ("bandwidth", "latency", "drop")

Edges = Iterator[tuple[str, str, dict[str, Any]]]


def read(path: Path, is_machine: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Return the links in a file as a scenario's plain data. Raises ValueError with a sentence if it holds no graph."""
    readers = {".graphml": _graphml, ".json": _node_link}
    if path.suffix not in readers:
        raise ValueError(f'"{path.name}" must end in .graphml or .json')
    try:
        directed, edges = readers[path.suffix](path)
    except FileNotFoundError:
        raise ValueError(f'there is no file "{path}"') from None
    except OSError as error:
        raise ValueError(f'"{path}" cannot be read: {error.strerror}') from None

    def named(node: str) -> str:
        return node if "." in node or is_machine(node) else f"{node}.switch"

    links = [
        {
            "source": named(source),
            "target": named(target),
            **{key: said[key] for key in _READ if key in said},
            **({"one_way": True} if directed else {}),
        }
        for source, target, said in edges
    ]
    if not links:
        raise ValueError(f'"{path.name}" has no links')
    return links


def _graphml(path: Path) -> tuple[bool, Edges]:
    from xml.etree.ElementTree import ParseError

    import networkx

    try:
        graph = networkx.read_graphml(path)
    except (ParseError, networkx.NetworkXError, KeyError, ValueError) as error:
        raise ValueError(f'"{path.name}" is no GraphML: {error}') from None
    # What its keys say of all edges is not on the edges.
    default = graph.graph.get("edge_default", {})
    edges = graph.edges(data=True)
    return graph.is_directed(), ((str(source), str(target), {**default, **said}) for source, target, said in edges)


def _node_link(path: Path) -> tuple[bool, Edges]:
    # Not networkx's reader, whose versions differ in what they call the list of links.
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'"{path.name}" is no JSON: {error}') from None
    links = data.get("links", data.get("edges")) if isinstance(data, dict) else None
    if not isinstance(links, list) or not all(
        isinstance(link, dict) and {"source", "target"} <= set(link) for link in links
    ):
        raise ValueError(
            f'"{path.name}" must have a list "links" (or "edges") whose entries have a source and a target'
        )
    return data.get("directed") is True, ((str(link["source"]), str(link["target"]), link) for link in links)
