"""A ring all-reduce as anybody would write it in SimPy at first: the reference of `ringsim bench`, and of nothing else.

    node      a process: 2(N-1) times, start a message and wait for one in the own store
    message   a process: take the sender's uplink and the receiver's downlink, hold both while the bytes go, give them
              back, wait for the latency, put itself in the receiver's store

It shares no code with the world that it is compared with, so that equal end times mean something. It stands here
because `simpy` is imported only under `world/`. What is not here: sharing of links, failures, payloads (`network.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import simpy

_NANO = 10**9


def naive_ring_ns(segment_bytes: Sequence[int], bandwidth: int, latency_ns: int) -> int:
    """Return when a ring all-reduce on a star is over, in ns of virtual time.

    segment_bytes: the sizes of the N segments, one for each of the N machines. bandwidth: of every link, in bit/s.
    latency_ns: of a path, which is two links. In step k rank r sends segment r-k mod N (Gibiansky 2017).

    >>> naive_ring_ns([1_000] * 4, bandwidth=8_000_000, latency_ns=50_000)
    6300000
    """
    environment = simpy.Environment()
    ranks = len(segment_bytes)
    uplinks = [simpy.Resource(environment, capacity=1) for _ in range(ranks)]
    downlinks = [simpy.Resource(environment, capacity=1) for _ in range(ranks)]
    inboxes = [simpy.Store(environment) for _ in range(ranks)]

    def message(source: int, target: int, size_bytes: int) -> Generator[Any, Any, None]:
        with uplinks[source].request() as up, downlinks[target].request() as down:
            yield up
            yield down
            yield environment.timeout(-(-size_bytes * 8 * _NANO // bandwidth))
        yield environment.timeout(latency_ns)
        yield inboxes[target].put(size_bytes)

    def node(rank: int) -> Generator[Any, Any, None]:
        for step in range(2 * (ranks - 1)):
            environment.process(message(rank, (rank + 1) % ranks, segment_bytes[(rank - step) % ranks]))
            yield inboxes[rank].get()

    for rank in range(ranks):
        environment.process(node(rank))
    environment.run()
    return int(environment.now)
