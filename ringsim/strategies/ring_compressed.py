"""Ring all-reduce of gradients that are made smaller: fewer bytes, and numbers that have been through it.

    fp16     ▓▓ gradient ▓▓ ─► 16 bits ─► ring all-reduce of those, each hop rounds ─► 32 bits ─► update
    top-k    ▓▓ gradient ▓▓ ─► the largest ─► all-gather ─► sum in rank order ─► update
    QSGD     ▓▓ gradient ▓▓ ─► 8 bits each ─► all-gather ─► sum in rank order ─► update

The sum of sparse vectors is less sparse, and a sum of codes is no code: so they are not added up on the way. Everybody
hears what everybody has, and adds it up alike. Cost of a step's communication, with N workers, on uniform links: fp16
that of the ring for half the bytes; the others N-1 messages of the c bytes that one gradient is made into,
(N-1) (path latency + ceil(8 c / bandwidth)): with many workers the ring's 2S is less. A death is the end. What is not
here: what becomes of one gradient (`compression.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ringsim.collectives.all_gather import AllGather
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.vectors import cut
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import Fp16, RingAbort, Scenario, TopK
from ringsim.strategies import compression, detection
from ringsim.strategies.ring import shares_in_ring_order
from ringsim.strategies.training import Deployment, Role, State, Training

# Adds up what all ranks have, by way of something smaller: (node, step, own vector) -> the sum of what was received.
Sum = Callable[[Node, int, np.ndarray], Operation[np.ndarray]]


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings, shares = scenario.strategy, shares_in_ring_order(scenario)
    assert isinstance(settings, RingAbort)
    group = Group(0, tuple(Member(name, 0) for name in shares))
    run = partial(worker, group=group, settings=settings, seed=scenario.seed)
    return Deployment([Role(name, run) for name in shares], shares)


def worker(node: Node, training: Training, group: Group, settings: RingAbort, seed: int) -> Operation[State]:
    """Compute, make it smaller, add up, update."""
    node.join(group)
    detection.watch_neighbours(node, settings.heartbeat)
    add_up, state = _sum_by(settings, training.engine.size, seed), training.initial()
    if isinstance(settings.compression, TopK) and settings.compression.error_feedback:
        size_bytes = training.engine.size_bytes(state.model) + 2 * training.gradient_size_bytes
        node.record("memory", versions=1, size_bytes=size_bytes)
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        mean = yield from add_up(node, state.step, batch.weight * gradient.array)
        state = training.update(node, state, mean, group, reports=node.rank == 0)
    return state


def _sum_by(settings: RingAbort, size: int, seed: int) -> Sum:
    kind = settings.compression
    if isinstance(kind, Fp16):
        return partial(half_precision, timeout_ns=settings.timeout)
    if isinstance(kind, TopK):
        left_out = np.zeros(size, np.float32) if kind.error_feedback else None
        return partial(top_k, share_ppm=kind.share, left_out=left_out, timeout_ns=settings.timeout)
    return partial(qsgd, seed=seed, timeout_ns=settings.timeout)


def half_precision(node: Node, _step: int, own: np.ndarray, timeout_ns: int | None) -> Operation[np.ndarray]:
    """Add up numbers of 16 bits in the ring."""
    total = yield from node.collective(RingAllReduce(timeout_ns), own.astype(np.float16))
    return np.asarray(total, np.float32)


def top_k(
    node: Node, _step: int, own: np.ndarray, share_ppm: int, left_out: np.ndarray | None, timeout_ns: int | None
) -> Operation[np.ndarray]:
    """Add up everybody's largest elements; `left_out` is what was left out before, and is after."""
    if left_out is not None:
        own = own + left_out
    indices = compression.largest(own, share_ppm)
    if left_out is not None:
        left_out[:] = own
        left_out[indices] = 0
    received = yield from gathered(node, compression.sparse(own, indices), timeout_ns)
    total = np.zeros(len(own), np.float32)
    for one in received:
        compression.add_sparse(total, one)
    return total


def qsgd(node: Node, step: int, own: np.ndarray, seed: int, timeout_ns: int | None) -> Operation[np.ndarray]:
    """Add up what everybody's codes stand for."""
    received = yield from gathered(node, compression.quantized(own, seed, "qsgd", node.name, step), timeout_ns)
    total = np.zeros(len(own), np.float32)
    for one in received:
        total += compression.dequantized(one, len(own))
    return total


def gathered(node: Node, own: np.ndarray, timeout_ns: int | None) -> Operation[list[np.ndarray]]:
    """Return what everybody has, in rank order: vectors of one length."""
    ranks = len(node.members)
    whole = yield from node.collective(AllGather(ranks * len(own), timeout_ns), own)
    segments = cut(whole, ranks)
    return [segments[(rank + 1) % ranks] for rank in range(ranks)]
