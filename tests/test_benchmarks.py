"""The benchmarks measure what they say, and the document is made of their results."""

import itertools
import mmap
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from trialpack import convert_mouse, open_mouse
from trialpack.convert.sample import write_sample

from benchmarks import document
from benchmarks.__main__ import main
from benchmarks.gpu.kept import KeptTrials
from benchmarks.gpu.steps import Place
from benchmarks.gpu.trace import copies_of
from benchmarks.report import RESULTS, Column, Result, Table, compared
from benchmarks.stream import cache
from benchmarks.stream.consumer import FRAMES_FIRST, OTHER, PAGE, C, consume, order_of, touch
from benchmarks.stream.control_group import ControlGroup
from benchmarks.stream.environments import interpreters
from benchmarks.stream.sections import _with_ratios

ROOT = Path(__file__).resolve().parent.parent
STEP = PAGE // 4
"""Values of float32 in a page."""


def test_the_document_is_what_the_results_make():
    """As `python -m benchmarks document` makes it; the pictures say which results they were drawn from."""
    results = document.load(RESULTS)
    assert (ROOT / "docs/benchmarks.md").read_text() == document.page(results)
    for name in document.pictures.PICTURES:
        text = (ROOT / f"docs/benchmarks/{name}.svg").read_text()
        assert f"results {document.digest(results)}" in text, name
        assert f"](benchmarks/{name}.svg)" in document.PAGE.read_text()
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 200_000


def test_no_figure_is_typed():
    text = re.sub(r"\{[^{}]*\}", "", document.PAGE.read_text())
    assert not re.findall(r"\d+\.\d+|\d+ ?(?:GB|MB/|ms|%|times)", text)


def paged(n_pages):
    """Return memory with a 1 at the beginning of each page, and 0 elsewhere."""
    memory = np.zeros(n_pages * STEP, np.float32)
    memory[::STEP] = 1
    return memory


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda memory: memory.reshape(3, 8, STEP), id="C"),
        pytest.param(lambda memory: memory.reshape(3, 8, STEP).swapaxes(1, 2), id="frames first"),
        pytest.param(lambda memory: memory.reshape(2, 12, STEP).transpose(2, 1, 0), id="reversed"),
        pytest.param(lambda memory: memory.reshape(2, 12, STEP)[::-1], id="backwards"),
        pytest.param(lambda memory: memory.reshape(24, STEP)[:, ::2], id="every second value"),
    ],
)
def test_the_consumer_reads_a_value_of_every_page(view):
    assert touch(view(paged(24))) == 24


def test_the_consumer_reads_parts_of_memory():
    whole = paged(24).reshape(2, 12, STEP)
    assert touch(whole[:, 3:7]) == 8
    assert touch(np.zeros((0, 3), np.float32)) == 0


def test_batches_are_copied_only_where_they_are_not_in_order():
    plain, turned = paged(24).reshape(4, 6, STEP), paged(24).reshape(4, 6, STEP).swapaxes(1, 2)
    assert order_of({"a": plain}, ("a",)) == C
    assert order_of({"a": plain, "b": turned}, ("a", "b")) == FRAMES_FIRST
    assert order_of({"a": plain[:, :, ::2], "b": plain.transpose(1, 0, 2)}, ("b",)) == OTHER
    # Copied, the ones lie elsewhere: the first value of each page of the copy are those of the first frame.
    assert consume({"a": plain}, ("a",), contiguous=True) == 24
    assert consume({"a": turned}, ("a",), contiguous=True) == touch(np.ascontiguousarray(turned)) < 24


def test_the_fastest_stands_first():
    rows = compared({"ours": [2.0, 4.0], "peer": [1.0, 5.0, 3.0]}, "ours", trials=3)
    assert [(row["what"], row["best"], row["median"], row["ratio"]) for row in rows] == [
        ("peer", 1.0, 3.0, 2.0),
        ("ours", 2.0, 3.0, 1.0),
    ]
    assert rows[0]["seconds"] == [1.0, 5.0, 3.0] and rows[1]["trials"] == 3


class Cached:
    cached = False


def test_a_peer_that_is_faster_in_order_stands_first_and_copying_last():
    names = [("copying", "roof", 90, 90), ("ours", "ours", 40, 10), ("peer", "peer", 20, 20), ("slow", "peer", 5, 5)]
    rows = [{"what": a, "role": b, "best": c, "c_best": d} for a, b, c, d in names]
    found = _with_ratios(rows, Cached())
    assert [row["what"] for row in found] == ["peer", "ours", "slow", "copying"]
    assert (found[1]["ratio"], found[1]["c_ratio"]) == (2.0, 0.5)


def test_results_come_back(tmp_path):
    columns = (Column("what", "what"), Column("s", "best", ".2f"))
    rows = [{"what": "ours", "best": 0.1234567}, {"what": "peer", "best": 1.0}]
    table = Table("Title", columns, rows, ("note",), "name", {"trials": 3})
    found = Result.load(Result("some", {"date": "today"}, False, 1.0, [table]).save(tmp_path))
    assert found["name"].rows == [{"what": "ours", "best": 0.123457}, {"what": "peer", "best": 1.0}]
    assert found.text() == (tmp_path / "some.json").read_text()
    assert str(found["name"]).splitlines() == ["| what | s |", "| --- | --: |", "| ours | 0.12 |", "| peer | 1.00 |"]
    assert found["name"].where["what=peer"].rows == rows[1:]
    text = "{t.row[ours][best]:.1f} {t.times[ours over peer]:.1f} {t.times[ours over none]:.1f} {t.row[none][best]:.0f}"
    assert text.format(t=found["name"]) == "0.1 8.1 – –"


def test_environments_that_are_not_there_are_left_out(tmp_path):
    assert interpreters(tmp_path, make=False) == (sys.executable,)
    (tmp_path / "litdata/bin").mkdir(parents=True)
    (tmp_path / "litdata/bin/python").touch()
    assert interpreters(tmp_path, make=False) == (sys.executable, str(tmp_path / "litdata/bin/python"))


@pytest.mark.once
def test_everything_runs_quickly(tmp_path):
    """Content only: no figure is looked at."""
    pytest.importorskip("torch")
    out = tmp_path / "results"
    command = [sys.executable, "-m", "benchmarks", "all", "--quick", "--data", tmp_path / "data", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    committed, found = document.load(RESULTS), document.load(out)
    assert set(found) == set(committed)
    for name, result in found.items():
        assert result.quick and result.facts["numpy"] == np.__version__
        if name != "growth":  # fewer axes
            assert {table.name for table in result.tables} == {table.name for table in committed[name].tables}, name
        for table in result.tables:
            assert table.name == "cache" or table.rows, (name, table.title)
    page = (out / "benchmarks.md").read_text()
    assert "Made with `--quick`" in page and page.count("![") == len(document.pictures.PICTURES)
    row = found["stream"]["windows"].row["trialpack"]
    assert (row["order"], row["copied"], len(row["rates"])) == (FRAMES_FIRST, "reader", 1)
    losses = [row["losses"] for row in found["training"]["losses"].rows]
    assert losses[0] == losses[1] and len(losses[0]) > 2
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(("tmp", "."))]


@pytest.mark.once
def test_a_control_group_limits_the_page_cache(tmp_path):
    if not ControlGroup.possible():
        pytest.skip("no right to make a control group")
    path, limit = tmp_path / "file", 16 << 20
    path.write_bytes(bytes(4 * limit))
    for _attempt in range(50):  # pages that are being written stay
        if not cache.evict([path]):
            break
        time.sleep(0.1)
    code = f"input(); file = open({str(path)!r}, 'rb')\nwhile file.read(1 << 20): pass"
    with ControlGroup(limit) as group, subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        group.add(child.pid)
        child.communicate(b"\n")
    assert child.returncode == 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        assert 0 < cache._resident(mapped, 4 * limit) * mmap.PAGESIZE <= limit


def test_a_device_that_is_not_there_is_said(tmp_path, capsys):
    pytest.importorskip("torch")
    arguments = ["gpu", "--device", "cuda:77", "--data", str(tmp_path / "data"), "--out", str(tmp_path)]
    assert main(arguments) == 0
    (table,) = Result.load(tmp_path / "gpu.json").tables
    assert table.row["cuda:77"]["state"].startswith("there is no device 'cuda:77' (")
    assert "nothing is measured: there is no device 'cuda:77'" in capsys.readouterr().out


def test_copies_are_compared_with_kernels():
    """As intervals: kernels that run together count once, and only copies to the device count."""
    names = {"pinned": "Memcpy HtoD (Pinned -> Device)", "other": "Memcpy HtoD (Pageable -> Device)"}
    copies = [("pinned", 0, 10), ("pinned", 20, 10), ("other", 40, 20)]
    events = [
        {"cat": "gpu_memcpy", "name": names[kind], "ts": ts, "dur": dur, "args": {"bytes": 1000 * dur}}
        for kind, ts, dur in copies
    ]
    events += [{"cat": "kernel", "name": "conv", "ts": ts, "dur": dur} for ts, dur in [(5, 20), (8, 4), (55, 100)]]
    events += [
        {"cat": "gpu_memcpy", "name": "Memcpy DtoH (Device -> Pinned)", "ts": 56, "dur": 50, "args": {"bytes": 9}}
    ]
    events += [{"ph": "M", "name": "process_name"}, {"cat": "cpu_op", "name": "aten::copy_", "ts": 0, "dur": 99}]
    found = copies_of(events)
    assert found == {"copies": 3, "ms": 0.04, "rate": 1.0, "pinned": 0.5, "overlap": 0.375}
    assert copies_of(events[3:]) == {"copies": 0}


@pytest.mark.once
def test_a_gpu_is_fed(tmp_path):
    """On the processor: every section runs, but for what needs CUDA, which says so; no figure is looked at."""
    pytest.importorskip("torch")
    arguments = ["gpu", "--device", "cpu", "--quick", "--data", str(tmp_path / "data"), "--out", str(tmp_path)]
    assert main(arguments) == 0
    found = Result.load(tmp_path / "gpu.json")
    assert [table.name for table in found.tables] == [
        "device",
        "feeding",
        "copies",
        "pinned",
        "left",
        "kept",
        "compiled",
    ]
    states = {table.name: [row["state"] for row in table.rows] for table in found.tables}
    assert states["copies"] == states["pinned"] == ["needs CUDA"] * 3
    assert states["compiled"] == ["measured"] * 4 + ["needs CUDA"]
    assert {name: set(states[name]) for name in ("device", "feeding", "left", "kept")} == dict.fromkeys(
        ("device", "feeding", "left", "kept"), {"measured"}
    )
    assert [row["of"] for row in found["feeding"].rows] == [
        n for n in ("whole trials", "windows", "images") for _ in "ab"
    ]
    assert {row["apart"] for row in found["feeding"].rows} == {0}
    assert all(row["apart"] < 1e-6 for row in found["left"].rows)
    half, everything = (float(row["what"].split()[0]) for row in found["kept"].rows[2:])
    assert 0 < half <= everything / 2 + 0.1
    assert not list((tmp_path / "data").glob("tmp*"))


def test_windows_are_cut_out_of_kept_trials(tmp_path):
    """And those of the trials without room are streamed, as often as there are such trials."""
    torch = pytest.importorskip("torch")
    tree = write_sample(tmp_path, mouse="A", trials=14, neurons=5, image_shape=(4, 6))
    mouse = open_mouse(convert_mouse(tree, tmp_path, statistics=False, verify=False).store)
    options = {"tier": "train", "batch_size": 2, "window": 16, "shuffle": True, "variables": ["videos", "responses"]}
    ids = mouse.trials.index[mouse.rows(tier="train")].tolist()
    trials = {trial: mouse.trial(trial) for trial in ids}
    sizes = [4 * (trials[trial]["videos"].size + trials[trial]["responses"].size) for trial in ids]
    place = Place(torch, torch.device("cpu"), 1, 0, 1)
    many = len(ids) // 2
    kept = KeptTrials(place, mouse, sum(sizes[:many]) + 1, options)
    assert kept.nbytes == sum(sizes[:many])
    found = list[int]()
    for batch in itertools.islice(kept.batches(), 4 * len(ids)):
        for videos, responses in zip(batch["videos"].numpy(), batch["responses"].numpy(), strict=True):
            ((trial, start),) = places_of(responses, {trial: one["responses"] for trial, one in trials.items()})
            assert np.array_equal(videos[0], trials[trial]["videos"][start : start + 16])
            found.append(trial)
    assert set(found) == set(ids)
    assert sum(trial in ids[:many] for trial in found) == pytest.approx(8 * many, abs=2)


def places_of(window, recorded):
    """Return the trials and first frames where a (neurons, frames) window is found."""
    return [
        (trial, start)
        for trial, values in recorded.items()
        for start in np.flatnonzero((values[:, : values.shape[1] - 15] == window[:, :1]).all(axis=0))
        if np.array_equal(values[:, start : start + 16], window)
    ]
