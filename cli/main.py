"""``trialpack``: the group of commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys

import click

from ..store import TrialpackError
from .convert import convert
from .display import complain
from .export import export
from .info import info
from .interrupts import end_when_interrupted
from .sample import sample
from .show import show
from .stats import stats
from .verify import verify

_EPILOG = """
\b
Start with a sample, if you have no data at hand:
  trialpack sample data
  trialpack convert data --to stores
  trialpack info stores/dynamic29156-11-10-Video-8744edeac3b4d1ce16b680916b5267ce.zarr
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trialpack")
def commands() -> None:
    """Pack a mouse's thousands of trial files into one verified Zarr v3 store.

    Exit status: 0 done, 1 refused or problems found, 2 wrong usage, 130 interrupted.
    """


for command in (convert, verify, info, stats, show, export, sample):
    commands.add_command(command)


def main() -> None:
    """Run the command line; errors become lines on standard error, never tracebacks."""
    end_when_interrupted()
    try:
        sys.exit(commands(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os._exit(1)
    except (TrialpackError, OSError) as error:
        complain(error)
        sys.exit(1)
