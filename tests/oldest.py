"""Print the oldest versions that setup.cfg declares of what users install, as constraints for pip."""

import configparser
import re
from pathlib import Path

EXTRAS = ("cluster", "hdf5", "report", "pcodec")
"""Not torch: its old builds for the processor alone are on no package index."""


def main() -> None:
    """Print one line a package."""
    declared = configparser.ConfigParser()
    declared.read(Path(__file__).parent.parent / "setup.cfg")
    wanted = [declared["options"]["install_requires"], *(declared["options.extras_require"][name] for name in EXTRAS)]
    for line in "\n".join(wanted).split():
        print(re.sub(r"\[.*\]", "", line).replace(">=", "=="))


if __name__ == "__main__":
    main()
