"""Two tiers: racks of machines, a switch for each, and a core switch that links the racks.

                    core.switch
              ┌──────────┴──────────┐           a rack's link to the core carries the sum of its
         rack0.switch          rack1.switch     machines' bandwidths, divided by `oversubscription`
         ┌────┴────┐           ┌────┴────┐
       node0     node1       node2     node3

Machines fill the racks in order, as evenly as possible. What a strategy adds has a link to the core switch. What is not
here: more than one way from rack to rack (`fat_tree.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import Host, Network, TwoTier, exactly
from ringsim.topology.edge import Edge, access, bandwidth_of, between, blocks

CORE = "core.switch"


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of two tiers; there are no more racks than machines.

    >>> network = Network(bandwidth="1 Gbit/s", topology={"kind": "two_tier", "racks": 1, "oversubscription": 4})
    >>> [edge.bandwidth for edge in edges(network, [Host(name="a"), Host(name="b")], [])]
    [1000000000, 1000000000, 1000000000, 1000000000, 500000000, 500000000]
    """
    topology = settings.topology
    assert isinstance(topology, TwoTier)
    for index, rack in enumerate(blocks(hosts, topology.racks)):
        switch = f"rack{index}.switch"
        for host in rack:
            yield from access(settings, host, switch)
        whole = sum(bandwidth_of(settings, host) for host in rack)
        uplink = max(1, int(whole / exactly(topology.oversubscription)))  # In whole bit/s.
        yield from between(settings, switch, CORE, uplink)
    for host in extra:
        yield from access(settings, host, CORE)
