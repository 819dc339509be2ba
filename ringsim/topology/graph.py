"""Any graph: the links are those that `network.links` lists.

    links: [{source: node0, target: west.switch}, {source: west.switch, target: node1, latency: 5 ms}]

    node0 ── west.switch ── node1

Where a link does not say its bandwidth or latency, a machine's own hold: those of the machine that the direction
leaves, and at a switch those of the machine that it leads to. A machine that a strategy adds has the links that name
it; if none does, one to the first node of the list. Links of a machine that this strategy does not add are
left out. What is not here: reading links from a file (`graph_file.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ringsim.scenario import Host, Link, Network
from ringsim.topology.edge import Edge, bandwidth_of, latency_of

_SWITCH = Host(name="switch")  # Says nothing of its own.


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of the listed links.

    >>> network = Network(topology="graph", links=[{"source": "a", "target": "west.switch", "bandwidth": "2 Gbit/s"}])
    >>> [edge[:3] for edge in edges(network, [Host(name="a")], [])]
    [('a', 'west.switch', 2000000000), ('west.switch', 'a', 2000000000)]
    """
    machines = {host.name: host for host in (*hosts, *extra)}
    links = [link for link in settings.links if all(is_there(end, machines) for end in (link.source, link.target))]
    named = dict.fromkeys(end for link in links for end in (link.source, link.target))
    first = next(iter(named), hosts[0].name)
    for host in extra:
        if host.name not in named:
            links.append(Link(source=host.name, target=first))
    for link in links:
        for source, target in directions(link):
            yield _edge(settings, machines, link, source, target)


def is_there(end: str, machines: Mapping[str, Host]) -> bool:
    """Say whether a link can end here: at a machine of this run, or at a switch, whose name has a dot in it."""
    return end in machines or "." in end


def directions(link: Link) -> tuple[tuple[str, str], ...]:
    """Return the directions that a link is for.

    >>> directions(Link(source="a", target="b")), directions(Link(source="a", target="b", one_way=True))
    ((('a', 'b'), ('b', 'a')), (('a', 'b'),))
    """
    there, back = (link.source, link.target), (link.target, link.source)
    return (there,) if link.one_way else (there, back)


def _edge(settings: Network, machines: Mapping[str, Host], link: Link, source: str, target: str) -> Edge:
    host = machines.get(source) or machines.get(target) or _SWITCH
    return Edge(
        source,
        target,
        bandwidth_of(settings, host) if link.bandwidth is None else link.bandwidth,
        latency_of(settings, host) if link.latency is None else link.latency,
        settings.drop if link.drop is None else link.drop,
    )
