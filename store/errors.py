"""The errors of trialpack, grouped by what a caller would do about them.

::

    TrialpackError
    ├── SourceError(ValueError)            the raw input is wrong
    ├── OptionError(ValueError)            an option asks for what is impossible
    │   └── UnknownNameError(KeyError)     there is nothing of this name
    ├── StoreExistsError(FileExistsError)  the destination is taken
    ├── StoreBusyError                     another converter holds the destination
    ├── StoreFormatError(ValueError)       not a store, or of an unknown version, codec or dtype
    ├── CorruptStoreError(OSError)         a store that is not what its manifest says
    └── ResourceError(OSError)             the system does not give what is needed, such as space or one more open file
        ├── AccessError(PermissionError)   it may not be read
        └── ClusterError                   workers or their scheduler were lost, or lack what is needed

Each error carries the independent problems it reports; its text has one line for each cause of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar


def printable(text: str) -> str:
    r"""Escape what a terminal would not show as one line: names in archives may hold anything.

    Examples
    --------
    >>> print(printable("a\nb"))
    a\nb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def naming(path: Path) -> Generator[None]:
    """Name the file in an error of the system that names none, as those of calls with a descriptor do not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


@dataclass(frozen=True)
class Argument:
    """An argument of a public function within a text, which a command line spells as its option.

    Attributes
    ----------
    name
        Name of the parameter.
    value
        Value to give it, or that was given; None where the text is about any value.
    key
        Key of the value, where the argument is a mapping.

    Examples
    --------
    >>> print(Argument("max_memory", "191MB"), Argument("max_error", 0.5, "videos"), Argument("client"))
    max_memory='191MB' max_error={'videos': 0.5} client
    """

    name: str
    value: object = None
    key: str | None = None

    def __str__(self) -> str:
        if self.key is not None:
            return f"{self.name}={{{self.key!r}: {self.value!r}}}"
        return self.name if self.value is None else f"{self.name}={self.value!r}"


@dataclass(frozen=True)
class Call:
    """A call of a public function within a text, which a command line spells as its command.

    Examples
    --------
    >>> print(Call("convert_mouse", "mouse.zip"))
    convert_mouse('mouse.zip', to)
    """

    function: str
    path: str

    def __str__(self) -> str:
        return f"{self.function}({self.path!r}, to)"


Code = Argument | Call
"""Parts of a message that Python and a command line spell differently."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is and what to do about it.

    Attributes
    ----------
    path
        The file, folder, zip or store as the person knows it; empty where none is concerned.
    what
        What is wrong, with what was expected and what was found.
    advice
        What to do: a text, or its parts.
    member
        The name inside `path` when that is a zip, a store or a mouse folder.
    trial
        The trial_id concerned.
    argument
        The argument concerned.
    """

    path: str
    what: str
    advice: str | tuple[str | Code, ...] = ""
    member: str | None = None
    trial: int | None = None
    argument: Argument | None = None

    def __str__(self) -> str:
        return self.text(str)

    def text(self, spell: Callable[[Code], str]) -> str:
        """Return the problem as one line.

        Parameters
        ----------
        spell
            Function that returns how arguments and calls are written where the line is read.
        """
        argument = spell(self.argument) if self.argument else ""
        place = ": ".join(part for part in (argument, self.path, self.member, self.what) if part)
        parts = (self.advice,) if isinstance(self.advice, str) else self.advice
        advice = "".join(part if isinstance(part, str) else spell(part) for part in parts)
        return printable(place + (f"; {advice}" if advice else ""))


_VARYING = re.compile(r"(?:trial )?(?:'[^']*'|(?<!\S)\S*[\d./]\S*)")
"""Differences among texts that say the same: numbers, shapes, dtypes, names of files, quotations."""
_NAMED = 4
"""How many others of the same cause are named."""


def one_a_cause(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems of which those that say the same of several files or trials are one, which counts the others.

    Examples
    --------
    >>> for problem in one_a_cause(Problem("m", f"{n} bytes", "copy it again", f"{n}.npy") for n in range(7)):
    ...     print(problem)
    m: 0.npy: 0 bytes (and 6 more: 1.npy, 2.npy, 3.npy, 4.npy, …); copy it again
    """
    groups = dict[str, dict[str, Problem]]()
    for problem in problems:
        several = problem.member is not None or problem.trial is not None
        alike = replace(problem, what=_cause(problem.what), member=None, trial=None) if several else problem
        groups.setdefault(repr((alike, several)), {})[repr(problem)] = problem
    found = list[Problem]()
    for first, *others in (group.values() for group in groups.values()):
        names = [one.member if one.member != first.member else _trial(one) for one in others]
        found.append(replace(first, what=first.what + _and_more(names)))
    return found


def _trial(problem: Problem) -> str | None:
    return None if problem.trial is None else f"trial {problem.trial}"


def one_text_a_cause(texts: Iterable[str]) -> list[str]:
    """Return texts of which those that say the same of several files or trials are one, which counts the others.

    Examples
    --------
    >>> one_text_a_cause(f"responses of trial {n} hold NaN" for n in (3, 5))
    ['responses of trial 3 hold NaN (and 1 more: trial 5)']
    """
    groups = dict[str, list[str]]()
    for text in texts:
        groups.setdefault(_cause(text), []).append(text)
    # Those that differ in nothing stand once.
    alike = ((first, [one for one in others if one != first]) for first, *others in groups.values())
    return [first + _and_more([_VARYING.findall(one)[0] for one in others]) for first, others in alike]


def _cause(text: str) -> str:
    # No text has a zero in it, where other marks may be what a file is called.
    return re.sub(r"\0([^\w\0]+\0)*", "\0", _VARYING.sub("\0", text))


def _and_more(names: Sequence[str | None]) -> str:
    if not names:
        return ""
    distinct = [name for name in dict.fromkeys(names) if name]
    shown = f": {', '.join(distinct[:_NAMED])}" if distinct else ""
    return f" (and {len(names)} more{shown}{', …' if len(distinct) > _NAMED else ''})"


class TrialpackError(Exception):
    """Base of all errors that trialpack raises on purpose; `problems` says what is wrong, all of it.

    Its text has one line a cause, with the first of the files and trials concerned.
    """

    def __init__(self, problems: Problem | Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            # torch's DataLoader makes errors of its workers anew, from their text.
            problems = Problem("", problems)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, one_a_cause(self.problems)))

    @property
    def path(self) -> str:
        """The file of the first problem."""
        return self.problems[0].path

    @property
    def member(self) -> str | None:
        """The name inside the file of the first problem."""
        return self.problems[0].member

    @property
    def trial(self) -> int | None:
        """The trial_id of the first problem."""
        return self.problems[0].trial


class SourceError(TrialpackError, ValueError):
    """The raw input is not a mouse that can be packed without loss."""


class OptionError(TrialpackError, ValueError):
    """An option asks for what is impossible, such as a memory bound below one trial."""


class UnknownNameError(OptionError, KeyError):
    """There is nothing of this name in a mouse, a trial, a batch or statistics."""


class StoreExistsError(TrialpackError, FileExistsError):
    """The destination is taken."""


class StoreBusyError(TrialpackError):
    """Another converter holds the destination."""


class StoreFormatError(TrialpackError, ValueError):
    """Not a trialpack store, or one of an unknown version, codec or dtype."""


class CorruptStoreError(TrialpackError, OSError):
    """The store is not what its manifest says it is."""


class ResourceError(TrialpackError, OSError):
    """The system does not give what is needed: permission to read, one more open file, space. Nothing is damaged."""


class AccessError(ResourceError, PermissionError):
    """A file or folder may not be read."""


class ClusterError(ResourceError):
    """Workers or their scheduler were lost, or lack what is needed; a conversion goes on from what was finished."""


_OPEN_FILES = "allow more open files, such as by ulimit -n 4096, or keep fewer mice open"
_REFUSALS = {
    errno.EACCES: "make it readable",
    errno.EPERM: "make it readable",
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: _OPEN_FILES,
    errno.ENOMEM: "free some memory",
}


def refusal(error: OSError, path: str, member: str | None = None, trial: int | None = None) -> ResourceError | None:
    """Return what to raise in place of an error of the system that says nothing against the file; else None."""
    if error.errno not in _REFUSALS or isinstance(error, ResourceError):
        return error if isinstance(error, ResourceError) else None
    kind = AccessError if isinstance(error, PermissionError) else ResourceError
    made = kind(Problem(path, os.strerror(error.errno), _REFUSALS[error.errno], member, trial))
    made.errno = error.errno
    return made


@contextlib.contextmanager
def explaining_refusals(path: object) -> Generator[None]:
    """Add advice to errors of the system that refuse access to a file, or to the path."""
    try:
        yield
    except OSError as error:
        if refused := refusal(error, str(error.filename or path)):
            raise refused from None
        raise


_Value = TypeVar("_Value")


def lookup(values: Mapping[str, _Value], name: str, label: str) -> _Value:
    """Return what has a name.

    Parameters
    ----------
    label
        Name of the whole, for the error.

    Raises
    ------
    UnknownNameError
        Nothing has; says which names there are.
    """
    if name not in values:
        raise UnknownNameError(Problem(label, f"no {name!r}", f"there are {', '.join(values)}"))
    return values[name]
