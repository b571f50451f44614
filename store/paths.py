"""Paths: what a person gives as one, and where it is whatever becomes the working folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from .arguments import check_type, refuse
from .errors import OptionError, Problem, refusal

# Two letters at least, for one is a drive. `Path` leaves only one slash of two.
_ADDRESS = re.compile(r"([A-Za-z][\w+.:-]+):/")
_FILE_ADDRESS = re.compile(r"file:(?://(?:localhost)?)?(?=/[^/]|/$)", re.IGNORECASE)


def read_path(given: str | os.PathLike[str], name: str = "path") -> Path:
    """Return the path that a person means, relative to the working folder if they gave it so.

    Parameters
    ----------
    given
        A path, in which ``~`` stands for the home folder; or the address of a file on this machine, such as
        ``file:///data/my%20mouse.zip``.
    name
        Name of the argument, for the error.

    Raises
    ------
    OptionError
        It is the address of something that is not on this machine, the home folder of nobody, or no path at all.

    Examples
    --------
    >>> print(read_path("stores/mouse.zarr"), read_path("file:///data/my%20mouse.zip"))
    stores/mouse.zarr /data/my mouse.zip
    >>> read_path("s3://bucket/stores")
    Traceback (most recent call last):
        ...
    trialpack.store.errors.OptionError: s3://bucket/stores: an address, not a path on this machine; copy it to a disk or mount it, and give the path
    """  # noqa: E501
    check_type(name, given, (str, os.PathLike), "a path")
    text = os.fspath(given)
    if not isinstance(text, str) or not text or "\0" in text:  # pyright: ignore[reportUnnecessaryIsInstance]
        refuse(name, "a path", given)
    if _FILE_ADDRESS.match(text):
        return Path(unquote(_FILE_ADDRESS.sub("", text)))
    if address_in(text):
        what, advice = "an address, not a path on this machine", "copy it to a disk or mount it, and give the path"
        raise OptionError(Problem(text, what, advice))
    path = Path(os.path.expanduser(text))
    if text.startswith("~") and str(path).startswith("~") and not os.path.lexists(text):
        advice = f"check the name, or give {Path.cwd() / text}"
        raise OptionError(Problem(text, "the home folder of nobody here", advice))
    return path


def address_in(text: str) -> bool:
    """Return whether a text is the address of something that is not on this machine, and no path."""
    address = None if _FILE_ADDRESS.match(text) else _ADDRESS.match(text)
    return address is not None and not os.path.exists(f"{address[1]}:")


@dataclass(frozen=True)
class Address:
    """The address of a store that is not on this machine, such as ``s3://bucket/mouse.zarr``; nothing secret is in it.

    Attributes
    ----------
    url
        Without a slash at its end.

    Examples
    --------
    >>> address = Address("s3://bucket/stores/mouse.zarr")
    >>> print(address, address.name)
    s3://bucket/stores/mouse.zarr mouse.zarr
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """The address without its last part."""
        return Address(self.url.rpartition("/")[0])


@dataclass(frozen=True)
class Located:
    """What is at a path, and is found there whatever becomes the working folder, from other processes too.

    Attributes
    ----------
    path
        As a person gave it, for messages.
    place
        The same, from the root of the file system: by this it is opened.
    """

    path: Path
    place: Path = field(default=Path(), kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the place."""
        if not self.place.is_absolute():
            object.__setattr__(self, "place", self.path.absolute())

    @property
    def label(self) -> str:
        """The path as the person knows it."""
        return str(self.path)

    @contextlib.contextmanager
    def opened(self) -> Generator[int]:
        """Yield a descriptor of the file, for reading; never waits, should a pipe have taken its place.

        Raises
        ------
        ResourceError
            It may not be read, or too many files are open.
        """
        try:
            descriptor = os.open(self.place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if refused := refusal(error, self.label):
                raise refused from None
            raise
        try:
            yield descriptor
        finally:
            os.close(descriptor)
