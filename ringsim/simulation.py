"""`simulate(scenario) -> Result`: the only way in. Every front door (command line, tests, reports) comes through here.

    scenario ──► strategies: who does what ──► world: plays it in virtual time ──► events ──► Result
                 learning: gradients, updates ──┘

What is not here: reading files (`scenario_file/`) and showing results (`report/`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

import numpy as np

from ringsim import accounting, measures
from ringsim.errors import UsageError
from ringsim.failures import Failures, false_suspicions
from ringsim.learning.engine import Engine
from ringsim.learning.memo import Memo
from ringsim.learning.models.model import Model
from ringsim.learning.parameters import Version
from ringsim.learning.runtime import environment, refuse_changed_settings
from ringsim.learning.sampler import Sampler
from ringsim.learning.shards import Shards, label_skewed
from ringsim.node import Node, Operation, Program
from ringsim.result import NodeTime, Outcome, Result
from ringsim.scenario import Churn, Scenario, Shuffled, full_size, struck, train_size, worker_names, worker_shares
from ringsim.scenario_file.checks import refuse_conflicts
from ringsim.strategies.exposure import Traces, exposure
from ringsim.strategies.footprint import footprints
from ringsim.strategies.observer import Seen, whole
from ringsim.strategies.table import deploy
from ringsim.strategies.training import Deployment, GaveUp, Role, State, Training
from ringsim.trace import NUMBERS_KINDS, SCHEDULE_KINDS, UNCOUNTED_KINDS, Detail, Event, Trace, digest
from ringsim.units import about_duration, format_duration
from ringsim.world.faults import IN_VAIN
from ringsim.world.played import Played
from ringsim.world.world import Fidelity, play, rare_collections

Strategy = Callable[[Node, Training], Operation[State | GaveUp | None]]


def simulate(
    scenario: Scenario,
    *,
    strategy: Strategy | None = None,
    model: Model | None = None,
    trace: Detail = "steps",
    share_replicas: bool = True,
    shuffle_ties: int | None = None,
    fidelity: Fidelity = "auto",
    watch: Callable[[Event], None] | None = None,
    memo: Memo | None = None,
) -> Result:
    """Play a scenario to its end and return what it left behind.

    strategy: a generator function `(node, training)` that every worker runs instead of the scenario's own strategy.
    model: a model instead of the task's. trace: `messages` also records each message. fidelity: `message` plays every
    message of a collective, `auto` only where something disturbs it. That, share_replicas and shuffle_ties must not
    change anything: they exist to show it. watch: called with each event, for progress. memo: what earlier runs have
    computed; it changes no bit, and is not asked without share_replicas.

    Raises RingsimError. How the simulated training ended is `result.outcome`, not an error.

    >>> from ringsim.scenario_file import parse
    >>> loaded = parse('''
    ... name: two
    ... task: {dataset: {kind: synthetic, samples: 64}, model: {kind: softmax}, steps: 2}
    ... cluster: {nodes: 2}
    ... strategy: {name: ring}
    ... ''')
    >>> result = simulate(loaded.scenario)
    >>> result.outcome_sentence, result.samples.counted
    ('finished: 2 steps in 433.4 us of virtual time', 128)
    """
    _refuse(scenario, strategy, model, trace, fidelity)
    refuse_changed_settings()
    refuse_conflicts(scenario, None if model is None else len(model.layers))
    deployment = deploy(scenario) if strategy is None else _everywhere(strategy, scenario)
    rows = max(deployment.shares.values())
    if memo is not None and share_replicas:
        engine = memo.engine(scenario.task, scenario.seed, rows, model)
    else:
        engine = Engine(scenario.task, scenario.seed, rows, share_replicas=share_replicas, model=model)
    sampler = Sampler(scenario.seed, train_size(scenario), deployment.shares, _shards(scenario, engine))
    training = Training(scenario.task, engine, sampler)
    log = Trace(trace, watch)
    programs = [_program(role, training) for role in deployment.roles]
    # A training may diverge; then its losses say so, and not a warning of NumPy's.
    with rare_collections(), np.errstate(over="ignore", invalid="ignore"):
        played = play(scenario, programs, deployment.machines, log, shuffle_ties, fidelity)
        return _result(scenario, deployment, training, played, log)


def _refuse(scenario: object, strategy: object, model: object, trace: object, fidelity: object) -> None:
    if not isinstance(scenario, Scenario):
        raise UsageError(f"simulate takes a Scenario, such as load('4node').scenario, not {scenario!r}")
    if strategy is not None and not callable(strategy):
        raise UsageError(f"strategy takes a generator function (node, training), not {strategy!r}")
    if model is not None and not isinstance(model, Model):
        raise UsageError(f"model takes a Model, not {model!r}")
    if trace not in get_args(Detail):
        raise UsageError(f"trace is one of {', '.join(get_args(Detail))}, not {trace!r}")
    if fidelity not in get_args(Fidelity):
        raise UsageError(f"fidelity is one of {', '.join(get_args(Fidelity))}, not {fidelity!r}")


def _shards(scenario: Scenario, engine: Engine) -> Shards | None:
    """Return whose samples are whose, if workers have their own: all but the spares, which have none."""
    shards = scenario.task.shards
    if isinstance(shards, Shuffled):
        return None
    owners = dict(list(worker_shares(scenario).items())[: full_size(scenario)])
    return label_skewed(scenario.seed, engine.dataset.train_y, owners, shards.alpha)


def _program(role: Role, training: Training) -> Program:
    return Program(role.node, lambda node: role.run(node, training), role.worker, role.restarts)


def _everywhere(strategy: Strategy, scenario: Scenario) -> Deployment:
    name = getattr(strategy, "__name__", type(strategy).__name__)
    return Deployment([Role(worker, strategy) for worker in worker_names(scenario)], worker_shares(scenario), name=name)


def _result(scenario: Scenario, deployment: Deployment, training: Training, played: Played, log: Trace) -> Result:
    finished = _finished_states(deployment, training, played)
    parameters = whole(training.engine, finished, deployment.replicas)
    final = None if parameters is None else next(iter(finished.values()))
    outcome, sentence = _outcome(scenario, played, final)
    log.record(played.time_ns, "", "outcome", outcome=str(outcome))
    if parameters is not None:
        log.record(played.time_ns, "", "parameters", sha256=_sha256(parameters))
    training.observer.end(finished)
    _tell_what_was_seen(training.observer.found(deployment.replicas), log)
    trace = log.events()
    events = [event for event in trace if event.kind not in UNCOUNTED_KINDS]
    rows = accounting.step_rows(events)
    epochs = accounting.count_samples(events)
    samples = accounting.total_samples(epochs)
    strategy = deployment.name or scenario.strategy.name
    evaluated = [row for row in rows if row.committed and row.accuracy is not None]
    reached = {injected.number for injected in played.injected}
    workers = [role.node for role in deployment.roles if role.worker]
    full_size = len(workers) if deployment.full_size is None else deployment.full_size
    failures = Failures(events, rows, full_size)
    return Result(
        scenario=scenario,
        strategy=strategy,
        outcome=outcome,
        outcome_sentence=sentence,
        workers=len(workers),
        steps=max(accounting.history(events), default=0),
        steps_executed=len(rows),
        virtual_time_ns=played.time_ns,
        loss=evaluated[-1].test_loss if evaluated else None,
        accuracy=evaluated[-1].accuracy if evaluated else None,
        learning_rate=next((row.learning_rate for row in reversed(rows) if row.learning_rate is not None), None),
        bytes_sent=sum(played.traffic.wire.values()),
        payload_bytes_sent=sum(played.traffic.payload.values()),
        whereabouts=played.traffic.whereabouts,
        collectives_in_closed_form=played.collectives.in_closed_form,
        collectives_by_messages=played.collectives.by_messages,
        nodes=tuple(_node_time(name, played) for name in workers),
        checkpoints=accounting.checkpoints(events),
        failures=tuple(failures.of(scenario.faults[injected.number].kind, injected) for injected in played.injected),
        false_suspicions=false_suspicions(events),
        faults_not_reached=_fault_lines(scenario, {*range(len(scenario.faults))} - reached - played.not_applicable),
        faults_not_applicable=_fault_lines(scenario, played.not_applicable),
        samples=samples,
        epochs=epochs,
        measures=measures.Measures(
            time_to_target_ns=measures.time_to_target_ns(rows, scenario.task.target_accuracy),
            epoch_ns=measures.epoch_ns(played.time_ns, samples.counted, train_size(scenario)),
            samples_per_second=measures.samples_per_second(played.time_ns, samples.counted),
            busiest_link=measures.busiest_link(events),
            memory=measures.peak_memory(events, footprints(scenario, strategy, training.engine, deployment.roles)),
            staleness=measures.staleness(events),
            consensus=measures.consensus(events),
            exposure=exposure(scenario, strategy, _traces(deployment, training, finished, played, events)),
        ),
        schedule_digest=digest(trace, SCHEDULE_KINDS),
        numbers_digest=digest(trace, NUMBERS_KINDS),
        environment=environment(),
        metrics=rows,
        trace=trace,
        parameters=None if parameters is None else parameters.array,
        replicas=_replicas(deployment, finished),
        shares=dict(deployment.shares),
        cut_short=played.ending in ("late", "in vain"),
    )


def _finished_states(deployment: Deployment, training: Training, played: Played) -> dict[str, State]:
    """Return what those who came to the end of the task hold, in the order of the deployment."""
    results = {role.node: played.results.get(role.node) for role in deployment.roles}
    is_finished = deployment.is_finished
    return {node: state for node, state in results.items() if isinstance(state, State) and is_finished(training, state)}


def _traces(
    deployment: Deployment, training: Training, finished: Mapping[str, State], played: Played, events: Iterable[Event]
) -> Traces:
    """Return what tells who could see whose gradient, where the strategy does not say."""
    return Traces(
        parts={node: state.part for node, state in finished.items() if state.part is not None},
        readers=tuple(dict.fromkeys(event.node for event in events if event.kind == "step_begin")),
        sent=played.traffic.between if deployment.replicas == "own" or deployment.name else None,
        gradient_bytes=training.gradient_size_bytes,
    )


def _replicas(deployment: Deployment, finished: Mapping[str, State]) -> dict[str, str]:
    """Return the sha256 of what each node ended with, of those that must have ended with the same."""
    if deployment.replicas == "own":
        return {}
    held = {node: state.model.parameters for node, state in finished.items() if state.part is None}
    # Replicas that share a version share this too.
    digests = {version: _sha256(version) for version in dict.fromkeys(held.values())}
    return {node: digests[version] for node, version in held.items()}


def _sha256(parameters: Version) -> str:
    return hashlib.sha256(parameters.array.data).hexdigest()


def _tell_what_was_seen(seen: Mapping[tuple[int, int], Seen], log: Trace) -> None:
    """Write down what the observer found, at the instant at which the last node had what it was shown."""
    made: dict[tuple[int, int], dict[str, Event]] = {}
    for event in log.events() if seen else ():
        if event.kind in ("update", "average"):
            place = event.fields["generation"], event.fields["step"]
            made.setdefault(place, {})[event.node] = event
    for (generation, step), found in seen.items():
        time_ns = max(made[generation, step][node].time_ns for node in found.nodes)
        fields = {"step": step, "generation": generation}
        numbers = {"loss": found.evaluation.loss, "accuracy": found.evaluation.accuracy}
        log.record(time_ns, "", "evaluation", **fields, epoch=found.epoch, **numbers)
        if found.consensus is not None:
            log.record(time_ns, "", "consensus", **fields, distance=found.consensus)


def _outcome(scenario: Scenario, played: Played, final: State | None) -> tuple[Outcome, str]:
    after = f"in {about_duration(played.time_ns)} of virtual time"
    gave_up = [result.reason for result in played.results.values() if isinstance(result, GaveUp)]
    if final is not None and final.reached_target:
        return Outcome.TARGET_REACHED, f"stopped at its target: {final.step} steps {after}"
    if final is not None:
        return Outcome.FINISHED, f"finished: {final.step} steps {after}"
    # Who stands still for ever does not hear that the job was given up.
    if played.ending == "over" or (played.ending == "stalled" and gave_up):
        # Failures stand in the order in which they happened; the first one took the others with it.
        unfinished = "no worker came to the end of the task" if played.results else "every worker is dead"
        why = [*gave_up, *(f"{name} {reason}" for name, reason in played.failures.items()), unfinished]
        culprits = _culprits(scenario, played)
        return Outcome.LOST, f"lost at {about_duration(played.time_ns)}: {why[0]}{culprits}; the state is gone"
    waiting = "; ".join(f"{name} waits for {what}" for name, what in sorted(played.waiting.items()))
    if played.ending == "stalled":
        return Outcome.STALLED, f"stalled at {about_duration(played.time_ns)}: {waiting or 'nobody is left to go on'}"
    waiting = waiting or "everybody is busy"
    if played.ending == "in vain":
        culprits = _culprits(scenario, played)
        often = f"faults have struck {IN_VAIN:,} times without a new step{culprits}"
        return Outcome.STALLED, f"stalled at {about_duration(played.time_ns)}: {often}; {waiting}"
    return Outcome.STALLED, f"stalled: max_virtual_time is over; {waiting}"


def _culprits(scenario: Scenario, played: Played) -> str:
    """Return what went wrong before, in brackets: who crashed, and what other faults struck."""
    told: dict[str, dict[str, None]] = {}
    for injected in played.injected:
        kind = scenario.faults[injected.number].kind
        is_death = kind in ("crash", "churn", "switch_down")
        names = injected.ranks if is_death else (injected.struck,)
        told.setdefault("crashed" if is_death else kind, {}).update(dict.fromkeys(names))
    parts = [f"{what}: {', '.join(names)}" for what, names in told.items() if names]
    return f" ({'; '.join(parts)})" if parts else ""


def _node_time(name: str, played: Played) -> NodeTime:
    account = played.accounts[name]
    return NodeTime(
        node=name,
        compute_ns=account.compute_ns,
        exposed_communication_ns=account.exposed_communication_ns,
        idle_ns=account.idle_ns,
        recovery_ns=account.recovery_ns,
        down_ns=account.down_ns,
        bytes_sent=played.traffic.wire.get(name, 0),
        payload_bytes_sent=played.traffic.payload.get(name, 0),
    )


def _fault_lines(scenario: Scenario, numbers: set[int] | frozenset[int]) -> tuple[str, ...]:
    return tuple(f"faults[{number}]: {_describe(scenario, number)}" for number in sorted(numbers))


def _describe(scenario: Scenario, number: int) -> str:
    fault = scenario.faults[number]
    if isinstance(fault, Churn):
        return f"churn of {struck(fault)}"
    at = fault.at
    if at.every is not None:
        when = "again and again"
    else:
        when = f"at {format_duration(at.time)}" if at.time is not None else f"at step {at.step}"
    segment = "" if at.segment is None else f", segment {at.segment}"
    whose = "" if at.node is None else f" of {at.node}"
    return f"{fault.kind} of {struck(fault)} {when}{segment}{whose}"
