"""Horovod's books, kept by another hand: what a commit and a rollback do to steps and samples.

A model of a few dozen lines plays a list of deaths without time, messages or gradients. It knows only what Horovod's
pages say (docs/elastic.rst): all go back to the last commit, those who are left cut the data anew, and go on. What it
predicts is compared with real runs. What is not here: how it comes about (`test_strategies.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import MS, TINY, crash, select, training

from ringsim.result import Result
from ringsim.simulation import simulate

BATCH, SAMPLES = 8, TINY["samples"]
SLOW = "10 MFLOP"  # A sample takes 1.25 ms, longer than the members of a ring are apart.
Death = tuple[str, int, bool]  # who, in which step, whether it had computed its gradient of it
Place = tuple[int, int]  # epoch, and how many samples of it are taken


@dataclass
class Books:
    """What the model predicts. Samples go by their place in the epoch's order."""

    updates: list[tuple[int, int, list[str]]] = field(default_factory=list)  # generation, update, members
    computed: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    counted: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def repeated(self, epoch: int) -> int:
        return sum(times - 1 for times in self.computed[epoch].values())


def cut(start: int, stop: int, members: list[str]) -> dict[str, range]:
    """Return who takes which places: as even as whole samples allow, in rank order."""
    ends = [start + (stop - start) * rank // len(members) for rank in range(len(members) + 1)]
    return {name: range(ends[rank], ends[rank + 1]) for rank, name in enumerate(members)}


def horovod(workers: int, deaths: list[Death], commit_every: int, epochs: int) -> Books:
    """Play it. Nobody comes back."""
    books, members, generation = Books(), [f"node{rank}" for rank in range(workers)], 0
    step, place = 0, (0, 0)
    committed: tuple[int, Place] = (0, (0, 0))
    since_commit: list[tuple[int, range]] = []
    while place[0] < epochs:
        epoch, start = place
        stop = min(SAMPLES, start + BATCH * len(members))
        parts = cut(start, stop, members)
        dead = {name: late for name, when, late in deaths if when == step and name in members}
        for name, part in parts.items():
            if dead.get(name, True):
                books.computed[epoch].update(part)
        if dead:
            members, generation = [name for name in members if name not in dead], generation + 1
            step, place = committed
            since_commit = []
            if not members:
                return books
            continue
        step, place = step + 1, (epoch + 1, 0) if stop == SAMPLES else (epoch, stop)
        books.updates.append((generation, step, members))
        since_commit.append((epoch, range(start, stop)))
        if step % commit_every == 0 or place[0] == epochs:
            committed = step, place
            for one, taken in since_commit:
                books.counted[one].update(taken)
            since_commit = []
    return books


def played(workers: int, deaths: list[Death], commit_every: int, epochs: int) -> Result:
    """Let ringsim play it: a death after the gradient comes with the first message, one before it early in the step."""
    strategy = {"name": "ring", "on_failure": "elastic", "commit_every": commit_every}
    faults: list[Any] = []
    for name, step, late in sorted(deaths, key=lambda death: death[1]):
        if late:
            faults.append(crash(name, {"step": step, "segment": 1}))
        else:
            so_far = simulate(training(strategy, nodes=workers, epochs=epochs, faults=faults, flop_per_sample=SLOW))
            begun = select(so_far.trace, "step_begin", name, step=step)[0].time_ns
            faults.append(crash(name, begun + MS))
    return simulate(training(strategy, nodes=workers, epochs=epochs, faults=faults, flop_per_sample=SLOW))


def assert_as_in_the_books(workers: int, deaths: list[Death], commit_every: int, epochs: int = 2) -> None:
    books = horovod(workers, deaths, commit_every, epochs)
    result = played(workers, deaths, commit_every, epochs)
    rings = {event.fields["generation"]: event.fields["members"] for event in select(result.trace, "world")}
    executed = [(row.generation, row.step, rings[row.generation]) for row in result.metrics]
    assert executed == books.updates
    assert [(row.counted, row.repeated, row.lost) for row in result.epochs] == [
        (SAMPLES, books.repeated(epoch), 0) for epoch in range(epochs)
    ]
    assert all(books.counted[epoch] == Counter(range(SAMPLES)) for epoch in range(epochs))


@pytest.mark.parametrize("commit_every", [1, 2, 3, 5])
@pytest.mark.parametrize("late", [False, True])
def test_one_death_costs_the_steps_since_the_commit(commit_every, late):
    assert_as_in_the_books(4, [("node2", 4, late)], commit_every)


def test_the_model_by_hand():
    """Three workers of 8, 96 samples: node0 dies in step 2; with a commit every 2 steps its 8 are not computed."""
    books = horovod(3, [("node0", 2, False)], 2, epochs=1)
    assert [(generation, step) for generation, step, _ in books.updates] == [
        *((0, step) for step in (1, 2)),
        *((1, step) for step in (3, 4, 5)),
    ]
    assert books.repeated(0) == 16


@st.composite
def deaths(draw):
    """Who dies in which step: each once, somebody stays."""
    workers = draw(st.integers(3, 6))
    names = draw(st.permutations([f"node{rank}" for rank in range(workers)]))
    count = draw(st.integers(1, workers - 1))
    # Late ones need a ring of three: in one of two, the first message is already the last but one.
    late = st.booleans() if count <= workers - 3 else st.just(False)
    planned = 2 * -(-SAMPLES // (BATCH * workers))
    listed = [(name, draw(st.integers(0, planned - 1)), draw(late)) for name in names[:count]]
    # Of several in one step nobody is late: the ring may break before a message has come.
    steps = Counter(step for _, step, _ in listed)
    return workers, [(name, step, is_late and steps[step] == 1) for name, step, is_late in listed]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deaths(), st.sampled_from([1, 2, 3, 4]))
def test_whatever_the_deaths_the_books_agree(listed, commit_every):
    workers, dead = listed
    assert_as_in_the_books(workers, dead, commit_every)


@pytest.mark.long
@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deaths(), st.sampled_from([1, 2, 3, 4, 7]))
def test_whatever_the_many_deaths_the_books_agree(listed, commit_every):
    workers, dead = listed
    assert_as_in_the_books(workers, dead, commit_every)
