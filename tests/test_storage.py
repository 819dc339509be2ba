"""The store that all machines share: hand-computed times, sharing, atomic saves, and what the trace says of it."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from worlds import MS, US, Story, cluster, crash, tell, training

from ringsim import accounting
from ringsim.checkpointing import daly_first_order_ns, daly_ns, young_ns
from ringsim.report.table import run_table
from ringsim.simulation import simulate
from ringsim.trace import Event
from ringsim.units import about_duration

# 1 byte takes 1 us for who is alone, and each save and load 100 us before that.
STORAGE = {"bandwidth": "8 Mbit/s", "latency": "100 us"}
LATENCY_NS = 100 * US


def story(programs: dict[str, Any], faults: Any = (), storage: Any = STORAGE, **options: Any) -> Story:
    return tell(cluster(len(programs), faults=faults, storage=storage), programs, **options)


def saves(*pieces: tuple[int, str, Any, int]):
    """Save (at, name, payload, size) one after another, and return when each was done."""

    def run(node):
        done = []
        for at_ns, name, payload, size_bytes in pieces:
            yield from node.sleep(max(0, at_ns - node.now_ns))
            yield from node.save(name, payload, size_bytes)
            done.append(node.now_ns)
        return done

    return run


def loads(*names: str, at_ns: int = 0):
    """Load one after another; return what came, and when."""

    def run(node):
        yield from node.sleep(at_ns)
        got = []
        for name in names:
            payload = yield from node.load(name)
            got.append((payload, node.now_ns))
        return got

    return run


def test_a_save_takes_the_latency_and_its_bytes():
    told = story({"node0": saves((0, "a", 1, 1_000), (0, "b", 2, 0))})
    assert told.played.results["node0"] == [1_100 * US, 1_200 * US]
    assert told.times("save_begin") == [0, 1_100 * US]
    assert told.times("save_end") == [1_100 * US, 1_200 * US]
    assert [event.fields for event in told.of("save_end")] == [
        {"name": "a", "size_bytes": 1_000},
        {"name": "b", "size_bytes": 0},
    ]


def test_a_load_takes_as_long_as_the_save_and_nothing_takes_the_latency():
    told = story({"node0": saves((0, "a", "model", 500)), "node1": loads("b", "a", at_ns=1 * MS)})
    assert told.played.results["node1"] == [(None, 1_100 * US), ("model", 1_700 * US)]
    assert [event.fields["size_bytes"] for event in told.of("load_end")] == [None, 500]


def test_all_who_save_and_load_share_the_bandwidth():
    # Alone from 100 us to 600 us: 500 B. Then two share it, until node1's 200 B are there after 400 us; 300 B are left.
    told = story({"node0": saves((0, "a", 0, 1_000)), "node1": saves((500 * US, "b", 0, 200))})
    assert told.played.results == {"node0": [1_300 * US], "node1": [1_000 * US]}


@pytest.mark.parametrize("nodes", [2, 3, 7])
def test_equal_saves_are_done_together(nodes):
    told = story({f"node{rank}": saves((0, f"of node{rank}", rank, 300)) for rank in range(nodes)})
    assert set(map(tuple, told.played.results.values())) == {(LATENCY_NS + nodes * 300 * US,)}


def test_the_store_takes_nothing_of_the_network():
    def sends(node):
        yield from node.send("node0", None, 125_000, tag=0).sent()
        return node.now_ns

    told = story({"node0": saves((0, "a", 0, 1_000)), "node1": sends})
    assert told.played.results == {"node0": [1_100 * US], "node1": 1 * MS}


@pytest.mark.parametrize("at_ns", [1_500 * US, 1_600 * US, 1_601 * US, 2_099 * US, 2_100 * US])
def test_a_save_that_a_death_cuts_short_leaves_the_version_before(at_ns):
    first, second = (0, "a", "old", 400), (1_500 * US, "a", "new", 500)
    programs = {"node0": saves(first, second), "node1": loads("a", at_ns=3 * MS)}
    told = story(programs, faults=[crash("node0", at_ns)])
    # A fault comes first of all that happens at one instant: at 2,100 us the save is not through.
    assert told.played.results["node1"][0][0] == "old"
    assert not told.of("save_end", "node0", size_bytes=500)
    assert told.played.results["node1"] == [("old", 3 * MS + LATENCY_NS + 400 * US)], "nothing of it is under way"


def test_a_save_that_is_through_stays_though_its_machine_dies():
    programs = {"node0": saves((0, "a", "new", 500)), "node1": loads("a", at_ns=1 * MS)}
    told = story(programs, faults=[crash("node0", 600 * US + 1)])
    assert told.played.results["node1"][0][0] == "new"


def test_a_load_is_of_the_version_that_was_there_when_it_began():
    programs = {"node0": saves((0, "a", "old", 100), (900 * US, "a", "new", 100)), "node1": loads("a", at_ns=950 * US)}
    told = story(programs)
    # Both share the store from 1,050 us on; the new version is there at 1,150 us, in the middle of the load.
    assert told.played.results["node1"] == [("old", 1_200 * US)]


def test_a_load_is_of_the_version_that_came_while_its_latency_passed():
    programs = {"node0": saves((0, "a", "old", 100), (900 * US, "a", "new", 100))}
    told = story({**programs, "node1": loads("a", at_ns=1_050 * US)})
    assert told.played.results["node1"] == [("new", 1_100 * US + 50 * US + 100 * US)]


# It stands still while the latency passes, and asks for its bytes when it goes on; or while they flow.
@pytest.mark.parametrize(("after_ns", "done_ns"), [(50 * US, 5_400 * US), (200 * US, 5_000 * US)])
def test_who_stands_still_hears_of_what_it_saved_or_loads_when_it_goes_on(after_ns, done_ns):
    def both(node):
        yield from node.save("a", "new", 400)
        saved_ns = node.now_ns
        yield from node.sleep(10 * MS - node.now_ns)
        payload = yield from node.load("a")
        return saved_ns, payload, node.now_ns

    def stops(at_ns):
        return {"kind": "pause", "node": "node0", "at": f"{at_ns + after_ns} ns", "lasts": f"{5 * MS - after_ns} ns"}

    told = story({"node0": both, "node1": loads("a", at_ns=1 * MS)}, faults=[stops(0), stops(10 * MS)])
    assert told.played.results["node0"] == (done_ns, "new", 10 * MS + done_ns)
    # What is saved is there for all, whether or not its saver knows.
    came = (None, 1_100 * US) if after_ns < LATENCY_NS else ("new", 1_500 * US)
    assert told.played.results["node1"] == [came]


@pytest.mark.parametrize("shuffle_ties", [None, *range(6)])
def test_of_two_who_are_done_at_one_instant_the_later_in_the_scenario_stands(shuffle_ties):
    programs = {f"node{rank}": saves((0, "a", f"node{rank}", 100)) for rank in range(3)}
    programs["node3"] = loads("a", at_ns=5 * MS)
    told = story(programs, shuffle_ties=shuffle_ties)
    assert told.played.results["node3"][0][0] == "node2"


def test_a_free_store_takes_no_time_but_that_of_its_bytes():
    told = story({"node0": saves((0, "a", 0, 0), (0, "a", 0, 1))}, storage={"latency": "0 s", "bandwidth": "8 Gbit/s"})
    assert told.played.results["node0"] == [0, 1]


# --- what it cost -----------------------------------------------------------------------------------------------------


def test_what_saving_cost_is_read_from_the_trace():
    programs = {"node0": saves((0, "a", 0, 400), (2 * MS, "a", 0, 400), (5 * MS, "a", 0, 400))}
    told = story(programs, faults=[crash("node0", 5_300 * US)])
    saved = accounting.checkpoints(told.events)
    assert (saved.saves, saved.saved_bytes) == (2, 800)
    assert saved.saving_ns == 2 * 500 * US + 300 * US, "what was cut short has cost time too"
    assert saved.mean_interval_ns == (0 + 1_500 * US + 2_500 * US) // 3


def test_a_run_that_ends_while_somebody_saves_has_saved_until_then():
    events = [
        Event(3, "node0", "save_begin", {"name": "a", "size_bytes": 9}),
        Event(7, "", "outcome", {"outcome": "finished"}),
    ]
    assert accounting.checkpoints(events).saving_ns == 4


def test_without_checkpoints_the_summary_says_so():
    summary = simulate(training("ring", nodes=2, steps=2)).summary()
    nothing = {"saves": 0, "saving_ns": 0, "saved_bytes": 0, "mean_interval_ns": None, "loads": 0}
    nothing |= {"young_ns": None, "daly_ns": None}
    assert summary["checkpoints"] == nothing
    assert summary["lost_work"] == 0
    assert summary["goodput"] == pytest.approx(2 / (summary["virtual_time_ns"] / 1e9))


def wasted(interval: float, save: float, between_failures: float) -> float:
    """Return the time a unit of work takes, by Daly's complete model: failures at random, no time for a restart."""
    return between_failures * (math.exp((interval + save) / between_failures) - 1) / interval


@settings(max_examples=60, deadline=None)
@given(st.integers(10**3, 10**8), st.integers(5, 10_000))
def test_daly_s_interval_is_the_best_of_his_model_and_young_s_nearly(save_ns, ratio):
    between_ns = save_ns * ratio
    least = min(wasted(young_ns(save_ns, between_ns) * factor / 100, save_ns, between_ns) for factor in range(20, 400))
    assert wasted(daly_ns(save_ns, between_ns), save_ns, between_ns) <= least * 1.002
    assert wasted(young_ns(save_ns, between_ns), save_ns, between_ns) <= least * 1.03
    first = daly_first_order_ns(save_ns, between_ns, restart_ns=0)
    assert wasted(first, save_ns, between_ns) <= least * 1.03


@pytest.mark.parametrize(
    ("save", "between", "best"),
    [
        # Worked by hand from T = sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C; from C = 2M on, T = M.
        (54, 243, 128),  # C / 2M = 1 / 9: 162 (1 + 1 / 9 + 1 / 81) - 54 = 162 * 91 / 81 - 54
        (36, 32, 27),  # C / 2M = 9 / 16, C > M: 48 (1 + 1 / 4 + 1 / 16) - 36 = 48 * 21 / 16 - 36
        (72, 36, 36),  # C = 2M: the formula would still give 72 (1 + 1 / 3 + 1 / 9) - 72 = 32
        (90, 36, 36),
    ],
)
def test_daly_s_interval_is_that_of_his_formula(save: int, between: int, best: int) -> None:
    assert daly_ns(save, between) == best


@pytest.mark.parametrize(
    ("save", "between", "restart", "young", "daly"),
    [
        # T = sqrt(2 C M) by Young, sqrt(2 C (M + R)) - C by Daly.
        (2, 100, 0, 20, 18),
        (2, 100, 125, 20, 28),
        (18, 100, 0, 60, 42),
        (200, 4, 0, 40, 0),  # 40 - 200 is no interval.
    ],
)
def test_the_first_estimates_are_those_of_their_formulas(
    save: int, between: int, restart: int, young: int, daly: int
) -> None:
    assert young_ns(save, between) == young
    assert daly_first_order_ns(save, between, restart) == daly


@pytest.mark.parametrize("fails", [False, True])
def test_run_prints_what_was_measured_and_after_a_failure_what_would_be_best(fails):
    strategy = {"name": "parameter_server", "server": {"checkpoint_every": 2}}
    faults = [crash("server0", 2 * MS, "1 ms")] if fails else []
    result = simulate(training(strategy, nodes=2, steps=6, faults=faults, cluster={"storage": STORAGE}))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(run_table(result))
    (line,) = [line for line in console.export_text().splitlines() if line.startswith("checkpoints")]
    saved = result.checkpoints
    assert f"{saved.saves} of {about_duration(saved.saving_ns // saved.saves)} each" in line
    assert about_duration(saved.mean_interval_ns) in line
    best = f"{about_duration(young_ns(saved.saving_ns // saved.saves, result.virtual_time_ns))} (Young)"
    assert (best in line, "(Daly)" in line) == (fails, fails)
