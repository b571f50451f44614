"""Processes that are forked, killed, or have no output: nothing hangs, and nothing is mixed or lost."""

import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import conversion, convert_mouse, verify_mouse

from .command_line import TRIALPACK
from .hdf5_files import write_images
from .mice import trial_path, zip_mouse
from .test_tar import tar_mouse

Convert = Callable[..., Path]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")


def run(code: str, *arguments: Any, timeout: int = 60) -> subprocess.CompletedProcess[str]:
    """Run a program; a hang is an error."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


# Forks

IN_FORKS = """
import multiprocessing, os, sys, threading
import dask, dask.array, numpy
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
source, store, place = sys.argv[1:4]
def plain(**options):
    return float(dask.array.ones((64, 64), chunks=16).sum().compute(**options))
def late(number):
    "What was imported, opened and made in the fork."
    from trialpack import open_mouse
    return open_mouse(store).dask("images").max().compute() > 0 and plain() == 64 * 64
def forked(task):
    "Run it in two forks, within seconds."
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return set(pool.map_async(task, range(2), 1).get(30))
"""
EVERYTHING = """
from trialpack import TrialLoader, convert_mouse, export_mouse, open_mouse, train_statistics, verify_mouse
mouse = open_mouse(store)
lazy, array = dask.array.nanmax(mouse.dask("videos")), mouse["videos"]
first, largest = numpy.nanmax(array[0]), numpy.nanmax(array[:])
def everything(number):
    there = f"{place}/{number}"
    options = dict(tier="train", batch_size=2, window=20, output="numpy", threads=2)
    return (
        convert_mouse(source, there, max_error={"videos": "1%std"}, workers=2).verified,
        str(export_mouse(store, there, workers=2).path) + str(export_mouse(store, there, format="hdf5").path) > "",
        verify_mouse(store, source, workers=2).every_value,
        numpy.nanmax(train_statistics(mouse, tier=None, threads=2)["videos"]["over_trials"].max) == largest,
        open_mouse(store, "full").trial(0)["videos"].max() == first,
        lazy.compute() == lazy.compute(num_workers=3) == float(mouse.to_xarray()["videos"].max()) == largest,
        numpy.nanmax(array[0]) == numpy.nanmax(open_mouse(store)["videos"][0]) == first,
        len(list(TrialLoader(mouse, **options))) == len(TrialLoader(mouse, **options)),
    )
"""
BEFORE = {
    "all of it": "everything(10); everything(11)",
    "computing with dask": "lazy.compute(); plain()",
    "computing with so many threads": "lazy.compute(num_workers=3); dask.config.set(num_workers=2); plain()",
    "a pool that was set": "dask.config.set(pool=ThreadPoolExecutor(2)); plain()",
    "a pool of multiprocessing that was set": "dask.config.set(pool=ThreadPool(2)); plain()",
    "a scheduler that was set": "dask.config.set(scheduler=ThreadPoolExecutor(2)); plain()",
    "another thread's": "thread = threading.Thread(target=plain); thread.start(); thread.join(); array[:]",
}


@pytest.mark.once
@needs_fork
@pytest.mark.parametrize("before", BEFORE)
def test_everything_works_in_a_fork(dynamic_folder: Path, converted: Convert, tmp_path: Path, before: str) -> None:
    """Whatever the process that was forked had done, and with what it had opened."""
    code = f"{IN_FORKS}\n{EVERYTHING}\n{BEFORE[before]}\nprint({{all(found) for found in forked(everything)}})"
    done = run(code, dynamic_folder, converted(dynamic_folder), tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "{True}\n"), done.stderr


@needs_fork
def test_dask_works_in_a_fork_that_imports_trialpack(static_folder: Path, converted: Convert) -> None:
    """Its pools were inherited before there was anybody to mend them."""
    code = f"{IN_FORKS}\nplain()\nprint('trialpack' in sys.modules, forked(late))"
    done = run(code, static_folder, converted(static_folder), "")
    assert (done.returncode, done.stdout) == (0, "False {True}\n"), done.stderr + done.stdout


@needs_fork
def test_a_process_keeps_its_pools(static_folder: Path, converted: Convert) -> None:
    """Also one that was set: only a fork drops what it inherited."""
    code = """
    from trialpack import open_mouse
    pool = ThreadPoolExecutor(2)
    dask.config.set(pool=pool)
    plain()
    lazy = open_mouse(store).dask("images")
    print(forked(pool_of_fork), dask.config.get("pool") is pool, plain())
    """
    code = IN_FORKS + "\ndef pool_of_fork(number): return dask.config.get('pool', None)\n" + textwrap.dedent(code)
    done = run(code, static_folder, converted(static_folder), "")
    assert (done.returncode, done.stdout) == (0, "{None} True 4096.0\n"), done.stderr + done.stdout


# Errors within zarr-python


def test_a_damaged_chunk_is_one_error(dynamic_folder: Path, converted: Convert) -> None:
    """By itself zarr-python lets go of what it still reads at the end of the process, and complains of every piece."""
    store = converted(dynamic_folder)
    shard = next((store / "videos").glob("c.*"))
    data = bytearray(shard.read_bytes())
    data[:64] = bytes(64)
    shard.chmod(0o644)
    shard.write_bytes(data)
    code = """
    import sys
    from trialpack import open_mouse
    array = open_mouse(sys.argv[1])["videos"]
    for _ in range(5):
        try:
            array[:]
        except ValueError as error:
            last = error
    raise last
    """
    done = run(code, store)
    assert done.returncode == 1
    assert "Task was destroyed" not in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith(" ")] == [
        "Traceback (most recent call last):",
        done.stderr.splitlines()[-1],
    ]
    assert "checksum do not match" in done.stderr.splitlines()[-1]


# Sources that change between a conversion that was killed and the one that goes on from it


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    """Put other bytes in place of some, and the time of the file back."""
    data, status = path.read_bytes(), path.stat()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def pack_stored(folder: Path) -> Path:
    return zip_mouse(folder, method=zipfile.ZIP_STORED)


SOURCES = {
    "folder": lambda folder: folder,
    "zip": pack_stored,
    "tar": tar_mouse,
    "hdf5": lambda folder: write_images(folder, folder.with_suffix(".h5")),
}


@pytest.mark.parametrize("form", SOURCES)
def test_a_source_that_changed_is_read_again_whatever_its_size_and_time(
    static_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Every unit was done when the first conversion ended; the store holds what the source holds at last."""
    source, stores = SOURCES[form](static_folder), tmp_path / "stores"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(conversion, "finish", fail)
        convert_mouse(source, stores)
    trial = trial_path(static_folder, "images", 3)
    values = np.load(trial)
    changed = source if form != "folder" else trial
    if form == "zip":
        np.save(trial, values + 1)
        status = source.stat()
        assert pack_stored(static_folder).stat().st_size == status.st_size
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        overwrite(changed, values.tobytes(), (values + 1).tobytes())
    store = convert_mouse(source, stores).store
    assert verify_mouse(store, source).source == str(source)


def fail(*_: object) -> None:
    raise OSError("killed")


# Output that nobody reads

COMMANDS = {
    "convert": "convert {source} --to {out}",
    "info": "info {store}",
    "stats": "stats {store} --tier validation -o {out}.npz",
    "show": "show {store} -o {out}.png",
    "report": "report {store} -o {out}.html",
    "export": "export {store} --to {out} --as zip",
    "verify": "verify {store} --source {source}",
}
NOT_WRITTEN = "trialpack: standard output cannot be written (No space left on device); what was made is complete\n"


def shell(command: str, redirection: str, **names: object) -> subprocess.CompletedProcess[str]:
    text = f"{TRIALPACK} {command.format(**names)} {redirection}"
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.once
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_work_without_streams(static_folder: Path, converted: Convert, tmp_path: Path, command: str) -> None:
    """As of cron and services: no file that is opened takes the place of a stream, and is written into as one."""
    names = {"source": static_folder, "store": converted(static_folder)}
    for redirection in (">&-", "<&- >&- 2>&-"):
        out = tmp_path / f"out{len(redirection)}"
        done = shell(COMMANDS[command], redirection, out=out, **names)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert not [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        made = [
            path
            for path in tmp_path.glob(f"{out.name}*")
            if command in ("convert", "export", "stats", "show", "report")
        ]
        assert len(made) == (command not in ("info", "verify"))
        for store in out.glob("*.zarr"):
            verify_mouse(store, static_folder)


@pytest.mark.once
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_written_is_named(
    static_folder: Path, converted: Convert, tmp_path: Path, command: str
) -> None:
    """And what was made before is there; that standard error cannot be written stops nothing."""
    names = {"source": static_folder, "store": converted(static_folder)}
    done = shell(COMMANDS[command], ">/dev/full", out=tmp_path / "one", **names)
    assert done.returncode == 1
    assert "".join(line for line in done.stderr.splitlines(True) if not line.startswith("note: ")) == NOT_WRITTEN
    done = shell(COMMANDS[command], "2>/dev/full", out=tmp_path / "other", **names)
    assert (done.returncode, bool(done.stdout)) == (0, True)
    ends = {path.name.removeprefix("one") for path in tmp_path.glob("one*")}
    assert ends == {path.name.removeprefix("other") for path in tmp_path.glob("other*")}
    assert len(ends) == (command not in ("info", "verify"))


def test_an_error_is_told_where_there_is_no_output(tmp_path: Path) -> None:
    done = shell("info {store} --json", ">&-", store=tmp_path / "none.zarr")
    assert (done.returncode, done.stderr) == (1, f"trialpack: {tmp_path}/none.zarr: no such store; check the path\n")
