"""All formats of mice: those of trialpack, and those that other packages add through an entry point."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ...store import Call, OptionError, Problem, SourceError
from ...store.locate import Options, read_store
from ...store.paths import Address
from ...store.pointers import find_pointer
from ...store.publish import is_store
from ...store.remote_file import RemoteFile
from . import hdf5
from .format import Format
from .published import npy_folder, tar, zip
from .published.mouse_tree import MouseTree
from .published.published_files import STATISTICS_PICKLE_OPTION, check_published, write_published
from .source import Source, reading

GROUP = "trialpack.formats"
"""Entry point group: each entry names a `Format` of another package."""
_RESERVED = frozenset({"store", "to", "as", "format", "json", "workers", "scheduler", "progress"})
"""Names that no option of a format can have: those of `export_mouse`, and of the command."""
_OWN = (
    Format(
        name="npy",
        noun="a folder with data and meta",
        suffixes=(),
        matches=npy_folder.is_mouse,
        open=lambda path: MouseTree(npy_folder.FolderTree(path)),
        write=functools.partial(write_published, npy_folder.write_folder),
        check=check_published,
        options=(STATISTICS_PICKLE_OPTION,),
        help="the folder of files that the mouse was published as",
        shared=True,
    ),
    Format(
        name="zip",
        noun="a zip of it",
        suffixes=(".zip",),
        matches=zip.is_zip,
        open=lambda path: MouseTree(zip.ZipTree(zip.LocalZip(path))),
        write=functools.partial(write_published, zip.write_zip),
        check=check_published,
        options=(STATISTICS_PICKLE_OPTION,),
        help="a zip of that folder",
        packed=True,
    ),
    Format(
        name="tar",
        noun="an uncompressed tar of it",
        suffixes=tar.SUFFIXES,
        matches=tar.is_tar,
        open=lambda path: MouseTree(tar.TarTree(path)),
        write=functools.partial(write_published, tar.write_tar),
        check=check_published,
        options=(STATISTICS_PICKLE_OPTION,),
        help="an uncompressed tar of that folder",
    ),
    Format(
        name="hdf5",
        noun="an HDF5 file",
        suffixes=hdf5.SUFFIXES,
        matches=hdf5.is_hdf5,
        open=hdf5.Hdf5Mouse,
        write=hdf5.write_hdf5,
        check=hdf5.check_hdf5,
        options=(hdf5.FILTER_OPTION,),
        help="one file for h5py, MATLAB and the like, with the arrays of the store",
        packed=True,
    ),
)


@functools.cache
def formats() -> Mapping[str, Format]:
    """Return all formats by name: trialpack's own, then those of other packages.

    Raises
    ------
    OptionError
        With every entry of another package that cannot be loaded, is no format, or has the name or a suffix of another.

    Notes
    -----
    Other packages are looked for, and imported, at the first call.
    """
    known, problems = {form.name: form for form in _OWN}, list[Problem]()
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            form = _load(entry)
            _check_clash(form, known)
            known[form.name] = form
        except _Refusal as refusal:
            package = entry.dist.name if entry.dist else entry.value
            what = f"its format {entry.name} ({entry.value}) {refusal}"
            problems.append(Problem(f"package {package}", what, "update or uninstall it"))
    if problems:
        raise OptionError(problems)
    return known


def writable() -> dict[str, Format]:
    """Return the formats that mice can be written in, by name."""
    return {name: form for name, form in formats().items() if form.write is not None}


def find_format(path: Path) -> Format | None:
    """Find the format of a mouse: by what is at the path and its name, by what is there alone, or by the name alone.

    Returns
    -------
    Format or None
        None if there is no mouse, as far as one can tell from a few bytes and names.
    """
    matching = [form for form in formats().values() if form.matches(path)]
    called = [form for form in formats().values() if form.is_called(path)]
    both = [form for form in matching if form in called]
    return next(iter([*both, *matching, *called]), None)


def open_source(path: Path | Address | str | Source, storage_options: Options = None) -> Source:
    """Open the one mouse at a path.

    Parameters
    ----------
    path
        A mouse of any of the `formats`, or a folder with nothing but one in it; or the address of a zip of a mouse,
        such as ``s3://bucket/<mouse>.zip``, which is read where it is. A source that is open is returned as it is.
    storage_options
        How an address is reached, as in `trialpack.open_mouse`.

    Raises
    ------
    SourceError
        There is no mouse, or more than one.
    OptionError
        Another package has a format that cannot be used; see `formats`.
    """
    if isinstance(path, Source):
        return path
    found = find_sources(path, "source", storage_options)
    if len(found) != 1:
        names = ", ".join(Path(source.label).name for source in found)
        raise SourceError(Problem(str(path), f"expected one mouse, found {len(found)} ({names})", "give one of them"))
    return found[0]


def find_sources(path: Path | Address | str, name: str = "path", storage_options: Options = None) -> list[Source]:
    """Find the mice at a path.

    Parameters
    ----------
    path
        A mouse of any of the `formats`, or a folder of such; or the address of a zip of a mouse.
    name
        Name of the argument, for errors.
    storage_options
        As in `open_source`.

    Raises
    ------
    SourceError
        There is none.
    OptionError
        Another package has a format that cannot be used; see `formats`. Or there is no such address or option.
    ResourceError
        The system does not let it be read; or the address cannot be reached.
    """
    place = path if isinstance(path, Address) else read_store(path, name)
    if isinstance(place, Address):
        return [_at_address(place, storage_options)]
    with reading(place):
        return _find_sources(place)


def _at_address(address: Address, options: Options) -> Source:
    if not address.name.endswith(".zip"):
        what = "not a zip, and no other mice are read where they are (expected a name that ends in .zip)"
        raise SourceError(Problem(str(address), what, "download it, and give its path"))
    try:
        return MouseTree(zip.ZipTree(RemoteFile.find(address, options)))
    except FileNotFoundError:
        raise SourceError(Problem(str(address), "no such object", "check the address")) from None


def _find_sources(path: Path) -> list[Source]:
    # Of a pipe, or what is not there, the name tells nothing.
    form = find_format(path) if path.is_file() or path.is_dir() else None
    if form is not None:
        return [form.open(path)]
    mice = [form.open(child) for child, form in mice_in(path)] if path.is_dir() else []
    if not mice:
        raise SourceError(_without_mice(path))
    return mice


def _without_mice(path: Path) -> list[Problem]:
    """Return why there are no mice at a path: they were not fetched, or it is another one."""
    kinds, advice = expected(), "give the path of a mouse"
    if not path.is_dir():
        absent, other = ("no such file or folder", "check the path"), (f"not a mouse (expected {kinds})", advice)
        problem = find_pointer(path.resolve() if path.is_file() else path) or (other if path.is_file() else absent)
        return [Problem(str(path), *problem)]
    links = [child for child in sorted(path.iterdir()) if child.is_symlink()]
    pointers = [Problem(str(path), *problem, link.name) for link in links if (problem := find_pointer(link))]
    return pointers or [Problem(str(path), f"no mouse here (expected {kinds}, or a folder of such)", advice)]


def mice_in(folder: Path) -> Iterator[tuple[Path, Format]]:
    """Yield the mice in a folder, by name: files whose names end as a format's do, and folders by what is in them."""
    suffixes = tuple(suffix for form in formats().values() for suffix in form.suffixes)
    for child in sorted(folder.iterdir()):
        if child.name.startswith((".", "__")) or not (child.is_dir() or child.name.endswith(suffixes)):
            continue
        form = find_format(child)
        if form is not None:
            yield child, form


def explain_mouse(problem: Problem) -> Problem:
    """Return a problem with what was given in place of a store, with what to do if that is a mouse, or mice.

    Parameters
    ----------
    problem
        Problem of a `StoreFormatError`.
    """
    path = Path(problem.path)
    if not path.exists() or is_store(path):
        return problem
    if form := find_format(path):
        what = f"not a store, but a mouse to make one of ({form.noun})"
    elif path.is_dir() and next(mice_in(path), None):
        what = "a folder of mice to make stores of, not a store"
    else:
        return problem
    return Problem(problem.path, what, ("pack it: ", Call("convert_mouse", problem.path)))


def expected() -> str:
    """Return what a mouse may be, as a list for messages and help.

    Examples
    --------
    >>> expected()
    'a folder with data and meta, a zip of it, an uncompressed tar of it, or an HDF5 file'
    """
    *others, last = (form.noun for form in formats().values())
    return f"{', '.join(others)}, or {last}"


def is_packed(name: str, files: int) -> bool:
    """Return whether a source takes less bytes on disk than its arrays do, as far as name and number of files tell."""
    return files == 1 or any(form.packed and name.endswith(form.suffixes) for form in formats().values())


class _Refusal(Exception):
    """A format of another package cannot be used; the text says why."""


def _load(entry: EntryPoint) -> Format:
    try:
        form = entry.load()
    # Whatever a package does when it is imported, its name is what helps.
    except Exception as error:
        raise _Refusal(f"cannot be loaded ({type(error).__name__}: {error})") from error
    if not isinstance(form, Format):
        raise _Refusal(f"is a {type(form).__name__} (expected a trialpack.convert.formats.Format)")
    if form.name != entry.name:
        raise _Refusal(f"calls itself {form.name!r}")
    return form


def _check_clash(form: Format, known: Mapping[str, Format]) -> None:
    if form.name in known:
        raise _Refusal("has the name of another format")
    for other in known.values():
        if shared := set(form.suffixes) & set(other.suffixes):
            raise _Refusal(f"has the suffix {min(shared)} of the format {other.name}")
    options = {option.name: option for other in known.values() for option in other.options}
    for option in form.options:
        if option.name in _RESERVED or options.get(option.name, option) != option:
            raise _Refusal(f"has the option {option.name}, which means something else")
