"""What commands share: their options, reading and playing a scenario, showing a table, and Ctrl-C.

What is not here: any command.
"""

from __future__ import annotations

import io
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ringsim.errors import ScenarioInvalid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ringsim.learning.memo import Memo
    from ringsim.result import Result
    from ringsim.scenario import Scenario
    from ringsim.scenario_file import Loaded
    from ringsim.trace import Event

# Brackets and colons in a command or a name are no markup and no pictures.
_AS_IT_STANDS: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}

FAULT_IN_RINGSIM, COULD_NOT_FINISH, NOT_MET, CTRL_C = 1, 4, 5, 130


set_ = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key; the rightmost wins."
)
seed_ = click.option("--seed", type=click.IntRange(min=0), help="Override the scenario's seed.")
json_ = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
quiet_ = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
file_ = click.argument("file")
files_ = click.argument("files", nargs=-1, required=True)


def load(file: str, overrides: Sequence[str], seed: int | None, quiet: bool) -> Loaded:
    """Read a scenario, or a shipped one by its name; tell its notes on stderr."""
    from ringsim import scenario_file, shipped

    loaded = scenario_file.load(shipped.find(file), overrides=overrides, seed=seed)
    if not quiet:
        for note in loaded.notes:
            click.echo(f"note: {note}", err=True)
    return loaded


@contextmanager
def placed(loaded: Loaded) -> Iterator[None]:
    """Give the mistakes that only playing finds, such as in a folder of images, their places in the scenario file."""
    try:
        yield
    except ScenarioInvalid as error:
        raise loaded.placed(error) from None


def show(table: RenderableType) -> None:
    """Print a table: in the width of the terminal, or in full and without blanks at the ends of lines."""
    from rich.console import Console

    if sys.stdout is not None and sys.stdout.isatty():
        # A narrower terminal wraps by itself, and leaves a digest in one piece for the mouse.
        Console(width=max(shutil.get_terminal_size().columns, 100), **_AS_IT_STANDS).print(table)
        return
    console = Console(width=1_000, file=io.StringIO(), **_AS_IT_STANDS)
    console.print(table)
    for line in console.file.getvalue().splitlines():  # type: ignore[attr-defined]
        click.echo(line.rstrip())


def complain(text: str) -> None:
    """Say on stderr what is wrong."""
    click.echo(click.style("error: ", fg="red", bold=True) + text if "\n" not in text else text, err=True)


@contextmanager
def ctrl_c() -> Iterator[list[int]]:
    """Remember that Ctrl-C was pressed: Python drops a KeyboardInterrupt that happens to come inside a callback."""
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def play(scenario: Scenario, trace: Any, *, shown: bool, fidelity: Any = "auto", memo: Memo | None = None) -> Result:
    """Play a scenario, with a progress bar if `shown`; Ctrl-C stops it."""
    from ringsim.report.progress import progress
    from ringsim.simulation import simulate

    with progress(scenario, shown=shown) as watch, ctrl_c() as pressed:

        def look(event: Event) -> None:
            if pressed:
                raise KeyboardInterrupt
            if watch is not None:
                watch(event)

        return simulate(scenario, trace=trace, fidelity=fidelity, watch=look, memo=memo)


def command_words(command: str, file: str, overrides: Sequence[str], seed: int | None) -> str:
    """Return the command line that plays this scenario again."""
    return shlex.join(["ringsim", command, *arguments(file, overrides, seed)])


def arguments(file: str, overrides: Sequence[str], seed: int | None) -> list[str]:
    """Return what a command that plays this scenario is given."""
    sets = [part for override in overrides for part in ("--set", override)]
    return [file, *sets, *([] if seed is None else ["--seed", str(seed)])]
