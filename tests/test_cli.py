"""The command line, as a person or a script uses it."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from trialpack.cli.display import IN_JSON, complain_of
from trialpack.cli.main import COMMANDS, commands
from trialpack.convert import convert_mouse, export_mouse
from trialpack.convert.published_mice import published_mice
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse
from trialpack.readers.statistics_files import save_statistics
from trialpack.store import OptionError, Problem
from trialpack.store.distribution import DISTRIBUTION
from trialpack.store.layout import short_name
from trialpack.store.tasks import Silent

from .command_line import TRIALPACK, run


@pytest.fixture(scope="module")
def mice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_sample(folder / "data", mouse="A", trials=6, neurons=10, image_shape=(12, 16))
    write_sample(folder / "data", mouse="S0", trials=20, neurons=10, image_shape=(9, 16), container="zip")
    return folder / "data"


@pytest.fixture(scope="module")
def stores(mice):
    folder = mice.parent / "stores"
    assert run("convert", mice, "--to", folder).returncode == 0
    return folder


def test_convert_makes_a_store_of_each_mouse_and_says_so(mice, tmp_path):
    done = run("convert", mice, "--to", tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 2
    for word in ("dynamic29156-11-10", "static26872-17-20", "B/s", "unpacked", "ratio", "trialpack info"):
        assert word in done.stdout
    assert done.stderr == "", "no progress unless standard error is a terminal"


def test_every_command_in_a_process_of_its_own(tmp_path):
    """The other tests run them in theirs, which has everything imported."""
    store = f"{tmp_path}/stores/static26872-17-20-GrayImageNet-94c6ff995dac583098847cfecd43e7b6.zarr"
    typed = (
        f"sample {tmp_path}/data --mouse S0 --trials 12 --neurons 3",
        f"convert {tmp_path}/data --to {tmp_path}/stores",
        f"verify {store} --source {tmp_path}/data",
        f"info {store} --json",
        f"stats {store} -o {tmp_path}/statistics.npz",
        f"show {store} -o {tmp_path}/trial.png",
        f"report {store} -o {tmp_path}/report.html",
        f"view {store} --export {tmp_path}/stores",
        f"export {store} --to {tmp_path}/out --as zip",
        f"clean {tmp_path}/stores",
        "completion zsh",
    )
    assert {command.split()[0] for command in typed} == set(COMMANDS) - {"push", "pull"}, "test_push.py has these"
    for command in typed:
        done = subprocess.run([TRIALPACK, *command.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout and "Traceback" not in done.stderr, done.stderr
    refused = subprocess.run([TRIALPACK, "info", tmp_path], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (1, run("info", tmp_path).stderr)


def test_json_is_one_document_and_nothing_else(mice, tmp_path):
    done = run("convert", mice, "--to", tmp_path, "--json")
    document = json.loads(done.stdout)
    assert [mouse["letter"] for mouse in document["mice"]] == ["A", "S0"]
    assert document["problems"] == []
    first = document["mice"][0]
    assert first["verified"] and first["files_before"] == 49
    assert first["files_after"] == sum(path.is_file() for path in Path(first["store"]).rglob("*"))
    assert sum(first["trials"].values()) == 6
    assert first["bytes_after"] == sum(
        path.stat().st_size for path in Path(first["store"]).rglob("*") if path.is_file()
    )


def test_dry_run_writes_nothing(mice, tmp_path):
    done = run("convert", mice, "--to", tmp_path / "stores", "--dry-run")
    assert done.returncode == 0
    assert "responses" in done.stdout and "nothing was written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dry_run_foresees_what_a_conversion_makes(mice, tmp_path):
    foreseen = json.loads(run("convert", mice, "--to", tmp_path, "--dry-run", "--json").stdout)["mice"]
    made = json.loads(run("convert", mice, "--to", tmp_path, "--json").stdout)["mice"]
    for plan, summary in zip(foreseen, made, strict=True):
        assert {key: plan[key] for key in ("store", "files_after", "arrays")} == {
            key: summary[key] for key in ("store", "files_after", "arrays")
        }
        assert plan["bytes_expected_of"].keys() == {variable["name"] for variable in plan["variables"]}
        assert summary["bytes_expected"] is None and plan["bytes_expected"] > sum(plan["bytes_expected_of"].values())


def test_one_bad_mouse_does_not_stop_the_others(mice, tmp_path):
    done = run("convert", tmp_path / "missing.zip", mice, "--to", tmp_path / "stores")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"trialpack: {tmp_path}/missing.zip: no such file or folder; check the path"]
    assert len(list((tmp_path / "stores").iterdir())) == 2


def test_an_existing_store_is_refused_in_one_line_and_replaced_on_request(mice, tmp_path):
    source = next(mice.glob("*.zip"))
    assert run("convert", source, "--to", tmp_path).returncode == 0
    refused = run("convert", source, "--to", tmp_path)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1 and "--replace" in refused.stderr
    assert run("convert", source, "--to", tmp_path, "--replace", "--codec", "none").returncode == 0
    store = next(tmp_path.glob("*.zarr"))
    assert json.loads(run("info", store, "--json").stdout)["codec"] == "none"


@pytest.mark.parametrize("together", [True, False])
def test_one_mouse_given_twice_is_said_before_anything_is_converted(mice, tmp_path, together):
    """As where somebody unpacked a zip beside it."""
    place = shutil.copytree(mice, tmp_path / "data")
    write_sample(place, mouse="A", trials=6, neurons=10, image_shape=(12, 16), container="zip")
    twice = sorted(place.glob("dynamic*"))
    done = run("convert", *([place] if together else [*twice, next(place.glob("static*"))]), "--to", tmp_path / "to")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"the same mouse twice: {twice[0]} and {twice[1]}; give one of them" in done.stderr
    assert not (tmp_path / "to").exists()


def test_stores_that_exist_are_skipped_on_request(mice, tmp_path):
    """What a conversion of several mice that was interrupted needs: one is there, the other one is not."""
    source = next(mice.glob("*.zip"))
    assert run("convert", source, "--to", tmp_path, "--codec", "none").returncode == 0
    store = next(tmp_path.glob("*.zarr"))
    refused = run("convert", mice, "--to", tmp_path)
    assert refused.returncode == 1 and "--skip-existing" in refused.stderr
    subprocess.run(["rm", "-rf", *tmp_path.glob("dynamic*")], check=True)
    done = run("convert", mice, "--to", tmp_path, "--skip-existing")
    assert done.returncode == 0 and done.stderr == f"note: {store}: is there already, and stays as it is\n"
    assert len(list(tmp_path.glob("*.zarr"))) == 2
    assert json.loads(run("info", store, "--json").stdout)["codec"] == "none"
    document = json.loads(run("convert", mice, "--to", tmp_path, "--skip-existing", "--json").stdout)
    assert document["mice"] == [] and document["problems"] == [] and str(store) in document["skipped"]


def test_a_reader_that_stops_is_no_problem_of_a_store(stores):
    """As behind ``| head``: quiet, without a line on standard error."""
    code = "import sys; from trialpack.cli.main import main; main()"
    command = [sys.executable, "-c", code, "stats", *map(str, stores.iterdir())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_misspelled_command_is_suggested():
    done = run("conver", "data")
    assert done.returncode == 2 and "Did you mean 'convert'?" in done.stderr
    assert "Did you mean" not in run("xyz").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "x", "--to", "y", "--replace", "--skip-existing"],
        ["convert", "x"],
        ["convert", "x", "--to", "y", "--codec", "best"],
        ["convert", "x", "--to", "y", "--max-memory", "lots"],
        ["convert", "x", "--to", "y", "--workers", "0"],
        ["verify", "x", "--quick", "--source", "y"],
        ["stats", "x", "y", "-o", "z.npz"],
        ["convert", "x", "--to", "y", "--log-every", "-1"],
        ["sample", "x", "--mouse", "Z"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_status_2(arguments, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_too_little_memory_is_refused_with_the_number_needed(mice, tmp_path):
    done = run("convert", next(mice.glob("dynamic*")), "--to", tmp_path, "--max-memory", "1MB")
    assert done.returncode == 1
    need = done.stderr.split("give --max-memory ")[1].split(",")[0].strip()
    assert run("convert", next(mice.glob("dynamic*")), "--to", tmp_path, "--max-memory", need).returncode == 0


def test_sizes_of_packed_files_are_those_on_disk(stores, tmp_path):
    store = next(stores.glob("static*"))
    for form in ("npy", "zip", "hdf5"):
        done = run("export", store, "--to", tmp_path / form, "--as", form, "--json")
        document = json.loads(done.stdout)
        path = Path(document["path"])
        on_disk = sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())
        assert document["bytes"] == on_disk
        assert (document["bytes_unpacked"] != on_disk) == (form != "npy")
    said = run("export", store, "--to", tmp_path / "again", "--as", "zip").stdout
    assert "B/s)" in said and " 0.00 " not in said and "unpacked" in said


def test_the_bytes_of_a_zip_are_labelled(stores):
    assert " unpacked in " in run("info", next(stores.glob("static*"))).stdout
    assert "unpacked" not in run("info", next(stores.glob("dynamic*"))).stdout


def test_verify(stores, mice):
    for store in stores.iterdir():
        source = next(mice.glob(f"{store.stem}*"))
        assert "every byte and every value" in run("verify", store).stdout
        assert "metadata" in run("verify", store, "--quick").stdout
        assert "bit for bit" in run("verify", store, "--source", source).stdout
        assert json.loads(run("verify", store, "--source", source, "--json").stdout)["intact"] is True


@pytest.mark.parametrize("command", [["info"], ["verify", "--quick"], ["verify"]], ids=" ".join)
def test_several_stores_are_looked_at_and_problems_of_all_are_reported(stores, tmp_path, command):
    good, bad = sorted(stores.iterdir()), [tmp_path / "missing.zarr", tmp_path / "also.zarr"]
    done = run(*command, *good)
    assert done.returncode == 0 and done.stderr == ""
    assert all(short_name(store.stem) in done.stdout for store in good)
    assert len(json.loads(run(*command, *good, "--json").stdout)) == 2
    done = run(*command, bad[0], *good, bad[1], "--json")
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == list(map(str, bad))
    documents = json.loads(done.stdout)
    assert [document["store"] for document in documents] == list(map(str, [bad[0], *good, bad[1]]))
    assert [bool(document.get("problems")) for document in documents] == [True, False, False, True]
    assert isinstance(json.loads(run(*command, good[0], "--json").stdout), dict)


def test_an_intact_store_that_differs_from_its_source_is_said_to_be_both(mice, stores, tmp_path):
    store, source = next(stores.glob("dynamic*")), tmp_path / next(mice.glob("dynamic*")).name
    shutil.copytree(next(mice.glob("dynamic*")), source)
    path = next((source / "data" / "responses").iterdir())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = run("verify", store, "--source", source)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "intact" in done.stdout and f"differs from {source}" in done.stdout
    document = json.loads(run("verify", store, "--source", source, "--json").stdout)
    assert document["intact"] is True and document["equal_to_source"] is False and len(document["problems"]) == 1


def test_verify_names_what_is_damaged(stores, tmp_path):
    store = next(stores.glob("dynamic*"))
    subprocess.run(["cp", "-r", store, tmp_path], check=True)
    shard = next((tmp_path / store.name / "responses").glob("c.*"))
    shard.chmod(0o644)
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    assert run("verify", tmp_path / store.name, "--quick").returncode == 0, "a quick check reads no data"
    done = run("verify", tmp_path / store.name)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and f"responses/{shard.name}" in done.stderr
    shard.unlink()
    for arguments in (["--quick"], []):
        done = run("verify", tmp_path / store.name, *arguments, "--json")
        assert done.returncode == 1
        assert f"responses/{shard.name}" in json.loads(done.stdout)["problems"][0]


@pytest.mark.parametrize("command", ["info", "verify", "stats"])
def test_one_fault_of_many_files_is_one_line(stores, tmp_path, command):
    """With their number and the first of them; what --json prints has one for each."""
    store = shutil.copytree(next(stores.glob("static*")), tmp_path / "mouse.zarr")
    for number in range(32):
        (store / f"{number}.txt").touch()
    done = run(command, store)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"trialpack: {store}: 0.txt: not part of the store")
    assert line.endswith(" (and 31 more: 1.txt, 10.txt, 11.txt, 12.txt, …); remove it")
    if command != "stats":
        problems = json.loads(run(command, store, "--json").stdout)["problems"]
        assert len(problems) == 32 and f"{store}: 31.txt: not part of the store" in problems[25]


def test_hundreds_of_faults_do_not_flood_the_terminal(capsys):
    complain_of([Problem("mouse", f"fault {'x' * number}", "mend it", "y.npy") for number in range(32)], IN_JSON)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1] == "trialpack: … and 12 more (--json lists all)"


@pytest.mark.parametrize("name", [".DS_Store", "trials/._tier", "Thumbs.db", "responses/desktop.ini", "__MACOSX/x"])
def test_what_operating_systems_leave_is_no_part_of_a_store(mice, tmp_path, name):
    source = next(mice.glob("dynamic*"))
    assert run("convert", source, "--to", tmp_path).returncode == 0
    store = next(tmp_path.glob("*.zarr"))
    (store / name).parent.mkdir(exist_ok=True)
    (store / name).write_bytes(b"Bud1")
    assert run("verify", store, "--source", source).returncode == 0
    assert run("export", store, "--to", tmp_path / "out", "--as", "npy").returncode == 0
    assert run("convert", source, "--to", tmp_path, "--replace").returncode == 0
    assert not (store / name).exists()


def test_what_is_given_in_place_of_a_store_is_named_with_the_next_command(mice):
    folder, archive = next(mice.glob("dynamic*")), next(mice.glob("*.zip"))
    for path, what in ((folder, "a folder with data and meta"), (archive, "a zip of it"), (mice, "a folder of mice")):
        done = run("info", path)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert what in done.stderr and done.stderr.endswith(f"; pack it: trialpack convert {path} --to DIR\n")


def test_what_is_given_in_place_of_a_mouse_is_named_with_the_next_command(stores, tmp_path):
    store, text = next(stores.glob("dynamic*")), tmp_path / "README.md"
    text.write_text("# not a mouse\n")
    first = min(stores.iterdir())
    for path, what, advice in (
        (store, "a trialpack store, not a mouse", f"trialpack info {store}; or give it back: trialpack export {store}"),
        (stores, "a folder of trialpack stores", f"trialpack info {first}; or"),
        (text, "not a mouse (expected a folder with data and meta, a zip of it,", "give the path of a mouse"),
    ):
        for command in (["convert", path, "--to", tmp_path / "to"], ["verify", store, "--source", path]):
            done = run(*command)
            assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
            assert f"{path}: {what}" in done.stderr and advice in done.stderr
    assert not (tmp_path / "to").exists()


def test_a_file_in_place_of_the_folder_to_write_to(mice, stores, tmp_path):
    file, source, store = tmp_path / "file", next(mice.glob("dynamic*")), next(stores.glob("dynamic*"))
    file.write_text("mine")
    for command in (
        ["convert", source, "--to", file],
        ["convert", source, "--to", file / "deeper"],
        ["export", store, "--to", file, "--as", "npy"],
        ["stats", store, "-o", file / "a.npz"],
    ):
        done = run(*command)
        assert done.returncode == 1
        assert done.stderr == f"trialpack: {file}: is a file, not a folder; choose another folder\n"
    assert file.read_text() == "mine"


def test_info_without_a_store(tmp_path):
    done = run("info", tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    done = run("info", tmp_path / "nothing")
    assert done.returncode == 1 and "no such store" in done.stderr


def test_info(stores):
    store = next(stores.glob("dynamic*"))
    shown = run("info", store).stdout
    for word in ("A, dynamic", "neurons", "324", "responses", "ratio", "manifest"):
        assert word in shown
    document = json.loads(run("info", store, "--json").stdout)
    assert document["neurons"] == 10 and document["frames"] == 324
    assert document["bytes_store"] == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


SLOWLY = """
import time
from trialpack.store import files
append = files.append
def slow(descriptor, parts):
    time.sleep(0.05)
    return append(descriptor, parts)
files.append = slow
from trialpack.cli import main
main()
"""
"""Takes long enough to be interrupted."""


def start_slowly(command):
    process = [sys.executable, "-c", SLOWLY, *map(str, command)]
    return subprocess.Popen(process, stderr=subprocess.PIPE, text=True)


@pytest.mark.once
@pytest.mark.parametrize(
    ("number", "several"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_interrupting_leaves_no_store_and_the_same_command_goes_on(mice, tmp_path, number, several):
    sources = sorted(mice.iterdir()) if several else mice.glob("dynamic*")
    command = ["convert", *sources, "--to", tmp_path / "stores", "--workers", "1"]
    process, stage = start_slowly(command), None
    while stage is None and process.poll() is None:
        stage = next((tmp_path / "stores").glob(".*.partial"), None)
    time.sleep(0.05)
    process.send_signal(number)
    begun = time.monotonic()
    _, text = process.communicate(timeout=5)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130
    assert ("the same command with --skip-existing goes on" if several else "the same command goes on") in text
    left = sorted((tmp_path / "stores").iterdir())
    assert len(left) == 3 and all(str(path) in text for path in left), "the stage, its journal and its lock"
    assert list((tmp_path / "stores").glob("*.zarr")) == []
    assert run(*command).returncode == 0


@pytest.mark.once
def test_an_interrupted_export_says_what_is_left_and_the_same_command_removes_it(stores, tmp_path):
    command = ["export", next(stores.glob("dynamic*")), "--to", tmp_path / "out", "--as", "zip"]
    process, left = start_slowly(command), None
    while left is None and process.poll() is None:
        left = next((tmp_path / "out").glob(".*.partial"), None)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=5)
    assert process.returncode == 130
    assert f"; the same command begins anew; left unfinished: {left}, " in text and left.exists()
    assert run(*command).returncode == 0
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".zip"]


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["numpy", "numcodecs", "rich.table", "trialpack.cli.info"])
def test_interrupting_the_start_is_one_line(tmp_path, number, module):
    """As in the first half second, in which everything is imported."""
    interrupting = f"""
import os, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Interrupting())
from trialpack.cli import main
main()
"""
    command = [sys.executable, "-c", interrupting, "info", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ntrialpack: interrupted\n")


def test_what_notebooks_show_of_results_is_one_line(mice, tmp_path):
    source = next(mice.glob("dynamic*"))
    made = convert_mouse(source, tmp_path)
    index = open_mouse(made.store).index
    megabytes = f"{made.nbytes / 1e6:.1f} MB in {made.files} files"
    assert repr(made) == f"<ConversionSummary of {made.store}: {megabytes}, verified>"
    for one in (made.plan, index, index.manifest):
        assert len(repr(one)) < 300 and "MB" in repr(one)
    assert str(made.store) in repr(made.plan) and str(made.store) in repr(index)
    assert index.manifest.store_id in repr(index.manifest)


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("command", ["stats", "info"])
def test_tables_fit_the_width_that_is_asked_for(stores, columns, command):
    done = run(command, next(stores.glob("static*")), env={"COLUMNS": columns})
    tables = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(tables) > 10 and max(map(len, tables)) <= int(columns)
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
    if command == "stats":
        assert bool(re.search("published +over", done.stdout)) == (columns == "120")
        assert not any("…" in line.replace(" … ", "") for line in tables), "a word is cut"


def test_progress_of_verify_has_the_short_name(mice, stores, monkeypatch):
    names = list[str]()
    bar = contextlib.nullcontext(Silent())
    bars = contextlib.nullcontext(SimpleNamespace(of=lambda name: names.append(name) or bar))
    monkeypatch.setattr("trialpack.cli.verify.progress_bars", lambda mice, shares: bars)
    store, source = next(stores.glob("static*")), next(mice.glob("static*"))
    assert CliRunner().invoke(commands, ["verify", str(store), "--source", str(source)]).exit_code == 0
    assert names == ["static26872-17-20"]


def test_the_list_of_commands_is_whole_at_80_columns():
    assert "or one HDF5 file." in run("--help", env={"COLUMNS": "80"}).stdout


def test_a_sample_of_more_trials_than_there_are_says_so(tmp_path, monkeypatch):
    few = dataclasses.replace(published_mice()["S0"], tiers=("train", "test", "validation"))
    monkeypatch.setitem(published_mice(), "S0", few)
    for trials, said in (("4", True), ("3", False)):
        done = CliRunner().invoke(commands, ["sample", str(tmp_path / trials), "--mouse", "s0", "--trials", trials])
        assert done.exit_code == 0
        assert ("note: mouse S0 has 3 trials, fewer than 4: all of them are written" in done.stderr) == said


def test_a_full_disk_is_one_line(mice, tmp_path):
    """The limit on the size of a file stands for a full disk: both are an OSError from write(2)."""
    limit = "import resource, signal, sys, os; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)); os.environ.update(PYTHONDONTWRITEBYTECODE='1'); "
    )
    limit += "os.execv(sys.argv[1], sys.argv[1:])"  # it would leave cut files of bytecode
    source = next(mice.glob("dynamic*"))
    command = [sys.executable, "-c", limit, str(TRIALPACK), "convert", str(source), "--to", str(tmp_path / "stores")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "File too large" in done.stderr and "free in" in done.stderr
    assert list((tmp_path / "stores").glob("*.zarr")) == []
    assert run("convert", source, "--to", tmp_path / "stores").returncode == 0


def test_a_destination_inside_a_store_or_the_source_is_refused(mice, stores):
    source, store = next(mice.glob("dynamic*")), next(stores.glob("dynamic*"))
    for folder, words in ((store / "more", "lies inside the store"), (source / "stores", "lies inside the source")):
        done = run("convert", source, "--to", folder)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1 and words in done.stderr
        assert not folder.exists()
    assert run("verify", store).returncode == 0


INSIDE = [
    ["export", "STORE", "--to", "STORE", "--as", "npy"],
    ["export", "STORE", "--to", "STORE/trials/deep/er", "--as", "zip"],
    ["stats", "STORE", "-o", "STORE/statistics.npz"],
    ["show", "STORE", "-o", "STORE/trials/a.png"],
    ["show", "STORE"],
    ["report", "STORE"],
    ["sample", "STORE/more", "--trials", "1", "--neurons", "2"],
]
"""Run in the store itself."""


@pytest.mark.parametrize("arguments", INSIDE, ids=" ".join)
def test_no_command_writes_into_a_store(stores, arguments):
    store = next(stores.glob("dynamic*"))
    before = sorted(store.rglob("*"))
    done = run(*(argument.replace("STORE", str(store)) for argument in arguments), cwd=store)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and f"lies inside the store {store}; choose another" in done.stderr
    assert sorted(store.rglob("*")) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda store: export_mouse(store, store / "trials"),
        lambda store: save_statistics(open_mouse(store).statistics, store / "trials" / "statistics.npz"),
        lambda store: write_sample(store / "more", trials=1, neurons=2),
    ],
    ids=["export_mouse", "save_statistics", "write_sample"],
)
def test_no_function_writes_into_a_store(stores, write):
    store = next(stores.glob("dynamic*"))
    before = sorted(store.rglob("*"))
    with pytest.raises(OptionError, match="lies inside the store"):
        write(store)
    assert sorted(store.rglob("*")) == before


def test_a_sample_that_exists_is_one_line(tmp_path):
    arguments = ["sample", tmp_path, "--trials", "2", "--neurons", "3"]
    assert run(*arguments).returncode == 0
    done = run(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "exists already" in done.stderr


def test_json_says_what_is_wrong_too(stores, tmp_path):
    assert "no such store" in json.loads(run("info", tmp_path / "no", "--json").stdout)["problems"][0]
    done = run("verify", next(stores.iterdir()), "--source", tmp_path, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["intact"] is True and document["equal_to_source"] is None
    assert "no mouse here" in document["problems"][0]


def test_the_source_of_another_mouse_is_said_in_one_line(mice, stores):
    done = run("verify", next(stores.glob("static*")), "--source", next(mice.glob("dynamic*")))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "mouse dynamic29156" in done.stderr


def test_progress_reaches_its_total(mice, tmp_path):
    class Listener:
        def __init__(self):
            self.phases = []

        def start(self, phase, nbytes, files):
            self.phases.append([phase, nbytes, files])

        def advance(self, nbytes, files):
            self.phases[-1][1] -= nbytes
            self.phases[-1][2] -= files

    listener = Listener()
    convert_mouse(next(mice.glob("dynamic*")), tmp_path, progress=listener)
    assert listener.phases == [["sampling", 0, 0], ["converting", 0, 0], ["statistics of", 0, 0], ["verifying", 0, 0]]


FRAMES = 30


@pytest.fixture
def lab(tmp_path):
    """Two mice: no pupil, counts, pictures in bytes, a variable of some trials, trials of different lengths."""
    random = np.random.default_rng(5)
    for name in ("lab1", "lab2"):
        for trial in range(4):
            frames = FRAMES + trial
            values = {
                "responses": random.normal(size=(5, frames)).astype(np.float32),
                "odd": random.integers(0, 9, (5, 5)).astype(np.int16),
                "spikes": random.integers(-9, 9, (5, frames)).astype(np.int16),
                "face": random.integers(0, 255, (6, 7, frames)).astype(np.uint8),
                "treadmill": random.normal(size=(2, frames)),
                "lever": np.array(trial, np.int64),
            }
            for variable, array in values.items():
                if (variable, trial) != ("face", 2):
                    (tmp_path / "lab" / name / "data" / variable).mkdir(parents=True, exist_ok=True)
                    np.save(tmp_path / "lab" / name / "data" / variable / f"{trial}.npy", array)
        (tmp_path / "lab" / name / "meta/trials").mkdir(parents=True)
        np.save(tmp_path / "lab" / name / "meta/trials/tiers.npy", np.array(["train"] * 3 + ["test"]))
    return tmp_path / "lab"


@pytest.fixture
def schema(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text("""
frame_rate = 20
[variables.odd]
dimensions = ["neuron", "part"]
[variables.face]
optional = true
missing = 7
[variables.treadmill]
channels = [{ name = "forward", units = "cm/s" }, { name = "yaw", units = "deg/s" }]
""")
    return file


def test_a_schema_makes_ambiguous_mice_convertible(lab, schema, tmp_path):
    refused = run("convert", lab, "--to", tmp_path / "to")
    assert refused.returncode == 1 and not (tmp_path / "to").exists()
    assert "could be" in refused.stderr or "missing" in refused.stderr
    done = run("convert", lab, "--to", tmp_path / "to", "--schema", schema)
    assert done.returncode == 0, done.stderr
    for name in ("lab1", "lab2"):
        store = tmp_path / "to" / f"{name}.zarr"
        mouse = open_mouse(store)
        assert mouse.recording.variable("odd").dimensions == ("neuron", "part")
        assert (mouse.trial(2)["face"] == 7).all() and mouse.trial(2)["face"].shape == (32, 6, 7)
        verified = run("verify", store, "--source", lab / name)
        assert verified.returncode == 0 and "equal to" in verified.stdout, verified.stderr
    again = run("convert", lab, "--to", tmp_path / "to", "--schema", schema, "--skip-existing", "--json")
    assert again.returncode == 0 and len(json.loads(again.stdout)["skipped"]) == 2


def test_the_schema_of_a_dry_run_can_be_saved_and_given(lab, schema, tmp_path):
    done = run("convert", lab, "--to", tmp_path / "to", "--schema", schema, "--dry-run")
    assert done.returncode == 0 and not (tmp_path / "to").exists()
    comment = "# trialpack.toml of lab1, lab2\n"
    assert done.stdout.count("# trialpack.toml") == 1 and "nothing was written" in done.stdout.split(comment)[0]
    saved = tmp_path / "saved.toml"
    saved.write_text(comment + done.stdout.split(comment)[1])
    found = tomllib.loads(saved.read_text())["variables"]
    assert found["face"]["missing"] == 7 and found["responses"]["frame_rate"] == 20
    assert [one["name"] for one in found["treadmill"]["channels"]] == ["forward", "yaw"]
    documents = [
        json.loads(run("convert", lab, "--to", tmp_path / "to", "--schema", file, "--dry-run", "--json").stdout)["mice"]
        for file in (schema, saved)
    ]
    assert all(mouse.pop("bytes_free") for document in documents for mouse in document)
    assert documents[0] == documents[1]
    assert {tomllib.loads(one["schema"])["variables"]["odd"]["dimensions"][1] for one in documents[0]} == {"part"}


def test_different_schemas_are_printed_for_their_mice(mice, tmp_path):
    done = run("convert", mice, "--to", tmp_path, "--dry-run")
    for name in ("dynamic29156-11-10", "static26872-17-20"):
        assert f"\n# trialpack.toml of {name}\n[variables." in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[variables.odd]\nkind = 3\n", ["line 2: variables.odd.kind: unknown key"]),
        ("[variables.odd\n", ["line 1: not TOML"]),
        (None, ["cannot be read"]),
        ("[variables.odds]\nunits = 'V'\n", ["line 1: variables.odds: there is no such folder under data"]),
    ],
)
def test_what_is_wrong_with_a_schema_is_reported_once(lab, tmp_path, text, words):
    file = tmp_path / "bad.toml"
    if text is not None:
        file.write_text(text)
    done = run("convert", lab, "--to", tmp_path / "to", "--schema", file)
    assert done.returncode == 1 and not (tmp_path / "to").exists()
    for word in words:
        assert sum(word in line for line in done.stderr.splitlines()) == 1, done.stderr
    document = json.loads(run("convert", lab, "--to", tmp_path / "to", "--schema", file, "--json").stdout)
    assert sum(words[0] in problem for problem in document["problems"]) == 1 and document["mice"] == []


@pytest.fixture
def lab_store(lab, schema, tmp_path):
    return convert_mouse(lab / "lab1", tmp_path / "stores", schema=schema).store


def test_info_shows_variables_and_versions(lab_store):
    shown = run("info", lab_store).stdout
    rows = {
        line.split()[0]: line
        for line in shown.partition("Variables\n")[2].partition("Arrays\n")[0].splitlines()
        if line.strip()
    }
    assert re.search(r"input +frame × face_axis_0 × face_axis_1 +uint8 +– +20 +3 of 4 \(optional\)", rows["face"])
    assert re.search(r"input +one value +int64 +– +– +4 of 4$", rows["lever"])
    assert "forward (cm/s), yaw (deg/s)" in rows["treadmill"]
    assert re.search(r"made by +.*numcodecs \d.*trialpack-neuro \d", shown)
    assert re.search("frames +33 at most; 30 in 1 trial, 31 in 1 trial.*; valid 30 in 1 trial", shown)
    document = json.loads(run("info", lab_store, "--json").stdout)
    assert document["trials_with"] == {
        "responses": 4, "face": 3, "lever": 4, "odd": 4, "spikes": 4, "treadmill": 4,
    }  # fmt: skip
    assert {"python", DISTRIBUTION, "numcodecs"} <= document["software"].keys()
    assert document["file_frames_by_trial"] == {"30": 1, "31": 1, "32": 1, "33": 1}


def test_stats_of_any_variables(lab_store, lab, tmp_path):
    shown = run("stats", lab_store)
    assert shown.returncode == 0, shown.stderr
    for variable in ("responses", "face", "lever", "odd", "spikes", "treadmill"):
        assert f"\n  {variable} " in shown.stdout
    document = json.loads(run("stats", lab_store, "--json").stdout)["statistics"]
    spikes = [np.load(lab / "lab1/data/spikes" / f"{trial}.npy") for trial in range(3)]
    found = document["spikes"]["over_trials_and_frames"]
    assert found["min"][0] == min(one.min() for one in spikes) and found["max"][1] == max(one.max() for one in spikes)
    assert found["count"] == [93, 93]
    assert document["face"]["over_trials"]["count"] == [0, 2] and document["lever"]["over_trials"]["mean"] == [1, 1]
    assert run("stats", lab_store, "-o", tmp_path / "a.npz").returncode == 0
    refused = run("stats", lab_store, "-o", tmp_path / "a.pkl")
    assert refused.returncode == 1 and not (tmp_path / "a.pkl").exists()
    assert "videos, behavior, pupil_center); use .npz" in refused.stderr and len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version(option):
    assert re.fullmatch(r"trialpack, version \d+\.\d+\S*\n", run(option).stdout)


def test_a_shell_completes_commands_options_and_choices():
    def completed(words):
        given = {
            "_TRIALPACK_COMPLETE": "zsh_complete",
            "COMP_WORDS": f"trialpack {words}",
            "COMP_CWORD": str(words.count(" ") + 1),
        }
        env = {**os.environ, **given}
        return subprocess.run([TRIALPACK], capture_output=True, text=True, check=True, env=env).stdout.split("\n")[1::3]

    assert completed("ver") == ["verify"] and set(completed("")) == set(COMMANDS)
    assert completed("verify --so") == ["--source"] and completed("convert --codec f") == ["fast"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell, tmp_path):
    script = tmp_path / "script"
    script.write_text(run("completion", shell).stdout)
    assert f"_TRIALPACK_COMPLETE={shell}_complete" in script.read_text() and "trialpack" in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True)
