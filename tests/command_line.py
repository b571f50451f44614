"""The command line without a process for each command: importing everything takes longer than most of them."""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

TRIALPACK = Path(sys.executable).with_name("trialpack")
"""What a process of its own runs."""


def run(*arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run ``trialpack`` as its console script does, but for the handlers of signals; tell what a process would have.

    Parameters
    ----------
    env
        Variables beside those of this process, whose `COLUMNS` is left out.
    """
    module = importlib.import_module("trialpack.cli.main")
    command = ["trialpack", *map(str, arguments)]
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(module, "end_when_interrupted"))
        stack.enter_context(mock.patch.object(sys, "argv", command))
        stack.enter_context(mock.patch.dict(os.environ))
        os.environ.pop("COLUMNS", None)
        os.environ.update(env or {})
        stack.enter_context(contextlib.chdir(cwd or Path.cwd()))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(errors))
        try:
            module.main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
    assert isinstance(status, int)
    return CompletedProcess(command, status, output.getvalue(), errors.getvalue())
