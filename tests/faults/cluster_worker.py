"""What a worker of a cluster loads before anything else, to have the fault that its environment names."""

import importlib.metadata
import os
import sys
import time
from typing import Any

FAULT = "TESTED_FAULT"


def lack_trialpack() -> None:
    """Have no trialpack: neither its modules nor its name among the installed packages."""
    there = importlib.metadata.version

    class Finder:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name.split(".")[0] == "trialpack":
                raise ModuleNotFoundError("No module named 'trialpack'", name=name)

    def version(name: str) -> str:
        if name == "trialpack-neuro":
            raise importlib.metadata.PackageNotFoundError(name)
        return there(name)

    sys.meta_path.insert(0, Finder())
    importlib.metadata.version = version


def have_another_numcodecs() -> None:
    there = importlib.metadata.version
    importlib.metadata.version = lambda name: "0.0.1" if name == "numcodecs" else there(name)


def change_units(run_unit: Any) -> None:
    from trialpack.convert import unit

    unit.run_unit = run_unit


def apply(fault: str | None) -> None:
    if fault == "without":
        lack_trialpack()
    elif fault == "version":
        have_another_numcodecs()
    elif fault == "dying":
        change_units(lambda *_: os._exit(9))
    elif fault == "stalled":
        change_units(lambda *_: time.sleep(600))
    elif fault == "slow":
        from trialpack.convert import unit

        run_unit = unit.run_unit
        change_units(lambda *given: time.sleep(0.3) or run_unit(*given))


apply(os.environ.get(FAULT))
