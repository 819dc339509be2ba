"""The seed paper's experiment: hypotheses against closed forms by hand, the nearest fits, curves that are kept.

What is not here: what the trainings come to, which takes an hour: docs/paper.md.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ringsim.cli import run_command
from ringsim.errors import UsageError
from ringsim.learning.memo import Memo
from ringsim.paper.experiment import Curve, Epoch, curves, trainings
from ringsim.paper.fitting import Lines, linear, nearest
from ringsim.paper.hypotheses import (
    COUNTED,
    HYPOTHESES,
    MACHINES,
    TABLE,
    Fit,
    fitted,
    ring_without_numbers,
    training_of,
)
from ringsim.paper.store import BANDWIDTH, SPEED_FLOPS, readings
from ringsim.report.paper import picture
from ringsim.simulation import simulate

FLOP = 71_954_688 * 128  # of a step: three times the products of a forward pass, by hand in test_learning.py
GRADIENT = 4 * 1_199_882
MEMO = Memo()


def play(scenario, strategy=ring_without_numbers):
    return simulate(scenario, strategy=strategy, memo=MEMO)


@pytest.fixture(scope="module")
def fits() -> dict[tuple[str, str], Fit]:
    return {(one.letter, counted): fitted(one, counted, play) for one in HYPOTHESES for counted in COUNTED}


def segment_seconds(ranks: int, bandwidth: float) -> float:
    return 8 * 4 * math.ceil(GRADIENT / 4 / ranks) / bandwidth


def ring_seconds(ranks: int, bandwidth: float) -> float:
    """The textbook's 2(N-1) steps, each of which waits for the longest segment; a path has two links of 50 us."""
    return 2 * (ranks - 1) * (1e-4 + segment_seconds(ranks, bandwidth))


# (epochs, steps of an epoch) for 1, 3 and 4 workers, written out.
STEPS = {
    "a": [(12, 469), (12, 157), (12, 118)],
    "c": [(12, 469), (4, 469), (3, 469)],
    "d": [(12, 500), (4, 166), (3, 125)],
    "e": [(12, 500), (12, 166), (12, 125)],
}


@pytest.mark.parametrize("letter", STEPS)
def test_a_hypothesis_takes_what_the_textbook_says(fits, letter: str) -> None:
    fit = fits[letter, "nodes"]
    for machines, seconds, (epochs, steps) in zip(MACHINES, fit.seconds, STEPS[letter], strict=True):
        bandwidth = math.inf if fit.found is None else fit.found
        exchange = ring_seconds(machines, bandwidth) if fit.found is not None else 0
        assert seconds == pytest.approx(epochs * steps * (FLOP / fit.speed_flops + exchange), rel=1e-4)


def test_processes_share_a_machine_and_count_as_workers(fits) -> None:
    """By hand: 12 epochs of 469 steps by 2, 6 and 8 with a free network, where the way within a machine takes 0.4 %."""
    fit = fits["b", "processes"]
    for seconds, steps in zip(fit.seconds, (12 * 235, 12 * 79, 12 * 59), strict=True):
        alone = steps * FLOP / (fit.speed_flops / 2)
        assert alone < seconds < 1.01 * alone
    fit = fits["d", "processes"]
    for seconds, steps in zip(fit.seconds[1:], (2 * 83, 2 * 62), strict=True):
        # A card carries what one of its two ranks passes on to the next machine; some of it while others compute.
        assert seconds > steps * max(FLOP / (fit.speed_flops / 2), 10 / 6 * 8 * GRADIENT / fit.found)


@pytest.mark.parametrize(("machines", "processes"), [(1, 1), (3, 1), (4, 1), (3, 2)])
def test_the_ring_without_numbers_takes_the_time_of_the_ring(machines: int, processes: int) -> None:
    scenario = training_of(machines, processes, 10**11, 5 * 10**8, steps=3)
    # The times of 128 samples, and the gradient of one, which is quicker.
    task = scenario.task.model_copy(update={"batch_size": 1, "flop_per_sample": FLOP})
    real = simulate(scenario.model_copy(update={"task": task}))
    assert play(scenario).virtual_time_ns == real.virtual_time_ns


def test_one_machine_takes_what_was_measured(fits) -> None:
    for fit in fits.values():
        assert fit.seconds[0] == pytest.approx(477.5, abs=0.01)
        assert fit.residuals[:2] == pytest.approx((-4.5, 4.5), abs=0.01)


@pytest.mark.parametrize(("machines", "processes"), [(3, 1), (4, 1), (3, 2), (4, 2)])
def test_from_the_second_on_all_steps_are_alike(machines: int, processes: int) -> None:
    """But for what is rounded: less than two millionths. With processes that share a card the first one is longer."""
    ends = [play(training_of(machines, processes, 10**11, 5 * 10**8, steps)).virtual_time_ns for steps in range(1, 6)]
    steps = [end - before for before, end in itertools.pairwise(ends)]
    assert max(steps) == pytest.approx(min(steps), rel=2e-6)
    assert (ends[0] > 1.01 * steps[0]) is (processes > 1)


@pytest.mark.parametrize(("letter", "counted"), [("d", "nodes"), ("d", "processes"), ("f", "nodes")])
def test_no_other_rate_comes_nearer(fits, letter: str, counted: str) -> None:
    """The sum of squares at the fitted rate is less than a little beside it, as played."""
    fit = fits[letter, counted]
    assert fit.found is not None

    def squares(rate: int) -> float:
        total = 0.0
        for row in TABLE:
            workers = row.machines * COUNTED[counted]
            alone, elsewhere = fit.speed_flops, fit.speed_flops
            bandwidth = rate
            if letter == "f":
                elsewhere, bandwidth = rate, 10**18
            speed = alone if row.machines == 1 else elsewhere
            steps = fit.hypothesis.epochs(workers) * fit.hypothesis.steps(workers)
            first, third, fourth = (
                play(training_of(row.machines, COUNTED[counted], speed, bandwidth, count)).virtual_time_ns / 1e9
                for count in (1, 3, 4)
            )
            total += (first + (steps - 1) * (fourth - third) - row.seconds) ** 2
        return total

    best = squares(fit.found)
    assert best < min(squares(round(fit.found * 0.97)), squares(round(fit.found * 1.03)))
    assert fit.rms_seconds == pytest.approx(math.sqrt(best / 6), abs=0.01)


def test_only_dividing_twice_is_near_the_table(fits) -> None:
    """No data-parallel division of the same work is; and where the fit says so, no bandwidth is enough."""
    ranked = sorted(fits, key=lambda key: fits[key].rms_seconds)
    assert ranked[0] == ("d", "nodes")
    assert fits[ranked[0]].rms_seconds < fits[ranked[1]].rms_seconds / 2
    assert 4 * 10**8 < fits["d", "nodes"].found < 6 * 10**8
    for letter in "ace":
        for counted in COUNTED:
            assert fits[letter, counted].found is None
            assert min(fits[letter, counted].residuals[2:]) > 25


def test_least_squares_are_those_of_the_normal_equation() -> None:
    lines, measured = Lines((1.0, 2.0, 3.0), (10.0, 20.0, 50.0)), (4.0, 4.0, 9.5)
    rate = 1 / ((10 * 3 + 20 * 2 + 50 * 6.5) / (100 + 400 + 2500))
    assert nearest(lines, measured) == round(rate)
    assert linear(lambda rate: [1 + 10 / rate, 2.0], (2, 4)) == Lines((1.0, 2.0), (10.0, 0.0))


def test_a_store_is_read_by_the_machines_of_hypothesis_a(fits) -> None:
    assert fits["a", "nodes"].speed_flops == SPEED_FLOPS


def test_reading_from_a_store_takes_its_latency_and_everybodys_bytes() -> None:
    reading = readings(3, play)
    steps, step = 12 * 157, FLOP / SPEED_FLOPS + ring_seconds(3, BANDWIDTH)
    batch = 1e-3 + 3 * 8 * 128 * 785 / BANDWIDTH
    everything = 1e-3 + 3 * 8 * 60_000 * 785 / BANDWIDTH
    assert reading.at_hand_seconds == pytest.approx(steps * step, rel=1e-6)
    assert reading.copied_seconds == pytest.approx(steps * step + everything, rel=1e-6)
    assert reading.stored_seconds == pytest.approx(steps * (step + batch), rel=1e-6)


# --- the trainings ----------------------------------------------------------------------------------------------------

SMALL = ["task.dataset.samples=96", "task.model={kind: softmax}", "task.epochs=2"]


class Played(list):
    """Plays scenarios, and remembers which."""

    def __call__(self, scenario):
        self.append(scenario)
        return simulate(scenario)


def test_a_curve_has_every_epochs_losses_and_is_kept(tmp_path: Path) -> None:
    first, second = Played(), Played()
    todo = trainings(1, SMALL)
    found = [curve for curve, is_kept in curves(todo, tmp_path, first) if not is_kept]
    assert len(first) == len(found) == 6
    assert list(curves(todo, tmp_path, second)) == [(curve, True) for curve in found]
    assert not second, "what is kept is not played again"
    result = simulate(todo[0].scenario)
    rows = result.metrics
    for number, epoch in enumerate(found[0].epochs):
        mine = [row for row in rows if row.epoch == number]
        assert epoch.train_loss == pytest.approx(sum(row.loss for row in mine) / len(mine))
        assert (epoch.test_loss, epoch.accuracy) == (mine[-1].test_loss, mine[-1].accuracy)
    assert found[0].numbers_digest == result.numbers_digest
    assert len(found[0].epochs) == 2


def test_a_stopped_command_goes_on_where_it_was(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop_at_third(scenario, seen=[]):  # noqa: B006 - counts the calls
        seen.append(scenario)
        if len(seen) == 3:
            raise Stopped
        return simulate(scenario)

    todo = trainings(1, SMALL)
    with pytest.raises(Stopped):
        list(curves(todo, tmp_path, stop_at_third))
    played = Played()
    assert len(list(curves(todo, tmp_path, played))) == 6
    assert played == [training.scenario for training in todo[2:]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: "no JSON",
        lambda kept: json.dumps({**kept, "scenario_sha256": "another"}),
        lambda kept: json.dumps({**kept, "environment": {**kept["environment"], "jaxlib": "0.0"}}),
        lambda kept: json.dumps({**kept, "environment": {**kept["environment"], "ringsim": "0.0"}}),
        lambda kept: json.dumps({**kept, "curve": {"seed": 0}}),
    ],
)
def test_what_is_of_another_scenario_or_machine_or_broken_is_played_again(tmp_path: Path, spoil) -> None:
    todo = trainings(1, SMALL)[:1]
    ((found, _),) = curves(todo, tmp_path, simulate)
    path = tmp_path / todo[0].file_name
    path.write_text(spoil(json.loads(path.read_text())))
    played = Played()
    assert list(curves(todo, tmp_path, played)) == [(found, False)]
    assert len(played) == 1


def test_both_rules_are_played_and_are_what_they_say() -> None:
    rates = {}
    for training in trainings(1, SMALL):
        rates[training.cluster, training.rule] = simulate(training.scenario).learning_rate
    assert rates == pytest.approx(
        {
            ("local", "multiplied"): 0.002,
            ("local", "divided"): 0.0005,
            ("3 nodes", "multiplied"): 0.003,
            ("3 nodes", "divided"): 0.001 / 3,
            ("4 nodes", "multiplied"): 0.004,
            ("4 nodes", "divided"): 0.00025,
        }
    )


# --- what people see --------------------------------------------------------------------------------------------------


def some_curves() -> list[Curve]:
    return [
        Curve(cluster, rule, seed, (Epoch(1.0 + seed, 0.9, 0.5), Epoch(0.5, 0.4 + seed / 10, 0.9)), 10**9, "sha256:0")
        for cluster in ("local", "3 nodes")
        for rule in ("multiplied", "divided")
        for seed in (0, 1)
    ]


def test_the_picture_is_the_same_each_time_and_names_every_line(tmp_path: Path) -> None:
    one, other = (picture(some_curves(), tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert one == other
    for words in ("local, rate multiplied", "3 nodes, rate divided", "epoch", "loss (nats)"):
        assert words in one
    assert "4 nodes" not in one


@pytest.fixture
def without_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what has a test of its own and takes seconds."""
    monkeypatch.setattr("ringsim.commands.paper._times", lambda shown: ([], []))


@pytest.mark.usefixtures("without_times")
def test_without_matplotlib_a_picture_is_refused_in_a_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    sets = [word for override in SMALL for word in ("--set", override)]
    code = run_command(["paper", "--out", str(tmp_path), "--seeds", "1", *sets])
    error = capsys.readouterr().err
    assert code == 2
    assert "needs matplotlib; pip install matplotlib, or --no-picture" in error


def test_a_file_is_no_folder_for_curves(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    assert run_command(["paper", "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_the_command_shows_how_near_each_hypothesis_comes(capsys) -> None:
    assert run_command(["paper"]) == 0
    assert "epochs and steps divided by N             nodes      bandwidth: 0.493 Gbit/s" in capsys.readouterr().out


@pytest.mark.usefixtures("without_times")
def test_the_command_trains_and_draws(tmp_path: Path, capsys) -> None:
    sets = [word for override in SMALL for word in ("--set", override)]
    assert run_command(["paper", "--out", str(tmp_path), "--seeds", "2", *sets]) == 0
    assert "lower for" in capsys.readouterr().out
    assert (tmp_path / "loss.svg").exists()
    assert len(list(tmp_path.glob("*.json"))) == 12
    assert run_command(["paper", "--out", str(tmp_path), "--seeds", "2", "--json", "--no-picture", *sets]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["curves"]) == 12


@pytest.mark.usefixtures("without_times")
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("faults=[]", "--set faults: only keys of the task may be set here, such as task.epochs=3"),
        ("cluster.nodes=5", "--set cluster.nodes: only keys of the task may be set here"),
        ("task={steps: 3}", "--set task: only keys of the task may be set here"),
        ("task.target_accuracy=10 %", "--set task.target_accuracy: all trainings take all their epochs"),
        ("seed=9", "--set seed: the trainings are of seeds 0, 1, ...; say how many with --seeds"),
        ("task.evaluate_every=7", "--set task.evaluate_every: the trainings are evaluated at the end of each epoch"),
        ("task.learning_rate_scaling=none", "both rules are played"),
        ("task.epochs=0", "task.epochs: must be at least 1, not 0"),
    ],
)
def test_what_the_trainings_cannot_have_is_refused(tmp_path: Path, capsys, override: str, sentence: str) -> None:
    sets = [word for override in (*SMALL, override) for word in ("--set", override)]
    assert run_command(["paper", "--out", str(tmp_path), "--seeds", "1", *sets]) in (2, 3)
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--seeds", "2"], ["--set", "task.epochs=3"], ["--no-picture"]])
def test_what_is_of_the_trainings_needs_a_folder_for_them(capsys, options: list[str]) -> None:
    assert run_command(["paper", *options]) == 2
    assert "are of the trainings; add --out DIR" in capsys.readouterr().err


@pytest.mark.usefixtures("without_times")
def test_other_settings_have_files_of_their_own_and_what_is_kept_is_said(tmp_path: Path, capsys) -> None:
    def told(*more: str) -> list[str]:
        sets = [word for override in (*SMALL, *more) for word in ("--set", override)]
        assert run_command(["paper", "--out", str(tmp_path), "--seeds", "1", "--no-picture", *sets]) == 0
        return capsys.readouterr().err.splitlines()

    assert not any("from " in line for line in told())
    assert not any("from " in line for line in told("task.batch_size=8"))
    assert len(list(tmp_path.glob("*.json"))) == 12
    assert all(line.endswith(f", from {tmp_path}") for line in told())


def test_a_training_that_does_not_come_to_its_end_is_a_sentence(tmp_path: Path) -> None:
    one = trainings(1, SMALL)[0]
    late = replace(one, scenario=one.scenario.model_copy(update={"max_virtual_time": 1_000}))
    with pytest.raises(UsageError, match="local, rate multiplied: stalled: max_virtual_time is over"):
        list(curves([late], tmp_path, simulate))


@pytest.mark.usefixtures("without_times")
def test_a_folder_of_the_same_name_is_not_taken_for_the_scenario(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "paper" / "4nodes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert trainings(1, SMALL)
    assert training_of(1, 1, 10**11, 10**9, steps=1)
