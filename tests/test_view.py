"""The page and its server: only files of stores are served, and a browser shows what the stores hold."""

import base64
import contextlib
import functools
import hashlib
import http.client
import http.server
import importlib.util
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from numcodecs import blosc
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse
from trialpack.readers.view import pages, server
from trialpack.store import layout
from trialpack.store.manifest import read_manifest
from trialpack.store.paths import Address
from trialpack.store.shards import FileRecord

from .command_line import TRIALPACK, run
from .own_mice import floats, integers, write_own

ROOT = Path(__file__).resolve().parent.parent
SPOKEN = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def made(sample_mice, tmp_path_factory) -> Path:
    """Mouse A in several shards and chunks, with statistics: not to be written to."""
    return convert_small(sample_mice["dynamic_folder"], tmp_path_factory.mktemp("made"), statistics=True)


def convert_small(folder, to, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SHARD_BYTES", 300_000)
        patch.setattr(layout, "CHUNK_BYTES", 2_000)
        return convert_mouse(folder, to, **options).store


@contextlib.contextmanager
def serving(*stores: Path) -> Iterator[server.ViewServer]:
    with server.ViewServer([pages.view_store(store) for store in stores]) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def served(made):
    with serving(made) as one:
        yield one


def ask(served, path="", method="GET", base=None, **headers):
    """Return the answer to a request for a path below the token, with its body."""
    url = urlsplit(served.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request(method, (url.path if base is None else base) + path, headers=named)
        answer = connection.getresponse()
        return answer, answer.read()


# What is served, and to whom


def test_every_file_of_the_manifest_is_served_as_it_is(served, made):
    names = [*read_manifest(made).files, "manifest.json", "software.json"]
    for name in names:
        answer, body = ask(served, f"stores/0/{quote(name)}")
        assert answer.status == 200 and body == (made / name).read_bytes(), name
        assert answer.headers["Content-Length"] == str(len(body))
    assert len(names) > 20


def test_the_page_is_served_with_a_policy(served):
    for name in ("", "index.html", "view.js", "view.css", "zarrita.js", "recording.js", "draw.js", "licences.txt"):
        answer, body = ask(served, name)
        assert answer.status == 200 and len(body) > 100, name
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "http" not in policy
    assert ask(served, "view.js")[0].headers["Content-Type"].startswith("text/javascript")
    (described,) = json.loads(ask(served, "stores.json")[1])
    assert described["url"] == "stores/0/" and described["problems"] == []


def test_the_page_says_the_same_policy_wherever_it_lies(served):
    """Where no server of trialpack sends headers: all but what a page cannot say of itself."""
    policy = ask(served)[0].headers["Content-Security-Policy"].removesuffix("; frame-ancestors 'none'")
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in ask(served)[1].decode()


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-8", slice(5, 9)),
        ("bytes=7-", slice(7, None)),
        ("bytes=-6", slice(-6, None)),
    ],
)
def test_ranges(served, made, asked, part):
    data = (made / "manifest.json").read_bytes()
    answer, body = ask(served, "stores/0/manifest.json", Range=asked)
    first = range(len(data))[part]
    assert (answer.status, body) == (206, data[part])
    assert answer.headers["Content-Range"] == f"bytes {first.start}-{first.stop - 1}/{len(data)}"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=99999999-", 416),
        ("bytes=-0", 416),
        ("bytes=0-1,4-5", 200),
        ("bytes=-", 200),
        ("lines=1-2", 200),
        (f"bytes={'9' * 5000}-", 200),
    ],
)
def test_ranges_that_are_none(served, made, asked, status):
    answer, body = ask(served, "stores/0/manifest.json", Range=asked)
    data = (made / "manifest.json").read_bytes()
    assert (answer.status, body) == (status, data if status == 200 else b"")
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(data)}"


def test_head_and_tags(served, made):
    name = "stores/0/responses/zarr.json"
    whole, data = ask(served, name)
    head, nothing = ask(served, name, "HEAD")
    assert nothing == b"" and head.headers["Content-Length"] == str(len(data))
    tag = whole.headers["ETag"]
    assert tag == f'"{hashlib.sha256(data).hexdigest()}"'
    assert ask(served, name, If_None_Match=tag)[0].status == 304
    assert ask(served, name, Range="bytes=0-1", If_Range=tag)[0].status == 206
    assert ask(served, name, Range="bytes=0-1", If_Range='"other"')[0].status == 200
    assert ask(served, name, "POST")[0].status == 501


def test_nothing_without_the_token(served):
    for base in ("/", "/stores.json", "/x/stores.json", f"/{'x' * 32}/", "/é/"):
        answer, body = ask(served, base=quote(base))
        assert answer.status == 403 and b"token" in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[x"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:9", "Origin": "http://localhost:9"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_other_sites_are_refused(served, headers, status):
    """Also those that give this machine a name of theirs; ports may differ, as through tunnels."""
    assert ask(served, "stores.json", **headers)[0].status == status


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy.zarr")


def test_nothing_but_files_of_the_store(copy, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (copy / "notes.txt").write_text("secret")
    (copy / "manifest.json").write_bytes(listing(copy, "../secret.txt", "/etc/hostname", str(tmp_path / "secret.txt")))
    with serving(copy) as served:
        for name in (
            "../secret.txt",
            "../../secret.txt",
            "%2e%2e/secret.txt",
            "..%2fsecret.txt",
            "responses/../../secret.txt",
            "/etc/hostname",
            "%2fetc%2fhostname",
            str(tmp_path / "secret.txt"),
            "notes.txt",
            "responses",
            "responses/",
            "",
            "responses/zarr.json%00",
            "responses//zarr.json",
        ):
            answer, body = ask(served, f"stores/0/{name}")
            assert answer.status == 404 and b"secret" not in body, name
        for name in ("stores/1/manifest.json", "stores/-1/manifest.json", "stores/٠/manifest.json", "stores/", "page"):
            assert ask(served, quote(name))[0].status == 404, name


def listing(store, *names):
    """Return a manifest that lists further files, as somebody who means harm may write it."""
    manifest = read_manifest(store)
    further = {name: FileRecord(6, hashlib.sha256(b"secret").hexdigest()) for name in names}
    return replace(manifest, files={**manifest.files, **further}).to_bytes()


def test_links_are_refused(copy, tmp_path):
    """Those that were there before, and those that took the place of files meanwhile."""
    (tmp_path / "secret.txt").write_text("secret")
    link(copy / "neurons/unit_ids/zarr.json", tmp_path / "secret.txt")
    with serving(copy) as served:
        assert ask(served, "stores/0/neurons/unit_ids/zarr.json")[0].status == 404
        assert ask(served, "stores/0/responses/zarr.json")[0].status == 200
        shutil.move(copy / "responses", tmp_path / "responses")
        (copy / "responses").symlink_to(tmp_path / "responses")
        link(copy / "videos/zarr.json", tmp_path / "secret.txt")
        for name in ("responses/zarr.json", "videos/zarr.json"):
            assert ask(served, f"stores/0/{name}")[0].status == 404


def link(path, to):
    path.unlink()
    path.symlink_to(to)


def test_a_store_behind_a_link_is_served(made, tmp_path):
    (tmp_path / "link.zarr").symlink_to(made)
    with serving(tmp_path / "link.zarr") as served:
        assert ask(served, "stores/0/responses/zarr.json")[0].status == 200


def test_a_store_at_an_address_is_served(made, served):
    """Such as one that is served here."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    url = f"{served.url}stores/0"
    with server.ViewServer([pages.view_store(Address(url))]) as further:
        threading.Thread(target=further.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        shard = next(path for path in read_manifest(made).files if path.startswith("responses/c"))
        answer, body = ask(further, f"stores/0/{shard}", Range="bytes=100-199")
        assert (answer.status, body) == (206, (made / shard).read_bytes()[100:200])
        further.shutdown()


def test_a_store_that_is_replaced_is_never_mixed(copy, made, tmp_path):
    with serving(copy) as served:
        copy.rename(tmp_path / "old.zarr")
        shutil.copytree(made, copy)
        (copy / "responses/zarr.json").write_text("other")
        assert ask(served, "stores/0/responses/zarr.json")[1] == (made / "responses/zarr.json").read_bytes()
        shutil.rmtree(tmp_path / "old.zarr")
        assert ask(served, "stores/0/responses/zarr.json")[0].status == 404


def test_stores_of_equal_names_are_told_apart(made, tmp_path):
    other = shutil.copytree(made, tmp_path / made.name)
    with serving(made, other) as served:
        first, second = json.loads(ask(served, "stores.json")[1])
    assert (first["name"], second["name"]) == (f"{made.stem} (1)", f"{made.stem} (2)")
    assert first["url"] != second["url"]


def test_what_is_damaged_is_told_and_the_rest_served(copy):
    shard = next(path for path in read_manifest(copy).files if path.startswith("responses/c"))
    (copy / shard).unlink()
    (copy / "videos/zarr.json").write_text("{}")
    with serving(copy) as served:
        (described,) = json.loads(ask(served, "stores.json")[1])
        text = " ".join(described["problems"])
        assert shard in text and "videos/zarr.json" in text
        assert ask(served, f"stores/0/{shard}")[0].status == 404
        assert ask(served, "stores/0/behavior/zarr.json")[0].status == 200
    (copy / "manifest.json").write_text("{}")
    with serving(copy) as served:
        (described,) = json.loads(ask(served, "stores.json")[1])
        assert "manifest.json" in described["problems"][0]
        assert ask(served, "stores/0/behavior/zarr.json")[0].status == 404


def test_browsers_that_go_away_are_not_spoken_of(served, capfd):
    url = urlsplit(served.url)
    for sent in (b"", b"GET ", f"GET {url.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()):
        with socket.create_connection((url.hostname, url.port)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.sendall(sent)
    assert ask(served)[0].status == 200
    assert capfd.readouterr().err == ""


# The command


@pytest.fixture
def shown(made, tmp_path):
    """The commands of docs/view.md, and a folder for them."""
    shutil.copytree(made, tmp_path / "demo/stores" / made.name)
    return re.findall(r"^`?(trialpack view [^`\n]+)", (ROOT / "docs/view.md").read_text(), re.M)


def test_the_command_serves_until_it_is_interrupted(made, shown, tmp_path):
    command = f"exec {TRIALPACK.parent}/{shown[0]} --no-browser"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(["sh", "-c", command], cwd=tmp_path, **pipes) as process:
        url = urlsplit(process.stdout.readline().strip())
        assert url.hostname == "127.0.0.1" and len(url.path) > 30
        with contextlib.closing(http.client.HTTPConnection(url.hostname, url.port, timeout=10)) as connection:
            connection.request("GET", f"{url.path}stores.json")
            assert made.stem in connection.getresponse().read().decode()
            process.send_signal(signal.SIGINT)  # while a connection is open
            output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")


def test_the_document_exports(made, shown, tmp_path):
    command = f"{TRIALPACK.parent}/{shown[1]}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "demo/stores/index.html\n", "")
    assert json.loads((tmp_path / "demo/stores/stores.json").read_text())[0]["url"] == f"{made.name}/"
    assert len(shown) == 2


def test_a_port_that_is_taken_is_one_line(made):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("view", made, "--port", port, "--no-browser")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"trialpack: --port {port}: is taken; choose another, or 0 for any that is free\n"


@pytest.mark.parametrize(("given", "said"), [(["--host", "nowhere.invalid"], "not an address of this machine")])
def test_a_host_that_is_none_is_one_line(made, given, said):
    done = run("view", made, *given, "--no-browser")
    assert (done.returncode, done.stdout) == (1, "") and said in done.stderr and done.stderr.count("\n") == 1


def test_what_is_no_store_is_refused(made, tmp_path):
    done = run("view", made, tmp_path / "none.zarr", "--no-browser")
    assert (done.returncode, done.stdout) == (1, "") and "no such store" in done.stderr


def test_export_writes_the_page_beside_the_stores(copy, made, tmp_path):
    inside = shutil.copytree(made, tmp_path / "deep #1/mouse ?.zarr")
    done = run("view", copy, inside, "--export", tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{tmp_path / 'index.html'}\n")
    first, second = json.loads((tmp_path / "stores.json").read_text())
    assert (first["url"], second["url"]) == ("copy.zarr/", "deep%20%231/mouse%20%3F.zarr/")
    assert {path.name for path in tmp_path.iterdir()} == {*pages.page_files(), "stores.json", "copy.zarr", "deep #1"}
    again = run("view", copy, "--export", tmp_path)
    assert again.returncode == 1 and "exists already" in again.stderr
    assert run("view", copy, "--export", tmp_path, "--replace").returncode == 0
    assert len(json.loads((tmp_path / "stores.json").read_text())) == 1


def test_export_refuses_stores_that_are_elsewhere(copy, made, tmp_path):
    (tmp_path / "site").mkdir()
    for folder, said in (
        (tmp_path / "site", f"such as {tmp_path}"),
        (copy, "inside"),
        (tmp_path / "none", "no such folder"),
    ):
        done = run("view", copy, "--export", folder)
        assert (done.returncode, done.stdout) == (1, "") and said in done.stderr, done.stderr
    assert not list((tmp_path / "site").iterdir())


# The page, in a browser


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield launched
        launched.close()


class Tab:
    """A tab that shows a page; it fails if the page says an error, or asks another machine for anything."""

    def __init__(self, browser, **settings):
        self.page = browser.new_page(viewport={"width": 1200, "height": 900}, **settings)
        self.errors, self.hosts = list[str](), set[str]()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))

    def open(self, url, **said):
        self.page.goto(f"{url}#{'&'.join(f'{name}={quote(str(value))}' for name, value in said.items())}")
        self.wait("!/^(Reading|Opening|This page)/.test(document.querySelector('#status').textContent)")
        return self

    def read(self, expression, *arguments):
        return self.page.evaluate(expression, *arguments)

    def wait(self, condition):
        """Wait until a condition holds: what Playwright offers for it, the policy of the page refuses."""
        until = time.monotonic() + 30
        while not self.read(condition):
            assert time.monotonic() < until, (condition, self.errors, self.text("#status"))
            time.sleep(0.02)

    def text(self, selector):
        return self.read("selector => document.querySelector(selector).textContent", selector)

    def shows(self, trial, repeats="one"):
        place = f"#shown[data-trial='{trial}'][data-repeats='{repeats}']"
        self.page.wait_for_selector(place)
        self.page.wait_for_selector("#trial-facts dd")

    def value(self, variable, channel):
        """Return the value of the frame that is shown, as the page gives it as text."""
        found = self.page.get_attribute(
            f"#values td[data-variable='{variable}'][data-channel='{channel}']", "data-value"
        )
        return np.float64(found)

    def trace(self, variable, channel):
        self.read("document.querySelector('#trace').open = true")
        cells = f"#trace td[data-variable='{variable}'][data-channel='{channel}']"
        self.page.wait_for_selector(cells)
        return np.array(
            self.read("cells => [...document.querySelectorAll(cells)].map(one => one.dataset.value)", cells), float
        )

    def pixels(self, selector):
        """Return the pixels of a canvas, (height, width, colour) from 0 to 255, and its limits."""
        found = self.read(
            """selector => {
                const canvas = document.querySelector(selector), {width, height} = canvas;
                const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
                let text = "";
                for (let at = 0; at < data.length; at += 1) text += String.fromCharCode(data[at]);
                return [btoa(text), width, height, Number(canvas.dataset.low), Number(canvas.dataset.high)];
            }""",
            selector,
        )
        image = np.frombuffer(base64.b64decode(found[0]), np.uint8).reshape(found[2], found[1], 4)
        assert (image[..., 3] == 255).all()
        return image[..., :3], (found[3], found[4])


@pytest.fixture
def tab(browser):
    made = Tab(browser)
    yield made
    made.page.close()
    assert made.hosts <= {"127.0.0.1"}
    # Files that are missing are told on the page.
    assert [one for one in made.errors if not one.startswith("Failed to load resource")] == []


def expected_grey(values, limits, downwards=False):
    scaled = np.clip((values.astype(float) - limits[0]) / (limits[1] - limits[0]), 0, 1) * 255
    return 255 - scaled if downwards else scaled


@pytest.mark.once
def test_a_trial_is_chosen_and_plays(tab, served, made):
    mouse = open_mouse(made)
    trial_id = int(mouse.recording.trial_ids[3])
    tab.open(served.url)
    tab.page.select_option("#trial", label=str(trial_id))
    tab.shows(trial_id)
    assert f"trial={trial_id}" in tab.page.url and f"mouse={quote(made.stem)}" in tab.page.url
    trial = mouse.trial(trial_id)
    raster, limits = tab.pixels(".raster canvas")
    assert raster.shape[:2] == trial["responses"].shape
    wanted = expected_grey(trial["responses"], limits, downwards=True)
    assert np.abs(raster[..., 0] - wanted).max() <= 0.51 and np.ptp(raster) > 200
    for frame in (0, 47, len(trial["videos"]) - 1):
        tab.page.locator("#frame").fill(str(frame))
        picture, limits = tab.pixels(".picture canvas")
        assert limits == (0, 255)
        assert np.abs(picture[..., 1] - expected_grey(trial["videos"][frame], limits)).max() <= 0.51
        assert tab.value("responses", "neuron") == trial["responses"][0, frame]
        np.testing.assert_allclose(tab.value("responses", "mean"), trial["responses"][:, frame].astype(float).mean())
        np.testing.assert_allclose(tab.value("videos", "mean"), trial["videos"][frame].astype(float).mean())
        assert tab.value("behavior", 1) == trial["behavior"][1, frame]
    np.testing.assert_array_equal(tab.trace("responses", "neuron"), trial["responses"][0])
    np.testing.assert_array_equal(tab.trace("pupil_center", 1), trial["pupil_center"][1])
    tab.page.locator("#frame").fill("0")
    tab.page.click("#play")
    tab.wait("Number(document.querySelector('#now').dataset.frame) > 20")
    assert tab.text("#play") == "Stop"
    at = tab.read("""() => [document.querySelector('#now').dataset.frame, document.querySelector('#frame').value,
        getComputedStyle(document.querySelector('#timeline')).getPropertyValue('--at')]""")
    assert at[0] == at[1] and float(at[2]) == int(at[0]) / len(trial["videos"])
    tab.page.click("#play")
    assert f"frame={tab.page.get_attribute('#now', 'data-frame')}" in tab.page.url


@pytest.mark.once
def test_playing_ends_with_the_trial(tab, served, made):
    mouse = open_mouse(made)
    last = int(mouse.recording.n_frames[0]) - 1
    tab.open(served.url, trial=mouse.recording.trial_ids[0], frame=last - 10)
    tab.page.keyboard.press("Space")
    tab.wait("document.querySelector('#play').textContent === 'Play'")
    assert tab.page.get_attribute("#now", "data-frame") == str(last)


@pytest.mark.once
def test_the_address_says_what_is_shown(tab, served, made):
    mouse = open_mouse(made)
    ids = mouse.recording.trial_ids.tolist()
    tab.open(served.url, mouse=made.stem, trial=ids[4], frame=12, neuron=7)
    tab.shows(ids[4])
    assert tab.value("responses", "neuron") == mouse.trial(ids[4])["responses"][7, 12]
    tab.read(f"location.hash = 'mouse={made.stem}&trial={ids[5]}'")
    tab.shows(ids[5])
    tab.read("location.hash = 'mouse=nobody&trial=99999'")
    tab.wait("document.querySelector('#status').textContent.includes('no trial 99999')")
    assert "no mouse nobody" in tab.text("#status")


@pytest.mark.once
def test_keys_go_through_trials_frames_and_neurons(tab, served, made):
    mouse = open_mouse(made)
    ids, tiers = mouse.recording.trial_ids.tolist(), mouse.recording.tiers
    tab.open(served.url, trial=ids[1])
    for key, place in (("ArrowDown", 2), ("ArrowDown", 3), ("ArrowUp", 2)):
        tab.page.keyboard.press(key)
        tab.shows(ids[place])
    for key, frame in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", int(mouse.recording.n_frames[2]) - 1),
    ):
        tab.page.keyboard.press(key)
        assert tab.page.get_attribute("#now", "data-frame") == str(frame)
    tab.page.keyboard.press("]")
    assert tab.page.input_value("#neuron") == "1"
    tab.page.keyboard.press("[")
    tab.page.keyboard.press("[")
    assert tab.page.input_value("#neuron") == "0"
    tab.page.select_option("#tier", "oracle")
    of_tier = [one for one, tier in zip(ids, tiers, strict=True) if tier == "oracle"]
    tab.shows(of_tier[0])
    shown = tab.read("[...document.querySelectorAll('#trial option')].map(one => one.textContent)")
    assert shown == list(map(str, of_tier))


@pytest.mark.once
def test_a_click_chooses_a_neuron(tab, served, made):
    mouse = open_mouse(made)
    tab.open(served.url)
    tab.page.wait_for_selector("#neuron-facts dd")
    box = tab.page.locator(".raster canvas").bounding_box()
    tab.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 13.5 / mouse.n_neurons)
    assert tab.page.input_value("#neuron") == "13"
    facts = tab.read("""Object.fromEntries([...document.querySelectorAll('#neuron-facts dt')]
        .map((one) => [one.textContent, one.nextSibling.textContent]))""")
    assert facts["unit ids"] == str(mouse.neurons["unit_ids"][13])
    means = mouse.statistics["responses"]["over_trials_and_frames"].mean
    np.testing.assert_allclose(float(facts["mean of the train trials"]), means[13], rtol=1e-3)
    trial = mouse.trial(int(mouse.recording.trial_ids[0]))["responses"]
    np.testing.assert_array_equal(tab.trace("responses", "neuron"), trial[13])
    assert "cell motor coordinates" in tab.text("#place-text")
    places = np.array([mouse.neurons[f"cell_motor_coordinates_{axis}"] for axis in (0, 1)])
    box = tab.page.locator("#place").bounding_box()
    # Where the leftmost one is drawn, or at the top, whichever spans the canvas.
    scale = min((box["width"] - 20) / np.ptp(places[0]), (box["height"] - 20) / np.ptp(places[1]))
    centre = (places.max(axis=1) + places.min(axis=1)) / 2
    x, y = (places[:, 5] - centre) * scale + [box["width"] / 2, box["height"] / 2]
    tab.page.locator("#place").click(position={"x": x, "y": y})
    assert tab.page.input_value("#neuron") == "5"


@pytest.mark.once
def test_repeats_and_tuning_are_means_of_trials(tab, browser, tmp_path):
    """Of a mouse that sees two clips three times, with trials of two lengths."""
    makes = {
        "videos": lambda trial: integers(4, 5, 30, seed=trial % 2) if trial < 6 else integers(4, 5, 30, seed=trial),
        "responses": lambda trial: np.abs(floats(6, 30, seed=trial)),
        "behavior": lambda trial: floats(2, 30, seed=trial),
    }
    store = convert_mouse(write_own(tmp_path / "lab", makes, range(8)), tmp_path).store
    mouse = open_mouse(store)
    with serving(store) as served:
        tab.open(served.url, trial=1, neuron=4)
        tab.shows(1)
        options = tab.read("[...document.querySelectorAll('#repeats option')].map(one => one.textContent)")
        assert options == ["trial 1 of 3", "mean of 3", "trial 3, train", "trial 5, train"]
        tab.page.select_option("#repeats", "mean")
        tab.shows(1, "mean")
        together = np.stack([mouse.trial(one)["responses"] for one in (1, 3, 5)]).astype(float)
        np.testing.assert_allclose(tab.trace("responses", "neuron"), together.mean(axis=0)[4], rtol=1e-12)
        assert "repeats=mean" in tab.page.url
        picture, limits = tab.pixels(".picture canvas")
        assert np.abs(picture[..., 0] - expected_grey(mouse.trial(1)["videos"][0], limits)).max() <= 0.51
        tab.page.select_option("#by", "stimulus")
        tab.page.click("#tune")
        tab.page.wait_for_selector("#tuning-text[data-done='true']")
        for stimulus, trials in ((0, (0, 2, 4)), (1, (1, 3, 5))):
            found = tab.page.get_attribute(
                f"#tuning-table tr[data-group='{stimulus}'] td[data-value]", "data-value", timeout=1000
            )
            wanted = np.mean([mouse.trial(one)["responses"][4].mean(dtype=float) for one in trials])
            np.testing.assert_allclose(float(found), wanted)


def chunk_span(store: Path, shard: str, place: int) -> tuple[int, int]:
    """Return where a chunk lies in a shard, from its index."""
    data = (store / shard).read_bytes()
    name = shard.split("/")[0]
    metadata = json.loads((store / name / "zarr.json").read_text())
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    inner = metadata["codecs"][0]["configuration"]["chunk_shape"]
    count = int(np.prod([one // other for one, other in zip(outer, inner, strict=True)]))
    index = np.frombuffer(data[-16 * count - 4 : -4], "<u8").reshape(count, 2)
    return int(index[place][0]), int(index[place][1])


@pytest.mark.once
def test_a_damaged_shard_is_shown_as_damage(tab, copy, made):
    mouse = open_mouse(made)
    shard = min(path for path in read_manifest(copy).files if path.startswith("responses/c"))
    start, size = chunk_span(copy, shard, 1)
    data = bytearray((copy / shard).read_bytes())
    data[start + size // 2] ^= 1
    (copy / shard).write_bytes(data)
    trial_id = int(mouse.recording.trial_ids[0])
    with serving(copy) as served:
        tab.open(served.url, trial=trial_id)
        tab.shows(trial_id)
        told = tab.text("#problems")
        assert "responses, frames 15 to 29" in told and "checksum" in told
        found, wanted = tab.trace("responses", "neuron"), mouse.trial(trial_id)["responses"][0].copy()
        wanted[15:30] = np.nan
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(tab.trace("behavior", 0), mouse.trial(trial_id)["behavior"][0])
        # Now the index of the shard: no trial of it can be read.
        (copy / shard).write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        tab.page.reload()
        tab.shows(trial_id)
        assert np.isnan(tab.trace("responses", "neuron")).all() and "checksum" in tab.text("#problems")
        (copy / shard).unlink()
        tab.page.reload()
        tab.wait("document.querySelector('#problems').textContent.includes('missing')")


@pytest.mark.once
def test_damaged_tables_and_metadata_leave_the_rest(tab, copy, made):
    mouse = open_mouse(made)
    trial_id = int(mouse.recording.trial_ids[2])
    (copy / "responses/zarr.json").write_text((copy / "responses/zarr.json").read_text().replace("a.u.", "b.u."))
    tiers = copy / "trials/tier/c.0"
    tiers.write_bytes(bytes([tiers.read_bytes()[0] ^ 1]) + tiers.read_bytes()[1:])
    with serving(copy) as served:
        tab.open(served.url, trial=trial_id)
        tab.shows(trial_id)
        told = tab.text("#problems")
        assert "responses: was changed (its SHA-256 differs)" in told and "trials/tier: was changed" in told
        np.testing.assert_array_equal(tab.trace("behavior", 0), mouse.trial(trial_id)["behavior"][0])
    (copy / "manifest.json").write_text((copy / "manifest.json").read_text().replace(":1,", ":1 ,"))
    with serving(copy) as served:
        tab.open(served.url)
        assert "cannot be shown" in tab.text("#status") and "manifest.json" in tab.text("#problems")


@pytest.mark.once
def test_names_with_markup_stay_text(tab, tmp_path):
    toml = f"""
    [variables.behavior]
    units = "<i>"
    dimensions = ["channel", "frame"]
    channels = [{{name = "<script>window.hacked=1</script>", units = "{SPOKEN}"}}, {{name = "b", units = "x"}}]
    """
    makes = {
        "responses": lambda trial: floats(3, 30, seed=trial),
        "behavior": lambda trial: floats(2, 30, seed=trial),
    }
    folder = write_own(tmp_path / SPOKEN, makes, toml=toml, tiers=lambda trial: SPOKEN if trial else "train")
    np.save(folder / "meta/trials/note.npy", np.array(["<script>window.hacked=1</script>"] * 8))
    (folder / "meta/neurons").mkdir()
    np.save(folder / "meta/neurons/area.npy", np.array([SPOKEN, "</td><script>window.hacked=1</script>", "V1"]))
    store = convert_mouse(folder, tmp_path / "stores").store
    with serving(store, shutil.copytree(store, tmp_path / "other" / store.name)) as served:
        tab.open(served.url, trial=3, tier=SPOKEN)
        tab.shows(3)
        tab.page.wait_for_selector("#neuron-facts dd")
    assert tab.text("h1") == SPOKEN and SPOKEN in tab.text("#status") and SPOKEN in tab.text("#neuron-facts")
    assert "<script>window.hacked=1</script>" in tab.text("#trial-facts") + tab.text("#values")
    assert tab.read("[window.hacked, document.querySelectorAll('img').length, document.scripts.length]") == [None, 0, 1]


def own(tmp_path, **changes):
    variables = {
        "responses": lambda trial: np.abs(floats(5, 30, seed=trial)),
        "videos": lambda trial: integers(6, 8, 30, seed=trial),
        "behavior": lambda trial: floats(2, 30, seed=trial),
        **changes,
    }
    return write_own(tmp_path / "lab", {name: make for name, make in variables.items() if make is not None})


SHA256 = """const sha256 = async (bytes) => {
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
        return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    };"""
READ_ALL = f"""async () => {{
    {SHA256}
    const {{Recording}} = await import(new URL("recording.js", location.href.split("#")[0]));
    const [entry] = await (await fetch("stores.json")).json();
    const recording = await Recording.open(entry), found = [];
    for (let row = 0; row < recording.ids.length; row++) {{
        for (const one of await recording.trial(row)) {{
            const text = await sha256(new Uint8Array(Float64Array.from(one.values).buffer));
            found.push([one.variable.name, recording.ids[row], one.shape, text, one.absent, one.damage.length]);
        }}
    }}
    return [found, recording.problems];
}}"""
KINDS: dict[str, dict[str, Any]] = {
    "one neuron": {"responses": lambda trial: np.abs(floats(1, 30, seed=trial))},
    "no videos, no behavior": {"videos": None, "behavior": None},
    "one value each": {"responses": lambda trial: floats(5, seed=trial), "videos": None, "behavior": None},
    "dtypes": {
        "eye": lambda trial: integers(24, 32, 30, seed=trial),
        "weight": lambda trial: np.float64(20.125 + trial),
        "lick": lambda trial: integers(30, seed=trial) > 60,
        "count": lambda trial: integers(2, 30, seed=trial, dtype=np.int64),
        "steps": lambda trial: integers(2, 30, seed=trial, dtype=np.int16),
    },
    "not drawn": {"spectrum": lambda trial: floats(9, 30, seed=trial), "map": lambda trial: floats(5, 7, seed=trial)},
}


@pytest.mark.once
@pytest.mark.parametrize("codec", ["fast", "none", "small"])
@pytest.mark.parametrize("kind", ["samples", *KINDS])
def test_all_values_are_those_of_the_store(tab, sample_mice, tmp_path, kind, codec):
    """Of every trial and variable, of mice of every kind, as `Mouse.trial` gives them."""
    if kind == "samples":
        sources = [folder for folder in sample_mice.values() if folder.is_dir()]
    else:
        sources = [own(tmp_path, **KINDS[kind])]
    for source in sources:
        store = convert_small(source, tmp_path / "stores", codec=codec, statistics=False)
        mouse = open_mouse(store)
        with serving(store) as served:
            tab.open(served.url)
            found, problems = tab.read(READ_ALL)
        assert problems == [] and len(found) == len(mouse.variables) * len(mouse.recording.trial_ids)
        for name, trial_id, shape, digest, absent, damage in found:
            variable, trial = mouse.recording.variable(name), mouse.trial(int(trial_id))
            values = trial[name]
            if variable.frame_axis is not None and not variable.has_pictures:
                values = np.moveaxis(values, variable.frame_axis, -1)
            if absent:
                assert trial.withheld or "nothing is drawn" in absent
                continue
            assert damage == 0 and tuple(shape) == values.shape, name
            wanted = np.ascontiguousarray(values, np.float64).tobytes()
            assert digest == hashlib.sha256(wanted).hexdigest(), (name, trial_id)


UNPACK = f"""async (packed) => {{
    const {{decompress}} = await import(new URL("blosc.js", location.href.split("#")[0]));
    {SHA256}
    return Promise.all(packed.map(async (text) => {{
        try {{
            return sha256(decompress(Uint8Array.from(atob(text), (one) => one.charCodeAt(0))));
        }} catch (error) {{
            return "refused";
        }}
    }}));
}}"""


@pytest.mark.once
def test_blosc_is_decoded(tab, served):
    """Of every kind that the format has, of sizes that blocks and shuffles do not divide, too; and what is none."""
    random, data = np.random.default_rng(5), list[bytes]()
    for size in (1, 7, 16, 100, 4096, 33_333, 100_000):
        data += [
            random.normal(size=size).astype(np.float32).tobytes(),
            np.cumsum(random.integers(0, 3, size)).tobytes(),
        ]
        data += [bytes(size), random.integers(0, 9, size, np.uint8).tobytes(), b"abcdefg" * min(size, 999)]
    kinds = [(name, shuffle, width) for name in ("lz4", "zstd") for shuffle in (0, 1, 2) for width in (1, 2, 4, 8)]
    wanted = [(one, kind) for one in data for kind in kinds if len(one) % kind[2] == 0]
    packed = [
        blosc.compress(np.frombuffer(one, f"V{width}"), name.encode(), 6, shuffle, 0)
        for one, (name, shuffle, width) in wanted
    ]
    tab.open(served.url)
    found = tab.read(UNPACK, [base64.b64encode(one).decode() for one in packed])
    assert len(found) > 500
    for (one, kind), digest in zip(wanted, found, strict=True):
        assert digest == hashlib.sha256(one).hexdigest(), (kind, len(one))
    cut = [one[: random.integers(0, len(one))] for one in packed if len(one) > 60]
    flipped = [change(one, random.integers(16, len(one))) for one in packed if 60 < len(one) < 9_000]
    tab.read(UNPACK, [base64.b64encode(one).decode() for one in [*cut, *flipped]])  # and it comes to an end


def change(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


@pytest.mark.once
def test_what_was_withheld_or_cannot_be_decoded_is_said(tab, tmp_path):
    makes = {
        "responses": lambda trial: np.zeros((5, 30), np.float32),
        "behavior": lambda trial: floats(2, 30, seed=trial),
    }
    store = convert_mouse(write_own(tmp_path / "withheld", makes), tmp_path / "stores").store
    with serving(store) as served:
        tab.open(served.url)
        tab.shows(0)
        assert "withheld by the publisher" in tab.text("figure.absent")
        assert tab.value("behavior", 0) == open_mouse(store).trial(0)["behavior"][0, 0]
    pytest.importorskip("pcodec", reason="pcodec is not installed")
    small = write_sample(tmp_path / "pcodec", trials=3, neurons=4, image_shape=(6, 8))
    store = convert_mouse(small, tmp_path / "stores", codec="pcodec").store
    with serving(store) as served:
        tab.open(served.url)
        assert "stored with numcodecs.pcodec, which this page cannot decode" in tab.text("figure.absent")


@pytest.mark.once
def test_ten_thousand_trials(tab, tmp_path):
    makes = {"responses": lambda trial: floats(3, seed=trial), "images": lambda trial: integers(4, 5, seed=trial % 50)}
    store = convert_mouse(write_own(tmp_path / "many", makes, range(10_000)), tmp_path / "stores").store
    with serving(store) as served:
        tab.open(served.url, trial=9_999)
        tab.shows(9_999)
        assert tab.read("document.querySelectorAll('#trial option').length") == 10_000
        tab.page.keyboard.press("ArrowUp")
        tab.shows(9_998)
        wanted = open_mouse(store).trial(9_998)["responses"]
        assert tab.value("responses", "neuron") == wanted[0]


class Silent(http.server.SimpleHTTPRequestHandler):
    """Any web server: it knows no ranges."""

    def log_message(self, format, *args):
        pass


@pytest.mark.once
def test_an_exported_page_works_on_any_web_server(tab, copy, made, tmp_path):
    assert run("view", copy, "--export", tmp_path).returncode == 0
    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        mouse = open_mouse(made)
        trial_id = int(mouse.recording.trial_ids[1])
        tab.open(f"http://127.0.0.1:{plain.server_port}/", mouse="copy", trial=trial_id)
        tab.shows(trial_id)
        np.testing.assert_array_equal(tab.trace("responses", "neuron"), mouse.trial(trial_id)["responses"][0])
        assert tab.text("#problems ul") == ""
        plain.shutdown()


@pytest.mark.once
def test_a_phone_and_the_dark(browser, served):
    tab = Tab(browser, color_scheme="dark")
    tab.page.set_viewport_size({"width": 360, "height": 740})
    tab.open(served.url)
    wide, colour = tab.read("[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]")
    tab.page.close()
    assert wide == 360 and colour == "rgb(22, 25, 29)"


@pytest.mark.once
def test_the_bundle_is_what_its_command_makes(tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("node is not installed")
    made = tmp_path / "zarrita.js"
    command = ["make", "-C", ROOT, "bundle", f"BUNDLE={tmp_path / 'bundle'}", f"ZARRITA={made}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "npm error" in done.stderr:
        pytest.skip(f"zarrita cannot be installed ({done.stderr.strip()[-200:]})")
    assert done.returncode == 0, done.stderr
    assert made.read_bytes() == pages.page_files()["zarrita.js"]


def test_what_is_needed_is_named() -> None:
    """The browser's driver is there where the tests of every push run."""
    assert importlib.util.find_spec("playwright")
