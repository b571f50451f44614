"""Hundreds of mice in one loader: one budget of memory, threads and descriptors, and one order whatever is kept."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mice

from .streams import pack

MANY = 300
FILES = 256
MEMORY = 64_000_000

STREAM = """
import hashlib, json, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
from trialpack import TrialLoader, open_mice
memory, options = json.loads(sys.argv[3])
def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) * 1024
mice = open_mice(sys.argv[1])
warm = TrialLoader(mice[:1], tier=None, batch_size=2, window=60, output="numpy", **options)
list(warm)
before = held()
loader = TrialLoader(mice, tier=None, batch_size=2, window=60, output="numpy", memory=memory, **options)
print(loader.describe(4), file=sys.stderr)
digest, most, files, batches = hashlib.sha256(), 0, 0, 0
for _ in range(2):
    for batch in loader:
        digest.update(batch.trial_id.tobytes() + batch.start.tobytes() + batch.responses.tobytes())
        batches += 1
        if batches % 50 == 0:
            most, files = max(most, held()), max(files, len(os.listdir("/proc/self/fd")))
print(json.dumps([len(mice), len(loader), batches, digest.hexdigest(), most - before, files]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that share the files of one mouse."""
    place = tmp_path_factory.mktemp("mice")
    source = write_sample(place / "source", mouse="A", trials=12, neurons=200, image_shape=(6, 8))
    store = pack(source, place / "one").path
    for number in range(MANY):
        shutil.copytree(store, place / f"many/{number:03}.zarr", copy_function=os.link)
    return place / "many"


def stream(folder: Path, **options: Any) -> list[Any]:
    chosen = {"trials": {"withheld": False}, "shuffle": True, "mixing": "shuffled", "threads": 2} | options
    command = [sys.executable, "-c", STREAM, str(folder), str(FILES), json.dumps([MEMORY, chosen])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.once
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_hundreds_of_mice_share_one_budget(folder: Path) -> None:
    """With fewer descriptors than there are stores, and less memory than their trials take."""
    found = [stream(folder), stream(folder, cache="none", threads=3)]
    for mice, length, batches, _, held, files in found:
        assert mice == MANY and batches == 2 * length > MANY
        assert files < FILES and held < 1.1 * MEMORY + MANY * 60_000
    assert found[0][3] == found[1][3]


def test_many_stores_are_opened_in_their_order(folder: Path) -> None:
    found = open_mice(sorted(folder.iterdir(), reverse=True)[:20])
    assert [mouse.path.name for mouse in found] == [f"{number:03}.zarr" for number in range(MANY - 1, MANY - 21, -1)]
