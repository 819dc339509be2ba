"""What must hold of every run, whatever went wrong in it: the invariants, each a small pure function of a `Result`.

    ends                  it comes to an end, or stalls and says who waits for whom
    goes_on               a policy that promises to survive these crashes does
    replicas_agree        all members of a group do the same, and end with the same bits
    samples_once          each sample of an epoch counts once, or is given up by the policy's own rule
    learning_rate_follows the rate of each update is the rule's, for those whose gradients are in it
    time_adds_up          nothing happens outside of the run or on a dead machine; a worker's times add up to the run's
    bytes_add_up          what was sent was received, thrown away, cut off, lost, or still in flight
    repeats               played again, message by message and with shuffled ties, it is the same run

Each returns a sentence about the first thing that is wrong, or None. They recount from the events and the scenario what
`accounting.py`, the sampler and the learning-rate rule have done their own way, and share no code with these. A new
policy that may give up samples, or that promises something, has its line in `promises.py`. That the world found no
`InvariantBroken` of its own, such as replicas that differ after a collective, is seen by whoever plays the run
(`monkey/playing.py`). What is not here: playing.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, is_dataclass
from typing import Any

from ringsim.promises import MAY_DROP, MAY_LACK, PROMISES, Losses, policy
from ringsim.result import TIMES, EpochSamples, Outcome, Result
from ringsim.scenario import (
    RENDEZVOUS,
    train_size,
)
from ringsim.trace import Event

Invariant = Callable[[Result], str | None]

# --- a run's end ------------------------------------------------------------------------------------------------------


def ends(result: Result) -> str | None:
    """It comes to an end, or stalls and says who waits for whom."""
    if result.outcome is Outcome.STALLED and not result.cut_short and " waits for " not in result.outcome_sentence:
        return f"it neither ends nor says who waits for whom: {result.outcome_sentence}"
    return None


def goes_on(result: Result) -> str | None:
    """A policy that promises to survive these crashes does.

    Nothing is promised where a crash was silent, where somebody may have been suspected who was alive, where a way is
    closed for ever, or where wrong numbers are used.
    """
    promise = PROMISES.get(policy(result))
    if promise is None or result.outcome.is_success or result.cut_short or not _is_told_rightly(result):
        return None
    crashes = [event for event in result.trace if event.kind == "crash"]
    lives = Counter(event.node for event in crashes)
    lives.subtract(event.node for event in result.trace if event.kind == "restart")
    losses = Losses(frozenset(lives), frozenset(node for node, deaths in lives.items() if deaths > 0))
    if not promise(result, losses):
        return None
    dead = ", ".join(sorted(losses.ever)) or "nobody"
    return f"its policy survives these crashes (of {dead}), and yet: {result.outcome_sentence}"


# Faults that keep nobody from hearing of another in the end; and those that do not once they are over.
_HARMLESS = frozenset({"crash", "churn", "slow_down", "link_degrade", "drop", "corrupt"})
_HARMLESS_ONCE_OVER = frozenset({"pause", "link_down", "partition", "switch_down"})


def _is_told_rightly(result: Result) -> bool:
    """Say whether each death is told, and nothing else is taken for one."""
    return (
        all(
            fault.kind in _HARMLESS or (fault.kind in _HARMLESS_ONCE_OVER and fault.ended_at_ns is not None)
            for fault in result.failures
        )
        and not any(event.kind in ("suspect", "wrong_number") for event in result.trace)
        and all(event.fields["notice"] == "reset" for event in result.trace if event.kind == "crash")
        # Who is set aside waits at the rendezvous for its cooldown, and that is no suspicion.
        and all(event.fields["source"] == RENDEZVOUS for event in result.trace if event.kind == "receive_timeout")
    )


# --- replicas ---------------------------------------------------------------------------------------------------------

# What all who tell it must tell alike: kind -> (the fields that say which, the field that must agree).
_AGREED = {
    "world": (("generation",), "members"),
    "restore": (("generation",), "step"),
    "update": (("generation", "step"), "world_size"),
    "collective_enter": (("generation", "sequence"), "plan"),
}


def replicas_agree(result: Result) -> str | None:
    """All members of a group do the same, and end with the same bits."""
    told: dict[tuple[object, ...], Event] = {}
    for event in result.trace:
        if event.kind in _AGREED:
            which, what = _AGREED[event.kind]
            place = tuple(event.fields[key] for key in which)
            first = told.setdefault((event.kind, *place), event)
            if first.fields[what] != event.fields[what]:
                where = ", ".join(f"{key} {value}" for key, value in zip(which, place, strict=True))
                one, other = f"{first.node} says {first.fields[what]}", f"{event.node} says {event.fields[what]}"
                return f"{event.kind} of {where}: for {what} {one}, and {other}"
    # A flipped bit that nobody notices may make them differ: that is what it is for.
    is_flipped = any(event.kind == "wrong_number" for event in result.trace)
    if len(set(result.replicas.values())) > 1 and not is_flipped:
        return f"they end with other bits: {dict(result.replicas)}"
    return None


# --- samples ----------------------------------------------------------------------------------------------------------


@dataclass
class _Step:
    """What was done between two updates: whose samples, who computed, who was given up, who applied the update."""

    epoch: int
    batches: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    world_size: int | None = None

    @property
    def contributors(self) -> list[str]:
        """Whose gradients are in the update."""
        return [worker for worker in self.batches if worker not in self.dropped]

    @property
    def size(self) -> int:
        """How many samples it took, given up or not."""
        return sum(map(len, self.batches.values()))


_Key = tuple[int, int]  # generation, number of updates before


@dataclass(frozen=True)
class _Ledger:
    """A run's steps, and the updates of each generation's history."""

    steps: Mapping[_Key, _Step]
    begun: Mapping[tuple[str, _Key], _Step]  # what each worker began (or was given up), by its own steps
    computed: tuple[tuple[str, _Key], ...]  # gradients
    histories: Mapping[int, Mapping[int, int]]  # generation -> update -> the generation that made it
    positions: Mapping[_Key, int]  # how many samples were taken before a step
    named: Mapping[tuple[str, int, int], list[str]]  # node, generation, update -> whose batches, where it says so

    def history(self) -> list[_Step]:
        """Return the steps that the final parameters went through."""
        made = self.histories[max(self.histories)]
        return [self.steps[made[update], update - 1] for update in sorted(made)]


@functools.lru_cache(maxsize=1)
def _ledger(result: Result) -> _Ledger:
    steps: dict[_Key, _Step] = {}
    begun: dict[tuple[str, _Key], _Step] = {}
    computed: list[tuple[str, _Key]] = []
    for kind in ("step_begin", "dropped", "loss", "update"):
        for event in (one for one in result.trace if one.kind == kind):
            fields = event.fields
            key = fields["generation"], fields["step"] - (kind == "update")
            if kind in ("step_begin", "dropped"):
                step = steps.setdefault(key, _Step(fields["epoch"]))
                worker = fields.get("worker", event.node)
                step.batches[worker] = tuple(fields["samples"])
                step.dropped |= {worker} if kind == "dropped" else set()
                begun[worker, key] = _Step(fields["epoch"], {worker: step.batches[worker]})
            elif kind == "loss":
                computed.append((fields.get("worker", event.node), key))
            elif "batches" not in fields:
                if key not in steps:
                    _inherit(steps, key)
                steps[key].world_size = fields["world_size"]
    steps.update(_named(result, begun))
    # In order, because one may go on with what the one before it went on with. (It may be told of first.)
    for key in sorted(key for key, step in steps.items() if not step.contributors):
        _inherit(steps, key)
    histories = dict(_histories(result))
    positions: dict[_Key, int] = {}
    for generation, made in histories.items():
        taken = 0
        for update, maker in sorted(made.items()):
            positions[generation, update - 1] = taken
            taken += steps[maker, update - 1].size
    named = {
        (event.node, event.fields["generation"], event.fields["step"]): [
            worker for worker, _ in event.fields["batches"]
        ]
        for event in result.trace
        if event.kind == "update" and "batches" in event.fields
    }
    return _Ledger(steps, begun, tuple(computed), histories, positions, named)


def _named(result: Result, begun: Mapping[tuple[str, _Key], _Step]) -> dict[_Key, _Step]:
    """Return the steps of updates that name the batches in them, because workers are not in step with each other."""
    steps: dict[_Key, _Step] = {}
    for event in result.trace:
        if event.kind != "update" or "batches" not in event.fields:
            continue
        generation = event.fields["generation"]
        for worker, number in event.fields["batches"]:
            batch = begun[worker, (generation, number)]
            step = steps.setdefault((generation, event.fields["step"] - 1), _Step(batch.epoch, world_size=0))
            assert worker not in step.batches, f"{worker} is in update {event.fields['step']} twice"
            step.batches.update(batch.batches)
        steps[generation, event.fields["step"] - 1].world_size = len(
            steps[generation, event.fields["step"] - 1].batches
        )
    return steps


def _inherit(steps: dict[_Key, _Step], key: _Key) -> None:
    """Give a step that a new group goes on with, without beginning it anew, the batches that were begun before.

    Also those of who is not in the group any more: they must be given up aloud.
    """
    generation, number = key
    known = [steps[before, number] for before in range(generation) if (before, number) in steps]
    earlier = [step for step in known if step.contributors]  # A group in between may have given up some, and no more.
    if earlier:
        steps.setdefault(key, _Step(earlier[-1].epoch)).batches.update(earlier[-1].batches)


def _histories(result: Result) -> Iterator[tuple[int, dict[int, int]]]:
    """Yield each generation with the history of its parameters, the first generation first.

    A group goes on from what its rank 0 had: the history of the last group in which that one took up its state, as far
    as the update from which this group went on. If it has loaded that state, it is the history of who saved it. Where
    nobody joins a group, a generation follows the one before.
    """
    rank_0 = {event.fields["generation"]: event.fields["members"][0] for event in result.trace if event.kind == "world"}
    # node -> in which generation it took up a state, and whose state that was
    took_up: dict[str, list[tuple[int, int]]] = defaultdict(lambda: [(-1, -1)])
    begun, updates = {}, defaultdict(set)
    joined: dict[str, int] = {}
    saver = -1  # the generation of who saved last
    for event in result.trace:
        if event.kind == "world":
            joined[event.node] = event.fields["generation"]
        elif event.kind == "save_end":
            saver = took_up[event.node][-1][1]
        elif event.kind == "load_end":
            took_up[event.node].append((joined.get(event.node, 0), saver))
        elif event.kind == "restore":
            took_up[event.node].append((event.fields["generation"], event.fields["generation"]))
            begun[event.fields["generation"]] = event.fields["step"]
        elif event.kind == "update":
            updates[event.fields["generation"]].add(event.fields["step"])
    known: dict[int, dict[int, int]] = {}
    for generation in sorted({*begun, *updates, 0}):
        before: dict[int, int] = {}
        if generation in rank_0:
            whose = [whose for when, whose in took_up[rank_0[generation]] if whose < generation >= when]
            before = known.get(whose[-1], {})
        elif known:
            before = known[max(known)]
        begin = begun.get(generation, min(updates[generation], default=1) - 1)
        known[generation] = {update: maker for update, maker in before.items() if update <= begin}
        known[generation].update(dict.fromkeys(sorted(updates[generation]), generation))
        yield generation, known[generation]


def samples_once(result: Result) -> str | None:
    """Each sample of an epoch counts once, or is given up by the policy's own rule."""
    ledger, finishers = _ledger(result), _at_the_end(result)
    taken: dict[int, Counter[int]] = defaultdict(Counter)
    for number, step in enumerate(ledger.history()):
        if step.world_size != len(step.contributors):
            return f"update {number + 1} is of {step.world_size} workers, and {len(step.contributors)} gave a gradient"
        if step.dropped and policy(result) not in MAY_DROP:
            return f"update {number + 1} goes on without the samples of {', '.join(sorted(step.dropped))}"
        missing = finishers - step.batches.keys() if policy(result) in MAY_LACK else ()
        if missing:
            return f"update {number + 1} lacks the samples of {', '.join(sorted(missing))}, who came to the end"
        for samples in step.batches.values():
            taken[step.epoch].update(samples)
    # Epochs before the last are complete; where workers are not in step, only at the end.
    is_in_step = not any(event.kind == "update" and "batches" in event.fields for event in result.trace)
    whole = max(taken, default=0) if is_in_step or result.outcome is Outcome.FINISHED else 0
    if result.scenario.task.epochs is not None and result.outcome is Outcome.FINISHED:
        whole = result.scenario.task.epochs
    everything = range(train_size(result.scenario))
    for epoch, counts in sorted(taken.items()):
        twice = sorted(sample for sample, times in counts.items() if times > 1)
        if twice:
            return f"epoch {epoch} takes {len(twice)} samples more than once, such as {twice[0]}"
        lacks = policy(result) in MAY_LACK and set(result.shares) - finishers
        if epoch < whole and len(counts) != len(everything) and not lacks:
            lost = sorted(set(everything) - set(counts))
            return f"epoch {epoch} is over, and {len(lost)} samples were never taken, such as {lost[0]}"
    return _as_reported(result, ledger)


def _at_the_end(result: Result) -> set[str]:
    """Return who made the last update: who died, stands still or waits for ever did not."""
    updates = [event for event in result.trace if event.kind == "update"]
    last = max((event.fields["step"] for event in updates), default=0)
    return {event.node for event in updates if event.fields["step"] == last}


def _as_reported(result: Result, ledger: _Ledger) -> str | None:
    """Compare with what the result says."""
    handed_out: dict[int, set[int]] = defaultdict(set)
    computed: dict[int, list[int]] = defaultdict(list)
    counted: Counter[int] = Counter()
    for step in ledger.begun.values():
        handed_out[step.epoch].update(*step.batches.values())
    for place in ledger.computed:
        step = ledger.begun[place]
        computed[step.epoch].extend(*step.batches.values())
    for step in ledger.history():
        counted[step.epoch] += sum(len(step.batches[worker]) for worker in step.contributors)
    for epoch, there in sorted(handed_out.items()):
        repeated = len(computed[epoch]) - len(set(computed[epoch]))
        recounted = EpochSamples(counted[epoch], repeated, len(there) - counted[epoch], epoch=epoch)
        if recounted not in result.epochs:
            return f"recounted {recounted}, and reported {result.epochs}"
    totals = tuple(sum(getattr(one, name) for one in result.epochs) for name in ("counted", "repeated", "lost"))
    return None if totals == astuple(result.samples) else f"the epochs add up to {totals}, reported is {result.samples}"


# --- learning rate ----------------------------------------------------------------------------------------------------


def learning_rate_follows(result: Result) -> str | None:
    """The rate of each update is the rule's, for those whose gradients are in it."""
    ledger, scenario, task = _ledger(result), result.scenario, result.scenario.task
    shares = result.shares
    for event in result.trace:
        if event.kind != "rate":
            continue
        generation, update = event.fields["generation"], event.fields["step"]
        step = ledger.steps[generation, update - 1]
        # Of replicas of their own each has its update, of the batches that it names.
        named = ledger.named.get((event.node, generation, update), step.contributors)
        # A pipeline takes the samples of all at once, and any replica of its first stage may be who takes them.
        taken = sum(shares.values()) if len(shares) == 1 else sum(shares[name] for name in named)
        workers = taken / task.batch_size
        factor = {"none": 1.0, "linear": workers, "sqrt": math.sqrt(workers), "inverse": 1 / workers}
        scaled = factor[task.learning_rate_scaling]
        if task.warm_up_epochs > 0:
            position = ledger.positions[generation, update - 1]
            warmth = min(1.0, position / train_size(scenario) / task.warm_up_epochs)
            scaled = 1.0 + (scaled - 1.0) * warmth
        expected = task.optimizer.learning_rate * scaled
        if not math.isclose(event.fields["learning_rate"], expected, rel_tol=1e-9):
            told = event.fields["learning_rate"]
            return f"update {update} of generation {generation} has the rate {told:g}; the rule gives {expected:g}"
    return None


# --- time and bytes ---------------------------------------------------------------------------------------------------


# Events that stand under the machine at the end of a link, and are not its own.
_OF_LINKS = ("link", "link_bytes")


def time_adds_up(result: Result) -> str | None:
    """Nothing happens outside of the run or on a dead machine; a worker's times add up to the run's."""
    deaths = _deaths(result)
    for event in result.trace:
        if not 0 <= event.time_ns <= result.virtual_time_ns:
            return f"{event.kind} of {event.node} at {event.time_ns} ns, in a run of {result.virtual_time_ns} ns"
        for died_ns, back_ns in deaths.get(event.node, ()) if event.kind not in _OF_LINKS else ():
            if died_ns < event.time_ns < back_ns:
                return f"{event.kind} of {event.node} at {event.time_ns} ns, dead since {died_ns} ns"
    for node in result.nodes:
        times = [int(getattr(node, name)) for name in TIMES]
        if min(times) < 0 or sum(times) != result.virtual_time_ns:
            return f"the times of {node.node} are {times}, {sum(times)} ns in a run of {result.virtual_time_ns} ns"
    for failure in result.failures:
        known = (failure.at_ns, failure.detected_at_ns, failure.resumed_at_ns, failure.recovered_at_ns)
        moments = [moment for moment in known if moment is not None]
        if moments != sorted(moments):
            return f"the {failure.kind} of {failure.node} was detected or resumed from before it struck: {moments}"
    return None


def _deaths(result: Result) -> dict[str, list[tuple[int, int]]]:
    """Return from when to when each node was dead. (The trace tells nothing of the order within one instant.)"""
    moments: dict[str, dict[str, list[int]]] = {}
    for event in result.trace:
        if event.kind in ("crash", "restart"):
            moments.setdefault(event.node, {"crash": [], "restart": []})[event.kind].append(event.time_ns)
    forever_ns = result.virtual_time_ns + 1
    return {
        node: list(itertools.zip_longest(known["crash"], known["restart"], fillvalue=forever_ns))
        for node, known in moments.items()
    }


def bytes_add_up(result: Result) -> str | None:
    """What was sent was received, thrown away, cut off, lost, or still in flight."""
    found = result.whereabouts
    if min(astuple(found)) < 0 or found.total != result.bytes_sent:
        return f"{result.bytes_sent:,} bytes were sent, and {found.total:,} have come to something: {found}"
    return None


# --- all of them ------------------------------------------------------------------------------------------------------


def repeats(result: Result, again: Result) -> str | None:
    """Played again, message by message and with shuffled ties, it is the same run."""
    for what in ("schedule_digest", "numbers_digest", "outcome_sentence", "nodes", "failures", "whereabouts"):
        place, one, other = _difference(what, getattr(result, what), getattr(again, what))
        if one != other:
            return f"played again, {place} is {other}, not {one}"
    return None


def _difference(place: str, one: Any, other: Any) -> tuple[str, Any, Any]:
    """Return the first place in which two values differ, as deep inside as there is one in both.

    >>> _difference("both", (Losses(frozenset(), frozenset()), 3), (Losses(frozenset("a"), frozenset()), 3))
    ('both[0].ever', frozenset(), frozenset({'a'}))
    """
    parts: list[tuple[str, Any, Any]] = []
    if is_dataclass(one) and type(one) is type(other):
        parts = [(f"{place}.{key}", value, getattr(other, key)) for key, value in vars(one).items()]
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        parts = [(f"{place}[{index}]", *pair) for index, pair in enumerate(pairs)]
    for inner, this, that in parts:
        if this != that:
            return _difference(inner, this, that)
    return place, one, other


INVARIANTS: tuple[Invariant, ...] = (
    ends,
    goes_on,
    replicas_agree,
    samples_once,
    learning_rate_follows,
    time_adds_up,
    bytes_add_up,
)


def _asked(invariant: Invariant, result: Result) -> str | None:
    try:
        return invariant(result)
    except Exception as error:
        # Events that contradict each other, such as an update of a step that nobody began, are a finding as well.
        return f"it cannot be asked: {type(error).__name__}: {error}"


def broken(result: Result, again: Result | None = None) -> dict[str, str]:
    """Return the invariants that do not hold of a run, each with a sentence; of two playings, also `repeats`."""
    found = {invariant.__name__: _asked(invariant, result) for invariant in INVARIANTS}
    if again is not None:
        found[repeats.__name__] = repeats(result, again)
    return {name: sentence for name, sentence in found.items() if sentence is not None}
