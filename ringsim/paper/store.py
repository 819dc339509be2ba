"""The paper's choice to keep a copy of the data on each machine, against a central store that all read from.

    a copy each     load 47.1 MB ▒▒▒▒▒▒▒▒  step ▓▓░░  step ▓▓░░  step ▓▓░░ ...
    central store   load a batch ▒ step ▓▓░░ load a batch ▒ step ▓▓░░ ...

Both are the ring, and everybody reads from the store of the cluster at the same time. Nobody reads ahead, so this is
the most that a central store can cost. What is not here: the ring (`strategies/ring.py`), and the store
(`world/storage.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ringsim.node import Node, Operation
from ringsim.paper.hypotheses import BATCH_SIZE, EPOCHS, PASS, Play, ring_without_numbers, training_of
from ringsim.strategies.training import State, Training

IMAGE_BYTES = 28 * 28 + 1  # as MNIST's files have them: a byte a pixel, and the label
IMAGES = 60_000
BANDWIDTH, SPEED_FLOPS = 10**9, 108_554_986_762  # bit/s of a machine, and of the store; the speed of hypothesis a


@dataclass(frozen=True)
class Reading:
    """Seconds of 12 epochs of MNIST on so many machines: data at hand, each machine's copy made first, central store.

    copied_seconds: with the copies made first. stored_seconds: every batch read from the store.
    """

    machines: int
    at_hand_seconds: float
    copied_seconds: float
    stored_seconds: float


def readings(machines: int, play: Play) -> Reading:
    """Return what each way costs. All steps are alike, so one is played and multiplied."""
    scenario = training_of(machines, 1, SPEED_FLOPS, BANDWIDTH, steps=1)
    settings = {"storage": {"bandwidth": f"{BANDWIDTH} bit/s", "latency": "1 ms"}}
    cluster = scenario.cluster.model_validate({**scenario.cluster.model_dump(), **settings})
    scenario = scenario.model_copy(update={"cluster": cluster})
    steps = EPOCHS * -(-PASS // machines)

    def seconds(size_bytes: int) -> float:
        return play(scenario, partial(_read_and_step, size_bytes=size_bytes)).virtual_time_ns / 1e9

    step = seconds(0)
    # What is read must have been put there, which takes as long: half of what comes on top is the reading.
    batch, everything = ((seconds(size * IMAGE_BYTES) - step) / 2 for size in (BATCH_SIZE, IMAGES))
    return Reading(machines, steps * step, steps * step + everything, steps * (step + batch))


def _read_and_step(node: Node, training: Training, size_bytes: int) -> Operation[State]:
    """Put so much into the store, if anything, read it, and take a step."""
    if size_bytes:
        yield from node.save(node.name, None, size_bytes)
        yield from node.load(node.name)
    return (yield from ring_without_numbers(node, training))
