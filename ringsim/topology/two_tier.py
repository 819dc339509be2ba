"""Two tiers: racks of machines, a switch for each, and a core switch that links the racks.

                    core.switch
              ┌──────────┴──────────┐           a rack's link to the core carries the sum of its
         rack0.switch          rack1.switch     machines' bandwidths, divided by `oversubscription`
         ┌────┴────┐           ┌────┴────┐
       node0     node1       node2     node3

Machines fill the racks one after another, as evenly as possible, or stand in them in turn (`placement`), as where a
scheduler spreads a job: then neighbours in the list are never neighbours in the network. What a strategy adds has a
link to the core switch. What is not here: more than one way from rack to rack (`fat_tree.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import Host, Network, TwoTier, exactly
from ringsim.topology.edge import Edge, T, access, bandwidth_of, between, blocks

CORE = "core.switch"


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of two tiers; there are no more racks than machines.

    >>> network = Network(bandwidth="1 Gbit/s", topology={"kind": "two_tier", "racks": 1, "oversubscription": 4})
    >>> [edge.bandwidth for edge in edges(network, [Host(name="a"), Host(name="b")], [])]
    [1000000000, 1000000000, 1000000000, 1000000000, 500000000, 500000000]
    """
    topology = settings.topology
    assert isinstance(topology, TwoTier)
    for index, rack in enumerate(racks(topology, hosts)):
        switch = f"rack{index}.switch"
        for host in rack:
            yield from access(settings, host, switch)
        whole = sum(bandwidth_of(settings, host) for host in rack)
        uplink = max(1, int(whole / exactly(topology.oversubscription)))  # In whole bit/s.
        yield from between(settings, switch, CORE, uplink)
    for host in extra:
        yield from access(settings, host, CORE)


def racks(topology: TwoTier, hosts: Sequence[T]) -> list[Sequence[T]]:
    """Return what stands in each rack.

    >>> racks(TwoTier(kind="two_tier", racks=2, placement="in_turn"), "abcde")
    ['ace', 'bd']
    """
    if topology.placement == "in_turn":
        return [hosts[rack :: topology.racks] for rack in range(topology.racks)]
    return list(blocks(hosts, topology.racks))
