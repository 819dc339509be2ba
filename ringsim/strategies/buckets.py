"""Gradient buckets: which piece of the gradient is all-reduced when, while the backward pass goes on.

    forward ──────────────► backward ────────────────────────────────────────────►
    layer 0 · layer 1 · layer 2   layer 2 ·      layer 1      ·     layer 0 │ update
                                          └ bucket 0 ░░░░     └ bucket 1 ░░░│░░

The backward pass produces the gradient from the last layer to the first, and the flat vector lies in the order of the
layers, so buckets are cut from its end. One is closed when it holds `bucket_size` bytes (as in PyTorch's
DistributedDataParallel, Li et al., VLDB 2020), or `cycle_time` after the first gradient in it was there (as in
Horovod's tensor fusion, Sergeev and Del Balso 2018). Horovod's coordinator asks all ranks in each cycle what they have;
here nobody negotiates. The cuts follow from the layers' FLOP and the speed of the slowest worker without its jitter, so
they are planned once and are the same on all ranks.

Of a step's FLOP a third is the forward pass, the rest the backward pass; each layer has its part of both in proportion
to its own FLOP. What is not here: the step (`ring.py`), and the sum (`collectives/ring.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from ringsim.learning.engine import Engine
from ringsim.scenario import BucketedRing, Scenario, share

_NUMBER_BYTES = 4  # a float32
_S = 10**9


class LayerWork(NamedTuple):
    """What a layer adds to the gradient, and to the work: its numbers, and its FLOP in the forward pass."""

    numbers: int
    flop: int


@dataclass(frozen=True)
class Bucket:
    """The numbers `start` to `stop` - 1 of the gradient, closed when the share `after` of a step's FLOP is done."""

    start: int
    stop: int
    after: Fraction

    @property
    def part(self) -> slice:
        """Where it lies in the flat gradient."""
        return slice(self.start, self.stop)


def plan(scenario: Scenario, engine: Engine) -> tuple[Bucket, ...]:
    """Return the buckets of a scenario's gradient in the order in which they are closed; without settings, one."""
    settings = scenario.strategy
    assert isinstance(settings, BucketedRing), "peer recovery keeps the gradient in one piece"
    layers = [
        LayerWork(piece.stop - piece.start, cost)
        for piece, cost in zip(engine.layout.slices, engine.model.costs, strict=True)
    ]
    most = None if settings.bucket_size is None else max(1, settings.bucket_size // _NUMBER_BYTES)
    longest = None
    if settings.cycle_time is not None and engine.flop_per_sample:
        longest = Fraction(settings.cycle_time) / _slowest_step_ns(scenario, engine.flop_per_sample)
    return cut(layers, most, longest)


def cut(layers: Sequence[LayerWork], most: int | None, longest: Fraction | None) -> tuple[Bucket, ...]:
    """Return the buckets of a gradient, the one of the last layers first.

    A bucket is closed when it holds `most` numbers, or when `longest`, a share of the step's FLOP, has been done since
    its first ones were there; a gradient that is there at that very moment still gets in. All that is left is closed at
    the end of the backward pass. A layer's numbers are there when its part of that pass is done, all at once.

    >>> for bucket in cut([LayerWork(6, 100), LayerWork(4, 100)], most=4, longest=None):
    ...     print(bucket.part, bucket.after)
    slice(6, 10, None) 2/3
    slice(2, 6, None) 1
    slice(0, 2, None) 1
    """
    buckets: list[Bucket] = []
    start = stop = sum(layer.numbers for layer in layers)  # of the bucket that is open
    opened = Fraction(0)
    for layer, after in zip(reversed(layers), _readiness(layers), strict=True):
        if longest is not None and start < stop and opened + longest < after:
            buckets.append(Bucket(start, stop, opened + longest))
            stop = start
        if layer.numbers and start == stop:
            opened = after
        start -= layer.numbers
        while most is not None and stop - start >= most:
            buckets.append(Bucket(stop - most, stop, after))
            stop, opened = stop - most, after
    if start < stop or not buckets:
        buckets.append(Bucket(start, stop, Fraction(1)))
    return tuple(buckets)


def parts(flop: int, buckets: Iterable[Bucket]) -> list[int]:
    """Return a step's FLOP in parts: what is done before each bucket is closed, and what is left then. They add up.

    >>> parts(100, cut([LayerWork(6, 1), LayerWork(4, 1)], most=4, longest=None))
    [66, 34, 0, 0]
    """
    ends = [0, *(flop * bucket.after.numerator // bucket.after.denominator for bucket in buckets), flop]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def _readiness(layers: Sequence[LayerWork]) -> list[Fraction]:
    """Return what share of a step's FLOP is done when each layer's gradient is there, the last layer first.

    Some layer must have any: a model gives equal costs where none says (`Model.costs`).
    """
    forward = done = sum(layer.flop for layer in layers)
    ready = []
    for layer in reversed(layers):
        done += 2 * layer.flop
        ready.append(Fraction(done, 3 * forward))
    return ready


def _slowest_step_ns(scenario: Scenario, flop_per_sample: int) -> Fraction:
    """Return how long a full batch takes the slowest worker, if nothing slows it down. Ranks of a machine share it."""
    cluster = scenario.cluster
    # Every worker asks, and most machines are alike: of those one is enough.
    kinds = {(host.shard_weight, host.processes, host.speed): host for host in cluster.nodes}
    return max(
        Fraction(share(scenario, host) * flop_per_sample * host.processes * _S, host.speed or cluster.speed)
        for host in kinds.values()
    )
