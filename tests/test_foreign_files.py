"""Files that other programs wrote, or still write: read as they were meant, or refused with advice that helps."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest
from trialpack.convert import convert_mouse, open_source
from trialpack.store import SourceError

# --- HDF5: the marks and locks of its own library --------------------------------------------------------------

_WRITER = """
import sys
import h5py

source, path, how = sys.argv[1:]
with h5py.File(source) as old, h5py.File(path, "w", libver="latest" if how != "old" else None) as new:
    for name in old:
        old.copy(name, new)
    if how == "swmr":
        new.swmr_mode = True
    new.flush()
    print("written", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def images(static_folder, tmp_path):
    """An HDF5 file of the tiny static mouse."""
    pytest.importorskip("h5py")
    from .hdf5_files import write_images

    return write_images(static_folder, tmp_path / "static.h5")


@pytest.fixture
def writer(images, tmp_path):
    """Start a process that has written such a file, and has it open until its input ends."""
    started = []

    def start(how):
        path = tmp_path / f"{how}.h5"
        command = [sys.executable, "-c", _WRITER, str(images), str(path), how]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "written\n"
        return process, path

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refused(path, tmp_path):
    """Return the one problem for which a file is refused; nothing is left."""
    with pytest.raises(SourceError) as refusal:
        convert_mouse(path, tmp_path / "stores")
    (problem,) = refusal.value.problems
    assert problem.path == str(path) and not list((tmp_path / "stores").glob("*"))
    return problem


@pytest.mark.parametrize("how", ["old", "latest", "swmr"])
def test_a_file_that_is_being_written_is_refused_until_it_is_closed(how, writer, static_folder, tmp_path):
    process, path = writer(how)
    assert "close it" in refused(path, tmp_path).advice
    process.communicate()
    (static_folder / "config.json").unlink(missing_ok=True)
    assert len(open_source(path).survey().trial_ids) == 14


@pytest.mark.parametrize("how", ["latest", "swmr"])
@pytest.mark.parametrize("block", [0, 512, 2048], ids=lambda size: f"behind {size} bytes")
def test_a_file_of_a_killed_writer_is_refused(how, block, writer, tmp_path):
    """No lock is left of it; its mark is, wherever in the file the superblock is."""
    process, path = writer(how)
    process.send_signal(signal.SIGKILL)
    process.wait()
    path.write_bytes(bytes(block) + path.read_bytes())
    problem = refused(path, tmp_path)
    assert "ended before it had closed it" in problem.what and "h5clear --status" in problem.advice


def test_no_writer_begins_while_a_file_is_read(images):
    import h5py

    source = open_source(images)
    with source.part(source.survey().trial_ids).open() as reader:
        with pytest.raises(BlockingIOError):
            h5py.File(images, "a")
        assert reader.read("responses", 3).values.any()
    h5py.File(images, "a").close()


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL])
def test_a_file_that_cannot_be_locked_nor_written_is_read(error, images, tmp_path, monkeypatch):
    """As on read-only media, and where there are no locks."""
    lock, tried = fcntl.flock, []

    def flock(descriptor, operation):
        if operation & fcntl.LOCK_SH:
            tried.append(descriptor)
            raise OSError(error, os.strerror(error))
        lock(descriptor, operation)

    images.chmod(0o444)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert convert_mouse(images, tmp_path / "stores").verified and tried
