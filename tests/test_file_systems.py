"""What people have for file systems, paths and limits: emulated where there is none like it."""

import errno
import os
import pickle
import stat
import subprocess
import sys
import urllib.parse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from trialpack import open_mice, open_mouse
from trialpack.convert import convert_mouse, export_mouse, find_sources, plan_mouse, verify_mouse
from trialpack.convert.sample import write_sample
from trialpack.convert.schema import read_schema
from trialpack.readers import TrialLoader, save_statistics, summarize, train_statistics
from trialpack.store import OptionError, ResourceError, StoreBusyError, files, locks
from trialpack.store.folder import is_junk
from trialpack.store.paths import read_path
from trialpack.store.publish import Stage

from .command_line import run


@pytest.fixture
def mouse(static_folder):
    return static_folder


@pytest.fixture
def store(mouse, tmp_path):
    return convert_mouse(mouse, tmp_path / "stores").store


def beside(folder):
    return sorted(path.name for path in folder.iterdir())


def failing(error, is_of=lambda *_: True):
    """Return what fails as a system call does, where a function says so, and is the call itself elsewhere."""

    def wrap(function):
        def call(*arguments, **options):
            if is_of(*arguments):
                raise OSError(error, os.strerror(error))
            return function(*arguments, **options)

        return call

    return wrap


# Locks


def no_flock(monkeypatch, code=errno.ENOLCK):
    monkeypatch.setattr(locks.fcntl, "flock", failing(code)(locks.fcntl.flock))


def test_without_flock_one_at_a_time_holds_a_lock(tmp_path, monkeypatch):
    no_flock(monkeypatch)
    lock = tmp_path / "lock"
    with files.Shortfalls() as shortfalls, locks.locked(lock) as held:
        assert held
        with locks.locked(lock) as other:
            assert not other
        assert lock.read_text().startswith(f"process {os.getpid()} on {os.uname().nodename}\n")
    (line,) = shortfalls.warnings(tmp_path)
    assert line == f"{tmp_path}: the file system does not offer locks (flock; a file with host and process stands in)"
    assert beside(tmp_path) == []
    with locks.locked(lock) as held:
        assert held


def left_lock(lock, process, host):
    lock.write_text(f"process {process} on {host}\n{locks.STANDS_IN}\ntoken")


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("flock", [True, False])
def test_a_lock_that_an_ended_process_left_is_taken_over(tmp_path, monkeypatch, flock):
    lock = tmp_path / "lock"
    if not flock:
        no_flock(monkeypatch)
    for process in (ended_process(), os.getpid()):  # a container may give everyone the same number
        left_lock(lock, process, os.uname().nodename)
        with locks.locked(lock) as held:
            assert held
        assert beside(tmp_path) == []


@pytest.mark.parametrize("flock", [True, False])
@pytest.mark.parametrize("process, host", [(os.getppid(), os.uname().nodename), (1, "another-host")])
def test_the_lock_of_a_process_that_may_live_is_named_with_advice(mouse, tmp_path, monkeypatch, flock, process, host):
    if not flock:
        no_flock(monkeypatch)
    destination = plan_mouse(mouse, tmp_path / "stores").destination
    lock = Stage(destination).lock
    lock.parent.mkdir()
    left_lock(lock, process, host)
    done = run("convert", mouse, "--to", tmp_path / "stores")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert f"{destination}: is being converted by process {process} on {host}; wait for it, or stop it" in line
    assert line.endswith(f"if it has ended, delete {lock}")
    lock.unlink()
    assert run("convert", mouse, "--to", tmp_path / "stores").returncode == 0


def test_numbers_of_files_that_change_from_call_to_call_hang_no_lock(tmp_path, monkeypatch):
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda descriptor: SimpleNamespace(**_changed(fstat(descriptor))))
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with locks.locked(tmp_path / "lock") as held, locks.locked(tmp_path / "lock") as other:
        assert held and not other
    assert beside(tmp_path) == []


def _changed(status):
    return {name: getattr(status, name) + (name == "st_ino") for name in dir(status) if name.startswith("st_")}


def test_a_name_that_never_shows_what_was_written_hangs_no_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "what another client has written")
    with files.Shortfalls() as shortfalls, locks.locked(tmp_path / "lock") as held:
        assert held
    assert "read at once what was written" in shortfalls.warnings(tmp_path)[0]


def test_the_lock_of_another_user_is_taken_if_nobody_holds_it_else_named(mouse, tmp_path, monkeypatch):
    destination = plan_mouse(mouse, tmp_path / "stores").destination
    lock = Stage(destination).lock
    lock.parent.mkdir()
    lock.write_text("process 7 on old-host")

    def is_of_another(path, flags, *_, **__):
        if Path(path) != lock or flags & os.O_EXCL or not flags & os.O_RDWR:
            return False
        return lock.exists() and lock.read_bytes().startswith(b"process 7")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(errno.EACCES, is_of_another)(os.open))
        with monkeypatch.context() as sticky:
            sticky.setattr(Path, "unlink", failing(errno.EPERM, lambda path, **_: path == lock)(Path.unlink))
            with pytest.raises(StoreBusyError) as raised:
                convert_mouse(mouse, tmp_path / "stores")
        (problem,) = raised.value.problems
        assert problem.path == str(lock) and "process 7 on old-host, another user's" in problem.what
        assert "have its owner delete the file" in problem.advice
        assert convert_mouse(mouse, tmp_path / "stores").store == destination


def test_what_another_user_left_in_a_sticky_folder_is_noticed_before_the_work(store, mouse, monkeypatch):
    store.parent.chmod(0o1777)
    owner, lstat, folder_stat = os.getuid() + 1, Path.lstat, Path.stat
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 2)

    def of_another(status):
        return os.stat_result([*status[:4], owner, *status[5:]])

    monkeypatch.setattr(Path, "lstat", lambda path: of_another(lstat(path)) if path == store else lstat(path))
    monkeypatch.setattr(files, "append", lambda *_: pytest.fail("something was written"))
    done = run("convert", mouse, "--to", store.parent, "--replace")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith(f"trialpack: {store}: belongs to another user"), done.stderr
    assert "sticky" in line and beside(store.parent) == [store.name]
    assert folder_stat(store.parent).st_mode & stat.S_ISVTX


def test_a_file_of_another_user_in_a_sticky_folder_is_noticed_before_statistics_are_taken(store, tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    path.write_bytes(b"")
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 2)
    monkeypatch.setattr(files, "save", lambda *_: pytest.fail("something was written"))
    done = run("stats", store, "-o", path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith(f"trialpack: {path}: belongs to another user"), done.stderr


# Paths


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Return a function that goes to another working folder, where relative paths of before mean nothing."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    return lambda: monkeypatch.chdir(tmp_path / "elsewhere")


def first(mouse):
    return mouse.trial(int(mouse.recording.trial_ids[0]))


def test_a_mouse_is_found_whatever_becomes_the_working_folder(store, tmp_path, elsewhere):
    expected = first(open_mouse(store))
    mouse, sent = open_mouse(f"stores/{store.name}"), pickle.dumps(open_mouse(f"stores/{store.name}"))
    lazy = mouse.dask("responses")
    loader = TrialLoader(mouse, tier="train", batch_size=2, output="numpy")
    elsewhere()
    for one in (mouse, pickle.loads(sent)):
        assert one.path == store
        assert all(np.array_equal(first(one)[name], expected[name], equal_nan=True) for name in expected)
        assert np.array_equal(one["responses"][0], expected["responses"])
        assert len(one.trials) and one.statistics
        assert train_statistics(one)["responses"]
    assert np.array_equal(lazy[0].compute(scheduler="synchronous"), expected["responses"])
    assert sum(len(batch["trial_id"]) for batch in loader) > 0
    with pytest.raises(OptionError, match=f"^stores/{store.name}: no trials of tier"):
        mouse.dask("responses", tier="x")


def test_a_mouse_that_another_process_gets_is_found_there(store, tmp_path, elsewhere):
    sent = pickle.dumps(open_mouse(f"stores/{store.name}"))
    code = "import pickle, sys; print(len(pickle.load(sys.stdin.buffer)['responses'][:]))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, cwd="/", capture_output=True, check=True)
    assert int(done.stdout) == len(open_mouse(store).trials)


@pytest.mark.parametrize("form", ["npy", "zip", "tar", "hdf5"])
def test_a_source_is_found_whatever_becomes_the_working_folder(store, tmp_path, elsewhere, form):
    if form == "hdf5":
        pytest.importorskip("h5py")
    made = export_mouse(f"stores/{store.name}", "made", format=form)
    (source,) = find_sources(f"made/{made.path.name}")
    assert source.label == f"made/{made.path.name}" and made.path == tmp_path / "made" / made.path.name
    part = source.survey() and pickle.dumps(source.part(source.survey().trial_ids[:1]))
    elsewhere()
    summary = convert_mouse(source, tmp_path / "again")
    verify_mouse(summary.store, source)
    with pickle.loads(part).open() as reader:
        assert reader.read("responses", source.survey().trial_ids[0]).values.size


def test_where_a_store_is_made_is_decided_once(mouse, tmp_path, elsewhere):
    class Goes:
        def start(self, *_):
            elsewhere()

        def advance(self, *_):
            pass

    summary = convert_mouse(mouse, "to", progress=Goes())
    assert summary.store == tmp_path / "to" / summary.store.name and open_mouse(summary.store)
    assert beside(tmp_path / "elsewhere") == []


ADDRESSES = [
    "s3://bucket/stores",
    "https://host/x.zarr",
    "gs://b/x",
    "file://host/share/x",
    "memory://x",
    "zip::s3://b/x",
]


READ = ("s3:", "gs:", "https:")
"""Of these stores are read."""


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_refused_as_it_was_typed(address, store, mouse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = beside(tmp_path)
    reads = [
        lambda: open_mouse(address),
        lambda: open_mice(address),
        lambda: open_mice([store, address]),
        lambda: summarize(address),
        lambda: verify_mouse(address),
        lambda: export_mouse(address, "to"),
        lambda: convert_mouse(address, "to"),
        lambda: verify_mouse(store, address),
        lambda: find_sources(address),
    ]
    calls = [
        lambda: convert_mouse(mouse, address),
        lambda: convert_mouse(mouse, "to", schema=address),
        lambda: plan_mouse(mouse, address),
        lambda: export_mouse(store, address),
        lambda: save_statistics(open_mouse(store).statistics, f"{address}.npz"),
        *([] if address.startswith(READ) else reads),
        lambda: write_sample(address),
        lambda: read_schema(address),
    ]
    for call in calls:
        with pytest.raises(OptionError, match="an address, not a path on this machine") as raised:
            call()
        assert raised.value.path.removesuffix(".npz") == address
    reading = [
        ("verify", address),
        ("info", address),
        ("stats", address),
        ("show", address),
        ("export", address, "--to", "to", "--as", "npy"),
        ("convert", address, "--to", "to"),
        ("verify", store, "--source", address),
    ]
    commands = [
        *([] if address.startswith(READ) else reading),
        ("convert", mouse, "--to", address),
        ("convert", mouse, "--to", "to", "--schema", address),
        ("stats", store, "-o", address),
        ("show", store, "-o", address),
        ("export", store, "--to", address, "--as", "npy"),
        ("sample", address),
    ]
    for command in commands:
        done = run(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"trialpack: {address}: an address") and done.stderr.count("\n") == 1, command
    assert beside(tmp_path) == before


@pytest.mark.parametrize("start", ["file://", "file://localhost", "file:", "FILE://"])
def test_the_address_of_a_file_here_is_its_path(mouse, tmp_path, start):
    moved = mouse.rename(mouse.parent / "my mouse 100%")
    to = f"{start}{urllib.parse.quote(str(tmp_path / 'my stores'))}"
    done = run("convert", f"{start}{urllib.parse.quote(str(moved))}", "--to", to)
    assert done.returncode == 0, done.stderr
    (store,) = (tmp_path / "my stores").iterdir()
    assert open_mouse(f"{start}{urllib.parse.quote(str(store))}").path == store


def test_what_only_looks_like_an_address_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    assert read_path("s3:/stores") == read_path(Path("s3://stores")) == Path("s3:/stores")
    assert read_path("a:/b") == Path("a:/b") and read_path("/data/s3://x") == Path("/data/s3:/x")
    with pytest.raises(OptionError, match="an address"):
        read_path(Path("gs://bucket/x"))


def test_the_home_folder_may_be_written_as_a_tilde(mouse, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    mouse.rename(tmp_path / "home" / mouse.name)
    done = run("convert", f"~/{mouse.name}", "--to", "~/x")
    assert done.returncode == 0, done.stderr
    (store,) = (tmp_path / "home" / "x").iterdir()
    assert open_mouse(f"~/x/{store.name}").path == open_mouse(Path("~/x") / store.name).path == store
    save_statistics(open_mouse(store).statistics, "~/s.npz")
    assert (tmp_path / "home" / "s.npz").exists() and not Path("~").exists()
    with pytest.raises(OptionError, match="the home folder of nobody here"):
        convert_mouse(tmp_path / "home" / mouse.name, "~nobody-of-this-name/x")
    Path("~kept").mkdir()
    assert read_path("~kept") == Path("~kept") and read_path("./~new") == Path("~new")


@pytest.mark.parametrize("given", ["", "a\0b", 3, None, b"stores"])
def test_what_is_no_path_is_refused(given):
    with pytest.raises(OptionError, match="path: expected a path.*, found"):
        open_mouse(given)


# Permission, descriptors, leftovers


@pytest.mark.parametrize("code, advice", [(errno.EACCES, "make it readable"), (errno.EMFILE, "ulimit -n")])
def test_what_the_system_refuses_is_not_called_damage(store, monkeypatch, code, advice):
    mouse, loader = open_mouse(store), None
    shard = mouse.index.arrays["responses"].shard_path(0)
    lazy = mouse.dask("responses")
    calls = {
        "trial": lambda: first(mouse),
        "dask": lambda: lazy.compute(scheduler="synchronous"),
        "zarr": lambda: mouse["responses"][:],
        "loader": lambda: TrialLoader(mouse, tier="train", batch_size=2, output="numpy"),
        "statistics": lambda: train_statistics(mouse),
        "full check": lambda: open_mouse(store, "full"),
    }
    is_shard = lambda path, *_: str(path).endswith(shard)  # noqa: E731
    for name, call in calls.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing(code, is_shard)(os.open))
            with pytest.raises(ResourceError) as raised:
                call()
        (problem,) = raised.value.problems
        assert problem.path == str(store) and problem.member == shard, name
        assert os.strerror(code) in problem.what and advice in str(problem.advice), name
        assert "convert the mouse" not in str(raised.value) and loader is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(code, lambda path, *_: Path(path) == store)(os.open))
        with pytest.raises(ResourceError, match=advice):
            first(mouse)


LIMITED = """
import resource, sys
from trialpack import open_mice
from trialpack.cli import main
from trialpack.readers import TrialLoader
mice = open_mice(sys.argv[1:2] * 40)
import numpy
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
try:
    loaders = [TrialLoader(mouse, tier="train", batch_size=2, output="numpy") for mouse in mice]
except OSError as error:
    print(type(error).__name__, error)
"""


def test_too_many_open_mice_are_said_to_be_that(store):
    done = subprocess.run([sys.executable, "-c", LIMITED, store], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"ResourceError {store}: ") and "Too many open files; allow more open files" in line


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_too_many_open_files_leave_what_a_conversion_has_done(fresh, tmp_path, monkeypatch, kind):
    source = fresh(f"static_{kind}")
    (opened,) = find_sources(source)
    opened.survey()
    is_source = lambda path, *_: str(path).startswith(str(source))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(errno.EMFILE, is_source)(os.open))
        with pytest.raises(ResourceError, match="ulimit -n"):
            convert_mouse(opened, tmp_path / "stores")
    assert Stage(plan_mouse(source, tmp_path / "stores").destination).root.exists()
    assert convert_mouse(opened, tmp_path / "stores").verified


def test_an_unreadable_archive_is_not_said_to_be_no_mouse(static_zip, monkeypatch):
    import builtins

    unnamed = static_zip.rename(static_zip.with_suffix(""))
    monkeypatch.setattr(
        builtins, "open", failing(errno.EACCES, lambda path, *_: Path(str(path)) == unnamed)(builtins.open)
    )
    with pytest.raises(ResourceError, match="Permission denied; make it readable"):
        find_sources(unnamed)


LEFT = [".nfs000000000123abcd00000001", ".fuse_hidden0000001200000001", ".smbdeleteAAA12", ".__afsE1F2"]


@pytest.mark.parametrize("name", LEFT)
def test_what_file_systems_keep_of_open_files_is_no_part_of_anything(mouse, tmp_path, name):
    variable = next((mouse / "data").iterdir())
    for folder in (variable, mouse / "meta", mouse):
        (folder / name).write_bytes(b"still open")
    store = convert_mouse(mouse, tmp_path / "stores").store
    (store / "responses" / name).write_bytes(b"still open")
    assert verify_mouse(store, mouse).source == str(mouse)
    assert is_junk(f"responses/{name}")


# Space


def with_free(monkeypatch, nbytes, files=0):
    status = SimpleNamespace(f_bavail=nbytes, f_frsize=1, f_blocks=1 << 40, f_files=files, f_favail=files)
    monkeypatch.setattr(os, "statvfs", lambda path: status)


def test_what_certainly_does_not_fit_is_refused_before_anything_is_written(mouse, tmp_path, monkeypatch):
    with_free(monkeypatch, 5000)
    done = run("convert", mouse, "--to", tmp_path / "stores", "--codec", "none")
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and not (tmp_path / "stores").exists()
    assert "too little space (" in lines[-1] and "are needed; 5.0 kB free in" in lines[-1]
    with pytest.raises(OSError, match="too little space") as raised:
        convert_mouse(mouse, tmp_path / "stores", codec="none")
    assert isinstance(raised.value, ResourceError)


def test_what_may_not_fit_is_warned_of_before_the_work(mouse, tmp_path, monkeypatch):
    with_free(monkeypatch, 5000)
    done = run("convert", mouse, "--to", tmp_path / "stores")
    notes = [line for line in done.stderr.splitlines() if "the disk may become full (up to" in line]
    assert done.returncode == 0 and len(notes) == 1 and "5.0 kB free" in notes[0]
    plan = plan_mouse(mouse, tmp_path / "more")
    assert any("the disk may become full" in text for text in plan.warnings)


def test_a_dry_run_shows_what_is_needed_and_what_is_free(mouse, tmp_path, monkeypatch):
    with_free(monkeypatch, 7_000_000)
    done = run("convert", mouse, "--to", tmp_path / "stores", "--dry-run")
    assert "space: up to" in done.stdout and "are needed; 7.0 MB free in" in done.stdout
    plan = plan_mouse(mouse, tmp_path / "stores")
    assert plan.space.free == 7_000_000 and plan.space.needed > plan.nbytes > 0 == plan.space.least
    assert plan_mouse(mouse, tmp_path / "stores", codec="none").space.least > 0.5 * plan.nbytes


def test_what_an_interrupted_conversion_left_is_not_needed_again(mouse, tmp_path):
    plan = plan_mouse(mouse, tmp_path / "stores")
    left = Stage(plan.destination).root / "responses"
    left.mkdir(parents=True)
    (left / "c.0.0").write_bytes(bytes(1000))
    assert plan_mouse(mouse, tmp_path / "stores").space.needed == plan.space.needed - 1000


@pytest.mark.parametrize("free", [None, 0])
def test_where_nobody_knows_what_is_free_nothing_is_refused(mouse, tmp_path, monkeypatch, free):
    def unknown(path):
        if free is None:
            raise OSError(errno.ENOSYS, "no such call")
        return SimpleNamespace(f_bavail=0, f_frsize=4096, f_blocks=0, f_files=0, f_favail=0)

    monkeypatch.setattr(os, "statvfs", unknown)
    summary = convert_mouse(mouse, tmp_path / "stores", codec="none")
    assert summary.verified and not any("space" in text or "full" in text for text in summary.warnings)


@pytest.mark.parametrize("form", ["npy", "tar"])
def test_an_export_that_does_not_fit_is_refused_before_anything_is_written(store, tmp_path, monkeypatch, form):
    made = export_mouse(store, tmp_path / "whole", format=form)
    values = sum(array.nbytes for array in open_mouse(store).index.recorded)
    with_free(monkeypatch, values - 1)
    with pytest.raises(ResourceError, match="too little space"):
        export_mouse(store, tmp_path / "to", format=form)
    assert not (tmp_path / "to").exists()
    assert run("export", store, "--to", tmp_path / "to", "--as", form).returncode == 1
    with_free(monkeypatch, made.nbytes)
    assert export_mouse(store, tmp_path / "to", format=form).nbytes == made.nbytes


def test_an_export_of_short_trials_needs_no_space_for_padding(converted, float64_folder, tmp_path, monkeypatch):
    store = converted(float64_folder)
    made = export_mouse(store, tmp_path / "whole")
    with_free(monkeypatch, made.nbytes)
    assert export_mouse(store, tmp_path / "to").nbytes == made.nbytes


# Places where nothing can be made


def read_only(monkeypatch, folder):
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not (Path(path) == folder and mode & os.W_OK) and access(path, mode)
    )
    monkeypatch.setattr(files, "create", lambda path, *_: pytest.fail("something was written"))


def test_a_read_only_place_is_named_before_the_work(store, mouse, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    place = tmp_path / "place"
    place.mkdir()
    read_only(monkeypatch, place)
    for command in [
        ("show", store, "-o", place / "x.png"),
        ("stats", store, "-o", place / "x.npz"),
        ("convert", mouse, "--to", place / "deeper" / "stores"),
        ("export", store, "--to", place, "--as", "npy"),
        ("sample", place),
    ]:
        done = run(*command)
        *_, line = done.stderr.splitlines()
        assert done.returncode == 1 and line.startswith(f"trialpack: {place}: nothing can be made here"), done.stderr
        assert ".writing" not in line and beside(place) == []


@pytest.mark.parametrize("command", ["show", "stats"])
def test_an_error_of_saving_names_the_file_that_was_asked_for(store, tmp_path, monkeypatch, command):
    pytest.importorskip("matplotlib")
    path = tmp_path / ("x.png" if command == "show" else "x.npz")
    monkeypatch.setattr(Path, "unlink", failing(errno.EROFS, lambda path, **_: "x." in path.name)(Path.unlink))
    done = run(command, store, "-o", path)
    assert (done.returncode, done.stderr) == (1, f"trialpack: {path}: Read-only file system\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_a_place_where_no_folder_can_be_is_named(mouse):
    done = run("convert", mouse, "--to", "/proc/x")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("trialpack: /proc"), line
    assert "no folder can be made here" in line or "nothing can be made here" in line
