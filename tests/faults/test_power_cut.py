"""A power cut keeps what was synced, and perhaps more."""

from pathlib import Path

import pytest

from .conversions import (
    Durability,
    convert,
)

pytestmark = pytest.mark.usefixtures("small_shards")


def test_everything_is_on_disk_before_it_is_named(
    recording: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was synced: each file after its last byte, each folder after its last name."""
    recorder = Durability(monkeypatch)
    convert(recording, destination)
    assert recorder.named == [destination]
    assert recorder.journalled == 3
    # The new name itself, and the removal of the journal.
    assert destination.parent not in recorder.folders


def test_a_folder_made_for_the_store_is_on_disk_too(
    recording: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Durability(monkeypatch)
    assert not destination.parent.exists()
    convert(recording, destination)
    assert destination.parent.parent not in recorder.folders
