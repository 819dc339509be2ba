"""`ringsim collective`: its figures against formulas, its crossovers, its options, and what it says when it cannot.

What is not here: the collectives themselves (`test_collective_plans.py`).
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import play_collective

from ringsim.cli import run_command
from ringsim.collectives.fitted import fitted
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.table import ALGORITHMS, blank_buffers
from ringsim.errors import UsageError
from ringsim.measure import alpha_and_bandwidth, comparable, compare, crossovers, measure, sizes_of
from ringsim.scenario import Cluster, Scenario
from ringsim.units import RATE

RATE_50, ALPHA_NS = 50_000_000, 40_000

SCENARIO = """\
name: small
task: {steps: 5}
cluster:
  nodes: [{name: a, bandwidth: 8 Mbit/s}, {name: b, latency: 1 ms}, {name: c}]
  network: {bandwidth: 16 Mbit/s, latency: 500 us}
strategy: {name: ring}
faults: [{kind: crash, node: b, at: 0 s}]
"""


def cluster(nodes: Any = 4, **network: Any) -> Cluster:
    return Cluster.model_validate(
        {"nodes": nodes, "network": {"bandwidth": "50 Mbit/s", "latency": "20 us", **network}}
    )


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command(["collective", *arguments]) == 0
    return capsys.readouterr().out


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    return json.loads(printed(capsys, *arguments, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run_command(["collective", *arguments])
    shown = capsys.readouterr()
    assert shown.out == ""
    return code, shown.err.strip()


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_ring_of_four_has_the_figures_of_its_formula(capsys):
    (ring,) = measured(capsys, "--nodes", "4", "--algorithm", "ring", "--size", "400KB")
    time_ns = 6 * (ALPHA_NS + 16_000_000)
    assert ring == {
        "algorithm": "ring",
        "topology": "star",
        "nodes": 4,
        "size_bytes": 400_000,
        "time_ns": time_ns,
        "algbw_bits_per_s": 8 * 400_000 * 10**9 // time_ns,
        "busbw_bits_per_s": int(Fraction(3, 2) * Fraction(8 * 400_000 * 10**9, time_ns)),
        "predicted_ns": time_ns,
        "messages": 24,
        "bytes_on_wire": 6 * 400_000,
    }


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("ranks", [2, 3, 4, 6, 9])
def test_messages_and_bytes_are_those_on_the_wire(name, ranks):
    length, servers = 45, ALGORITHMS[name].servers
    found = measure(cluster(ranks), name, 4 * length)
    plan, buffers = ALGORITHMS[name].plan(ranks + servers, length), blank_buffers(name, ranks + servers, length)
    world = {"name": "w", "task": {"steps": 1}, "strategy": {"name": "local"}}
    scenario = Scenario.model_validate({**world, "cluster": cluster(ranks + servers).model_dump(mode="json")})
    sent = play_collective(scenario, plan, buffers).of("depart")
    assert found.messages == len(sent)
    assert found.bytes_on_wire == sum(event.fields["size_bytes"] for event in sent)
    assert plan.number_of_messages(ranks + servers) == len(sent)


def test_a_parameter_server_has_a_machine_of_its_own():
    found = measure(cluster(4), "parameter_server", 50_000)
    assert (found.nodes, found.messages) == (4, 8)
    assert found.time_ns == found.predicted_ns == 2 * (ALPHA_NS + 4 * 8_000_000)


def test_framing_is_on_the_wire_and_not_in_the_prediction():
    plain = measure(cluster(4), "ring", 4 * 1_448)
    framed = measure(cluster(4, transport={"kind": "framed"}), "ring", 4 * 1_448)
    assert framed.bytes_on_wire == plain.bytes_on_wire // 1_448 * 1_514
    assert framed.predicted_ns == plain.predicted_ns == plain.time_ns < framed.time_ns


def test_one_machine_needs_no_time(capsys):
    (ring,) = measured(capsys, "--nodes", "1", "--algorithm", "ring", "--size", "4KB")
    assert (ring["time_ns"], ring["predicted_ns"], ring["messages"], ring["busbw_bits_per_s"]) == (0, 0, 0, 0)
    assert printed(capsys, "--nodes", "1", "--algorithm", "ring", "--size", "4KB").splitlines()[1].split()[-1] == "-"


def test_several_ranks_on_a_machine_all_take_part():
    found = measure(cluster([{"name": "a", "processes": 2}, {"name": "b"}]), "ring", 1_200)
    assert (found.nodes, found.messages) == (2, 2 * 3 * 2)


def test_both_fidelities_give_the_same():
    for name in ALGORITHMS:
        assert measure(cluster(5), name, 4_000, "auto") == measure(cluster(5), name, 4_000, "message")


def test_a_collective_that_takes_longer_than_anybody_waits_is_a_mistake_of_usage(capsys):
    code, said = refused(capsys, "--bandwidth", "1 bit/s", "--size", "400MB")
    assert code == 2
    assert said == ("error: ring_all_reduce takes more than 30 years; choose more bandwidth, or a smaller size")


def test_the_textbook_is_told_of_the_paths_that_a_collective_takes():
    # Only the paths to the server and back, and only the edges of the tree, from parent to child.
    racks = {"topology": {"kind": "two_tier", "racks": 2}}
    for name, links in (("parameter_server", 3), ("broadcast", 4)):
        plan = fitted(name, cluster(4, **racks), 1)
        found = alpha_and_bandwidth(cluster(4, **racks), plan, ALGORITHMS[name].servers)
        assert found == (links * 20_000, RATE_50)
    slow = {"links": [{"source": "node1", "target": "switch", "one_way": True, "bandwidth": "1 Mbit/s"}]}
    server, broadcast = (fitted(name, cluster(4, **slow), 1) for name in ("parameter_server", "broadcast"))
    assert alpha_and_bandwidth(cluster(4, **slow), server, 1)[1] == 10**6
    assert alpha_and_bandwidth(cluster(4, **slow), broadcast)[1] == 10**6
    slow["links"][0]["source"] = "node3"  # a leaf of the tree, which sends nothing
    assert alpha_and_bandwidth(cluster(4, **slow), broadcast)[1] == RATE_50


def test_alpha_is_a_whole_path_with_its_overhead_and_the_slowest_machine_sets_the_bandwidth():
    nodes = [
        {"name": "a", "latency": "5 us"},
        {"name": "b", "bandwidth": "3 Mbit/s"},
        {"name": "c", "latency": "70 us"},
    ]
    assert alpha_and_bandwidth(cluster(nodes, message_overhead="9 us"), RingAllReduce()) == (99_000, 3_000_000)


# --- who wins ---------------------------------------------------------------------------------------------------------


def test_the_crossover_of_tree_and_ring_is_where_the_formulas_meet(capsys):
    # 6 (a + S/B) = 14 a + 14/8 S/B on eight machines, with a = 2 ms: S = 8 a B / 4.25.
    shown = printed(capsys, "--latency", "1 ms", "--size", "4KB,400KB")
    expected_bytes = Fraction(8 * 2_000_000 * RATE_50, 8 * 10**9) / Fraction(17, 4)
    assert 23_500 < expected_bytes < 23_600
    assert shown.splitlines()[-1] == "Below 24 KB tree wins, above it ring."
    (crossing,) = compare(cluster(8, latency="1 ms"), ["ring", "tree"], [4_000, 400_000]).crossovers
    assert (crossing.below, crossing.above) == (("tree",), ("ring",))
    assert abs(crossing.size_bytes - expected_bytes) <= expected_bytes / 100


def test_who_wins_always_is_said_once(capsys):
    shown = printed(capsys, "--algorithm", "ring,halving_doubling", "--size", "4KB,4MB")
    assert shown.splitlines()[-1] == "halving_doubling wins at every size."


def test_what_does_something_else_does_not_compete(capsys):
    assert "wins" not in printed(capsys, "--algorithm", "ring,reduce_scatter,broadcast", "--size", "4KB,4MB")
    assert comparable(["all_gather", "tree", "reduce_scatter", "parameter_server"]) == ["tree", "parameter_server"]


@given(st.lists(st.integers(2, 10**6), min_size=1, max_size=4, unique=True), st.data())
def test_every_change_of_winner_is_found_to_one_percent(limits, data):
    borders = sorted(4 * limit for limit in limits)
    names = [f"plan{index}" for index in range(len(borders) + 1)]
    winner = lambda size: (names[sum(border <= size for border in borders)],)  # noqa: E731
    between = sorted(data.draw(st.lists(st.integers(2, 10**6), max_size=3, unique=True)))
    sizes = [4, *(4 * size for size in between), 4 * 10**6 + 4]
    found = crossovers(sizes, winner)
    assert found[0].below == (names[0],)
    for crossing in found:
        near = [border for border in borders if 0 <= crossing.size_bytes - border <= max(4, border // 100)]
        assert near
        assert winner(crossing.size_bytes) == crossing.above != crossing.below
    assert found[-1].above == (names[-1],)


def test_who_takes_the_same_time_does_not_win(capsys):
    # On one machine nothing takes time. On two, a tree of 8 bytes takes 1 us more than two halves one after another.
    shown = printed(capsys, "--nodes", "1", "--size", "4KB,4MB")
    assert shown.splitlines()[-1] == "ring and tree are equally fast at every size."
    halves = ["--algorithm", "ring,halving_doubling,tree", "--nodes", "2"]
    assert printed(capsys, *halves, "--size", "8 B,4KB").splitlines()[-1] == (
        "ring and halving_doubling are equally fast at every size."
    )
    # An element cannot be halved: whoever sends nothing at first is done as late.
    shown = printed(capsys, *halves, "--size", "4 B,4KB")
    assert shown.splitlines()[-1].startswith("Below 8 B ")
    assert shown.splitlines()[-1].endswith(", above it ring and halving_doubling are equally fast.")


# --- options ----------------------------------------------------------------------------------------------------------


def test_a_scenario_gives_its_cluster_and_neither_its_faults_nor_its_task(tmp_path: Path, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    (ring,) = measured(capsys, str(path), "--algorithm", "ring", "--size", "12KB")
    assert ring["nodes"] == 3
    # A segment of 4,000 bytes goes from a to b, c, a, and b again.
    ways_ns = [1_500_000 + 4_000_000, 1_500_000 + 2_000_000, 1_000_000 + 4_000_000, 1_500_000 + 4_000_000]
    assert ring["time_ns"] == sum(ways_ns)


def test_options_change_the_scenario_and_set_has_the_last_word(tmp_path: Path, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    options = ["--nodes", "2", "--bandwidth", "1 Mbit/s", "--latency", "2 ms", "--transport", "framed"]
    (ring,) = measured(capsys, str(path), "--algorithm", "ring", "--size", "2KB", *options)
    assert ring["time_ns"] == 2 * (4_000_000 + 8 * (1_000 + 66) * 1_000)
    sets = ["--set", "cluster.network.latency=3 ms", "--set", "cluster.network.transport.header=0 B"]
    (ring,) = measured(capsys, str(path), "--algorithm", "ring", "--size", "2KB", *options, *sets)
    assert ring["time_ns"] == 2 * (6_000_000 + 8 * 1_000 * 1_000)


def test_without_a_file_there_are_eight_machines(capsys):
    (tree,) = measured(capsys, "--algorithm", "tree", "--size", "40 B")
    assert (tree["nodes"], tree["time_ns"]) == (8, 6 * (ALPHA_NS + 6_400))


def test_algorithms_and_sizes_are_listed_in_order(capsys):
    rows = measured(capsys, "--algorithm", "tree, ring", "--size", "400KB,4KB")
    order = [(row["size_bytes"], row["algorithm"]) for row in rows]
    assert order == [(size, name) for size in (4_000, 400_000) for name in ("tree", "ring")]


def test_the_table_says_how_far_the_textbook_is_off(capsys):
    shown = printed(capsys, "--transport", "framed", "--algorithm", "ring", "--size", "92672B")
    assert shown.splitlines()[1].split()[-2:] == ["+4.5", "%"]
    shown = printed(capsys, "--nodes", "3", "--algorithm", "tree", "--size", "4 B", "--latency", "1 ms")
    # The textbook counts two rounds up; both children of rank 0 send at once.
    assert shown.splitlines()[1].split()[-2].startswith("-")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("4KB", [4_000]),
        ("4 KiB, 4KB", [4_000, 4_096]),
        ("1KB:1KB:x2", [1_000]),
        ("1KB:999KB:x10", [1_000, 10_000, 100_000]),
        ("0 B", [0]),
    ],
)
def test_sizes(text, sizes):
    assert sizes_of(text) == sizes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("4", '--size: 4 has no unit; a size is written like "64 KiB"; did you mean "4 KiB"?'),
        ("4KB:8KB", '"4KB:8KB" is not a range of sizes; write it like "4KB:64MB:x4", or list sizes'),
        ("4KB:8KB:2", 'write it like "4KB:64MB:x4"'),
        ("4KB:8KB:x1", 'write it like "4KB:64MB:x4"'),
        ("8KB:4KB:x2", "goes from a size to a larger one by a factor; the first is above 0 B"),
        ("0B:4KB:x2", "the first is above 0 B"),
        ("", "is not a size"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(text, sentence):
    with pytest.raises(UsageError) as error:
        sizes_of(text)
    assert str(error.value).startswith("--size: ")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("option", "value", "key", "sentence"),
    [
        ("--bandwidth", "50", "cluster.network.bandwidth", "has no unit"),
        ("--latency", "20 us2", "cluster.network.latency", "is not a unit for a duration"),
        ("--nodes", "0", "cluster.nodes", "must be from 1 to 100000"),
        ("--transport", "tpc", "cluster.network.transport.kind", 'there is no transport "tpc"'),
        ("--topology", "stra", "cluster.network.topology.kind", "star"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(capsys, option, value, key, sentence):
    code, said = refused(capsys, option, value, "--algorithm", "ring")
    assert code == 3
    assert said.startswith(f"{option} {value}: {key}: ")
    assert sentence in said


def test_a_key_that_a_collective_alone_does_not_have_is_refused(capsys):
    code, said = refused(capsys, "--set", "task.steps=9", "--algorithm", "ring")
    assert code == 2
    assert said.startswith("error: --set task.steps=9: a collective alone has only a cluster and a seed")


def test_the_seed_decides_what_lossy_links_lose(tmp_path: Path, capsys):
    lossy = ["--algorithm", "ring", "--size", "80KB", "--set", "cluster.network.drop=20 %"]
    times = {}
    for seed in (1, 2, 3):
        times[seed] = [measured(capsys, *lossy, "--set", f"seed={seed}")[0]["time_ns"] for _ in range(2)]
    assert all(first == again for first, again in times.values())
    assert len({first for first, _ in times.values()}) > 1
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO.replace("name: small", "name: small\nseed: 2"))
    (ring,) = measured(capsys, str(path), *lossy, "--nodes", "8", "--bandwidth", "50 Mbit/s", "--latency", "20 us")
    assert ring["time_ns"] == times[2][0]


def test_an_algorithm_that_does_not_exist_gets_a_suggestion(capsys):
    code, said = refused(capsys, "--algorithm", "ring,tre")
    assert code == 2
    assert said == 'error: there is no collective "tre"; did you mean tree?'
    code, said = refused(capsys, "--algorithm", "gossip")
    assert code == 2
    assert 'there is no collective "gossip"; choose from ring, tree, halving_doubling' in said


def test_a_size_that_is_no_number_of_elements_gets_the_next_one(capsys):
    code, said = refused(capsys, "--size", "4001 B")
    assert code == 2
    assert "4001 bytes are no whole number of float32, which have 4 each; take 4 KB" in said


def test_rates_and_sizes_in_the_table_are_readable(capsys):
    shown = printed(capsys, "--algorithm", "ring", "--size", "256KB,1MiB", "--bandwidth", "40 Gbit/s")
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [["256", "KB"], ["1", "MiB"]]
    assert "Gbit/s" in shown
    assert RATE.parse("40 Gbit/s") == 40 * 10**9


def test_a_size_that_is_no_whole_number_names_those_next_to_it(capsys):
    assert refused(capsys, "--size", "3B", "--algorithm", "ring")[1].endswith("take 4 B")
    assert "take 4 KB or 4004 B" in refused(capsys, "--size", "4001B", "--algorithm", "ring")[1]


def test_what_takes_no_time_has_no_bandwidth():
    alone = measure(cluster(1), "ring", 4_000)
    assert (alone.time_ns, alone.algbw_bits_per_s, alone.busbw_bits_per_s) == (0, 0, 0)


def test_an_algorithm_that_is_named_twice_is_measured_once(capsys):
    run_command(["collective", "--nodes", "2", "--size", "4KB", "--algorithm", "ring, ring", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 1
