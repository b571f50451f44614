"""Compare stores of the same mice that different Pythons make: ``python -m tests.equal_stores FOLDER``, with each.

The first one writes the mice and what it makes of them; the others have to make the same. The ids of stores are equal
in any case, so that a loader goes on where one of another Python was; the bytes, but for the record of versions, where
numcodecs is.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import TrialLoader, open_mouse
from trialpack.store import layout

MICE = {"dynamic": "A", "static": "S0"}
CODECS = ("fast", "none", "small")


def main(folder: Path) -> None:
    """Convert all mice, and compare what comes of them with what other Pythons found, if one did."""
    for kind, letter in MICE.items():
        if not (folder / kind).exists():
            write_sample(folder / kind, mouse=letter, trials=16, neurons=12, image_shape=(6, 8))
    mine = platform.python_version()
    others = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json") if path.stem != mine}
    with tempfile.TemporaryDirectory() as place:
        found = {
            f"{kind} {codec}": examine(folder / kind, Path(place, kind), codec) for kind in MICE for codec in CODECS
        }
        record = {"numcodecs": version("numcodecs"), "stores": found}
        for python, other in others.items():
            compare(python, other, record)
            for name, theirs in other["stores"].items():
                kind, codec = name.split()
                (store,) = Path(place, kind, codec).glob(f"*{layout.SUFFIX}")
                make_loader(store).load_state_dict(theirs["state"])
    (folder / f"{mine}.json").write_text(json.dumps(record))
    print(f"Python {mine}: {len(found)} stores, compared with those of {', '.join(others) or 'no other Python yet'}")


def examine(source: Path, place: Path, codec: Any) -> dict[str, Any]:
    """Return the id and the digests of all files of a mouse's store, and the state of a loader after a batch."""
    store = convert_mouse(source, place / codec, codec=codec, workers=2).store
    mouse = open_mouse(store)
    loader = make_loader(store)
    next(iter(loader))
    files = [path for path in store.rglob("*") if path.is_file() and path.name != layout.SOFTWARE]
    digests = {path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {"store_id": mouse.index.manifest.store_id, "files": digests, "state": loader.state_dict()}


def make_loader(store: Path) -> TrialLoader:
    """Return the loader that every Python has."""
    return TrialLoader(open_mouse(store), tier="train", batch_size=2, shuffle=True, seed=3, output="numpy", threads=1)


def compare(other: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Exit with what differs between the stores of two Pythons."""
    facts = ["store_id", "state", *(["files"] if theirs["numcodecs"] == ours["numcodecs"] else [])]
    for name, store in ours["stores"].items():
        for fact in facts:
            if json.loads(json.dumps(store[fact])) != theirs["stores"][name][fact]:
                sys.exit(f"{fact} of the store {name!r} is another one by Python {other}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
