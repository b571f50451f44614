"""A single file at an address, such as a zip that is read where it is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from . import objects
from .bucket import Bucket
from .locate import Options
from .objects import Connection, Pin, connect
from .paths import Address
from .place import StoreFile


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, in the version that was found there first. Picklable, and without secrets.

    Attributes
    ----------
    folder
        How to reach where it is.
    name, pin
        Its name there, and its version.
    """

    folder: Connection
    name: str
    pin: Pin

    @classmethod
    def find(cls, address: Address, options: Options = None) -> RemoteFile:
        """Return the object at an address.

        Raises
        ------
        FileNotFoundError
            Nothing is.
        OptionError, AccessError, ResourceError
            There is no such address or option; access is refused; or it cannot be reached.
        """
        folder, _, name = address.url.rpartition("/")
        connection = connect(Address(folder), options)
        return cls(connection, name, objects.look(connection, name))

    @property
    def label(self) -> str:
        """The address."""
        return f"{self.folder.address}/{self.name}"

    @contextmanager
    def file(self) -> Generator[StoreFile]:
        """Yield the file, for reading: each read is a request. One that was replaced is a `CorruptStoreError`."""
        bucket = Bucket(self.folder)
        bucket.pins[self.name] = self.pin
        yield bucket.open().open(self.name)
