"""Keys of a scenario that are each right alone and must agree with each other: `min_workers` with the machines.

What is not here: those of the network (`network.py`) and of the faults (`faults.py`), the shape of each key
(`scenario/`), and where a mistake stands in a file (`reading.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from ringsim.errors import Problem, ScenarioInvalid
from ringsim.scenario import (
    ANY,
    RENDEZVOUS,
    SWITCH,
    Asp,
    BoundedDelay,
    Cnn,
    Dirichlet,
    DPsgd,
    Gossip,
    GPipe,
    Heartbeat,
    NeighbourHeartbeat,
    ParameterServerBackup,
    ParameterServerWait,
    PipeDream,
    Pipelined,
    RingAbort,
    RingElastic,
    RingPeerRecovery,
    RingSpares,
    Scenario,
    Server,
    Ssp,
    Straggle,
    Synthetic,
    TopK,
    full_size,
    layer_count,
    worker_names,
)
from ringsim.scenario_file.conflict import Conflict
from ringsim.scenario_file.faults import fault_conflicts
from ringsim.scenario_file.network import network_conflicts
from ringsim.scenario_file.strict_yaml import Path, dotted
from ringsim.scenario_file.words import no_machine
from ringsim.units import SHARE, format_duration

_WHOLE = SHARE.parse("100 %")


def conflicts(scenario: Scenario, layers: int | None = None) -> Iterator[Conflict]:
    """Yield what is wrong between keys that are each right alone. layers: of a model that is not the task's.

    >>> scenario = Scenario.model_validate({"name": "a", "task": {"steps": 2}, "cluster": {"nodes": 2}, "strategy":
    ...     {"name": "ring"}, "faults": [{"kind": "crash", "node": "node1", "at": {"step": 2}}]})
    >>> next(conflicts(scenario)).sentence
    'is beyond the last step, which is 1 (steps count from 0), not 2'
    """
    yield from _check_length(scenario)
    yield from _check_rate(scenario)
    yield from _check_images(scenario)
    yield from _check_names(scenario)
    yield from _check_shares(scenario)
    yield from _check_workers(scenario)
    yield from _check_server(scenario)
    yield from _check_shards(scenario)
    yield from _check_stages(scenario, layer_count(scenario.task.model) if layers is None else layers)
    yield from _check_graph(scenario)
    yield from _check_compression(scenario)
    yield from _check_heartbeat(scenario)
    yield from network_conflicts(scenario)
    yield from fault_conflicts(scenario)


def refuse_conflicts(scenario: Scenario, layers: int | None = None) -> None:
    """Raise ScenarioInvalid if keys do not agree: for scenarios that were made in Python and not read from a file.

    layers: how many a model has that takes the place of the task's.
    """
    problems = tuple(Problem("", dotted(conflict.path), conflict.sentence) for conflict in conflicts(scenario, layers))
    if problems:
        raise ScenarioInvalid(problems)


def _check_length(scenario: Scenario) -> Iterator[Conflict]:
    said = [key for key in ("epochs", "steps") if getattr(scenario.task, key) is not None]
    both = ("task", "epochs"), ("task", "steps")
    if not said:
        yield Conflict(("task",), 'lacks its length: write "epochs" (passes over the data) or "steps" (updates)', both)
    if len(said) == 2:
        yield Conflict(both[1], 'stands beside "epochs"; keep one of them', both)


def _check_rate(scenario: Scenario) -> Iterator[Conflict]:
    task = scenario.task
    if task.warm_up_epochs and task.learning_rate_scaling == "none":
        sentence = "warms up to a scaled rate, and learning_rate_scaling is none; choose linear, sqrt or inverse"
        yield Conflict(("task", "warm_up_epochs"), sentence, (("task", "learning_rate_scaling"),))


def _check_images(scenario: Scenario) -> Iterator[Conflict]:
    dataset, model = scenario.task.dataset, scenario.task.model
    if isinstance(dataset, Synthetic) and isinstance(model, Cnn):
        side = math.isqrt(dataset.features)
        if side < 6 or side * side != dataset.features:
            sentence = (
                f"must be a square of 6 or more, such as 36 or 64, for the cnn reads images; not {dataset.features}"
            )
            yield Conflict(("task", "dataset", "features"), sentence, (("task", "dataset"), ("task", "model")))


def _check_names(scenario: Scenario) -> Iterator[Conflict]:
    first: dict[str, int] = {}
    for index, host in enumerate(scenario.cluster.nodes):
        path = ("cluster", "nodes", index, "name")
        if host.name in (ANY, RENDEZVOUS, SWITCH) or re.fullmatch(r"server[0-9]+", host.name):
            yield Conflict(path, f'"{host.name}" is a name that ringsim keeps for itself; choose another')
        if host.name in first:
            earlier = ("cluster", "nodes", first[host.name])
            sentence = f'"{host.name}" is the name of {dotted(earlier)} already; choose another'
            yield Conflict(path, sentence, (path, (*earlier, "name")))
        first.setdefault(host.name, index)


def _check_shares(scenario: Scenario) -> Iterator[Conflict]:
    target = scenario.task.target_accuracy
    if target is not None and not 0 < target <= _WHOLE:
        sentence = "must be more than 0 % and at most 100 %"
        yield Conflict(("task", "target_accuracy"), sentence)
    if isinstance(scenario.strategy, Gossip) and scenario.strategy.probability > _WHOLE:
        sentence = f"must be at most 100 %, not {SHARE.format(scenario.strategy.probability)}"
        yield Conflict(("strategy", "probability"), sentence)
    yield from _check_pace(scenario.cluster.jitter, scenario.cluster.straggle, ("cluster",))
    for index, host in enumerate(scenario.cluster.nodes):
        yield from _check_pace(host.jitter, host.straggle, ("cluster", "nodes", index))


def _check_pace(jitter: int | None, straggle: Straggle | None, path: Path) -> Iterator[Conflict]:
    if jitter is not None and jitter >= _WHOLE:
        sentence = f"must be less than 100 %, or a computation could take no time; not {SHARE.format(jitter)}"
        yield Conflict((*path, "jitter"), sentence)
    if straggle is not None and straggle.probability > _WHOLE:
        sentence = f"must be at most 100 %, not {SHARE.format(straggle.probability)}"
        yield Conflict((*path, "straggle", "probability"), sentence)


def _check_workers(scenario: Scenario) -> Iterator[Conflict]:
    strategy, workers = scenario.strategy, len(worker_names(scenario))
    rests_on = ("strategy",), ("cluster", "nodes")
    if isinstance(strategy, RingSpares) and strategy.spares >= workers:
        sentence = f"must be less than {workers}, the number of workers, not {strategy.spares}"
        yield Conflict(("strategy", "spares"), sentence, rests_on)
    elif isinstance(strategy, (RingElastic, RingSpares, RingPeerRecovery)):
        most = full_size(scenario)
        if strategy.min_workers > most:
            of_which = "workers" if most == workers else "workers that are no spares"
            sentence = f"must be at most {most}, the number of {of_which}, not {strategy.min_workers}"
            yield Conflict(("strategy", "min_workers"), sentence, rests_on)
    elif isinstance(strategy, ParameterServerBackup) and strategy.backups >= workers:
        sentence = (
            f"must be less than {workers}, the number of workers, or no push is waited for; not {strategy.backups}"
        )
        yield Conflict(("strategy", "backups"), sentence, (("strategy",), ("cluster", "nodes")))


def _check_server(scenario: Scenario) -> Iterator[Conflict]:
    server = getattr(scenario.strategy, "server", None)
    if not isinstance(server, Server):
        return
    here = ("strategy", "server")
    given = [key for key in _FORMS if getattr(server, key) != Server.model_fields[key].default]
    if len(given) > 1:
        first, second = given[:2]
        sentence = f"stands beside {second}: a server {_FORMS[first]}, or {_FORMS[second]}; keep one of them"
        yield Conflict((*here, first), sentence, ((*here, first), (*here, second)))
    if server.replicate != "means" and server.replicas == 1:
        sentence = "says what goes down a chain of servers, and there is one; add replicas: 2, or leave it out"
        yield Conflict((*here, "replicate"), sentence, ((*here, "replicate"), (*here, "replicas")))
    consistency = getattr(scenario.strategy, "consistency", None)
    if given and isinstance(consistency, (BoundedDelay, Ssp, Asp)):
        path = (*here, given[0])
        sentence = f"works with consistency bsp only, not with {consistency.kind}; leave one of them out"
        yield Conflict(path, sentence, (path, ("strategy", "consistency")))
    is_cut = server.co_located or server.shards > 1
    if is_cut and not isinstance(scenario.strategy, ParameterServerWait):
        path, policy = (*here, given[0]), getattr(scenario.strategy, "on_failure", "")
        sentence = f"works with on_failure wait only, not with {policy}; leave one of them out"
        yield Conflict(path, sentence, (path, ("strategy", "on_failure")))
    for key in ("speed", "bandwidth", "latency") if server.co_located else ():
        if getattr(server, key) is not None:
            sentence = "is that of a machine of its own, and co_located adds none; leave one of them out"
            yield Conflict((*here, key), sentence, ((*here, key), (*here, "co_located")))


def _check_shards(scenario: Scenario) -> Iterator[Conflict]:
    consistency = getattr(scenario.strategy, "consistency", None)
    if isinstance(scenario.task.shards, Dirichlet) and isinstance(consistency, (BoundedDelay, Ssp, Asp)):
        sentence = (
            f"gives each worker samples of its own, and with consistency {consistency.kind} the server hands them out "
            "to whoever asks; choose shuffled, or consistency bsp"
        )
        yield Conflict(("task", "shards"), sentence, (("task", "shards"), ("strategy", "consistency")))


# What a server can be, and no two of them at once.
_FORMS = {
    "replicas": "is replicated",
    "checkpoint_every": "restarts from checkpoints",
    "shards": "holds a range of the parameters",
    "co_located": "is on the workers' machines",
}


def _check_stages(scenario: Scenario, layers: int) -> Iterator[Conflict]:
    strategy, workers = scenario.strategy, len(worker_names(scenario))
    if not isinstance(strategy, Pipelined):
        return
    here, nodes, model = ("strategy", "layers"), ("cluster", "nodes"), ("task", "model")
    given = strategy.workers if isinstance(strategy, GPipe | PipeDream) else None
    replicas = (1,) * workers if given is None else given
    stages = len(replicas)
    if sum(replicas) != workers:
        path = ("strategy", "workers")
        sentence = f"must add up to {workers}, the number of workers, not to {sum(replicas)}"
        yield Conflict(path, sentence, (path, nodes))
    elif stages > layers:
        sentence = (
            f"needs a layer for each stage, and the model's {layers} are not enough for {stages} stages; take fewer "
            "machines, or a model of more layers"
        )
        yield Conflict(("strategy", "name"), sentence, (("strategy",), nodes, model))
    elif strategy.layers is not None and (len(strategy.layers), sum(strategy.layers)) != (stages, layers):
        said = f"{list(strategy.layers)}, which is {len(strategy.layers)} and {sum(strategy.layers)}"
        sentence = f"must be one number for each of {stages} stages, {layers} in sum as the model has; not {said}"
        yield Conflict(here, sentence, (here, ("strategy",), nodes, model))
    if isinstance(strategy, PipeDream) and strategy.vertical_sync and not strategy.stashing:
        sentence = "keeps old weights at every stage, and stashing: false keeps none; leave one of them out"
        path = ("strategy", "vertical_sync")
        yield Conflict(path, sentence, (path, ("strategy", "stashing")))
    if isinstance(strategy, PipeDream) and strategy.vertical_sync and max(replicas, default=1) > 1:
        sentence = (
            "counts updates, and a stage of several workers makes fewer of them than the others; "
            "leave it or workers out"
        )
        path = ("strategy", "vertical_sync")
        yield Conflict(path, sentence, (path, ("strategy", "workers")))


def _check_graph(scenario: Scenario) -> Iterator[Conflict]:
    strategy, workers = scenario.strategy, worker_names(scenario)
    if not isinstance(strategy, DPsgd) or strategy.edges is None:
        return
    here = ("strategy", "edges")
    if strategy.graph != DPsgd.model_fields["graph"].default:
        yield Conflict(here, f"stands beside graph: {strategy.graph}; keep one of them", (here, ("strategy", "graph")))
    known = True
    for index, edge in enumerate(strategy.edges):
        for name in edge:
            if name not in workers:
                known = False
                yield Conflict((*here, index), no_machine(name, workers), (here, ("cluster", "nodes")))
        if edge[0] == edge[1]:
            yield Conflict((*here, index), f"{edge[0]} is no neighbour of itself; name two workers")
    both_ways = [*strategy.edges, *(edge[::-1] for edge in strategy.edges)]
    reached = {workers[0]}
    while more := {target for source, target in both_ways if source in reached} - reached:
        reached |= more
    alone = next((name for name in workers if name not in reached), None)
    if known and alone is not None:
        sentence = f"leaves no way from {workers[0]} to {alone}; add an edge"
        yield Conflict(here, sentence, (here, ("cluster", "nodes")))


def _check_compression(scenario: Scenario) -> Iterator[Conflict]:
    strategy, here = scenario.strategy, ("strategy", "compression")
    if not isinstance(strategy, RingAbort) or strategy.compression is None:
        return
    if isinstance(strategy.compression, TopK) and strategy.compression.share > _WHOLE:
        yield Conflict((*here, "share"), f"must be at most 100 %, not {SHARE.format(strategy.compression.share)}")
    for key in ("collective", "bucket_size", "cycle_time"):
        if getattr(strategy, key) != RingAbort.model_fields[key].default:
            sentence = f"does not work with compression {strategy.compression.kind}; leave one of them out"
            yield Conflict(("strategy", key), sentence, (("strategy", key), here))


def _check_heartbeat(scenario: Scenario) -> Iterator[Conflict]:
    heartbeat = getattr(scenario.strategy, "heartbeat", None)
    if isinstance(heartbeat, (Heartbeat, NeighbourHeartbeat)) and heartbeat.timeout <= heartbeat.interval:
        here = ("strategy", "heartbeat")
        sentence = (
            f"must be more than the interval, {format_duration(heartbeat.interval)}, or everybody is taken for dead; "
            f"not {format_duration(heartbeat.timeout)}"
        )
        yield Conflict((*here, "timeout"), sentence, ((*here, "timeout"), (*here, "interval"), here))
