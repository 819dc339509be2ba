"""A progress bar on stderr, where somebody looks at a terminal. What is not here: anything that a file should keep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ringsim.scenario import Scenario, planned_steps
from ringsim.trace import Event
from ringsim.units import about_duration


@contextmanager
def progress(scenario: Scenario, *, shown: bool) -> Iterator[Callable[[Event], None] | None]:
    """Show how far a run is; gives the function to watch its events with, or None where nobody looks."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[time]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(f"{scenario.name}, {scenario.strategy.name}", total=planned_steps(scenario), time="")
    with ExitStack() as started:

        def watch(event: Event) -> None:
            if not bar.live.is_started:  # Not before: data may be fetched first, with a bar of its own.
                started.enter_context(bar)
            if event.kind == "update":
                step = event.fields["step"]
                # With workers missing an epoch takes more steps than planned.
                total = max(planned_steps(scenario), step)
                bar.update(task, completed=step, total=total, time=f"virtual {about_duration(event.time_ns)}")

        yield watch


@contextmanager
def counted(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` are done; gives the function to tell how many more are."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)
