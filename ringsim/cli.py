"""The command line: all commands together, and how a mistake becomes a sentence and an exit code.

Exit codes: 0 finished, 1 a fault in ringsim itself, 2 usage, 3 the scenario is invalid, 4 the simulated training could
not finish, 5 an expectation or a golden record is not met, 130 Ctrl-C. Nothing heavy is imported before a command
needs it: `--help` and `validate` know neither jax nor numpy. Data goes to stdout, progress and errors to stderr. What
is not here: the commands (`commands/`).
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import click

from ringsim import __version__
from ringsim.commands.wiring import CTRL_C, FAULT_IN_RINGSIM, complain
from ringsim.errors import RingsimError, ScenarioInvalid, UsageError

# Each command, and the module under `commands/` that it is in: only the one that is asked for is imported.
_MODULES = {
    "run": "playing",
    "compare": "comparing",
    "monkey": "monkey",
    "collective": "measuring",
    "inspect": "measuring",
    "bench": "measuring",
    "list": "files",
    "validate": "files",
    "schema": "files",
    "new": "files",
    "record": "again",
    "verify": "again",
    "check": "again",
    "paper": "paper",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    # All that is imported stays, so Python need not look for garbage in it: not now, and not once more at the end.
    gc.set_threshold(100_000, 20, 100)
    code = run_command(arguments)
    gc.freeze()
    sys.exit(code)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code. Every error is a sentence, never a traceback."""
    try:
        code = cli.main(args=None if arguments is None else list(arguments), prog_name="ringsim", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ScenarioInvalid as error:
        # No prefix: editors and CI look for `file:line:column:` at the beginning of a line.
        click.echo(str(error), err=True)
        return error.exit_code
    except RingsimError as error:
        complain(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        complain("stopped")
        return CTRL_C
    except SystemExit:
        return 0  # So click ends when whoever read our output has gone: there is nobody left to tell.
    except OSError as error:
        complain(f"cannot write: {error.strerror or error}")
        return UsageError.exit_code
    except Exception as error:
        if "RINGSIM_TRACEBACK" in os.environ:
            raise
        complain(
            f"a fault in ringsim itself: {type(error).__name__}: {error}\n"
            "Set RINGSIM_TRACEBACK=1 to see where, and please report it with the scenario."
        )
        return FAULT_IN_RINGSIM


class _Commands(Mapping[str, click.Command]):
    """All commands by name."""

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)

    def __getitem__(self, name: str) -> click.Command:
        module = importlib.import_module(f"ringsim.commands.{_MODULES[name]}")
        command: click.Command = getattr(module, "list_" if name == "list" else name)
        return command


@click.group(
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="ringsim")
def cli() -> None:
    """A deterministic laboratory for distributed training: virtual time, real gradients, the same digest every run.

    Start with:  ringsim run 4node_fail
    """
