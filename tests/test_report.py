"""The report: each seeded fault is found, what is damaged is named and the rest shown, and the page runs nothing."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import FINDING_KINDS, open_mouse, report_stores
from trialpack.store import OptionError, StoreFormatError

from .command_line import TRIALPACK, run
from .mice import edit, trial_ids, trial_path
from .own_mice import floats, integers, write_own

ROOT = Path(__file__).resolve().parent.parent
DEAD, CONSTANT, STILL = (4, 17), (9,), (11,)


def number(change):
    """Make a change of all that is not padding."""
    return lambda values: np.where(np.isnan(values), values, change(values)).astype(values.dtype)


def with_neurons(values):
    values = values.copy()
    for neuron, change in {4: lambda one: 0 * one, 17: lambda one: 0 * one, 9: lambda one: 0 * one + 2}.items():
        values[neuron] = change(values[neuron])
    values[11] = values[11] * 1e-7
    return values


def missing(values):
    values = values.copy()
    values[3, 10:20] = np.nan
    return values


@pytest.fixture(scope="module")
def seeded(sample_mice, tmp_path_factory):
    """Mouse A with a fault of each kind but damage: folder of its store, and the trials by tier."""
    folder = shutil.copytree(sample_mice["dynamic_folder"], tmp_path_factory.mktemp("seeded") / "lab7")
    for trial in trial_ids(folder):
        edit(trial_path(folder, "responses", trial), with_neurons)
    edit(trial_path(folder, "responses", 6), missing)
    edit(trial_path(folder, "videos", 10), number(lambda values: values * 0 + 255))
    edit(trial_path(folder, "pupil_center", 3), number(lambda values: values * (np.arange(values.shape[1]) > 99)))
    edit(trial_path(folder, "behavior", 9), number(lambda values: values * 0 + 3))
    edit(trial_path(folder, "responses", 13), lambda values: np.zeros_like(values))
    for variable in ("videos", "responses", "behavior", "pupil_center"):
        edit(trial_path(folder, variable, 11), short)
    shutil.copy(trial_path(folder, "videos", 0), trial_path(folder, "videos", 9))
    for path in (folder / "meta/statistics/responses").rglob("mean.npy"):
        edit(path, lambda values: values * 1.5)
    return convert_mouse(folder, folder.parent / "stores", max_error={"videos": 0.5}).store


def short(values):
    values = values.copy()
    values[..., 150:] = np.nan
    return values


@pytest.fixture(scope="module")
def found(seeded):
    return report_stores(seeded).stores[0]


@pytest.fixture(scope="module")
def page(seeded):
    return report_stores(seeded).page()


@pytest.mark.parametrize(
    ("kind", "variable", "trials", "neurons"),
    [
        ("dead-neurons", "responses", (), DEAD),
        ("constant-neurons", "responses", (), CONSTANT),
        ("never-firing-neurons", "responses", (), STILL),
        ("nan", "responses", (6,), ()),
        ("saturated-pixels", "videos", (10,), ()),
        ("lost-pupils", "pupil_center", (3,), ()),
        ("lost-pupils", "behavior", (9,), ()),
        ("broken-trials", "videos", (10,), ()),
        ("short-trials", None, (11,), ()),
        ("withheld-trials", "responses", (13,), ()),
        ("leaked-stimuli", None, (0, 9), ()),
        ("statistics", "responses", (), ()),
    ],
)
def test_each_seeded_fault_is_found(found, kind, variable, trials, neurons):
    fitting = [one for one in found.findings if one.kind == kind and one.variable == variable]
    assert any(set(trials) <= set(one.trials) and one.neurons == neurons for one in fitting), found.findings
    if kind != "short-trials":  # which others of the mouse are, too
        assert {trial for one in fitting for trial in one.trials} == set(trials)
    assert fitting[0].text


def test_texts_say_how_much(found):
    texts = {one.kind: one.text for one in found.findings}
    assert texts["dead-neurons"] == "2 of 20 neurons are dead: zero or NaN in every trial (4, 17)"
    assert "10 of " in texts["nan"] and "in 1 of 11 trials (6)" in texts["nan"]
    assert "trial 9 (oracle) shows that of 0" in texts["leaked-stimuli"]


def test_a_sound_mouse_has_none_of_the_faults(fresh, converted):
    (store,) = report_stores(converted(fresh("dynamic_folder"))).stores
    assert {one.kind for one in store.findings} <= {"short-trials", "saturated-pixels"}


def test_numbers_are_those_of_the_trials(found, seeded):
    mouse = open_mouse(seeded)
    scan, ids = found.scans["responses"], mouse.recording.trial_ids.tolist()
    for trial_id in (0, 6, 11):
        values, row = mouse.trial(trial_id)["responses"], ids.index(trial_id)
        assert scan.size[row] == values.size and scan.missing[row] == np.isnan(values).sum()
        np.testing.assert_allclose(scan.means[row, 0], np.nanmean(values, dtype=np.float64))
        assert (scan.low[row], scan.high[row]) == (np.nanmin(values), np.nanmax(values))
    read = [mouse.trial(trial_id)["responses"].astype(float) for trial_id in ids if trial_id != 13]
    together = np.concatenate(read, axis=1)
    np.testing.assert_allclose(scan.neurons.moments.mean, np.nanmean(together, axis=1))
    np.testing.assert_allclose(scan.neurons.moments.std, np.nanstd(together, axis=1), atol=1e-12)
    running = found.scans["behavior"]
    np.testing.assert_allclose(running.means[0], mouse.trial(0)["behavior"].mean(axis=1, dtype=float))


def test_threads_change_nothing(seeded, found):
    (other,) = report_stores(seeded, threads=1).stores
    assert other.document == found.document


# Stores that are damaged


@pytest.fixture
def broken(seeded, tmp_path):
    store = shutil.copytree(seeded, tmp_path / "broken.zarr")
    subprocess.run(["chmod", "-R", "u+w", store], check=True)
    return store


def flip(path, place=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


def chunks(store, array):
    """Return the files of an array that hold its values."""
    return sorted(path for path in (store / array).rglob("*") if path.is_file() and path.name != "zarr.json")


def damage_of(store):
    (one,) = report_stores(store).stores
    return one, [finding for finding in one.findings if finding.kind == "damage"]


def test_a_damaged_chunk_is_named_and_the_rest_is_shown(broken, found):
    flip(chunks(broken, "responses")[0], 0.02)
    one, damage = damage_of(broken)
    assert len(damage) == 1 and damage[0].trials and "responses/" in damage[0].text
    lost = ~one.scans["responses"].read & found.scans["responses"].read
    assert one.mouse.recording.trial_ids[lost].tolist() == list(damage[0].trials)
    assert one.scans["videos"].read.all()


def test_a_missing_shard_and_a_missing_table_are_named(broken):
    for path in chunks(broken, "responses"):
        path.unlink()
    flip(chunks(broken, "neurons/unit_ids")[0])
    one, damage = damage_of(broken)
    assert not one.scans["responses"].read.any() and one.scans["videos"].read.all()
    texts = " ".join(finding.text for finding in damage)
    assert "responses/" in texts and "neurons/unit_ids" in texts and "missing" in texts
    page = report_stores(broken).page()
    assert "damage" in page and "Example trials" not in page and "Neurons in the cortex" not in page
    check_page(page)


@pytest.mark.parametrize("member", ["zarr.json", "manifest.json", "responses/zarr.json"])
def test_damaged_metadata_leaves_a_report(broken, seeded, member):
    flip(broken / member)
    report = report_stores([broken, seeded])
    assert report.stores[0].mouse is None and report.kinds[0] == "damage"
    assert report.stores[1].findings == report_stores(seeded).stores[0].findings
    assert member in report.stores[0].findings[0].text
    if member == "zarr.json":
        assert "broken" in report.page()


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreFormatError, match="no such store"):
        report_stores(tmp_path / "none.zarr")
    with pytest.raises(OptionError, match="no stores are given"):
        report_stores([])


# Mice of every kind


class Elements(HTMLParser):
    """Tags, and attributes with their values."""

    def __init__(self, page):
        super().__init__()
        self.found = list[tuple[str, dict[str, str | None]]]()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def check_page(page):
    """The page loads nothing, runs nothing, and has a text and a table for every picture."""
    elements = Elements(page).found
    tags = [tag for tag, _ in elements]
    assert not set(tags) & {"script", "iframe", "object", "embed", "link", "base", "form", "img"}
    for _, attributes in elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action"):
                assert value.startswith(("#", "data:image/png;base64,")), value
    assert not re.search(r"url\((?!#)|@import", page)
    assert tags.count("svg") == tags.count("details") == tags.count("figcaption")
    assert sum(attributes.get("role") == "img" and bool(attributes["aria-label"]) for _, attributes in elements) == (
        tags.count("svg")
    )
    ids = [attributes["id"] for tag, attributes in elements if tag in ("clippath", "section") and "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page) < 5e6


def own(tmp_path, **changes):
    variables = {
        "responses": lambda trial: np.abs(floats(5, 30, seed=trial)),
        "videos": lambda trial: integers(6, 8, 30, seed=trial),
        "behavior": lambda trial: floats(2, 30, seed=trial),
        **changes,
    }
    return write_own(tmp_path / "lab", {name: make for name, make in variables.items() if make is not None})


def test_the_page_of_seeded_faults(page, found):
    check_page(page)
    for one in found.findings:
        assert one.kind in page
    for title in (
        "Trials by tier",
        "The recording in time",
        "Neurons in the cortex",
        "Distributions",
        "Example trials",
    ):
        assert title in page
    for table in (
        "Sizes and codecs",
        "Bounds on the error",
        "Statistics of the train",
        "beside those published",
        "Digests",
    ):
        assert table in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"responses": lambda trial: np.abs(floats(1, 30, seed=trial))},
        {"videos": None, "behavior": None},
        {"responses": lambda trial: np.zeros((5, 30), np.float32)},
        {"responses": lambda trial: floats(5, seed=trial), "videos": None, "behavior": None},
        {"responses": lambda trial: np.full((5, 30), np.nan, np.float32)},
        {"eye": lambda trial: integers(24, 32, 30, seed=trial), "weight": lambda trial: np.float32(20 + trial)},
        {"spectrum": lambda trial: floats(9, 30, seed=trial), "map": lambda trial: floats(5, 7, seed=trial)},
    ],
    ids=["one neuron", "only responses", "all withheld", "one value each", "all NaN", "more", "many channels"],
)
def test_mice_of_every_kind(tmp_path, converted, changes):
    report = report_stores(converted(own(tmp_path, **changes), statistics=True))
    check_page(report.page())
    json.dumps(report.document, allow_nan=False)
    assert not [one for one in report.stores[0].findings if one.kind == "damage"]


def test_one_trial(tmp_path, converted):
    check_page(report_stores(converted(write_sample(tmp_path, trials=1, neurons=3, image_shape=(6, 8)))).page())


def test_names_with_markup_stay_text(tmp_path, converted):
    toml = """
    [variables.behavior]
    units = "<i>$cm_{$"
    dimensions = ["channel", "frame"]
    channels = [
        {name = "<script>alert(1)</script>", units = "$x_{$"},
        {name = "</svg><img src=x onerror=alert(1)>", units = "--><b>"},
    ]
    """
    folder = own(tmp_path).rename(tmp_path / "<img src=x onerror=alert(1)> $a_{$ --><script>")
    (folder / "trialpack.toml").write_text(toml)
    tiers = np.load(folder / "meta/trials/tiers.npy").astype("U40")
    tiers[3] = "<script>alert(2)</script>"
    np.save(folder / "meta/trials/tiers.npy", tiers)
    store = converted(folder)
    page = report_stores([store, store]).page()
    check_page(page)
    assert "&lt;script&gt;alert(1)" in page and "<script" not in page and "onerror=alert(1)>" not in page


def test_several_mice_stand_side_by_side(seeded, fresh, converted):
    other = converted(fresh("static_folder"))
    report = report_stores([seeded, other])
    page = report.page()
    check_page(page)
    assert "Recordings side by side" in page and page.count("<h2") == 2
    assert report.document["shared_stimuli"] == [{"stores": [str(seeded), str(other)], "stimuli": 0}]
    assert report_stores([seeded, seeded]).document["shared_stimuli"][0]["stimuli"] > 5


@pytest.mark.once
def test_ten_thousand_trials(tmp_path, converted):
    makes = {"responses": lambda trial: floats(3, seed=trial), "images": lambda trial: integers(4, 5, seed=trial % 50)}
    report = report_stores(converted(write_own(tmp_path / "many", makes, range(10_000))))
    check_page(report.page())
    assert report.stores[0].repeats[0] == 50
    assert "leaked-stimuli" in report.kinds


WATCHED = """
import re, sys
from trialpack.readers import report_stores
report_stores(sys.argv[1], threads=2)
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""


@pytest.mark.once
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_trials(tmp_path, converted):
    peaks = list[int]()
    for trials in (80, 320):
        folder = write_sample(tmp_path / str(trials), trials=trials, neurons=2000, image_shape=(6, 8))
        command = [sys.executable, "-c", WATCHED, str(converted(folder, replace=True))]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        shutil.rmtree(folder)
    assert peaks[1] - peaks[0] < 40_000_000, f"{peaks}, of the 620 MB that there is more"


# The command


def test_the_command_writes_a_page_in_place_of_nothing_else(seeded, page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    refused = run("report", seeded, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "trialpack: report.html: exists already; give --replace, or choose another name\n"
    assert path.read_text() == "mine"
    done = run("report", seeded, "--replace", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.endswith("Wrote report.html\n") and "dead-neurons: 2 of 20 neurons" in done.stdout
    assert path.read_text() == page, "equal stores give equal pages"


def test_json_gives_the_same_findings_and_no_page(seeded, found, tmp_path):
    done = run("report", seeded, "--json", cwd=tmp_path)
    assert done.returncode == 0 and list(tmp_path.iterdir()) == []
    document = json.loads(done.stdout)
    assert [one["kind"] for one in document["stores"][0]["findings"]] == [one.kind for one in found.findings]
    assert document["output"] is None and set(document["kinds"]) <= set(FINDING_KINDS)


def test_fail_on_ends_pipelines(seeded, tmp_path):
    assert run("report", seeded, "--json", "--fail-on", "damage").returncode == 0
    done = run("report", seeded, "--json", "--fail-on", "damage", "--fail-on", "nan")
    assert done.returncode == 1 and done.stderr == "trialpack: found nan (--fail-on)\n"
    assert run("report", seeded, "--json", "--fail-on", "any").returncode == 1
    assert run("report", seeded, "--json", "--fail-on", "nonsense").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.zarr"], "none.zarr: no such store"),
        (["STORE", "-o", "no/report.html"], "no: no such folder"),
        (["STORE", "-o", "STORE/report.html"], "lies inside the store"),
    ],
)
def test_what_is_refused_is_one_line_and_no_file(seeded, tmp_path, arguments, words):
    done = run("report", *(one.replace("STORE", str(seeded)) for one in arguments), cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_what_is_not_installed_is_said_first(seeded, tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, name, None)
    done = run("report", seeded, cwd=tmp_path)
    assert done.returncode == 1 and f"needs the package {package}; pip install {package}" in done.stderr
    assert run("report", seeded, "--json", cwd=tmp_path).returncode == 0, "findings need neither"


@pytest.mark.once
def test_a_disk_that_fills_up_leaves_nothing(seeded, tmp_path):
    limit = "import resource, signal, sys, os; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", limit, str(TRIALPACK), "report", str(seeded), "-o", "a.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "trialpack: a.html: File too large\n")
    assert list(tmp_path.iterdir()) == []


def test_the_document_lists_every_kind():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", (ROOT / "docs/report.md").read_text(), re.M)
    assert dict(rows) == FINDING_KINDS
