"""A full disk is said in one line, with what is needed and what is free; later the same command goes on."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr

from .conversions import Digests, beside, digests
from .forks import COMMAND, PRIVATE, QUICKLY, Fork, ForkServer, fork_server, is_private
from .promises import Tally

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("small_shards"), pytest.mark.promise(6)]

BLOCK = 4096
"""A tmpfs gives whole pages."""
Size = Callable[[int, int], int]

LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.dont_write_bytecode = True  # it would be cut
"""
"""No file may have more bytes than the first argument."""

FILLING = """
at, filler, count, append = int(sys.argv.pop(1)), sys.argv.pop(1), 0, files.append
def fill(descriptor, parts):
    global count
    count += 1
    if count == at:
        with open(filler, "wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    break
    return append(descriptor, parts)
files.append = fill
"""
"""Somebody else takes all the space there is at the n-th write."""

PLAIN = """
import sys, numpy as np, zarr
array = zarr.create_array(sys.argv[1], shape=(60, 4000), chunks=(1, 4000), dtype="f4", compressors=None)
array[...] = np.ones((60, 4000), "f4")
"""
"""A store as anybody writes it."""


@dataclass(frozen=True)
class SmallDisk:
    """A file system of a chosen size, which only the server and its forks see.

    Attributes
    ----------
    mounted
        Where they see it.
    seen
        Where this process does.
    """

    server: ForkServer
    mounted: Path

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self.server.process}/root{self.mounted}")

    def mount(self, nbytes: int, files: int = 1 << 20) -> None:
        """Begin with an empty disk; `files` is how many it may have."""
        self.server.ask("run", "mount", "-t", "tmpfs", "-o", _options(nbytes, files), "tmpfs", str(self.mounted))

    def enlarge(self) -> None:
        self.server.ask("run", "mount", "-o", f"remount,{_options(1 << 30, 1 << 20)}", str(self.mounted))

    def unmount(self) -> None:
        self.server.ask("run", "umount", str(self.mounted))


def _options(nbytes: int, files: int) -> str:
    return f"size={nbytes},nr_inodes={files}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    if not is_private():
        reason = "file systems cannot be mounted here (unshare --map-root-user --mount is refused)"
        assert not request.config.getoption("--torture"), reason
        pytest.skip(reason)
    with fork_server(tmp_path_factory.mktemp("forks"), *PRIVATE) as server:
        yield server


@pytest.fixture
def disk(server: ForkServer, tmp_path: Path) -> SmallDisk:
    (tmp_path / "disk").mkdir()
    return SmallDisk(server, tmp_path / "disk")


def convert(disk: SmallDisk, recording: Path, before: str = "", *arguments: object) -> Fork:
    """Run the command line, after some code with arguments."""
    command = ("convert", recording, "--to", disk.mounted / "stores", "--workers", "1")
    fork = disk.server.start(QUICKLY + before + COMMAND, *arguments, *command)
    return fork


def assert_nothing_is_published(disk: SmallDisk, name: str) -> None:
    assert not (disk.seen / "stores" / name).exists()


def assert_refused(fork: Fork, disk: SmallDisk, name: str, error: str = "No space left on device") -> None:
    """Check that nothing was published, and that one line says why; a note may have warned of it."""
    assert fork.wait() == 1, fork.said
    assert_nothing_is_published(disk, f"{name}.zarr")
    *notes, line = fork.said.splitlines()
    assert [note for note in notes if ": the disk may become full (up to " in note] == notes and len(notes) <= 1
    assert line.startswith(f"trialpack: {disk.mounted}/"), line
    size = r"[\d.,]+ (bytes|kB|MB|GB)"
    assert re.search(rf"{error} \(up to {size}( in \d+ files)? are needed; {size}( and \d+ files)? free in ", line)
    assert line.endswith("; the same command goes on from here"), line


def assert_goes_on(disk: SmallDisk, recording: Path, reference: Digests) -> None:
    """Check that the same command ends well when there is space, as if nothing had been."""
    fork = convert(disk, recording)
    assert fork.wait() == 0, fork.said
    destination = disk.seen / "stores" / f"{recording.name}.zarr"
    assert digests(destination) == reference
    assert beside(destination) == [destination.name]


@dataclass(frozen=True)
class Needs:
    """What the store takes when it is finished; making it takes more."""

    blocks: int
    files: int
    folders: int
    largest: int


@pytest.fixture
def needs(disk: SmallDisk, recording: Path, reference: Digests) -> Needs:
    disk.mount(1 << 30)
    assert_goes_on(disk, recording, reference)
    found = list((disk.seen / "stores").rglob("*"))
    sizes = [path.stat().st_size for path in found if path.is_file()]
    disk.unmount()
    return Needs(sum(-(-size // BLOCK) for size in sizes), len(sizes), len(found) - len(sizes), max(sizes))


def spread(low: int, high: int, count: int) -> list[int]:
    """Return numbers from the lowest to the highest, both with them."""
    return np.unique(np.linspace(low, high, count).round().astype(int)).tolist()


def test_a_disk_that_is_too_small_is_said_in_one_line(
    tally: Tally, size: Size, disk: SmallDisk, needs: Needs, recording: Path, reference: Digests
) -> None:
    """From one block to one less than the finished store takes."""
    for blocks in spread(1, needs.blocks - 1, size(10, 60)):
        disk.mount(blocks * BLOCK)
        tally.inject()
        assert_refused(convert(disk, recording), disk, recording.name)
        disk.enlarge()
        assert_goes_on(disk, recording, reference)
        tally.survive()
        disk.unmount()


def test_a_disk_that_fills_up_meanwhile_is_said_in_one_line(
    tally: Tally, size: Size, disk: SmallDisk, needs: Needs, recording: Path, reference: Digests
) -> None:
    """There was enough space at first; somebody else took it."""
    filler = disk.mounted / "filler"
    for number in spread(1, needs.files, size(4, 40)):
        disk.mount(2 * needs.blocks * BLOCK)
        tally.inject()
        assert_refused(convert(disk, recording, FILLING, number, filler), disk, recording.name)
        (disk.seen / filler.name).unlink()
        assert_goes_on(disk, recording, reference)
        tally.survive()
        disk.unmount()


def test_a_disk_that_can_have_no_more_files_is_said_in_one_line(
    tally: Tally, size: Size, disk: SmallDisk, needs: Needs, recording: Path, reference: Digests
) -> None:
    for files in spread(2, needs.files + needs.folders, size(3, 20)):
        disk.mount(1 << 30, files)
        tally.inject()
        fork = convert(disk, recording)
        assert_refused(fork, disk, recording.name)
        assert f"in {needs.files} files are needed; " in fork.said
        disk.enlarge()
        assert_goes_on(disk, recording, reference)
        tally.survive()
        disk.unmount()


def test_a_limit_on_the_size_of_files_is_said_in_one_line(
    tally: Tally, size: Size, disk: SmallDisk, needs: Needs, recording: Path, reference: Digests
) -> None:
    for limit in spread(1000, needs.largest - 1, size(3, 20)):
        disk.mount(1 << 30)
        tally.inject()
        fork = convert(disk, recording, LIMITED, limit)
        assert_refused(fork, disk, recording.name, "File too large")
        assert_goes_on(disk, recording, reference)
        tally.survive()
        disk.unmount()


def test_control_a_plain_writer_leaves_a_store_of_zeros(tally: Tally, size: Size, disk: SmallDisk) -> None:
    for blocks in spread(8, 200, size(2, 10)):
        disk.mount(blocks * BLOCK)
        fork = disk.server.start(PLAIN, disk.mounted / "stores" / "plain.zarr")
        assert fork.wait() == 1, fork.said
        with pytest.raises(AssertionError):
            assert_nothing_is_published(disk, "plain.zarr")
        array = zarr.open_array(disk.seen / "stores" / "plain.zarr", mode="r")
        assert set(np.unique(array[...])) == {0, 1}
        tally.notice()
        disk.unmount()
