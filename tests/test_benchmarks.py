"""The benchmarks measure what they say, and the document is made of their results."""

import mmap
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import document
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
