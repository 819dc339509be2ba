"""A fat tree: three tiers of equal switches with k ports each, and bandwidth for all machines at once (Al-Fares 2008).

    core0.switch   core1.switch   core2.switch   core3.switch        (k/2)² core switches       k = 4
         │ ╲            │ ╲           ╱ │           ╱ │
    pod0.aggregation0 ─ ...  pod0.aggregation1 ─ ...   pod1 ...      k pods, in each k/2 aggregation switches
         │      ╲╱      │                                            and k/2 edge switches, all linked
    pod0.edge0 ─╱╲─ pod0.edge1
      │     │         │     │
    node0 node1     node2 node3                                      k/2 machines at an edge switch

Aggregation switch a of each pod has links to the core switches a·k/2, ..., a·k/2 + k/2 - 1. Up to k³/4 machines fill
the edge switches in order. All links between switches are as `network.bandwidth` says. What a strategy adds has a link
to the first core switch. (M. Al-Fares, A. Loukissas, A. Vahdat, "A scalable, commodity data center network
architecture", SIGCOMM 2008, section 2.) What is not here: how traffic spreads over the core (`routes.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import FatTree, Host, Network
from ringsim.topology.edge import Edge, access, between


def ports(machines: int) -> int:
    """Return the least k whose fat tree has room for so many machines.

    >>> ports(2), ports(16), ports(17), ports(1_024)
    (2, 4, 6, 16)
    """
    k = 2
    while k**3 // 4 < machines:
        k += 2
    return k


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a fat tree; its `k` is even and has room for all machines."""
    topology = settings.topology
    assert isinstance(topology, FatTree)
    k = ports(len(hosts)) if topology.k is None else topology.k
    half = k // 2
    for index, host in enumerate(hosts):
        edge = index // half
        yield from access(settings, host, f"pod{edge // half}.edge{edge % half}")
    for pod in range(k):
        for upper in range(half):
            aggregation = f"pod{pod}.aggregation{upper}"
            for lower in range(half):
                yield from between(settings, f"pod{pod}.edge{lower}", aggregation)
            for core in range(half):
                yield from between(settings, aggregation, f"core{upper * half + core}.switch")
    for host in extra:
        yield from access(settings, host, "core0.switch")
