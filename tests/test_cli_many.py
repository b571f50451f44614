"""Commands of many mice: how stores are named, compared with their sources, summed up, and how progress is shown."""

import contextlib
import dataclasses
import io
import json
import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
from trialpack.cli import progress
from trialpack.cli.convert import _outlook
from trialpack.cli.progress import Bars
from trialpack.convert import conversion, convert_mouse, export_mouse, plan_mouse, verify_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse, train_statistics
from trialpack.store import layout
from trialpack.store.leftovers import Leftover
from trialpack.store.locate import named_stores
from trialpack.store.publish import Stage, staged

from .command_line import TRIALPACK, run
from .mice import zip_mouse

SLOW = """
import time
from trialpack.store import files
append = files.append
def slow(*given):
    time.sleep(0.02)
    return append(*given)
files.append = slow
from trialpack.cli import main
main()
"""
FLOATS = ("videos", "responses", "behavior", "pupil_center")
LETTERS = ("A", "B", "S0")


@pytest.fixture(scope="module")
def mice(tmp_path_factory):
    """Three mice: two folders and a zip."""
    folder = tmp_path_factory.mktemp("many") / "downloads"
    for letter in LETTERS:
        container = "zip" if letter == "S0" else "folder"
        write_sample(folder, mouse=letter, trials=4, neurons=3, image_shape=(6, 8), container=container)
    return folder


@pytest.fixture(scope="module")
def stores(mice):
    folder = mice.parent / "stores"
    done = run("convert", mice, "--to", folder)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "3 converted"
    return folder


def cut(store):
    """Damage a store in a way that every opening notices."""
    shard = next((store / "responses").glob("c.*"))
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1])
    return store


@pytest.fixture
def damaged(stores, tmp_path):
    """A copy of the stores, of which the second is damaged."""
    place = shutil.copytree(stores, tmp_path / "copy")
    cut(sorted(place.iterdir())[1])
    return place


@pytest.mark.parametrize("named", ["stores", "stores/*.zarr", "stores/*", "*/dynamic*.zarr", "stores/dynamic*"])
def test_a_folder_and_a_pattern_name_all_their_stores(stores, named, monkeypatch):
    monkeypatch.chdir(stores.parent)
    found = sorted(path for path in stores.iterdir() if path.name.startswith("dynamic") or "dynamic" not in named)
    for command in ("info", "stats", "verify"):
        documents = json.loads(run(command, named, "--json").stdout)
        assert [one["store"].rpartition("/")[2] for one in documents] == [path.name for path in found]


def test_a_store_that_is_named_twice_is_looked_at_once(stores):
    first = min(stores.iterdir())
    assert len(json.loads(run("info", first, stores, f"{stores}/*", "--json").stdout)) == 3


def test_names_with_wildcards_are_names_where_they_exist(stores, tmp_path):
    store = shutil.copytree(min(stores.iterdir()), tmp_path / "[one]*.zarr")
    assert named_stores(store) == [store]
    assert run("info", store).returncode == 0


def test_a_pattern_that_fits_nothing_is_one_line(stores):
    done = run("info", f"{stores}/mouse*.zarr")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "mouse*.zarr: no such store" in done.stderr


def test_info_of_several_is_one_table_with_totals(stores):
    documents = json.loads(run("info", stores, "--json").stdout)
    lines = run("info", stores, env={"COLUMNS": "140"}).stdout.splitlines()
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows if row and row[0] in ("dynamic29156-11-10", "dynamic29228-2-10")]
    assert sum("static26872-17-20" in line for line in lines) == 1
    total = next(row for row in rows if row and row[0] == "total")
    assert total[1:4] == ["12", "9", str(sum(one["files_store"] for one in documents))]
    assert lines[-1] == "3 read"
    stored = sum(one["bytes_store"] for one in documents) / sum(one["bytes_source"] for one in documents)
    assert total[-1] == f"{stored:.3f}"


@pytest.mark.parametrize("columns", ["80", "100"])
def test_the_table_of_mice_fits(stores, columns):
    lines = run("info", stores, env={"COLUMNS": columns}).stdout.splitlines()
    assert max(map(len, lines)) <= int(columns) and not any("…" in line for line in lines)
    assert sum(line.startswith("  ") and "dynamic" in line.split()[0] for line in lines) == 2, "a line a mouse"


def test_damaged_stores_among_whole_ones(damaged, tmp_path):
    shown = run("info", damaged)
    assert shown.returncode == 1 and len(shown.stderr.splitlines()) == 1
    assert "not read" in shown.stdout and shown.stdout.splitlines()[-1] == "2 read, 1 not read"
    verified = run("verify", damaged, tmp_path / "nothing.zarr")
    assert verified.returncode == 1 and len(verified.stderr.splitlines()) == 2
    assert verified.stdout.splitlines()[-1] == "2 intact, 1 damaged, 1 not verified"
    exported = run("export", damaged, "--to", tmp_path / "out", "--as", "zip")
    assert exported.returncode == 1 and exported.stdout.splitlines()[-1] == "2 exported, 1 not exported"
    assert len(list((tmp_path / "out").iterdir())) == 2
    documents = json.loads(run("export", damaged, "--to", tmp_path / "more", "--as", "zip", "--json").stdout)
    assert ["problems" in one for one in documents] == [False, True, False]


def test_verify_matches_stores_with_sources_by_name(stores, mice, tmp_path):
    done = run("verify", stores, "--source", mice)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.count("bit for bit") == 3
    assert done.stdout.splitlines()[-1] == "3 intact; 3 equal to their sources"
    renamed = tmp_path / "renamed"
    for number, store in enumerate(sorted(stores.iterdir())):
        shutil.copytree(store, renamed / f"{number}.zarr")
    documents = json.loads(run("verify", renamed, "--source", mice, "--json").stdout)
    assert [one["equal_to_source"] for one in documents] == [True] * 3
    assert len({one["source"] for one in documents}) == 3


def test_verify_says_what_has_no_partner(stores, mice, tmp_path):
    some = tmp_path / "some"
    for path in sorted(mice.iterdir())[1:]:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, some / path.name if path.is_dir() else some)
    done = run("verify", stores, "--source", some)
    first = min(stores.iterdir())
    assert done.returncode == 1
    assert f"{first}: no mouse {first.stem} in {some}" in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout.splitlines()[-1] == "3 intact; 2 equal to their sources, 1 not compared"
    several = sorted(stores.iterdir())[:2]
    done = run("verify", *several, "--source", mice)
    (left,) = done.stderr.splitlines()
    assert done.returncode == 1 and "static26872" in left and "no store of this mouse is given" in left
    documents = json.loads(run("verify", *several, "--source", mice, "--json").stdout)
    assert [one["store"] for one in documents] == [*map(str, several), None]
    assert run("verify", first, "--source", mice).returncode == 0, "of one store, the other sources do not matter"


def test_a_damaged_store_has_its_partner(damaged, mice):
    done = run("verify", damaged, "--source", mice)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "no store of this mouse" not in done.stderr
    assert done.stdout.splitlines()[-1] == "2 intact, 1 damaged; 2 equal to their sources"


def test_two_sources_of_one_mouse_are_named(stores, mice, tmp_path):
    place, first = shutil.copytree(mice, tmp_path / "twice"), min(stores.iterdir())
    write_sample(place, mouse="A", trials=4, neurons=3, image_shape=(6, 8), container="zip")
    done = run("verify", first, "--source", place)
    assert done.returncode == 1 and f"the mouse {first.stem} twice: " in done.stderr


def test_files_for_one_store_are_not_written_for_several(stores, tmp_path):
    for command in (["stats", stores, "-o", tmp_path / "a.npz"], ["show", stores, "-o", tmp_path / "a.png"]):
        done = run(*command)
        assert done.returncode == 2 and "of one STORE, found 3" in done.stderr
    assert not list(tmp_path.iterdir())


def test_show_draws_a_trial_of_each(stores, tmp_path):
    done = run("show", stores, cwd=tmp_path)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(list(tmp_path.glob("*.png"))) == 3


def test_the_bar_of_all_mice_counts_them_and_their_bytes():
    bars = Bars(4, {"converting": 3.0, "verifying": 1.0})
    assert bars.state() == ("mouse 1 of 4", 0.0, "")
    with bars.of("skipped"):
        assert bars.state()[0] == "mouse 1 of 4: skipped"
    with bars.of("one") as bar:
        bar.start("sampling", 7, 1)
        bar.advance(7, 1)
        assert bars.state()[:2] == ("mouse 2 of 4: sampling one", 0.0)
        bar.start("converting", 1000, 2)
        bar.advance(1000, 2)
        bar.start("verifying", 400, 2)
        bar.advance(200, 1)
        text, part, _ = bars.state()
        assert text == "mouse 2 of 4: verifying one" and part == pytest.approx((3.5 / 4) / 3)
        with bars.of("two"):
            assert bars.state()[0] == "mice 2 to 3 of 4: two"
    assert bars.state()[1] == pytest.approx(1 / 2)


def test_speed_and_time_left_are_of_all_mice(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bars = Bars(10, {})
    with bars.of("one") as bar:
        bar.start("exporting", 1_000_000_000, 5)
        now[0] += 10
        bar.advance(500_000_000, 2)
        assert bars.state()[2] == "50.0 MB/s, 0:03:10 left"


@pytest.mark.once
def test_without_a_terminal_there_is_a_line_now_and_then(mice, tmp_path):
    command = ["convert", mice, "--to", tmp_path / "stores", "--workers", "1", "--log-every", "0.1"]
    done = subprocess.run([sys.executable, "-c", SLOW, *map(str, command)], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) > 3 and all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert any(
        re.search(r"mouse \d of 3: converting \w+-\d+-\d+: \d+%, .*B/s, \d:\d\d:\d\d left$", one) for one in lines
    )
    assert sum(" 4 trials, " in line for line in lines) >= 1, "mice that are finished"
    quiet = [sys.executable, "-c", SLOW, *map(str, [*command[:-1], "0", "--replace"])]
    assert subprocess.run(quiet, capture_output=True, text=True, check=True).stderr == ""


def test_short_work_logs_nothing():
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), progress._logged(bars := Bars(1, {}), 60):
        bars.say("done")
    assert errors.getvalue() == ""


def in_terminal(*command, env=None, stdout=None):
    """Run a command whose standard error is a terminal of 80 columns; return what it shows."""
    leader, follower = pty.openpty()
    given = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **(env or {})}
    process = subprocess.Popen(command, stdin=follower, stdout=stdout or follower, stderr=follower, env=given)
    os.close(follower)
    shown = bytearray()
    with contextlib.suppress(OSError):
        while data := os.read(leader, 1 << 16):
            shown += data
    os.close(leader)
    assert process.wait() == 0
    return shown.decode()


@pytest.mark.once
def test_a_terminal_has_one_bar_and_a_line_for_each_mouse(mice, tmp_path):
    shown = in_terminal(TRIALPACK, "convert", mice, "--to", tmp_path / "stores")
    assert re.search(r"mouse \d of 3: ", shown)
    plain = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown).replace("\r", "\n")
    for name in ("dynamic29156-11-10", "dynamic29228-2-10", "static26872-17-20"):
        assert len(re.findall(rf"^{name}: 4 trials, .* in \d+\.\d s$", plain, re.M)) == 1


@pytest.mark.once
def test_results_go_where_standard_output_goes(stores, tmp_path):
    """Also while a bar is drawn on the terminal that is standard error."""
    with open(tmp_path / "log", "w") as log:
        in_terminal(TRIALPACK, "verify", stores, stdout=log)
    assert (tmp_path / "log").read_text().count("every byte and every value") == 3


@pytest.mark.once
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_and_bars_are_left_out_on_request(stores, name, value):
    shown = in_terminal(TRIALPACK, "info", stores, env={name: value})
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown), "a colour"
    if name == "TERM":
        assert "\x1b" not in in_terminal(TRIALPACK, "verify", stores, env={name: value})


def killed(source, to, *more):
    """Kill a conversion in its middle, and return the folder that it was to write to."""
    command = [sys.executable, "-c", SLOW, "convert", str(source), "--to", str(to), "--workers", "1", *more]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(to.glob(".*.journal/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    return to


def test_clean_lists_what_is_left_and_removes_it_on_request(mice, tmp_path):
    to = killed(min(mice.iterdir()), tmp_path / "stores")
    left = sorted(to.iterdir())
    assert len(left) == 3
    listed = run("clean", to)
    assert listed.returncode == 0 and all(str(path) in listed.stdout for path in left)
    assert listed.stdout.splitlines()[-1] == "Nothing was removed: give --yes to remove it."
    assert sorted(to.iterdir()) == left, "a list changes nothing"
    (document,) = json.loads(run("clean", to, "--json").stdout)["leftovers"]
    assert document["bytes"] == sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    removed = run("clean", to, "--yes")
    assert removed.stdout.startswith("removed: ") and not list(to.iterdir())
    assert "nothing is left here" in run("clean", to).stdout


def test_clean_leaves_what_a_process_is_at_work_on(mice, tmp_path):
    source = min(mice.iterdir())
    with staged(tmp_path / f"{source.name}.zarr", replace=False) as stage:
        for yes in ([], ["--yes"]):
            done = run("clean", tmp_path, *yes)
            assert done.stdout.startswith("at work: ") and f"by process {os.getpid()} on " in done.stdout
            assert stage.root.exists() and stage.journal.exists() and stage.lock.exists()
            assert json.loads(run("clean", tmp_path, *yes, "--json").stdout)["leftovers"][0]["removed"] is False
        assert not Leftover(stage.destination, (), 0, 0, None).remove(), "it was taken meanwhile"
        assert stage.root.exists()


def test_clean_puts_back_a_store_that_was_being_replaced(stores, tmp_path):
    store = shutil.copytree(min(stores.iterdir()), tmp_path / "mouse.zarr")
    stage = Stage(store)
    stage.root.mkdir()
    stage.journal.mkdir()
    store.rename(stage.old)
    assert run("clean", tmp_path, "--yes").returncode == 0
    assert list(tmp_path.iterdir()) == [store] and run("verify", store).returncode == 0


def test_clean_touches_nothing_of_other_programs(tmp_path):
    for name in (".notes.lock", ".paper.partial", ".git.old", "mouse.zarr", ".hidden"):
        (tmp_path / name).write_text("theirs")
    before = sorted(tmp_path.iterdir())
    done = run("clean", tmp_path, "--yes")
    assert done.stdout == f"{tmp_path}: nothing is left here\n" and sorted(tmp_path.iterdir()) == before


def test_clean_of_what_is_no_folder_is_one_line(tmp_path):
    done = run("clean", tmp_path / "no", tmp_path)
    assert done.returncode == 1 and done.stderr == f"trialpack: {tmp_path / 'no'}: no such folder; check the path\n"


def test_what_an_interrupted_run_had_written_is_counted(mice, tmp_path):
    source = min(mice.iterdir())
    with mock.patch.object(layout, "SHARD_BYTES", 20_000):
        fresh = convert_mouse(source, tmp_path / "fresh")
        assert (fresh.reused, len(fresh.plan.units)) == (0, 4)
        end = mock.patch.object(conversion, "remove_leftovers", side_effect=OSError(28, "No space left on device"))
        with end, pytest.raises(OSError):
            convert_mouse(source, tmp_path / "stores")
        (entry, *_) = (tmp_path / "stores").glob(".*.journal/*.json")
        entry.unlink()
        done = run("convert", source, "--to", tmp_path / "stores")
    assert "4 trials (1 oracle, 3 train), 3 written before by a run that was interrupted, verified" in done.stdout


def test_withheld_and_broken_trials_are_counted(mice, tmp_path):
    source = shutil.copytree(min(mice.iterdir()), tmp_path / "mouse")
    for trial in (0, 3):
        values = np.load(source / f"data/behavior/{trial}.npy")
        values[0, 7] = np.nan
        np.save(source / f"data/behavior/{trial}.npy", values)
    responses = source / "data/responses/6.npy"
    np.save(responses, np.zeros_like(np.load(responses)))
    done = run("convert", source, "--to", tmp_path / "stores", "--json")
    (made,) = json.loads(done.stdout)["mice"]
    assert (made["trials_withheld"], made["trials_broken"], made["trials_reused"]) == (1, 2, 0)
    done = run("convert", source, "--to", tmp_path / "stores", "--replace")
    assert (
        ", 1 without responses, which were withheld, 2 with NaN, or variables of other lengths, verified" in done.stdout
    )


def test_a_mouse_of_which_all_responses_are_withheld(mice, tmp_path):
    source = shutil.copytree(min(mice.iterdir()), tmp_path / "mouse")
    for path in (source / "data/responses").iterdir():
        np.save(path, np.zeros_like(np.load(path)))
    assert run("convert", source, "--to", tmp_path / "stores").stdout.count("4 without responses") == 1
    assert run("info", tmp_path / "stores").returncode == run("verify", tmp_path / "stores").returncode == 0


def test_why_a_store_is_larger_than_its_zip_is_said(mice, tmp_path):
    source = shutil.copytree(min(mice.iterdir()), tmp_path / "mouse")
    for path in (source / "data/videos").iterdir():
        np.save(path, np.zeros_like(np.load(path)))
    done = run("convert", zip_mouse(source), "--to", tmp_path / "stores")
    assert "mouse takes more than its zip (" in done.stdout and "--codec small takes less" in done.stdout
    small = run("convert", zip_mouse(source), "--to", tmp_path / "stores", "--replace", "--codec", "small").stdout
    assert "--codec small takes less" not in small
    assert "its zip" not in run("convert", source, "--to", tmp_path / "other").stdout


def test_how_float64_takes_less_is_said_before(tmp_path):
    source = write_sample(tmp_path, mouse="F", trials=3, neurons=3, image_shape=(6, 8))
    shown = run("convert", source, "--to", tmp_path / "to", "--dry-run").stdout
    assert "float64, which takes half with --precision float32" in shown and "--max-error responses=0.1%std" in shown
    for option in (["--precision", "float32"], [f"--max-error={name}=0.5" for name in FLOATS]):
        assert "float64, which" not in run("convert", source, "--to", tmp_path / "to", "--dry-run", *option).stdout


def test_the_space_of_all_mice_together_is_looked_at(mice, tmp_path, capsys):
    plans = [plan_mouse(source, tmp_path) for source in sorted(mice.iterdir())]
    for plan in plans:
        object.__setattr__(plan, "space", dataclasses.replace(plan.space, free=plan.space.needed + 1))
    (text, *_) = _outlook(plans)
    assert text.startswith("before compression, up to ")
    assert capsys.readouterr().err.startswith("note: 3 mice: the disk may become full (up to ")


def test_a_disk_that_fills_up_ends_one_mouse_of_several(mice, tmp_path):
    """The limit on the size of a file stands for a full disk."""
    limit = "import resource, signal, sys, os; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); os.environ.update(PYTHONDONTWRITEBYTECODE='1'); "
    )
    limit += "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", limit, TRIALPACK, "convert", mice, "--to", tmp_path / "stores"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("File too large") == 2
    assert done.stdout.splitlines()[-1] == "1 converted, 2 not converted"
    assert len(list((tmp_path / "stores").glob("[!.]*"))) == 1
    again = run("convert", mice, "--to", tmp_path / "stores", "--skip-existing")
    assert again.stdout.splitlines()[-1] == "2 converted, 1 there already"


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_every_way_out_of_too_little_memory_is_named_and_leads_out(tmp_path, form):
    source = write_sample(tmp_path, mouse="F", trials=3, neurons=2000, image_shape=(6, 8), container=form)
    refused = run("convert", source, "--to", tmp_path / "to", "--max-memory", "1MB", "--no-statistics").stderr
    least = int(re.search(r"give --max-memory (\d+)MB\n", refused)[1])
    refused = run("convert", source, "--to", tmp_path / "to", "--max-memory", f"{least - 2}MB", "--no-statistics")
    assert refused.returncode == 1 and ", or --precision float32" in refused.stderr
    assert (", or unpack it and give the folder" in refused.stderr) == (form == "zip")
    less = ["--max-memory", f"{least - 2}MB", "--no-statistics", "--precision", "float32"]
    assert run("convert", source, "--to", tmp_path / "to", *less).returncode == 0


def test_libraries_log_what_they_do_under_one_name(mice, tmp_path, caplog):
    caplog.set_level(logging.INFO, "trialpack")
    source = min(mice.iterdir())
    store = convert_mouse(source, tmp_path / "stores").store
    verify_mouse(store, source)
    export_mouse(store, tmp_path / "out", format="zip")
    train_statistics(open_mouse(store), tier="oracle")
    texts = [record.getMessage() for record in caplog.records]
    assert f"{source}: converting 4 trials into {store}" in texts
    assert f"{source}: all trials are written, 0 of them before" in texts
    assert f"{store}: intact, equal to {source}" in texts
    assert f"{store}: computing statistics of 1 trials" in texts
    assert any(text.startswith(f"{tmp_path}/out/{source.name}.zip: complete, ") for text in texts)
    assert {record.name.split(".")[0] for record in caplog.records} == {"trialpack"}


def test_no_table_breaks_a_word_or_takes_it_for_markup(tmp_path):
    """Not even where the words are too long for the terminal."""
    source = tmp_path / "[bold]a_mouse_with_a_name_that_nobody_wants_to_type_a_second_time :smile:"
    names = ["responses", "position_of_the_left_front_paw_on_the_wheel_in_the_dark", "lever"]
    for name, shape in zip(names, ((3, 9), (2, 9), ()), strict=True):
        (source / "data" / name).mkdir(parents=True)
        for trial in range(2):
            np.save(source / "data" / name / f"{trial}.npy", np.ones(shape, np.float32))
    (source / "meta/trials").mkdir(parents=True)
    np.save(source / "meta/trials/tiers.npy", np.array(["train", "a_tier_of_which_the_name_is_long"]))
    for command in (
        ["convert", source, "--to", tmp_path / "to"],
        ["info", tmp_path / "to"],
        ["stats", tmp_path / "to"],
    ):
        done = run(*command, env={"COLUMNS": "60"})
        assert done.returncode == 0, done.stderr
        words = set(done.stdout.split())
        if command[0] == "info":
            assert {*names, "a_tier_of_which_the_name_is_long,", ":smile:"} <= words
            assert "[bold]a_mouse_with_a_name_that_nobody_wants_to_type_a_second_time" in words
        if command[0] == "stats":
            assert set(names) <= words
