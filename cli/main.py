"""``trialpack``: the group of commands, and what becomes of their errors.

Imports nothing large: the commands are imported when they are called.
"""

from __future__ import annotations

import difflib
import os
import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from ..store.distribution import DISTRIBUTION
from .interrupts import end_when_interrupted
from .streams import reliable_streams

_EPILOG = """
\b
Start with a sample, if you have no data at hand:
  trialpack sample data
  trialpack convert data --to stores
  trialpack info stores
"""
COMMANDS = {
    "convert": "Pack mice into Zarr stores.",
    "verify": "Check that each STORE is what its manifest says.",
    "info": "Show what is in each STORE: the mouse, its trials, variables, arrays and sizes, and what made it.",
    "stats": "Show minimum, maximum, mean, median and standard deviation of each STORE's trials.",
    "show": "Draw one trial of each STORE: every variable, by what it is; those that do not fit are named.",
    "report": "Look for what is wrong with STOREs, and write one page that shows it, with what is in them.",
    "view": "Go through STOREs in a browser: choose mice, trials and neurons, and play videos with the responses.",
    "export": "Make each STORE's published files again, or one HDF5 file.",
    "push": "Publish each STORE at URL, where it can be opened once all of it is there, or not at all.",
    "pull": "Fetch the store at each URL into DIR, where it appears complete and verified, or not at all.",
    "clean": "List what conversions, exports and pulls that ended in their middle have left in each DIR, or remove it.",
    "completion": "Print what makes a SHELL complete commands, options and names.",
    "sample": "Write a made-up mouse in the published layout.",
}
"""Name, also of the module -> what it does: the first line of its help."""


class _Commands(click.Group):
    """The commands, each of which is imported when it is called; their list needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(import_module(f".{cmd_name}", __package__), cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one where a name is misspelled."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if near := difflib.get_close_matches(args[0], COMMANDS, 1):
                raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx) from None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so."""
        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each does, in full."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(None, "-V", "--version", package_name=DISTRIBUTION, message="trialpack, version %(version)s")
def commands() -> None:
    """Pack a mouse's thousands of trial files into one verified Zarr v3 store.

    Exit status: 0 done, 1 refused or problems found, 2 wrong usage, 130 interrupted.
    """


def main() -> None:
    """Run the command line; errors become lines on standard error, never tracebacks."""
    end_when_interrupted()
    with reliable_streams():
        _run()


def _run() -> None:
    try:
        sys.exit(commands(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        from ..store import TrialpackError
        from .display import complain

        if not isinstance(error, (TrialpackError, OSError)):
            raise
        complain(error)
        sys.exit(1)
