"""A wide-area network: sites far from each other, each a star, with a link between every two of their switches.

    node0 ──┐                               ┌── node2
        paris.switch ────── 10 ms ───── tokyo.switch
    node1 ──┘                               └── node3

`latencies` has a row for each site and says how long it is from there to each site; ways need not be equal. Machines
fill the sites in order. What a strategy adds is at the first site. What is not here: links through a third site: the
direct one always has the fewest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import Host, Network, Wan
from ringsim.topology.edge import Edge, access


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a wide-area network; the sites have as many machines as there are."""
    topology = settings.topology
    assert isinstance(topology, Wan)
    switches = [f"{site.name}.switch" for site in topology.sites]
    remaining = iter(hosts)
    for switch, site in zip(switches, topology.sites, strict=True):
        for _, host in zip(range(site.nodes), remaining, strict=False):
            yield from access(settings, host, switch)
    rate = settings.bandwidth if topology.bandwidth is None else topology.bandwidth
    for source, latencies in zip(switches, topology.latencies, strict=True):
        for target, latency_ns in zip(switches, latencies, strict=True):
            if target != source:
                yield Edge(source, target, rate, latency_ns, settings.drop)
    for host in extra:
        yield from access(settings, host, switches[0])
