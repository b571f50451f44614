"""The site that `make docs` builds: no broken link, no network, all that is public, figures of notebooks."""

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not (find_spec("sphinx") and find_spec("torch")), reason="sphinx or torch is not installed"),
]
ROOT = Path(__file__).resolve().parent.parent
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""What a browser fetches without being asked -> where it says what."""


class Page(HTMLParser):
    """What a page points to, what it loads, and what may be pointed to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loaded, self.places = list[str](), list[str](), set[str]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places.add(found.get("id") or "")
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in LOADED and found.get(LOADED[tag]):
            self.loaded.append(str(found[LOADED[tag]]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as `make docs` does, for which nothing has to be installed any more."""
    place, venv = tmp_path_factory.mktemp("site"), Path(sys.prefix)
    command = ["make", "-C", str(ROOT), "docs", "-o", f"{venv}/tested", f"VENV={venv}", f"BUILD={place}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "docs"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_no_link_is_broken(pages: dict[Path, Page]) -> None:
    checked = 0
    for path, page in pages.items():
        for link in {*page.links, *page.loaded}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].places, f"{path}: {link}"
            checked += 1
    assert checked > 500


def test_nothing_comes_from_the_network(site: Path, pages: dict[Path, Page]) -> None:
    loaded = [source for page in pages.values() for source in page.loaded]
    assert loaded and not [source for source in loaded if urlsplit(source).netloc]
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", path.read_text()), path


def test_search_needs_no_server(site: Path) -> None:
    """The index is a script, which a page that was opened as a file may load, too."""
    index = (site / "searchindex.js").read_text()
    assert index.startswith("Search.setIndex(")
    assert all(f'"{word}"' in index for word in ("checksum", "tensorstor", "slurm"))
    assert any("searchindex.js" in source for source in Page(site / "search.html").loaded)


def test_all_that_is_public_is_described(pages: dict[Path, Page]) -> None:
    (page,) = [page for path, page in pages.items() if path.name == "api.html"]
    described = {place.rpartition(".")[2] for place in page.places if place.startswith("trialpack.")}
    packages = ("trialpack", "trialpack.readers", "trialpack.convert", "trialpack.store")
    public = {name for package in packages for name in importlib.import_module(package).__all__}
    assert public - described == {"__version__"}


@pytest.mark.parametrize("name, figures", [("explore", 3), ("train", 2)])
def test_notebooks_are_executed_with_their_figures(site: Path, name: str, figures: int) -> None:
    page = Page(site / f"notebooks/{name}.html")
    pictures = [site / "notebooks" / source for source in page.loaded if source.endswith(".png")]
    assert len(pictures) == figures
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in pictures)


@pytest.mark.parametrize("name", ["explore", "train"])
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    text = (ROOT / f"docs/notebooks/{name}.ipynb").read_text()
    assert '"outputs": []' in text and not re.search(r'"outputs": \[[^\]]|"execution_count": \d', text)
