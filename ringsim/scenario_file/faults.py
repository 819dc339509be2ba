"""Keys of `faults` that must agree: with each other, with the machines, and with the links between them.

    what is struck    is there, or could be there under some strategy
    when              one moment, or again and again; a step only where somebody takes steps
    how much          a loss leaves something, a degradation changes something, groups do not overlap

What is not here: the shape of each key (`scenario/faults.py`), and the other sections (`checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import (
    ANY,
    RENDEZVOUS,
    SERVER,
    AnyRing,
    At,
    BucketedRing,
    Churn,
    Corrupt,
    Crash,
    Drop,
    Fault,
    LinkDegrade,
    LinkFault,
    Partition,
    Pause,
    Scenario,
    SlowDown,
    SwitchDown,
    full_size,
    planned_steps,
)
from ringsim.scenario_file.conflict import Conflict
from ringsim.scenario_file.network import may_be_added, network_edges
from ringsim.scenario_file.strict_yaml import Path, dotted
from ringsim.scenario_file.words import close, listed, no_machine, shortened
from ringsim.units import SHARE

_NODES: Path = ("cluster", "nodes")
_NETWORK: Path = ("cluster", "network")
_WHOLE = SHARE.parse("100 %")
_MACHINES = (Crash, Pause, SlowDown)
_LINKS = LinkFault.__args__


def fault_conflicts(scenario: Scenario) -> Iterator[Conflict]:
    """Yield what is wrong between the keys of each fault."""
    for index, fault in enumerate(scenario.faults):
        path: Path = ("faults", index)
        yield from _check_struck(scenario, fault, path)
        if not isinstance(fault, Churn):
            yield from _check_moment(fault.at, (*path, "at"))
            yield from _check_progress(scenario, fault, (*path, "at"))
        if isinstance(fault, LinkDegrade) and fault.bandwidth is None and fault.latency is None:
            sentence = 'changes nothing; write the link\'s "bandwidth" meanwhile, or its "latency", or both'
            yield Conflict(path, sentence, ((*path, "bandwidth"), (*path, "latency")))
        if isinstance(fault, (Drop, Corrupt)):
            yield from _check_probability(fault, path)


# --- what is struck ---------------------------------------------------------------------------------------------------


def _check_struck(scenario: Scenario, fault: Fault, path: Path) -> Iterator[Conflict]:
    if isinstance(fault, _MACHINES):
        if fault.node != ANY:
            yield from _check_machine(scenario, fault.node, (*path, "node"))
    elif isinstance(fault, Churn):
        names = fault.nodes or ()
        for index, name in enumerate(names):
            here = (*path, "nodes", index)
            yield from _check_machine(scenario, name, here)
            if name in names[:index]:
                yield Conflict(here, f"{name} is in the list already; it comes and goes once", ((*path, "nodes"),))
    elif isinstance(fault, Partition):
        yield from _check_groups(scenario, fault, (*path, "groups"))
    elif isinstance(fault, SwitchDown):
        yield from _check_switch(scenario, fault.switch, (*path, "switch"))
    else:
        yield from _check_link(scenario, fault, path)


def _check_machine(scenario: Scenario, name: str, path: Path) -> Iterator[Conflict]:
    names = [host.name for host in scenario.cluster.nodes]
    if name in names or may_be_added(name):
        return
    rests_on = path, *((*_NODES, index, "name") for index in range(len(names)))
    yield Conflict(path, no_machine(name, names, (SERVER, RENDEZVOUS)), rests_on)


def _check_groups(scenario: Scenario, fault: Partition, path: Path) -> Iterator[Conflict]:
    first: dict[str, Path] = {}
    for index, group in enumerate(fault.groups):
        for place, name in enumerate(group):
            here = (*path, index, place)
            yield from _check_machine(scenario, name, here)
            if name in first:
                yield Conflict(
                    here, f"{name} is in {dotted(first[name][:-1])} already; it is on one side only", (path,)
                )
            first.setdefault(name, here)


def _check_switch(scenario: Scenario, name: str, path: Path) -> Iterator[Conflict]:
    machines = {host.name for host in scenario.cluster.nodes}
    switches = [end for end in _ends(scenario) if end not in machines and not may_be_added(end)]
    if name not in switches:
        guess = close(name, switches)
        kind = scenario.cluster.network.topology.kind
        there = f"its switches are {_some(switches)}" if switches else "it has none"
        hint = f'; did you mean "{guess}"?' if guess else ""
        yield Conflict(path, f"there is no switch {shortened(name)} in this {kind}; {there}{hint}", (path, _NETWORK))


def _check_link(scenario: Scenario, fault: LinkFault, path: Path) -> Iterator[Conflict]:
    source, target = fault.source, fault.target
    links, ends = network_edges(scenario), _ends(scenario)
    if not links:
        return  # They are mistaken, and that is said elsewhere.
    strangers = [key for key in ("source", "target") if not _may_be_there(getattr(fault, key), ends)]
    for key in strangers:
        name = getattr(fault, key)
        guess = close(name, ends)
        hint = f'; did you mean "{guess}"?' if guess else f"; it has {_some(ends)}"
        kind = scenario.cluster.network.topology.kind
        sentence = f"there is no {shortened(name)} in this {kind}{hint}"
        yield Conflict((*path, key), sentence, ((*path, key), _NODES, _NETWORK))
    if strangers or may_be_added(source) or may_be_added(target):
        return  # Where the link of a machine leads that a strategy adds is the strategy's business.
    ways = [(source, target)] if fault.one_way else [(source, target), (target, source)]
    if not any(way in links for way in ways):
        linked = [end for start, end in links if start == source]
        sentence = f"there is no link from {source} to {target}; {source} has links to {_some(linked)}"
        rests_on = ((*path, "source"), (*path, "target"), _NODES, _NETWORK)
        yield Conflict((*path, "target"), sentence, rests_on)


def _may_be_there(name: str, ends: Sequence[str]) -> bool:
    return name in ends or may_be_added(name)


def _ends(scenario: Scenario) -> list[str]:
    return list(dict.fromkeys(end for link in network_edges(scenario) for end in link))


def _some(names: Sequence[str]) -> str:
    return listed(names, "and") if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} others"


# --- when -------------------------------------------------------------------------------------------------------------


def _check_moment(at: At, path: Path) -> Iterator[Conflict]:
    if at.file is not None:
        sentence = "is read with a scenario file; here, write a fault for each row instead"
        yield Conflict((*path, "file"), sentence, (path,))
        return
    said = [key for key in ("time", "step", "every") if getattr(at, key) is not None]
    instant = tuple((*path, key) for key in ("time", "step", "segment", "node", "every", "start", "stop"))
    if at.segment is not None and at.step is None:
        sentence = "lacks its step; write both, such as {step: 12, segment: 3}"
        yield Conflict((*path, "segment"), sentence, instant)
    elif at.node is not None and at.step is None:
        sentence = "says whose step it is, and lacks the step; write both, such as {step: 12, node: node0}"
        yield Conflict((*path, "node"), sentence, instant)
    elif not said:
        yield Conflict(path, "lacks an instant; write a time, such as 3 s, or a step, such as {step: 12}", instant)
    elif len(said) > 1:
        yield Conflict(path, f"has both a {said[0]} and {_article(said[1])}; keep one of them", instant)
    if at.every is None:
        for key in ("start", "stop"):
            if getattr(at, key) is not None:
                sentence = 'belongs to "every", which says that the fault comes again and again'
                yield Conflict((*path, key), sentence, instant)
    elif at.stop is not None and at.stop <= (at.start or 0):
        yield Conflict((*path, "stop"), "must be later than the start, or the fault never comes", instant)


def _article(key: str) -> str:
    return '"every"' if key == "every" else f"a {key}"


def _check_progress(scenario: Scenario, fault: Fault, path: Path) -> Iterator[Conflict]:
    assert not isinstance(fault, Churn)
    if fault.at.step is None:
        return
    step, names = (*path, "step"), [host.name for host in scenario.cluster.nodes]
    whose, key = fault.at.node, (*path, "node")
    if whose is None:
        whose, key = getattr(fault, "node", None), (*path[:-1], "node")
    advice = f"say whose step it is, such as {{step: {fault.at.step}, node: {names[0]}}}"
    if whose is None:
        yield Conflict(step, f"is a worker's progress, and a {fault.kind} is no worker's; {advice}", (step,))
    elif whose == ANY or may_be_added(whose):
        yield Conflict(step, f"is a worker's progress, and {whose} has none; {advice}", (step, key))
    elif fault.at.node is not None and whose not in names:
        rests_on = key, *((*_NODES, index, "name") for index in range(len(names)))
        yield Conflict(key, no_machine(whose, names), rests_on)
    else:
        yield from _check_step(scenario, fault.at.step, step)
        yield from _check_segment(scenario, fault.at.segment, (*path, "segment"))


def _check_step(scenario: Scenario, step: int, path: Path) -> Iterator[Conflict]:
    task = scenario.task
    if (task.epochs is None) == (task.steps is None):
        return
    last = planned_steps(scenario) - 1
    if step > last:
        sentence = f"is beyond the last step, which is {last} (steps count from 0), not {step}"
        length = ("task", "epochs"), ("task", "steps")
        by_data = (("task", "dataset"), ("task", "batch_size"), ("cluster", "nodes")) if task.epochs else ()
        yield Conflict(path, sentence, (path, *length, *by_data))


def _check_segment(scenario: Scenario, segment: int | None, path: Path) -> Iterator[Conflict]:
    strategy = scenario.strategy
    if segment is None or not isinstance(strategy, AnyRing):
        return
    if isinstance(strategy, BucketedRing) and (strategy.bucket_size or strategy.cycle_time):
        return  # How many buckets there are, and so how many messages, follows from the model.
    if isinstance(strategy, BucketedRing) and strategy.collective != "ring":
        return  # Not every rank receives as many messages as the others.
    ranks = full_size(scenario)
    last = 2 * (ranks - 1)
    if segment > last:
        sentence = f"is beyond the last message of a step, which is {last} in a ring of {ranks}, not {segment}"
        yield Conflict(path, sentence, (path, ("cluster", "nodes"), ("strategy",)))


# --- how much ---------------------------------------------------------------------------------------------------------


def _check_probability(fault: Drop | Corrupt, path: Path) -> Iterator[Conflict]:
    here = (*path, "probability")
    if isinstance(fault, Corrupt) and not fault.detected:
        if fault.probability > _WHOLE:
            yield Conflict(here, f"must be at most 100 %, not {SHARE.format(fault.probability)}")
    elif fault.probability >= _WHOLE:
        sentence = f"must be less than 100 %, or nothing ever arrives; not {SHARE.format(fault.probability)}"
        yield Conflict(here, f"{sentence}; kind: link_down says that", (here, (*path, "detected")))
