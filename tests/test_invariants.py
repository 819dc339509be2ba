"""Each invariant can break, and none does, whatever dies; what became of bytes; and that a memo changes no bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import MS, crash, faults_at, training

from ringsim import parse, simulate
from ringsim.invariants import broken, goes_on, repeats
from ringsim.learning.memo import Memo
from ringsim.monkey.playing import play
from ringsim.result import Failure, Outcome, Result, Whereabouts
from ringsim.scenario import Scenario
from ringsim.trace import Event

DOCS = Path(__file__).parents[1] / "docs"

SMALL = """\
name: small
task:
  dataset: {kind: synthetic, samples: 96, features: 8, classes: 3}
  model: {kind: softmax}
  steps: 5
  batch_size: 8
  flop_per_sample: 1 MFLOP
cluster: {nodes: 3, speed: 8 GFLOP/s}
strategy: {name: ring, on_failure: elastic, commit_every: 2, set_aside: {cooldown: 1 ms}}
"""


# --- every invariant can break ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result() -> Result:
    """Return a run with a rollback, a newcomer, and a rate that follows."""
    overrides = [
        "task.steps=12",
        "task.learning_rate_scaling=linear",
        "task.warm_up_epochs=1.0",
        "faults=[{kind: crash, node: node1, at: {step: 3}, restart_after: 1 ms}]",
    ]
    return simulate(parse(SMALL, overrides=overrides).scenario)


def with_events(result: Result, change: Callable[[Event], Event | None]) -> Result:
    changed = (change(event) for event in result.trace)
    return dataclasses.replace(result, trace=tuple(event for event in changed if event is not None))


def altered(event: Event, **fields: Any) -> Event:
    return dataclasses.replace(event, fields={**event.fields, **fields})


def test_all_hold_of_a_good_run(result: Result) -> None:
    assert broken(result, result) == {}
    assert result.samples.repeated > 0


def hangs(result: Result) -> Result:
    return dataclasses.replace(result, outcome=Outcome.STALLED, outcome_sentence="stalled: everybody is busy")


def gives_up(result: Result) -> Result:
    return dataclasses.replace(result, outcome=Outcome.LOST, outcome_sentence="lost at 3 ms: for no reason")


COUNTS = ("counted", "repeated", "lost")
MOMENTS = [
    ("detected_at_ns", "at_ns"),
    ("resumed_at_ns", "detected_at_ns"),
    ("recovered_at_ns", "resumed_at_ns"),
]


def splits(result: Result) -> Result:
    return dataclasses.replace(result, replicas={"node0": "a", "node1": "b"})


def restores_from_elsewhere(result: Result) -> Result:
    def change(event: Event) -> Event:
        other = event.kind == "restore" and event.node == "node2" and event.fields["generation"] > 0
        return altered(event, step=event.fields["step"] - 1) if other else event

    return with_events(result, change)


def takes_a_sample_twice(result: Result) -> Result:
    def change(event: Event) -> Event:
        first = event.kind == "step_begin" and event.node == "node0" and event.fields["step"] == 0
        samples = event.fields.get("samples", ())
        return altered(event, samples=[samples[1], *samples[1:]]) if first else event

    return with_events(result, change)


def forgets_a_worker(result: Result) -> Result:
    return with_events(
        result,
        lambda event: altered(event, world_size=1) if event.kind == "update" and event.fields["step"] == 1 else event,
    )


def drops_without_leave(result: Result) -> Result:
    def change(event: Event) -> Event:
        late = event.kind == "step_begin" and event.node == "node2" and event.fields["step"] == 11
        return dataclasses.replace(altered(event, worker="node2"), kind="dropped") if late else event

    dropped = with_events(result, change)
    return with_events(
        dropped,
        lambda event: altered(event, world_size=2) if event.kind == "update" and event.fields["step"] == 12 else event,
    )


def counts_wrong(result: Result) -> Result:
    return dataclasses.replace(result, samples=dataclasses.replace(result.samples, counted=result.samples.counted + 1))


def counts_an_epoch_wrong(field: str) -> Callable[[Result], Result]:
    def change(result: Result) -> Result:
        first, *rest = result.epochs
        wrong = dataclasses.replace(first, **{field: getattr(first, field) + 1})
        return dataclasses.replace(result, epochs=(wrong, *rest))

    return change


def keeps_the_rate(result: Result) -> Result:
    return with_events(result, lambda event: altered(event, learning_rate=0.3) if event.kind == "rate" else event)


def works_when_dead(result: Result) -> Result:
    died_ns = next(event.time_ns for event in result.trace if event.kind == "crash")
    ghost = Event(died_ns + 1, "node1", "compute_begin", {"flop": 1})
    return dataclasses.replace(result, trace=(*result.trace, ghost))


def happens_after_the_end(result: Result) -> Result:
    ghost = Event(result.virtual_time_ns + 1, "node0", "compute_end", {})
    return dataclasses.replace(result, trace=(*result.trace, ghost))


def loses_time(result: Result) -> Result:
    first, *rest = result.nodes
    return dataclasses.replace(result, nodes=(dataclasses.replace(first, idle_ns=first.idle_ns - 1), *rest))


def knows_too_early(what: str, before: str) -> Callable[[Result], Result]:
    def change(result: Result) -> Result:
        (failure,) = result.failures
        early = dataclasses.replace(failure, **{what: getattr(failure, before) - 1})
        return dataclasses.replace(result, failures=(early,))

    return change


def loses_a_byte(result: Result) -> Result:
    return dataclasses.replace(result, whereabouts=result.whereabouts + Whereabouts(received=-1))


def has_members_of_its_own(result: Result) -> Result:
    def change(event: Event) -> Event:
        other = event.kind == "world" and event.node == "node2" and event.fields["generation"] == 1
        return altered(event, members=["node2"]) if other else event

    return with_events(result, change)


def enters_another_collective(result: Result) -> Result:
    def change(event: Event) -> Event:
        fields = event.fields
        other = event.kind == "collective_enter" and (fields["generation"], fields["sequence"]) == (2, 1)
        return altered(event, plan="broadcast") if other and event.node == "node2" else event

    return with_events(result, change)


def updates_with_fewer(result: Result) -> Result:
    def change(event: Event) -> Event:
        other = event.kind == "update" and event.node == "node2" and event.fields["step"] == 1
        return altered(event, world_size=2) if other else event

    return with_events(result, change)


def never_takes_a_sample(result: Result) -> Result:
    def change(event: Event) -> Event:
        first = event.kind == "step_begin" and event.node == "node0" and event.fields["step"] == 0
        return altered(event, samples=event.fields["samples"][1:]) if first else event

    return with_events(result, change)


def updates_what_nobody_began(result: Result) -> Result:
    return with_events(result, lambda event: None if event.kind == "step_begin" else event)


def happens_before_the_beginning(result: Result) -> Result:
    return dataclasses.replace(result, trace=(Event(-1, "node0", "compute_end", {}), *result.trace))


def works_when_dead_for_ever(result: Result) -> Result:
    """Let node1 stay dead, and yet work at the very end."""
    crashed = next(event for event in result.trace if event.kind == "crash")
    before = with_events(
        result, lambda event: None if event.node == "node1" and event.time_ns > crashed.time_ns else event
    )
    ghost = Event(result.virtual_time_ns, "node1", "compute_end", {})
    return dataclasses.replace(before, trace=(*before.trace, ghost))


def has_less_than_no_time(result: Result) -> Result:
    first, *rest = result.nodes
    short = dataclasses.replace(first, compute_ns=first.compute_ns + first.idle_ns + 1, idle_ns=-1)
    return dataclasses.replace(result, nodes=(short, *rest))


def receives_too_much(result: Result) -> Result:
    return dataclasses.replace(result, whereabouts=result.whereabouts + Whereabouts(received=1, lost=-1))


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (hangs, "ends", "it neither ends nor says who waits for whom: stalled: everybody is busy"),
        (gives_up, "goes_on", "its policy survives these crashes (of node1), and yet: lost at 3 ms: for no reason"),
        (splits, "replicas_agree", "they end with other bits"),
        (restores_from_elsewhere, "replicas_agree", "restore of generation 1: for step node0 says 2, and node2 says 1"),
        (has_members_of_its_own, "replicas_agree", "world of generation 1: for members node0 says ['node0', 'node2']"),
        (enters_another_collective, "replicas_agree", "collective_enter of generation 2, sequence 1: for plan node0"),
        (
            updates_with_fewer,
            "replicas_agree",
            "update of generation 0, step 1: for world_size node1 says 3, and node2",
        ),
        (takes_a_sample_twice, "samples_once", "epoch 0 takes 1 samples more than once"),
        (never_takes_a_sample, "samples_once", "epoch 0 is over, and 1 samples were never taken"),
        (forgets_a_worker, "samples_once", "update 1 is of 1 workers, and 3 gave a gradient"),
        (drops_without_leave, "samples_once", "update 12 goes on without the samples of node2"),
        (counts_wrong, "samples_once", "the epochs add up to"),
        *((counts_an_epoch_wrong(field), "samples_once", "recounted EpochSamples") for field in COUNTS),
        (updates_what_nobody_began, "samples_once", "it cannot be asked: KeyError"),
        (keeps_the_rate, "learning_rate_follows", "update 1 of generation 0 has the rate 0.3; the rule gives 0.1"),
        (works_when_dead, "time_adds_up", "dead since"),
        (works_when_dead_for_ever, "time_adds_up", "compute_end of node1 at 20005592 ns, dead since"),
        (happens_before_the_beginning, "time_adds_up", "compute_end of node0 at -1 ns, in a run of"),
        (happens_after_the_end, "time_adds_up", "in a run of"),
        (loses_time, "time_adds_up", "the times of node0 are"),
        (has_less_than_no_time, "time_adds_up", "the times of node0 are"),
        *((knows_too_early(*moments), "time_adds_up", "the crash of node1 was detected") for moments in MOMENTS),
        (loses_a_byte, "bytes_add_up", "have come to something"),
        (receives_too_much, "bytes_add_up", "have come to something"),
    ],
)
def test_an_invariant_breaks_where_something_is_wrong(
    result: Result, change: Callable[[Result], Result], name: str, words: str
) -> None:
    assert words in broken(change(result)).get(name, "it holds")


def elastic(**more: Any) -> dict[str, Any]:
    return {"name": "ring", "on_failure": "elastic", "set_aside": {"cooldown": "0 s"}, **more}


WARM = {"learning_rate_scaling": "linear", "warm_up_epochs": 2.0}
DIES = crash("node1", {"step": 2, "segment": 1})
ALL_DIE = [crash(f"node{rank}", {"step": 3}, "1 ms") for rank in range(3)]
AHEAD = crash("node1", {"step": 2, "segment": 4}, "10 us", "silence")
RECOVERS = {"name": "ring", "on_failure": "peer_recovery", "timeout": "3 ms", "set_aside": {"cooldown": "0 s"}}
UNEQUAL = [{}, {"shard_weight": 2}, {}]
BEATS = {"interval": "300 us", "timeout": "1 ms"}
CUT = {"kind": "partition", "groups": [["node1", "rendezvous"], ["node0"]], "at": "700 us", "lasts": "9 ms"}
CRASHED = crash("node1", {"step": 2}, "1 ms", "silence")
FINE = [
    *((elastic(), {"learning_rate_scaling": rule}, [DIES]) for rule in ("none", "linear", "sqrt", "inverse")),
    ({"name": "local"}, {"learning_rate_scaling": "linear"}, []),
    ({"name": "ring"}, {"nodes": UNEQUAL, "learning_rate_scaling": "linear"}, []),
    (elastic(), {"nodes": UNEQUAL, "learning_rate_scaling": "linear"}, [DIES]),
    ({"name": "ring"}, {"epochs": 3, **WARM}, []),
    ({"name": "ring"}, {"epochs": 3}, [DIES]),  # lost in its first epoch, and promised three
    ({"name": "parameter_server", "on_failure": "backup"}, WARM, [CRASHED]),
    ({"name": "parameter_server", "on_failure": "timeout", "timeout": "2 ms"}, WARM, [crash("node1", {"step": 2})]),
    ({"name": "ring", "on_failure": "peer_recovery", "timeout": "3 ms"}, WARM, [DIES]),
    # A ring in which the others copy the end makes no update; and a step is begun anew before it is carried on.
    (RECOVERS, {"nodes": 4, "steps": 4}, [crash("node3", {"step": 3, "segment": 4}, "500 us", "silence")]),
    ({**RECOVERS, "checkpoint_every": 2}, {"nodes": 4}, [AHEAD, crash("node0", 8_932_000, "500 us", "silence")]),
    # It goes back by two steps, and gives up before it has done them again.
    (elastic(commit_every=3, min_workers=2, rendezvous_timeout="1 ms"), {}, [DIES, crash("node2", 5 * MS)]),
    (elastic(checkpoint_every=2), {}, ALL_DIE),
    # Who was cut off, and was in no ring since, goes on from what the other one has saved in the meantime.
    (elastic(checkpoint_every=1, heartbeat=BEATS), {"nodes": 2}, [CUT, crash("node1", 9_600_000)]),
    ({"name": "parameter_server", "server": {"checkpoint_every": 2}}, {}, [crash("server0", 4 * MS, "1 ms")]),
]


@pytest.mark.parametrize(("strategy", "task", "faults"), FINE)
def test_all_hold_of_what_each_rule_allows(
    strategy: dict[str, Any], task: dict[str, Any], faults: list[dict[str, Any]]
) -> None:
    length = {} if "epochs" in task else {"steps": 6}
    assert broken(simulate(training(strategy, faults=faults, **{"nodes": 3, **length, **task}))) == {}


def test_who_is_left_out_of_a_step_that_is_carried_on_must_be_given_up_aloud() -> None:
    result = simulate(training(RECOVERS, nodes=3, steps=3, faults=[crash("node1", {"step": 1, "segment": 1})]))
    assert result.samples.lost == 8
    assert broken(result) == {}
    silent = with_events(result, lambda event: None if event.kind == "dropped" else event)
    assert broken(silent)["samples_once"] == "update 2 is of 2 workers, and 3 gave a gradient"


def test_the_last_epoch_of_a_finished_run_is_whole() -> None:
    result = simulate(training("ring", nodes=3, epochs=1))
    assert not broken(result)

    def change(event: Event) -> Event:
        last = event.kind == "step_begin" and event.node == "node0" and event.fields["step"] == 3
        return altered(event, samples=event.fields["samples"][1:]) if last else event

    short = with_events(result, change)
    assert broken(short)["samples_once"].startswith("epoch 0 is over, and 1 samples were never taken, such as")


def test_a_run_that_is_not_the_same_again_is_found(result: Result) -> None:
    again = dataclasses.replace(result, numbers_digest="sha256:0")
    assert repeats(result, again) == f"played again, numbers_digest is sha256:0, not {result.numbers_digest}"
    idle_ns = result.nodes[0].idle_ns
    assert repeats(result, loses_time(result)) == f"played again, nodes[0].idle_ns is {idle_ns - 1}, not {idle_ns}"
    assert "repeats" in broken(result, again)


@pytest.mark.parametrize(
    "other",
    [{"schedule_digest": "sha256:0"}, {"outcome_sentence": "lost"}, {"failures": ()}, {"whereabouts": Whereabouts()}],
    ids=lambda other: next(iter(other)),
)
def test_all_that_must_be_the_same_again_is_compared(result: Result, other: dict[str, Any]) -> None:
    assert (repeats(result, dataclasses.replace(result, **other)) or "").startswith(
        f"played again, {next(iter(other))}"
    )


# --- what a policy promises to survive --------------------------------------------------------------------------------


def lost(result: Result, strategy: dict[str, Any], deaths: str, notice: str = "reset", **more: Any) -> Result:
    """Return a run of three workers that was given up at 9 ms; of `deaths`, -node1 is a crash and +node1 a return."""
    kinds = {"-": ("crash", {"notice": notice}), "+": ("restart", {"incarnation": 1})}
    trace = [Event(at_ns, word[1:], *kinds[word[0]]) for at_ns, word in enumerate(deaths.split())]
    return dataclasses.replace(
        result,
        scenario=training(strategy, nodes=3, **more),
        strategy=strategy["name"],
        outcome=Outcome.LOST,
        outcome_sentence="lost at 9 ms: for no reason",
        virtual_time_ns=9_000_000,
        trace=tuple(trace),
    )


ELASTIC = {"name": "ring", "on_failure": "elastic"}
TWO_ARE_ENOUGH = {**ELASTIC, "min_workers": 2}
RECOVERY = {"name": "ring", "on_failure": "peer_recovery", "min_workers": 2, "reset_limit": 2}
WAIT = {"name": "parameter_server", "on_failure": "wait"}
SAVES = {**WAIT, "server": {"checkpoint_every": 2}}
CHAIN = {**WAIT, "server": {"replicas": 2}}
DROPS = {"name": "parameter_server", "on_failure": "timeout"}
BACKUP = {"name": "parameter_server", "on_failure": "backup"}
RING_WAITS = {"name": "ring", "on_failure": "wait"}
SPARES = {"name": "ring", "on_failure": "spares", "spares": 1}
GOES_ON = [
    ({"name": "local"}, "", True),
    ({"name": "local"}, "-node1 -node2", True),
    ({"name": "local"}, "-node0 +node0", False),
    ({"name": "ring"}, "", True),
    ({"name": "ring"}, "-node2 +node2", False),
    (ELASTIC, "-node0 -node2", True),
    (ELASTIC, "-node0 +node0 -node1 +node1 -node2 +node2", False),
    (ELASTIC, "-rendezvous", False),
    (TWO_ARE_ENOUGH, "-node1", True),
    (TWO_ARE_ENOUGH, "-node1 +node1 -node2 +node2", False),
    # The ring is re-formed without node1, and with it again.
    ({**ELASTIC, "reset_limit": 4}, "-node1 +node1 -node1 +node1", True),
    ({**ELASTIC, "reset_limit": 3}, "-node1 +node1 -node1 +node1", False),
    (RECOVERY, "-node1", True),
    (RECOVERY, "-node1 -node2", False),
    (RECOVERY, "-rendezvous", False),
    (WAIT, "-node0 +node0 -node1 +node1 -node2 +node2 -node0 +node0", True),
    (WAIT, "-node1", False),
    (WAIT, "-node1 +node1 -node1", False),
    (WAIT, "-server0 +server0", False),
    (SAVES, "-server0 +server0 -server0 +server0 -node1 +node1", True),
    (SAVES, "-server0 +server0 -server0", False),
    (SAVES, "-server0 +server0 -node1", False),
    (CHAIN, "-server0", True),
    (CHAIN, "-server1 -node1 +node1", True),
    (CHAIN, "-server0 +server0 -server1 +server1", False),
    (DROPS, "-node0 -node1", True),
    (DROPS, "-node0 -node1 -node2 +node2", True),
    (DROPS, "-node0 -node1 -node2", False),
    (DROPS, "-server0 +server0", False),
    (RING_WAITS, "-node0 +node0 -node1 +node1", True),
    (RING_WAITS, "-node1", False),
    (RING_WAITS, "-node0 +node0 -node1 +node1 -node2 +node2", False),
    (RING_WAITS, "-rendezvous", False),
    (SPARES, "-node0 -node2", True),
    (SPARES, "-node0 +node0 -node1 +node1 -node2 +node2", False),
    (BACKUP, "-node1 +node1 -node2", True),
    (BACKUP, "-node1 -node2", False),
    (BACKUP, "-server0", False),
]


@pytest.mark.parametrize(("strategy", "deaths", "must"), GOES_ON)
def test_a_policy_must_go_on_after_what_it_promises_to_survive(
    result: Result, strategy: dict[str, Any], deaths: str, must: bool
) -> None:
    dead = ", ".join(sorted({word[1:] for word in deaths.split()})) or "nobody"
    sentence = f"its policy survives these crashes (of {dead}), and yet: lost at 9 ms: for no reason"
    assert goes_on(lost(result, strategy, deaths)) == (sentence if must else None)


@pytest.mark.parametrize(("dead", "outcome"), [("node0 node1", "lost"), ("node1 node2", "finished")])
def test_spares_promise_nothing_once_all_of_the_first_ring_are_dead(dead: str, outcome: str) -> None:
    crashes = [crash(name, 3 * MS) for name in dead.split()]
    strategy = {**SPARES, "spares": 2, "timeout": "3 ms", "min_workers": 1}
    judged = play(training(strategy, faults=crashes), MEMO)
    assert judged.result is not None
    assert (str(judged.result.outcome), judged.violations) == (outcome, {}), "a spare has no state before it is called"


def test_nothing_is_promised_where_the_living_may_be_suspected_or_nothing_is_wrong(result: Result) -> None:
    def must(given: Result) -> bool:
        return goes_on(given) is not None

    def late(source: str) -> Result:
        given = lost(result, ELASTIC, "-node1")
        event = Event(5, "node0", "receive_timeout", {"source": source})
        return dataclasses.replace(given, trace=(*given.trace, event))

    given = lost(result, ELASTIC, "-node1")
    assert must(given)
    assert not must(lost(result, ELASTIC, "-node1", notice="silence"))
    slower, down, over = (
        Failure("node1", kind, 1, ended_at_ns, None, None, None, 0)
        for kind, ended_at_ns in [("slow_down", None), ("link_down", None), ("link_down", 2)]
    )
    assert must(dataclasses.replace(given, failures=(slower, over)))
    assert not must(dataclasses.replace(given, failures=(slower, down)))
    for kind in ("suspect", "wrong_number"):
        assert not must(dataclasses.replace(given, trace=(*given.trace, Event(5, "node0", kind, {"peer": "node1"}))))
    assert not must(late("node2"))
    assert must(late("rendezvous"))  # Its cooldown is over.
    assert not must(dataclasses.replace(given, cut_short=True))
    assert not any(must(dataclasses.replace(given, outcome=good)) for good in Outcome if good.is_success)
    assert must(dataclasses.replace(given, outcome=Outcome.STALLED))
    assert not must(dataclasses.replace(given, strategy="my_own"))


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_bytes_come_to_where_the_closed_form_says() -> None:
    # Four workers, a ring of two steps: 24 messages of a quarter of the vector each, and nothing goes wrong.
    played = simulate(training("ring", nodes=4, steps=2))
    assert played.whereabouts == Whereabouts(received=played.bytes_sent)


@pytest.mark.parametrize("transport", ["ideal", "framed", "tcp"])
def test_bytes_that_do_not_arrive_are_found_again(transport: str) -> None:
    network = {"transport": transport, "bandwidth": "1 Mbit/s", "drop": "20 %", "resend_after": "1 ms"}
    fault = {"kind": "crash", "node": "node1", "at": "3 ms", "restart_after": "1 ms"}
    played = simulate(training({"name": "parameter_server"}, network=network, faults=[fault]))
    found = played.whereabouts
    assert found.total == played.bytes_sent
    assert found.lost > 0
    assert found.cut_off > 0
    assert (found.acknowledgements > 0) == (transport == "tcp")


def test_a_message_to_the_dead_is_thrown_away() -> None:
    # In silence nobody stops sending to it.
    fault = {"kind": "crash", "node": "node1", "at": "1500 us", "notice": "silence"}
    played = simulate(training({"name": "ring", "on_failure": "abort", "timeout": "5 ms"}, faults=[fault]))
    assert played.whereabouts.thrown_away > 0
    assert played.whereabouts.total == played.bytes_sent


# --- the memo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit_bytes", [2**28, 2_000, 0])
def test_a_memo_changes_no_bit(limit_bytes: int) -> None:
    memo = Memo(limit_bytes)
    for fault in ("", "{kind: crash, node: node1, at: 2 ms, restart_after: 1 ms}", ""):
        scenario = parse(SMALL, overrides=[f"faults=[{fault}]"]).scenario
        fresh, remembered = simulate(scenario), simulate(scenario, memo=memo)
        assert remembered.numbers_digest == fresh.numbers_digest
        assert remembered.schedule_digest == fresh.schedule_digest
        assert remembered.parameters is not None
        assert fresh.parameters is not None
        assert remembered.parameters.tobytes() == fresh.parameters.tobytes()
    assert (3 * memo.computed < 2 * memo.asked) == (limit_bytes == 2**28)


def test_a_memo_holds_so_many_bytes_and_forgets_the_oldest() -> None:
    memo = Memo(limit_bytes=100)
    first, second, third = object(), object(), object()
    memo.hold(first, 40)
    memo.hold(second, 40)
    memo.hold(first, 40)
    memo.hold(third, 40)
    assert list(memo._held) == [first, third]
    assert memo._bytes == 80


def test_tasks_and_seeds_have_engines_of_their_own() -> None:
    memo = Memo()
    one = parse(SMALL).scenario
    other = parse(SMALL, overrides=["seed=1"]).scenario
    digests = {simulate(scenario, memo=memo).numbers_digest for scenario in (one, other)}
    assert digests == {simulate(scenario).numbers_digest for scenario in (one, other)}


# --- any faults at all ------------------------------------------------------------------------------------------------

WATCHED = {"heartbeat": BEATS}
STRATEGIES = [
    {"name": "local"},
    {"name": "ring", "on_failure": "abort"},
    {"name": "ring", "on_failure": "abort", "timeout": "3 ms", "bucket_size": "40 B"},
    {"name": "ring", "on_failure": "elastic", "set_aside": {"cooldown": "1 ms"}},
    {"name": "ring", "on_failure": "elastic", "commit_every": 3, "timeout": "3 ms", "min_workers": 2},
    {"name": "ring", "on_failure": "elastic", "checkpoint_every": 2, "set_aside": {"cooldown": "0 s"}, **WATCHED},
    {"name": "ring", "on_failure": "wait", "timeout": "4 ms", "checkpoint_every": 2},
    {"name": "ring", "on_failure": "spares", "timeout": "3 ms", "set_aside": {"cooldown": "1 ms"}},
    {"name": "ring", "on_failure": "peer_recovery", "timeout": "3 ms", "set_aside": {"cooldown": "1 ms"}, **WATCHED},
    {"name": "parameter_server", "on_failure": "wait"},
    {"name": "parameter_server", "on_failure": "wait", "server": {"checkpoint_every": 2}},
    {"name": "parameter_server", "on_failure": "timeout", "timeout": "2 ms"},
    {"name": "parameter_server", "on_failure": "timeout", "timeout": "2 ms", "server": {"replicas": 2}},
    {"name": "parameter_server", "on_failure": "backup"},
]


@st.composite
def trainings(draw: st.DrawFn) -> Scenario:
    crashes = st.fixed_dictionaries(
        {
            "kind": st.just("crash"),
            "node": st.sampled_from(["node0", "node1", "node2", "server0", "rendezvous"]),
            "at": st.integers(0, 12_000).map(lambda us: f"{us} us"),
            "notice": st.sampled_from(["reset", "reset", "silence"]),
        },
        optional={"restart_after": st.integers(1, 4_000).map(lambda us: f"{us} us")},
    )
    strategy = draw(st.sampled_from(STRATEGIES))
    calm = training(strategy, nodes=3)
    lasting = st.sampled_from(["1 ns", "100 us", "2 ms", "9 ms", None])
    others = st.integers(0, 12_000).flatmap(lambda us: faults_at(calm, f"{us} us", lasting))
    return training(
        strategy,
        nodes=3,
        faults=draw(st.lists(crashes | others, max_size=4)),
        network={"transport": draw(st.sampled_from(["ideal", "framed", "tcp"]))},
        steps=6,
        evaluate_every=3,
        learning_rate_scaling="linear",
    )


MEMO = Memo()


@settings(max_examples=25, deadline=None)
@given(trainings())
def test_every_invariant_holds_whatever_dies(scenario: Scenario) -> None:
    assert play(scenario, MEMO).violations == {}


@pytest.mark.long
@settings(max_examples=3_000, deadline=None)
@given(trainings())
def test_every_invariant_holds_of_thousands(scenario: Scenario) -> None:
    assert play(scenario, MEMO).violations == {}


# --- what it has found ------------------------------------------------------------------------------------------------

# Segments of no number at all, a neighbour's death, and a foreign burst that begins as the ring does.
BURSTS = """\
name: bursts
task:
  dataset: {kind: synthetic, samples: 96, features: 2, classes: 2}
  model: {kind: softmax}
  steps: 2
  batch_size: 8
  flop_per_sample: 1 MFLOP
cluster:
  nodes: 4
  speed: 8 GFLOP/s
  network:
    latency: 10 us
    background: [{source: node2, target: node0, rate: 500 Mbit/s, burst: 200 us, pause: 300 us}]
strategy: {name: ring, bucket_size: 8 B}
faults: [{kind: crash, node: node3, at: 0 us}]
"""


def test_an_empty_message_has_left_though_a_foreign_burst_begins_at_that_instant() -> None:
    # Whether it had was up to who was first at that instant, the burst or the ring, and so was where its time went.
    scenario = parse(BURSTS).scenario
    first, *others = (simulate(scenario, shuffle_ties=ties) for ties in (None, 1, 2, 3))
    assert [repeats(first, other) for other in others] == [None, None, None]


def test_a_link_may_come_back_while_the_machine_at_its_end_is_dead() -> None:
    faults = [
        {"kind": "crash", "node": "node1", "at": "6 ms"},
        {"kind": "link_down", "source": "node1", "target": "switch", "at": "5 ms", "lasts": "2 ms"},
    ]
    elastic = {"name": "ring", "on_failure": "elastic"}
    result = simulate(training(elastic, steps=12, faults=faults))
    assert not broken(result)


def test_replicas_may_differ_after_a_flipped_bit_that_nobody_notices() -> None:
    flips = {"kind": "corrupt", "source": "node0", "target": "switch", "at": "0 s", "probability": "30 %"}
    result = simulate(training("ring", steps=6, faults=[{**flips, "detected": False}]))
    assert len(set(result.replicas.values())) > 1
    assert not broken(result)


def test_samples_are_found_where_a_group_in_between_gave_up_some_and_never_updated() -> None:
    # Who hears nobody accuses all; the others go on with it, and without it when they miss it. It is told too late.
    cut = {"kind": "link_down", "source": "switch", "target": "node1", "one_way": True, "at": "2 ms", "lasts": "60 ms"}
    beats = {"interval": "1 ms", "timeout": "3 ms"}
    strategy = {"name": "ring", "on_failure": "peer_recovery", "heartbeat": beats}
    result = simulate(training(strategy, steps=6, network={"latency": "500 us"}, faults=[cut]))
    given_up = [event.fields["generation"] for event in result.trace if event.kind == "dropped"]
    assert set(given_up) > {event.fields["generation"] for event in result.trace if event.kind == "update"}
    assert not broken(result)


@pytest.mark.parametrize("slower", [[], [{"kind": "slow_down", "node": "node0", "at": "0 s", "factor": 1000}]])
def test_a_run_that_its_scenario_cuts_off_breaks_no_promise(slower: list[dict[str, Any]]) -> None:
    nodes = 1 if slower else 3
    strategy = "local" if slower else {"name": "ring", "on_failure": "elastic"}
    result = simulate(training(strategy, nodes=nodes, faults=slower, max_virtual_time="2 ms"))
    assert "max_virtual_time is over" in result.outcome_sentence
    assert not broken(result)


def test_spares_are_no_help_if_the_first_ring_dies_before_it_hears_of_itself() -> None:
    spares = {"name": "ring", "on_failure": "spares", "spares": 1}
    faults = [{"kind": "crash", "node": name, "at": "7 us"} for name in ("node0", "node1")]
    result = simulate(training(spares, nodes=3, steps=6, network={"latency": "50 us"}, faults=faults))
    assert result.outcome is Outcome.LOST
    assert not any(event.kind == "world" for event in result.trace)
    assert not broken(result)


def test_only_who_falls_out_may_leave_its_samples_out() -> None:
    """A dead neighbour's are missing by right; those of one who goes on to the end are not."""
    crashed = {"kind": "crash", "node": "node2", "at": "4 ms"}
    result = simulate(training("dpsgd", nodes=4, steps=6, faults=[crashed]))
    assert result.outcome is Outcome.FINISHED
    assert not broken(result)
    hidden = [event for event in result.trace if not (event.kind == "update" and event.node == "node1")]
    last = next(event for event in reversed(result.trace) if event.kind == "update" and event.node == "node1")
    forged = dataclasses.replace(result, trace=tuple(sorted([*hidden, last], key=lambda event: event.time_ns)))
    assert broken(forged)["samples_once"] == "update 1 lacks the samples of node1, who came to the end"
