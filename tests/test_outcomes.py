"""The tables of docs/strategies.md that are what comes out: each row is played and read.

In the table of deaths a cell is a sentence, and `said` finds in it which outcomes it tells of. In that of the other
faults a cell is a list of words, which the text under it defines. `words` says the same of a result. A row that is new
in a table fails here until it has its faults in `DEATHS` or `FAULTS`. The tables of heartbeats, of checkpoints and of
collectives have figures, and are played too. What is not here: whether the numbers are right (the tests of each
policy).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from worlds import US, crash, select, training

from ringsim import load
from ringsim.result import Outcome, Result
from ringsim.scenario.strategy import AllReduceName
from ringsim.simulation import simulate

TABLES = Path(__file__).parents[1] / "docs" / "strategies.md"
PATH_NS = 100 * US  # of the small trainings here


# --- reading a table --------------------------------------------------------------------------------------------------


def table(*headings: str) -> list[dict[str, str]]:
    """Return the rows of the one table whose first headings are these, each as heading -> cell."""
    lines = TABLES.read_text(encoding="utf-8").splitlines()
    (begin,) = [number for number, line in enumerate(lines) if cells(line)[: len(headings)] == list(headings)]
    end = lines.index("", begin)
    rows = [cells(line) for line in lines[begin + 2 : end]]
    return [dict(zip(cells(lines[begin]), row, strict=True)) for row in rows]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


# --- what came out, in the words of the tables ------------------------------------------------------------------------


def words(result: Result, undisturbed: Result) -> set[str]:
    """Return what is said of a run, beside the same without a fault."""
    if result.faults_not_applicable:
        return {"–"}
    assert not result.faults_not_reached
    if result.outcome is not Outcome.FINISHED:
        return {str(result.outcome)}
    sizes, whole = [row.world_size for row in result.metrics if row.committed], undisturbed.metrics[0].world_size
    found = set()
    if min(sizes) < whole:
        found.add("fewer for a while" if whole in sizes[sizes.index(min(sizes)) :] else "fewer")
    if result.samples.repeated:
        found.add("repeats")
    if result.samples.lost > undisturbed.samples.lost:
        found.add("gives up")
    if select(result.trace, "wrong_number"):
        found.add("wrong")
    return found or {"finishes"}


def together(runs: Sequence[set[str]]) -> set[str]:
    """Return what a cell says of several runs: what any of them did, unless another word says it and more."""
    found: set[str] = set().union(*runs)
    if "fewer" in found:
        found -= {"fewer for a while"}
    return found if found <= {"finishes", "lost", "stalled", "–"} else found - {"finishes"}


PIPELINES = ("model_parallel", "gpipe", "pipedream", "spectrain")
STAR: Mapping[str, Any] = {}
EPOCHS = 5


def play(strategy: Mapping[str, Any], faults: Sequence[Any], network: Mapping[str, Any] = STAR) -> Result:
    """Play a small training: softmax on 96 points, four workers of 8 samples a step, 1 ms of computation in it.

    Pipelines have a layer for each of them.
    """
    layers = {"model": {"kind": "mlp", "hidden": [8, 8, 8]}} if strategy["name"] in PIPELINES else {}
    scenario = training(strategy, faults=faults, network=network, epochs=EPOCHS, max_virtual_time="10 s", **layers)
    return simulate(scenario)


def undisturbed(strategy: Mapping[str, Any], network: Mapping[str, Any] = STAR) -> Result:
    """Return the same without a fault."""
    return _undisturbed(json.dumps([strategy, network]))


@cache
def _undisturbed(text: str) -> Result:
    strategy, network = json.loads(text)
    return play(strategy, [], network)


# --- the table of deaths ----------------------------------------------------------------------------------------------

RING = {"name": "ring", "timeout": "5 ms"}
AGAIN = {"set_aside": {"cooldown": "1 ms"}}
ELASTIC = {**RING, "on_failure": "elastic", "rendezvous_timeout": "50 ms", "reset_limit": 20}
WAIT = {**RING, "on_failure": "wait", "reset_limit": 20}
SPARES, PEERS = {**ELASTIC, "on_failure": "spares"}, {**ELASTIC, "on_failure": "peer_recovery"}
SERVER = {"name": "parameter_server"}
DROPS, BACKUP = {**SERVER, "on_failure": "timeout", "timeout": "5 ms"}, {**SERVER, "on_failure": "backup"}
SAVES, CHAIN = {**SERVER, "server": {"checkpoint_every": 2}}, {**SERVER, "server": {"replicas": 2}}

BEATS = {"interval": "300 us", "timeout": "2 ms"}

# In the all-reduce of the fourth step; and an instant at which all train.
IN_RING, EARLY = {"step": 3, "segment": 2}, 4_500 * US
Death = tuple[str, Any, str | None]  # who, when, and how long it is away
Run = tuple[Mapping[str, Any], list[Death]]  # a strategy, and the deaths

DIES: list[Death] = [("node1", IN_RING, None)]
RETURNS: list[Death] = [("node1", IN_RING, "12 ms")]  # later than both timeouts
ALL = [f"node{rank}" for rank in range(4)]


def everybody(*names: str, back: str | None = None, at: Any = EARLY) -> list[Death]:
    return [(name, at, back) for name in names]


def rendezvous(strategy: Mapping[str, Any]) -> list[Run]:
    alone: list[Death] = [("rendezvous", EARLY, None)]
    return [(strategy, alone), (strategy, [*alone, ("node1", {"step": 5, "segment": 2}, None)])]


DEATHS: dict[tuple[str, str], list[Run]] = {
    ("local", "the first machine"): [({"name": "local"}, everybody("node0"))],
    ("local", "another"): [({"name": "local"}, everybody("node1"))],
    ("ring, abort", "a worker"): [({"name": "ring"}, DIES), (RING, DIES)],
    ("ring, abort", "a worker, and restarts"): [
        ({"name": "ring"}, [("node1", IN_RING, "20 ms")]),
        (RING, [("node1", IN_RING, "20 ms")]),
    ],
    ("ring, elastic", "a worker"): [(ELASTIC, DIES)],
    ("ring, abort, `heartbeat`", "a worker"): [({"name": "ring", "heartbeat": BEATS}, DIES)],
    ("ring, elastic or peer_recovery, `heartbeat`", "a worker"): [
        ({**policy, "heartbeat": {**BEATS, "by": by}}, DIES)
        for policy in (ELASTIC, PEERS)
        for by in ("neighbours", "rendezvous")
    ],
    ("ring, spares, `heartbeat`", "a member, and a spare is there"): [
        ({**SPARES, "heartbeat": {**BEATS, "by": by}}, DIES) for by in ("neighbours", "rendezvous")
    ],
    ("ring, wait, `checkpoint_every`", "all who had the state, and restart"): [
        ({**WAIT, "checkpoint_every": 2}, everybody(*ALL, back="2 ms"))
    ],
    (
        "ring, elastic, spares or peer_recovery, `checkpoint_every`",
        "all who had the state, and restart; with `set_aside`",
    ): [
        ({**policy, **AGAIN, "checkpoint_every": 2}, everybody(*ALL, back="2 ms"))
        for policy in (ELASTIC, SPARES, PEERS)
    ],
    ("ring, elastic", "so many that fewer than `min_workers` remain"): [({**ELASTIC, "min_workers": 4}, DIES)],
    ("ring, elastic", "a worker, and restarts; with `set_aside`"): [({**ELASTIC, **AGAIN}, RETURNS)],
    ("ring, elastic", "a worker, and restarts; without `set_aside`"): [(ELASTIC, RETURNS)],
    ("ring, elastic", "the rendezvous"): rendezvous(ELASTIC),
    ("ring, wait", "a worker"): [(WAIT, DIES)],
    ("ring, wait", "a worker, and restarts"): [(WAIT, RETURNS)],
    ("ring, wait", "all who had the state, and restart"): [(WAIT, everybody(*ALL, back="2 ms"))],
    ("ring, spares", "a member, and a spare is there"): [(SPARES, DIES)],
    ("ring, spares", "a member, and no spare is there"): [(SPARES, [*DIES, ("node3", EARLY - 2_000 * US, None)])],
    ("ring, spares", "a spare"): [(SPARES, everybody("node3"))],
    ("ring, spares", "a worker, and restarts; with `set_aside`"): [
        ({**SPARES, **AGAIN}, RETURNS),
        ({**SPARES, **AGAIN}, [("node1", IN_RING, "22 ms"), ("node3", EARLY - 2_000 * US, None)]),
    ],
    ("ring, peer_recovery", "a worker"): [(PEERS, DIES)],
    ("ring, peer_recovery", "a worker, and restarts; with `set_aside`"): [({**PEERS, **AGAIN}, RETURNS)],
    ("ring, peer_recovery", "so many that fewer than `min_workers` remain"): [({**PEERS, "min_workers": 4}, DIES)],
    ("ring, wait, spares or peer_recovery", "the rendezvous"): [
        run for strategy in (WAIT, SPARES, PEERS) for run in rendezvous(strategy)
    ],
    ("parameter_server, wait", "a worker"): [(SERVER, everybody("node1"))],
    ("parameter_server, wait", "a worker, and restarts"): [(SERVER, everybody("node1", back="2 ms"))],
    ("parameter_server, timeout", "a worker"): [(DROPS, everybody("node1"))],
    ("parameter_server, timeout", "a worker, and restarts"): [
        (DROPS, everybody("node1", back="7 ms")),
        (DROPS, [("node1", {"step": 3}, "1 us")]),
    ],
    ("parameter_server, backup", "up to b workers"): [(BACKUP, everybody("node1"))],
    ("parameter_server, backup", "more than b workers"): [(BACKUP, everybody("node1", "node2"))],
    ("parameter_server, backup", "a worker, and restarts"): [(BACKUP, everybody("node1", back="2 ms"))],
    ("parameter_server", "all workers"): [(policy, everybody(*ALL)) for policy in (SERVER, DROPS, BACKUP)],
    ("parameter_server", "all workers, and restart"): [
        (policy, everybody(*ALL, back="2 ms")) for policy in (SERVER, DROPS, BACKUP)
    ],
    ("parameter_server", "the server"): [(policy, everybody("server0")) for policy in (SERVER, DROPS, BACKUP)],
    ("parameter_server, `checkpoint_every`", "the server"): [(SAVES, everybody("server0"))],
    ("parameter_server, `checkpoint_every`", "the server, and restarts"): [(SAVES, everybody("server0", back="2 ms"))],
    ("parameter_server, `replicas`", "the head"): [(CHAIN, everybody("server0"))],
    ("parameter_server, `replicas`", "another server"): [(CHAIN, everybody("server1"))],
    ("parameter_server, `replicas`", "all servers"): [(CHAIN, everybody("server0", "server1"))],
    ("parameter_server, `shards`", "one of the servers"): [
        ({**SERVER, "server": {"shards": 2}}, everybody(name)) for name in ("server0", "server1")
    ],
    ("parameter_server, `co_located`", "a worker"): [({**SERVER, "server": {"co_located": True}}, everybody("node1"))],
    ("parameter_server, wait, bounded_delay or ssp", "a worker"): [
        ({**SERVER, "consistency": kind}, everybody("node1")) for kind in ("bounded_delay", "ssp")
    ],
    ("parameter_server, wait, asp", "a worker"): [({**SERVER, "consistency": "asp"}, everybody("node1"))],
    ("parameter_server, timeout, not in step", "a worker"): [
        ({**DROPS, "consistency": kind}, everybody("node1")) for kind in ("bounded_delay", "ssp", "asp")
    ],
    ("model_parallel, gpipe, pipedream, spectrain", "a worker"): [
        ({"name": name}, everybody("node1")) for name in PIPELINES
    ],
    ("local_sgd, diloco", "a worker"): [
        ({"name": name, **patience}, everybody("node1"))
        for name in ("local_sgd", "diloco")
        for patience in ({}, {"timeout": "5 ms"})
    ],
    ("dpsgd", "a worker"): [({"name": "dpsgd"}, everybody("node1"))],
    ("dpsgd, `timeout`", "a worker"): [({"name": "dpsgd", "timeout": "5 ms"}, everybody("node1"))],
    ("gossip", "a worker"): [({"name": "gossip"}, everybody("node1"))],
    ("adpsgd", "a worker"): [({"name": "adpsgd"}, everybody("node1"))],
}

# The outcomes that a cell of this table tells of, by its phrases. Deaths are not told apart by what is computed again.
PHRASES = {
    "–": "not applicable",
    "lost": r"(?<!nothing is )(?<!of the step are )\blost\b",
    "stalled": "stalled",
    "fewer": r"goes on with fewer(?!, full size again|; it copies)|(?<!not )dropped(?!, takes part again)",
    "fewer for a while": "full size again at|it copies the state|takes part again|joins at a commit",
    "whole": r"at full size|waits for (it|them) and|and finishes|^goes on($|[;,])|others' pushes|not dropped|stands by|"
    "to the last checkpoint and goes on|the next one leads|the chain closes",
}


def outcomes(found: set[str]) -> set[str]:
    return {word if word in PHRASES else "whole" for word in found - {"repeats", "gives up"} or {"whole"}}


def rows_of_deaths() -> list[Any]:
    """Return (row, notice, cell) for each cell, with what `the same` and `as ring, elastic` stand for."""
    rows = {(row["strategy"], row["who dies"]): row for row in table("strategy", "who dies")}
    found = []
    for (strategy, who), row in rows.items():
        for notice in ("reset", "silence"):
            cell = row["reset"] if row[notice].startswith("the same") else row[notice]
            if cell.startswith("as ring, elastic"):
                cell = rows["ring, elastic", "a worker" if who.startswith("a member") else who][notice]
            found.append(pytest.param((strategy, who), notice, cell, id=f"{strategy}: {who}: {notice}"))
    return found


@pytest.mark.parametrize(("key", "notice", "cell"), rows_of_deaths())
def test_the_table_of_deaths(key: tuple[str, str], notice: str, cell: str) -> None:
    assert key in DEATHS, "a new row of the table needs its faults here"
    said = {outcome for outcome, phrase in PHRASES.items() if re.search(phrase, cell)}
    found: set[str] = set()
    for strategy, deaths in DEATHS[key]:
        faults = [crash(node, at, back, notice) for node, at, back in deaths]
        result = play(strategy, faults)
        found |= outcomes(words(result, undisturbed(strategy)))
        if "heartbeats' `timeout`" in cell:
            # Long before the timeouts of the ring, which are 5 ms each.
            assert 0 < result.failures[0].detected_at_ns - result.failures[0].at_ns < 2_600 * US
        if notice == "reset" and "after one path latency" in cell:
            assert result.failures[0].detected_at_ns == result.failures[0].at_ns + PATH_NS
    assert found == said


def test_what_is_played_stands_in_the_table_of_deaths() -> None:
    assert set(DEATHS) <= {(row["strategy"], row["who dies"]) for row in table("strategy", "who dies")}


# --- the table of the other faults ------------------------------------------------------------------------------------

COLUMNS: dict[str, list[dict[str, Any]]] = {
    "local": [{"name": "local"}],
    "ring: abort": [{"name": "ring"}],
    "abort, `timeout`": [RING],
    "elastic": [{**ELASTIC, **AGAIN}],
    "spares": [{**SPARES, **AGAIN}],
    "peer_recovery": [{**PEERS, **AGAIN}],
    "wait": [WAIT],
    "server: wait": [SERVER, SAVES, CHAIN],
    "server: timeout": [DROPS],
    "server: backup": [BACKUP],
}

# `worker` and `hub` are put in later: the second worker, and the rendezvous or the server. A step takes less than 2 ms.
SHORT, AFTER, LATE = {"lasts": "2 ms"}, {"lasts": "8 ms"}, {"lasts": "12 ms"}
PAUSE, LINK = {"kind": "pause", "node": "worker"}, {"source": "worker", "target": "switch"}
DOWN, FARTHER = {"kind": "link_down", **LINK}, {"kind": "link_degrade", **LINK, "latency": "6 ms"}
NARROWER = {"kind": "link_degrade", **LINK, "bandwidth": "20 kbit/s"}
SLOWER = {"kind": "slow_down", "node": "worker", "factor": 20}
LOSSES = [{"kind": kind, **LINK, "probability": "99 %", "lasts": "2 ms"} for kind in ("drop", "corrupt")]
UNDETECTED = {"kind": "corrupt", "detected": False, **LINK, "probability": "99 %"}
SIDES = {"kind": "partition", "groups": [["node0", "node1", "hub"], ["node2", "node3"]]}
BETWEEN_WORKERS = {"kind": "partition", "groups": [["node0", "node1"], ["node2", "node3"]]}
SWITCH, RACK = {"kind": "switch_down", "switch": "switch"}, {"kind": "switch_down", "switch": "rack0.switch"}
AGES = {"kind": "weibull", "shape": 9}
CHURN = {"kind": "churn", "nodes": ["worker"], "up": {**AGES, "scale": "7 ms"}, "down": {**AGES, "scale": "2 ms"}}

RACKS = {"topology": {"kind": "two_tier", "racks": 2}}
TCP = {"transport": {"kind": "tcp", "retransmission_timeout": "8 ms"}}

Way = tuple[Mapping[str, Any], Mapping[str, Any]]  # a fault, and the network that it strikes


def on(network: Mapping[str, Any], *faults: Mapping[str, Any]) -> list[Way]:
    return [(fault, network) for fault in faults]


def of_hub(fault: Mapping[str, Any]) -> dict[str, Any]:
    return placed(fault, {"worker": "hub"})


def placed(part: Any, names: Mapping[str, str]) -> Any:
    """Return a fault with other names in it."""
    if isinstance(part, Mapping):
        return {key: placed(value, names) for key, value in part.items()}
    return [placed(one, names) for one in part] if isinstance(part, list) else names.get(part, part)


FAULTS: dict[str, list[Way]] = {
    "any that holds up nobody for `timeout`; `corrupt`, detected": [
        *on({}, {**PAUSE, **SHORT}, {**DOWN, **SHORT}, {**SIDES, **SHORT}, {**BETWEEN_WORKERS, **SHORT}),
        *on({}, {**SLOWER, "factor": 3}, {**FARTHER, "latency": "500 us"}, {**NARROWER, "bandwidth": "2 Mbit/s"}),
        *on({"resend_after": "300 us"}, *LOSSES),
        *on({"resend_after": "300 us", **TCP}, *LOSSES),
    ],
    "`slow_down`, `link_degrade`, or `pause` or `link_down` that ends, of the rendezvous or the server": on(
        {}, of_hub(SLOWER), of_hub(FARTHER), of_hub({**PAUSE, **LATE}), of_hub({**DOWN, **LATE})
    ),
    "`pause` or `link_down` of the rendezvous or the server, for ever": on({}, of_hub(PAUSE), of_hub(DOWN)),
    "`pause`, `link_down` or `partition`, over between `timeout` and twice that; "
    "`drop` or `corrupt`, sent again so late": [
        *on({}, {**PAUSE, **AFTER}, {**DOWN, **AFTER}, {**SIDES, **AFTER}),
        *on({"resend_after": "8 ms"}, *LOSSES),
        *on(TCP, {**DOWN, **SHORT}),
    ],
    "`pause`, `link_down`, `slow_down` or `link_degrade` of a worker, over after twice `timeout`": on(
        {}, *({**fault, **LATE} for fault in (PAUSE, DOWN, SLOWER, FARTHER, NARROWER))
    ),
    "`link_down` of a worker, for ever": on({}, DOWN),
    "`pause` of a worker, for ever": on({}, PAUSE),
    "`slow_down` or `link_degrade` of a worker, for ever": on({}, SLOWER, FARTHER, NARROWER),
    "`partition`, the rendezvous or the server on one side, over after twice `timeout`": on({}, {**SIDES, **LATE}),
    "`partition`, the rendezvous or the server on one side, for ever": on({}, SIDES),
    "`partition` between workers whom the rendezvous or the server reaches, over after twice `timeout`": on(
        {}, {**BETWEEN_WORKERS, **LATE}
    ),
    "`partition` between workers whom the rendezvous or the server reaches, for ever": on({}, BETWEEN_WORKERS),
    "`switch_down` of one rack of two, back after twice `timeout`": on(RACKS, {**RACK, "restart_after": "12 ms"}),
    "`switch_down` of one rack of two, for ever": on(RACKS, RACK),
    "`switch_down` with all machines": on({}, SWITCH),
    "`corrupt`, not detected": on({}, UNDETECTED),
    "`churn` of a worker": on({}, CHURN),
}


def struck(strategy: Mapping[str, Any], fault: Mapping[str, Any], at_ns: int) -> dict[str, Any]:
    """Return the fault on what this strategy has, at this instant; churn keeps its own time."""
    worker = "node0" if strategy["name"] == "local" else "node1"
    hub = "server0" if strategy["name"] == "parameter_server" else "rendezvous"
    when = {} if fault["kind"] == "churn" else {"at": f"{at_ns} ns"}
    return {**placed(fault, {"worker": worker, "hub": hub}), **when}


def came_out(strategy: Mapping[str, Any], fault: Mapping[str, Any], network: Mapping[str, Any]) -> set[str]:
    """Return what is said of a fault that strikes while a step computes, or while it communicates."""
    quiet = undisturbed(strategy, network)
    begun = [event.time_ns for event in select(quiet.trace, "step_begin", "node0")]
    instants = [begun[3] + (begun[4] - begun[3]) * share // 100 for share in (30, 75)]
    runs = [play(strategy, [struck(strategy, fault, at_ns)], network) for at_ns in instants]
    return together([words(run, quiet) for run in runs])


def cells_of_faults() -> list[Any]:
    return [
        pytest.param(row["fault"], column, cell, id=f"{row['fault']}: {column}")
        for row in table("fault", "local")
        for column, cell in row.items()
        if column != "fault"
    ]


@pytest.mark.parametrize(("row", "column", "cell"), cells_of_faults())
def test_the_table_of_the_other_faults(row: str, column: str, cell: str) -> None:
    assert row in FAULTS, "a new row of the table needs its faults here"
    assert column in COLUMNS, "a new column of the table needs its strategy here"
    for strategy in COLUMNS[column]:
        for fault, network in FAULTS[row]:
            assert came_out(strategy, fault, network) == set(cell.split(", ")), fault


@pytest.mark.parametrize("column", COLUMNS)
def test_who_is_missed_for_longer_than_the_timeout_of_a_ring_is_falsely_suspected(column: str) -> None:
    is_ring_with_timeout = column == "abort, `timeout`" or column in ("elastic", "spares", "peer_recovery", "wait")
    (strategy, *_) = COLUMNS[column]
    for lasts, suspects in ((SHORT, False), (AFTER, is_ring_with_timeout)):
        result = play(strategy, [struck(strategy, {**DOWN, **lasts}, EARLY)])
        assert bool(result.false_suspicions) == suspects


@pytest.mark.parametrize("column", COLUMNS)
def test_who_outlives_a_switch_with_all_machines_that_comes_back(column: str) -> None:
    for strategy in COLUMNS[column]:
        result = play(strategy, [struck(strategy, {**SWITCH, "restart_after": "12 ms"}, EARLY)])
        assert result.outcome is (Outcome.FINISHED if strategy == SAVES else Outcome.LOST)


@pytest.mark.parametrize("strategy", [ELASTIC, PEERS], ids=["elastic", "peer_recovery"])
def test_without_set_aside_who_was_given_up_stays_away(strategy: Mapping[str, Any]) -> None:
    result = play(strategy, [struck(strategy, {**DOWN, **LATE}, EARLY)])
    assert "fewer" in words(result, undisturbed(strategy))


def test_what_is_played_stands_in_the_table_of_the_other_faults() -> None:
    rows = table("fault", "local")
    assert set(FAULTS) <= {row["fault"] for row in rows}
    assert set(COLUMNS) <= set(rows[0])


# --- what a heartbeat and a checkpoint are worth in 4node_fail --------------------------------------------------------


def in_4node_fail(*overrides: str) -> Result:
    return simulate(load("4node_fail", list(overrides)).scenario)


def as_in(cell: str, ns: int | None) -> str:
    """Return a time in seconds to as many digits as the cell has; what the cell says besides is kept."""
    digits = re.match(r"\d+\.(\d+) s", cell)
    assert digits, cell
    return f"{(ns or 0) / 1e9:.{len(digits[1])}f} s{cell[digits.end() :]}"


def settings_in(cell: str) -> str | None:
    """Return what a cell has in backticks, if it begins with that."""
    quoted = re.match("`(.*?)`", cell)
    return None if quoted is None else quoted[1]


def test_the_table_of_heartbeats() -> None:
    rows = table("`strategy.heartbeat`", "detected after")
    assert len(rows) == 4
    for row in rows:
        beats = settings_in(row["`strategy.heartbeat`"])
        result = in_4node_fail("faults[0].notice=silence", *([f"strategy.heartbeat={beats}"] if beats else []))
        (failure,) = result.failures
        since = {
            "detected after": failure.detected_at_ns,
            "trains again after": failure.resumed_at_ns,
            "at full size after": failure.recovered_at_ns,
        }
        for heading, at_ns in since.items():
            assert row[heading] == as_in(row[heading], (at_ns or 0) - failure.at_ns)
        assert row["run"] == as_in(row["run"], result.virtual_time_ns)


def test_the_table_of_checkpoints() -> None:
    die = ", ".join(f"{{kind: crash, node: node{rank}, at: 15.05 s, restart_after: 3 s}}" for rank in range(4))
    store = "cluster.storage={bandwidth: 10 MB/s, latency: 10 ms}"
    rows = table("`checkpoint_every`", "outcome")
    assert len(rows) == 4
    for row in rows:
        every = row["`checkpoint_every`"].replace("none", "null")
        result = in_4node_fail(f"faults=[{die}]", store, f"strategy.checkpoint_every={every}")
        if row["outcome"] == "lost":
            assert result.outcome is Outcome.LOST
            continue
        assert (str(result.outcome), row["outcome"]) == ("finished", "finishes")
        assert row["updates made in vain"] == str(result.lost_work)
        assert row["all saves took"] == as_in(row["all saves took"], result.checkpoints.saving_ns)
        assert row["run"] == as_in(row["run"], result.virtual_time_ns)


def test_the_table_of_collectives() -> None:
    rows = table("8 machines in two racks", "`order: listed`")
    assert [row["8 machines in two racks"] for row in rows] == [f"`{name}`" for name in get_args(AllReduceName)]
    for row in rows:
        name = settings_in(row["8 machines in two racks"])
        for order in ("listed", "topology"):
            overrides = [f"strategy.collective={name}", f"strategy.order={order}"]
            time_ns = simulate(load("rack_order", overrides).scenario).virtual_time_ns
            assert row[f"`order: {order}`"] == as_in(row[f"`order: {order}`"], time_ns)
