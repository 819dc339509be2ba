"""A result as a table a person understands: one run from top to bottom.

What is not here: figures that are not in `Result`, the machine's form (`Result.summary`), and several runs side by side
(`comparison.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.result import TIMES, Failure, Result
from ringsim.units import about_duration

Rows = list[tuple[str, str]]

# More failures than these are told by their number alone: nobody reads thousands on a screen.
FAILURES_SHOWN = 40


def run_table(result: Result, speed_up: float | None = None) -> RenderableType:
    """Return what `run` prints. `speed_up`: against the local twin, if that was played."""
    colour = "green" if result.outcome.is_success else "red"
    table = _plain_table()
    for name, value in _run_rows(result, speed_up):
        table.add_row(name, value)
    parts: list[RenderableType] = [Text(_capital(result.outcome_sentence), style=f"bold {colour}"), table]
    parts += [Text(), failure_table(result.failures)] if result.failures else []
    parts += [Text(f"Not reached: {line}", style="yellow") for line in result.faults_not_reached]
    parts += [
        Text(f"Not applicable with {result.strategy}: {line}", style="yellow") for line in result.faults_not_applicable
    ]
    parts += [Text(), digest_table(result)]
    return Group(*parts)


def failure_table(failures: Sequence[Failure]) -> Table:
    """Return what each failure cost."""
    table = Table(
        title="What the failures cost", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("fault", "at", "detected after", "steps rolled back", "resumed after", "back to full size after"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for failure in failures[:FAILURES_SHOWN]:
        table.add_row(
            f"{failure.kind} of {failure.node}",
            about_duration(failure.at_ns),
            after(failure.at_ns, failure.detected_at_ns),
            *costs(failure),
        )
    more = len(failures) - FAILURES_SHOWN
    if more > 0:
        table.caption = f"and {more:,} more, which --json tells, and summary.json in the folder of --out"
        table.caption_justify = "left"
    return table


def costs(failure: Failure) -> tuple[str, str, str]:
    """Return the steps that a failure rolled back, and after how long training resumed, and had its full size again."""
    if failure.detected_at_ns is None:
        return "-", "-", "-"  # Nobody has noticed it: there was nothing to go back to, or to come back from.
    return (
        str(failure.rolled_back_steps),
        after(failure.at_ns, failure.resumed_at_ns),
        after(failure.at_ns, failure.recovered_at_ns),
    )


def digest_table(result: Result) -> Table:
    """Return the two digests and the command that repeats them."""
    table = _plain_table()
    table.add_row("schedule", result.schedule_digest)
    table.add_row("numbers", result.numbers_digest)
    if result.command is not None:
        table.add_row("repeat it", result.command)
    return table


def _run_rows(result: Result, speed_up: float | None) -> Rows:
    policy_told = strategy_words(result, "{name}, on failure: {policy}")
    rows = [
        ("scenario", f"{result.scenario.name} (seed {result.scenario.seed}), {policy_told}"),
        ("accuracy", _accuracy(result)),
        ("virtual time", about_duration(result.virtual_time_ns)),
        ("steps", _steps(result)),
        ("goodput", goodput(result)),
        ("samples", _samples(result)),
        ("sent", _bytes(result)),
        ("collectives", _collectives(result)),
        (f"time of {_workers(result)}", _shares(result)),
        ("learning rate", _rate(result)),
    ]
    if result.false_suspicions:
        rows.append(("false suspicions", f"{result.false_suspicions:,}"))
    if result.wrong_numbers:
        rows.append(("wrong numbers", f"{result.wrong_numbers:,} messages with a flipped bit that nobody noticed"))
    if result.checkpoints.saves:
        rows.insert(7, ("checkpoints", _checkpoints(result)))
    if speed_up is not None:
        rows.insert(3, ("speed-up", f"{speed_up:.2f} times as fast as the local twin"))
    return rows


def _collectives(result: Result) -> str:
    closed, played = result.collectives_in_closed_form, result.collectives_by_messages
    if not closed + played:
        return "none"
    return f"{closed + played:,}: {closed:,} in closed form, {played:,} message by message"


def strategy_words(result: Result, form: str) -> str:
    """Return the strategy's name, in `form` with its failure policy if it has one: a user's own function has none."""
    settings = result.scenario.strategy
    policy = getattr(settings, "on_failure", None)
    if policy is None or result.strategy != settings.name:
        return result.strategy
    return form.format(name=result.strategy, policy=policy)


def _accuracy(result: Result) -> str:
    if result.accuracy is None or result.loss is None:
        return "never evaluated"
    split = f"the test split of {result.scenario.task.dataset.kind}"
    return f"{100 * result.accuracy:.1f} % on {split} (loss {result.loss:.4f})"


def _steps(result: Result) -> str:
    again = result.steps_executed - result.steps
    return f"{result.steps:,}" + (f", and {again:,} more that were rolled back" if again else "")


def goodput(result: Result) -> str:
    """Return the updates that count for each second of virtual time, in words."""
    return "-" if result.goodput is None else f"{result.goodput:.3g} steps/s"


def _samples(result: Result) -> str:
    samples = result.samples
    return f"{samples.counted:,} counted, {samples.repeated:,} repeated, {samples.lost:,} lost"


def _bytes(result: Result) -> str:
    framing = result.bytes_sent - result.payload_bytes_sent
    return f"{result.bytes_sent:,} bytes" + (f", {framing:,} of them framing" if framing else "")


def _checkpoints(result: Result) -> str:
    saved = result.checkpoints
    assert saved.mean_interval_ns is not None, "who has saved has begun to"
    cost_ns = saved.saving_ns // saved.saves
    measured = (
        f"{saved.saves:,} of {about_duration(cost_ns)} each, with {about_duration(saved.mean_interval_ns)} between them"
    )
    if result.best_intervals_ns is None:
        return measured
    between_failures_ns = result.virtual_time_ns // saved.loads
    young, daly = result.best_intervals_ns
    return (
        f"{measured}; best with a return to one every {about_duration(between_failures_ns)}: "
        f"{about_duration(young)} (Young), {about_duration(daly)} (Daly)"
    )


def _workers(result: Result) -> str:
    return "1 worker" if result.workers == 1 else f"{result.workers} workers"


def _shares(result: Result) -> str:
    total_ns = max(1, sum(result.total_ns(field) for field in TIMES))
    names = ("compute", "exposed communication", "idle", "recovery", "down")
    parts = [
        f"{name} {100 * result.total_ns(field) / total_ns:.1f} %"
        for name, field in zip(names, TIMES, strict=True)
        if result.total_ns(field)
    ]
    return ", ".join(parts) or "none"


def _rate(result: Result) -> str:
    scaling = result.scenario.task.learning_rate_scaling
    return f"{'-' if result.learning_rate is None else f'{result.learning_rate:g} at the end'} (scaling: {scaling})"


def after(at_ns: int, then_ns: int | None) -> str:
    """Return how long after the one moment the other was, in words."""
    return "never" if then_ns is None else about_duration(then_ns - at_ns)


def _plain_table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
