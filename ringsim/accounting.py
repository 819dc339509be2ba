"""From the events of a trace to what people ask: which updates count, what became of the samples, what saving cost.

Everything here is a pure function of the events, so that anybody can recount it from trace.jsonl. A step is told apart
by (generation, step): after a rollback the same step is executed again, in a later generation of the ring. An update is
of all batches of the step before it, unless it names its own: where workers are not in step. What is not here: what a
failure cost (`failures.py`), and bytes and node times, which the world counts itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ringsim.result import Checkpoints, EpochSamples, Samples, StepRow
from ringsim.trace import Event

# A training step as (generation, number of updates before it).
Step = tuple[int, int]


def history(events: Sequence[Event]) -> dict[int, int]:
    """Return the updates that the final parameters went through: update number -> generation that made it.

    A new ring goes on from what its rank 0 had committed, so its history is that of the last ring which that node was
    in, up to the commit. (Others of the old ring may have been ahead of it, or behind.) A ring that goes on from the
    highest step of its survivors has the history of any of them up to that step: all were in one ring. One whose rank 0
    has just loaded a checkpoint has the history of the ring that saved it.

    >>> update = lambda step, generation: Event(0, "a", "update", {"step": step, "generation": generation})
    >>> world = Event(0, "a", "world", {"generation": 1, "members": ["a"]})
    >>> restore = Event(0, "a", "restore", {"step": 1, "from_step": 2, "generation": 1})
    >>> history([update(1, 0), update(2, 0), world, restore, update(2, 1)])
    {1: 0, 2: 1}
    """
    rank_0 = {event.fields["generation"]: event.fields["members"][0] for event in events if event.kind == "world"}
    rings: dict[int, dict[int, int]] = {0: {}}
    ring_of: dict[str, int] = {}
    saved_in = 0  # the ring of who saved last
    for event in events:
        if event.kind == "save_end":
            saved_in = ring_of.get(event.node, 0)
        if event.kind == "load_end":
            ring_of[event.node] = saved_in
        if event.kind not in ("restore", "update"):
            continue
        step, generation = int(event.fields["step"]), int(event.fields["generation"])
        if generation not in rings:
            # A parameter server that begins a step anew, or comes back, has no rank 0: its history is the one there is.
            before = rings[ring_of.get(rank_0[generation], 0) if generation in rank_0 else max(rings)]
            until = step if event.kind == "restore" else step - 1
            rings[generation] = {update: maker for update, maker in before.items() if update <= until}
        if event.kind == "restore":
            ring_of[event.node] = generation
        else:
            rings[generation].setdefault(step, generation)
    return rings[max(rings)]


def count_samples(events: Sequence[Event]) -> tuple[EpochSamples, ...]:
    """Return, for each epoch that was begun, how many samples were counted, repeated and lost."""
    made, contents = history(events), contents_of(events)
    counted: dict[int, Counter[int]] = defaultdict(Counter)  # by epoch: how often each sample
    computed: dict[int, Counter[int]] = defaultdict(Counter)
    handed_out: dict[int, set[int]] = defaultdict(set)
    for batch in _batches(events):
        handed_out[batch.epoch].update(batch.samples)
        for _ in range(batch.times_computed):
            computed[batch.epoch].update(batch.samples)
        update = contents.update_with(batch.worker, batch.step)
        if update is not None and made.get(update) == batch.step[0] and not batch.dropped:
            counted[batch.epoch].update(batch.samples)
    return tuple(
        EpochSamples(
            epoch=epoch,
            counted=counted[epoch].total(),
            repeated=computed[epoch].total() - len(computed[epoch]),
            lost=len(handed_out[epoch]) - len(counted[epoch]),
        )
        for epoch in sorted(handed_out)
    )


def total_samples(epochs: Iterable[EpochSamples]) -> Samples:
    """Return the sums over epochs."""
    rows = list(epochs)
    return Samples(sum(row.counted for row in rows), sum(row.repeated for row in rows), sum(row.lost for row in rows))


@dataclass(frozen=True)
class Contents:
    """Which batches are in which update, of those updates that name them: (generation, update) -> (worker, step)s."""

    named: Mapping[Step, Sequence[tuple[str, int]]]
    where: Mapping[tuple[str, Step], int]  # (worker, (generation, step)) -> update

    def update_with(self, worker: str, step: Step) -> int | None:
        """Return the number of the update that a batch is in; None if the one that could be names others."""
        if (worker, step) in self.where:
            return self.where[worker, step]
        generation, number = step
        return None if self.named and (generation, number + 1) in self.named else number + 1


def contents_of(events: Iterable[Event]) -> Contents:
    """Return which batches the updates name. Several nodes may tell of one update, each of what it has in it.

    >>> update = lambda node, batches: Event(0, node, "update", {"step": 1, "generation": 0, "batches": batches})
    >>> contents = contents_of([update("a", [["a", 0]]), update("b", [["b", 0]])])
    >>> contents.named, contents.update_with("b", (0, 0)), contents.update_with("c", (0, 0))
    ({(0, 1): [('a', 0), ('b', 0)]}, 1, None)
    """
    named: dict[Step, list[tuple[str, int]]] = {}
    where: dict[tuple[str, Step], int] = {}
    for event in events:
        if event.kind == "update" and "batches" in event.fields:
            generation, number = event.fields["generation"], event.fields["step"]
            batches = named.setdefault((generation, number), [])
            for worker, step in event.fields["batches"]:
                batches.append((worker, step))
                where[worker, (generation, step)] = number
    return Contents(named, where)


@dataclass
class _Batch:
    """What one worker was given in one step, and how often it computed a gradient of it.

    A gradient that is carried into a later generation is a batch of that one too, which is not computed again.
    """

    worker: str
    step: Step
    epoch: int
    samples: tuple[int, ...]
    times_computed: int = 0
    dropped: bool = False


def _batches(events: Sequence[Event]) -> Iterator[_Batch]:
    batches: dict[tuple[str, Step], _Batch] = {}
    for event in events:
        if event.kind in ("step_begin", "carry", "dropped"):
            fields = event.fields
            step = (fields["generation"], fields["step"])
            worker = fields["worker"] if event.kind == "dropped" else event.node
            # A worker that restarts within a step is given the same samples again.
            batch = batches.setdefault((worker, step), _Batch(worker, step, fields["epoch"], tuple(fields["samples"])))
            batch.dropped = batch.dropped or event.kind == "dropped"
    for event in events:
        if event.kind == "loss":
            batches[_whose(event), (event.fields["generation"], event.fields["step"])].times_computed += 1
    return iter(batches.values())


def _whose(loss: Event) -> str:
    """Return whose batch a loss is of: another node's, where a pipeline's last stage computes what its first began."""
    return str(loss.fields.get("worker", loss.node))


def step_rows(events: Sequence[Event]) -> tuple[StepRow, ...]:
    """Return one row for each executed update, in order of virtual time."""
    made, contents = history(events), contents_of(events)
    losses = _losses(events, contents)
    evaluations: dict[Step, Event] = {}
    rates: dict[Step, float] = {}
    updates: dict[Step, list[Event]] = defaultdict(list)
    begun: dict[Step, int] = {}
    begun_by: dict[tuple[str, Step], int] = {}
    for event in events:
        if event.kind in ("evaluation", "rate", "update", "step_begin", "carry"):
            step = (event.fields["generation"], event.fields["step"])
            if event.kind == "evaluation":
                evaluations[step] = event
            elif event.kind == "rate":
                rates[step] = event.fields["learning_rate"]
            elif event.kind == "update":
                updates[step].append(event)
            else:
                begun[step] = begun_by[event.node, step] = event.fields["epoch"]
    rows = []
    for (generation, number), reports in updates.items():
        before, batches = (generation, number - 1), contents.named.get((generation, number))
        epoch = begun[before] if not batches else begun_by[batches[0][0], (generation, batches[0][1])]
        evaluation = evaluations.get((generation, number))
        rows.append(
            StepRow(
                step=number,
                generation=generation,
                epoch=epoch,
                virtual_time_ns=max(event.time_ns for event in reports),
                loss=_mean_loss(losses[generation, number]),
                learning_rate=rates.get((generation, number)),
                world_size=reports[0].fields["world_size"] if batches is None else len(batches),
                test_loss=None if evaluation is None else evaluation.fields["loss"],
                accuracy=None if evaluation is None else evaluation.fields["accuracy"],
                committed=made.get(number) == generation,
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.virtual_time_ns, row.generation, row.step)))


def _losses(events: Sequence[Event], contents: Contents) -> dict[Step, list[Event]]:
    """Return the losses that each update is made of: those of its own ring, and those of gradients carried into it.

    >>> loss = Event(5, "a", "loss", {"step": 3, "epoch": 0, "generation": 0, "samples": 8, "loss": 0.5})
    >>> carry = Event(9, "a", "carry", {"step": 3, "epoch": 0, "generation": 1, "from_generation": 0, "samples": [4]})
    >>> [found.fields["loss"] for found in _losses([loss, carry], contents_of([]))[1, 4]]
    [0.5]
    """
    dropped = {
        (event.fields["worker"], event.fields["generation"], event.fields["step"])
        for event in events
        if event.kind == "dropped"
    }
    told: dict[tuple[str, int, int], Event] = {}
    losses: dict[Step, list[Event]] = defaultdict(list)
    for event in events:
        if event.kind not in ("loss", "carry"):
            continue
        generation, step = event.fields["generation"], event.fields["step"]
        if event.kind == "carry":
            losses[generation, step + 1].append(told[event.node, event.fields["from_generation"], step])
            continue
        worker = _whose(event)
        told[worker, generation, step] = event
        update = contents.update_with(worker, (generation, step))
        if update is not None and (worker, generation, step) not in dropped:
            losses[generation, update].append(event)
    return losses


def _mean_loss(events: Sequence[Event]) -> float | None:
    """Return the mean over samples; the events come in the trace's canonical order, so the bits are the same.

    None for an update of no samples at all, whose only worker's died with it.
    """
    total = sum(event.fields["samples"] for event in events)
    if not total:
        return None
    return float(sum(event.fields["loss"] * event.fields["samples"] for event in events) / total)


def checkpoints(events: Sequence[Event]) -> Checkpoints:
    """Return how often, how long and how much was saved in the store, and how much time lay between under one name.

    A save that a death cut short has cost time as well, and is not counted otherwise. A load is a failure that they
    were there for, also if nothing had been saved yet.
    """
    saves = saving_ns = saved_bytes = loads = 0
    begun: dict[str, int] = {}
    since: dict[str, int] = {}  # when the last save or load of this name ended
    intervals: list[int] = []
    for event in events:
        node, now_ns = event.node, event.time_ns
        if event.kind == "save_begin":
            begun[node] = now_ns
            intervals.append(now_ns - since.get(event.fields["name"], 0))
        elif event.kind in ("save_end", "save_refused", "crash", "ended") and node in begun:
            saving_ns += now_ns - begun.pop(node)
        if event.kind == "save_end":
            saves, saved_bytes = saves + 1, saved_bytes + event.fields["size_bytes"]
        loads += event.kind == "load_end"
        if event.kind in ("save_end", "load_end"):
            since[event.fields["name"]] = now_ns
    saving_ns += sum(events[-1].time_ns - begin_ns for begin_ns in begun.values())
    mean_ns = sum(intervals) // len(intervals) if intervals else None
    return Checkpoints(saves, saving_ns, saved_bytes, mean_ns, loads)
