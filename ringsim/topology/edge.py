"""`Edge`: one direction of one link; and whose bandwidth and latency it has.

    access     machine ◄──► switch    the machine's own, both ways
    leaving    machine ───► machine   the one's that it leaves
    between    switch ◄──► switch     the network's

What is not here: which edges a topology has (a file each), and `network.links`, which change them (`build.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from ringsim.scenario import Host, Network

T = TypeVar("T")


class Edge(NamedTuple):
    """One direction of one link: bit/s, nanoseconds, and how probable it is (ppm) that it loses a message."""

    source: str
    target: str
    bandwidth: int
    latency_ns: int
    drop: int


def bandwidth_of(settings: Network, host: Host) -> int:
    """Return the rate of a machine's links: its own, or the network's."""
    return int(settings.bandwidth if host.bandwidth is None else host.bandwidth)


def latency_of(settings: Network, host: Host) -> int:
    """Return the latency of a machine's links: its own, or the network's."""
    return int(settings.latency if host.latency is None else host.latency)


def access(settings: Network, host: Host, switch: str) -> Iterator[Edge]:
    """Yield a machine's link to its switch.

    >>> for edge in access(Network(), Host(name="a", latency="1 ms"), "rack0.switch"): print(*edge)
    a rack0.switch 1000000000 1000000 0
    rack0.switch a 1000000000 1000000 0
    """
    outward = leaving(settings, host, switch)
    yield outward
    yield outward._replace(source=switch, target=host.name)


def leaving(settings: Network, host: Host, target: str) -> Edge:
    """Return the direction that leaves a machine."""
    return Edge(host.name, target, bandwidth_of(settings, host), latency_of(settings, host), settings.drop)


def both_ways(settings: Network, host: Host, other: Host) -> Iterator[Edge]:
    """Yield a link between two machines; each direction is as the machine that it leaves says."""
    yield leaving(settings, host, other.name)
    yield leaving(settings, other, host.name)


def between(settings: Network, switch: str, other: str, bandwidth: int | None = None) -> Iterator[Edge]:
    """Yield a link between two switches; `bandwidth` in bit/s, by default the network's."""
    rate = settings.bandwidth if bandwidth is None else bandwidth
    yield Edge(switch, other, rate, settings.latency, settings.drop)
    yield Edge(other, switch, rate, settings.latency, settings.drop)


def blocks(hosts: Sequence[T], number: int) -> Iterator[Sequence[T]]:
    """Yield `hosts` in order, cut into `number` parts as equal as possible, the larger ones first.

    >>> [len(block) for block in blocks([Host(name=name) for name in "abcde"], 3)]
    [2, 2, 1]
    """
    size, longer = divmod(len(hosts), number)
    for index in range(number):
        start = index * size + min(index, longer)
        yield hosts[start : start + size + (index < longer)]
