"""What a monkey tries: each kind of fault, on each of its targets, at each instant of the base run.

    kinds x targets x instants  ──► all cases, numbered ──► a seeded order of them, and of that the first so many

What is not here: playing them (`playing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringsim import seeds
from ringsim.errors import UsageError
from ringsim.result import Result
from ringsim.scenario import Crash, Host, LinkDown, Scenario, Settings, added_machines
from ringsim.scenario_file.words import listed
from ringsim.topology.build import edges
from ringsim.units import format_duration

Target = tuple[str, ...]  # a machine, or the two ends of a link


@dataclass(frozen=True)
class Durations:
    """How long what heals is broken."""

    restart_after_ns: int
    lasts_ns: int


@dataclass(frozen=True)
class Case:
    """One fault that is tried."""

    kind: str
    target: Target
    at_ns: int

    def __str__(self) -> str:
        """Say it in words.

        >>> print(Case("crash", ("node2",), 1_500_000))
        crash of node2 at 1.5 ms
        """
        return f"{self.kind} of {' - '.join(self.target)} at {format_duration(self.at_ns)}"


def machines(scenario: Scenario) -> list[Target]:
    """Return all machines, those that the strategy adds last."""
    hosts = [host.name for host in scenario.cluster.nodes]
    return [(name,) for name in (*hosts, *added_machines(scenario.strategy))]


def links(scenario: Scenario) -> list[Target]:
    """Return the two ends of each link, once."""
    added = [Host(name=name) for name in added_machines(scenario.strategy)]
    found = edges(scenario.cluster.network, scenario.cluster.nodes, added)
    ends: dict[frozenset[str], Target] = {}
    for source, target in found:
        ends.setdefault(frozenset((source, target)), (source, target))
    return list(ends.values())


def _crash(case: Case, durations: Durations) -> Settings:
    del durations
    return Crash.model_validate({"kind": "crash", "node": case.target[0], "at": format_duration(case.at_ns)})


def _restart(case: Case, durations: Durations) -> Settings:
    words = {"kind": "crash", "node": case.target[0], "at": format_duration(case.at_ns)}
    return Crash.model_validate({**words, "restart_after": format_duration(durations.restart_after_ns)})


def _link_down(case: Case, durations: Durations) -> Settings:
    source, target = case.target
    words = {"kind": "link_down", "source": source, "target": target, "at": format_duration(case.at_ns)}
    return LinkDown.model_validate({**words, "lasts": format_duration(durations.lasts_ns)})


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it can strike, the fault itself, and a kind that is simpler."""

    targets: Callable[[Scenario], Sequence[Target]]
    fault: Callable[[Case, Durations], Settings]
    simpler: str | None = None


KINDS: dict[str, Kind] = {
    "crash": Kind(machines, _crash),
    "restart": Kind(machines, _restart, simpler="crash"),
    "link_down": Kind(links, _link_down),
}


def kinds_of(names: str | None) -> tuple[str, ...]:
    """Return the kinds that a list of names asks for; without one, all. Raises UsageError for one that is none.

    >>> kinds_of("restart, crash")
    ('crash', 'restart')
    """
    if names is None:
        return tuple(KINDS)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in KINDS:
            raise UsageError(f"--kinds: {name!r} is no kind of fault; there are {listed(list(KINDS), 'and')}")
    return tuple(name for name in KINDS if name in wanted)


def instants(result: Result) -> tuple[int, ...]:
    """Return the distinct instants at which something happens in a run."""
    return tuple(sorted({event.time_ns for event in result.trace}))


@dataclass(frozen=True)
class Product:
    """All cases there are."""

    strikes: tuple[tuple[str, Target], ...]  # kind and target
    instants: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.strikes) * len(self.instants)

    def case(self, number: int) -> Case:
        """Return one of them."""
        strike, instant = divmod(number, len(self.instants))
        return Case(*self.strikes[strike], self.instants[instant])

    def drawn(self, limit: int, seed: int) -> list[Case]:
        """Return `limit` of them at most, in an order drawn by `seed` over all.

        >>> product = Product((("crash", ("a",)), ("crash", ("b",))), (0, 5))
        >>> len(set(product.drawn(limit=3, seed=1))), len(product.drawn(limit=9, seed=1))
        (3, 4)
        """
        order = seeds.permutation(seed, "monkey", count=self.size)[:limit]
        return [self.case(number) for number in order.tolist()]


def product(scenario: Scenario, kinds: Sequence[str], moments: tuple[int, ...]) -> Product:
    """Return all cases of these kinds at these instants."""
    strikes = [(kind, target) for kind in kinds for target in KINDS[kind].targets(scenario)]
    return Product(tuple(strikes), moments)


def with_fault(scenario: Scenario, case: Case, durations: Durations) -> Scenario:
    """Return the scenario with the fault of a case beside its own."""
    fault = KINDS[case.kind].fault(case, durations)
    return scenario.model_copy(update={"faults": (*scenario.faults, fault)})
