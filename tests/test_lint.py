"""What runs before a commit is what `make lint` runs."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_commits_are_checked_as_make_does():
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    made = [line.strip().replace("$(VENV)", ".venv") for line in recipe[1].splitlines()]
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert hooks == made and len(made) == 3
