"""The file ``trialpack.toml``: what a person declares of the variables of a mouse, beside what is in its files.

::

    frame_rate = 30.0

    [variables.treadmill]
    role = "input"
    dimensions = ["treadmill_channel", "frame"]
    units = "cm/s"
    long_name = "speed of the treadmill"
    channels = [{ name = "forward", units = "cm/s" }, { name = "sideways", units = "cm/s" }]
    optional = true

Every key may be left out; dimensions are the axes of a published file, in its order.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args

from ..store import Problem, SourceError
from ..store.paths import read_path
from ..store.variables import Channel, Role, Variable, dimension_problems, is_variable_name

SCHEMA_FILE = "trialpack.toml"
MAX_SCHEMA_BYTES = 1 << 20
_FIX = "correct the schema"
_HEADER = re.compile(r"\s*\[\s*variables\s*\.\s*(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*\]")
_DECODE_LINE = re.compile(r"\(at (?:line (\d+).*|end of document)\)")


@dataclass(frozen=True)
class Declaration:
    """Declarations of one variable; None where there is none."""

    role: Role | None = None
    dimensions: tuple[str, ...] | None = None
    units: str | None = None
    long_name: str | None = None
    channels: tuple[Channel, ...] | None = None
    frame_rate: float | None = None
    optional: bool | None = None
    missing: int | None = None


@dataclass(frozen=True)
class Schema:
    """A schema file.

    Attributes
    ----------
    label
        The file as the person knows it, for messages.
    text
        Content of the file, kept in the store and exported again; None where there is no file.
    frame_rate
        Frames a second (Hz) of all variables with frames; None where it is not declared.
    variables
        Name of a variable -> what is declared of it.
    """

    label: str = SCHEMA_FILE
    text: str | None = None
    frame_rate: float | None = None
    variables: Mapping[str, Declaration] = field(default_factory=dict[str, Declaration], hash=False)

    def declared(self, name: str) -> Declaration:
        """Return the declaration of a variable."""
        return self.variables.get(name, Declaration())

    def problem(self, what: str, variable: str, key: str = "") -> Problem:
        """Return a problem with the declaration of a variable, with the line of the file."""
        where = f"variables.{_key(variable)}" + (f".{key}" if key else "")
        return _problem(self.label, f"{where}: {what}", line_of(self.text or "", variable, key))

    def problem_of_shape(self, label: str, what: str, variable: str, folder: str) -> Problem:
        """Return a problem with the shape of all trials: with the dimensions that are declared, else with the files."""
        if self.declared(variable).dimensions is not None:
            return self.problem(what, variable, "dimensions")
        return Problem(label, what, "save its trials so, or declare its dimensions in trialpack.toml", folder)


def read_schema(path: Path | str) -> Schema:
    """Read a schema file.

    Raises
    ------
    SourceError
        With every problem of the file, one line each, with the line of the file.
    """
    path = read_path(path)
    label = str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SCHEMA_BYTES + 1)
    except OSError as error:
        raise SourceError(Problem(label, f"cannot be read ({error.strerror})", "check the path")) from None
    if len(data) > MAX_SCHEMA_BYTES:
        raise SourceError(Problem(label, f"too large (expected {MAX_SCHEMA_BYTES} bytes at most)", _FIX))
    try:
        return parse_schema(label, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SourceError(Problem(label, f"not UTF-8 text ({error.reason})", "save it as such")) from None


def parse_schema(label: str, text: str) -> Schema:
    """Read the text of a schema file.

    Parameters
    ----------
    label
        The file as the person knows it, for messages.

    Raises
    ------
    SourceError
        With every problem of the text, one line each, with the line of the file.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError, too, of numbers of thousands of digits
        found = _DECODE_LINE.search(str(error))
        line = 0 if found is None else int(found[1] or text.count("\n") + 1)
        what = f"not TOML ({_DECODE_LINE.sub('', str(error)).strip()})"
        raise SourceError(_problem(label, what, line)) from None
    parser = _Parser(label, text)
    schema = parser.schema(document)
    if parser.problems:
        raise SourceError(parser.problems)
    return schema


def line_of(text: str, variable: str, key: str = "") -> int:
    r"""Return the line of a schema file, from 1, that declares a variable or one of its keys; 0 if none does.

    Examples
    --------
    >>> line_of("[variables.x]\nrole = 'input'\n", "x", "role")
    2
    """
    table, header, lines = "", 0, text.split("\n")
    for number, line in enumerate(lines, 1):
        if match := _HEADER.match(line):
            table = next(part for part in match.groups() if part is not None)
            header = number if table == variable else header
            if table == variable and not key:
                return number
        elif table == variable and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
        elif not variable and not table and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
    return header or _mention(lines, variable) or _mention(lines, key)


def _mention(lines: Sequence[str], name: str) -> int:
    """Return the first line, from 1, that has a name in it, but for comments; 0 if none does."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    found = (number for number, line in enumerate(lines, 1) if name and pattern.search(line.partition("#")[0]))
    return next(found, 0)


def schema_text(variables: Sequence[Variable]) -> str:
    """Return variables in the form of a schema file, to be saved and edited."""
    return "\n".join(line for variable in variables for line in _lines(variable))


def _lines(variable: Variable) -> Iterator[str]:
    yield f"[variables.{_key(variable.name)}]"
    values: dict[str, Any] = {
        "role": variable.role,
        "dimensions": list(variable.published_dimensions),
        "units": variable.units,
        "long_name": variable.long_name,
        "channels": [{"name": one.name, "units": one.units} for one in variable.channels] or None,
        "frame_rate": variable.frame_rate,
        "optional": variable.optional or None,
        "missing": variable.missing,
    }
    for name, value in values.items():
        if value is not None:
            yield f"{name} = {_toml(value)}"
    yield ""


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _toml(value: Any) -> str:
    """Return a value as TOML writes it: texts, numbers and truth values look as in JSON, tables do not."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, cast('list[Any]', value)))}]"
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return f"{{ {', '.join(f'{name} = {_toml(one)}' for name, one in pairs)} }}"
    # TOML takes every character as JSON does but the one that JSON takes for a letter and TOML for a control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _problem(label: str, what: str, line: int) -> Problem:
    return Problem(label, f"line {line}: {what}" if line else what, _FIX)


class _Parser:
    """Reads the document of a schema file, and collects what is wrong with it."""

    def __init__(self, label: str, text: str) -> None:
        self._label, self._text, self.problems = label, text, list[Problem]()

    def schema(self, document: dict[str, Any]) -> Schema:
        self._check_keys(document, ("frame_rate", "variables"), "", "")
        tables = document.get("variables", {})
        if not isinstance(tables, dict):
            self._add("expected tables such as [variables.treadmill]", "", "variables")
            tables = {}
        found = cast("dict[str, Any]", tables)
        rate = self._rate(document["frame_rate"], "") if "frame_rate" in document else None
        variables = {name: self._declaration(name, table) for name, table in found.items()}
        stimuli = [name for name, one in variables.items() if one.role == "stimulus"]
        for name in stimuli[1:]:
            self._add(f"a second stimulus beside {stimuli[0]} (expected one at most)", name, "role")
        return Schema(self._label, self._text, rate, variables)

    def _declaration(self, name: str, table: Any) -> Declaration:
        if not is_variable_name(name):
            what = "a variable cannot have this name (it names a folder of the mouse and of the store)"
            self._add(f"variables.{_key(name)}: {what}", name, named=True)
        if not isinstance(table, dict):
            self._add("expected a table", name)
            return Declaration()
        found = cast("dict[str, Any]", table)
        known = [one.name for one in fields(Declaration)]
        self._check_keys(found, known, name, f"variables.{_key(name)}.")
        return Declaration(
            **{key: getattr(self, f"_{key}")(value, name) for key, value in found.items() if key in known}
        )

    def _check_keys(self, table: Mapping[str, Any], known: Sequence[str], variable: str, prefix: str) -> None:
        for key in table:
            if key not in known:
                self._add(f"{prefix}{key}: unknown key (known: {', '.join(known)})", variable, key, named=True)

    def _role(self, value: Any, name: str) -> Role | None:
        return self._choice(value, get_args(Role), name, "role")

    def _dimensions(self, value: Any, name: str) -> tuple[str, ...] | None:
        names = self._texts(value, name, "dimensions")
        for problem in dimension_problems(names or ()):
            self._add(problem, name, "dimensions")
        return names

    def _units(self, value: Any, name: str) -> str | None:
        return self._of_type(value, str, "a text", name, "units")

    def _long_name(self, value: Any, name: str) -> str | None:
        return self._of_type(value, str, "a text", name, "long_name")

    def _channels(self, value: Any, name: str) -> tuple[Channel, ...] | None:
        try:
            found = tuple(Channel(**one) for one in value)
            if all(type(text) is str for one in found for text in (one.name, one.units)):
                return found
        except TypeError:
            pass
        self._add('expected a list such as [{ name = "forward", units = "cm/s" }]', name, "channels")
        return None

    def _frame_rate(self, value: Any, name: str) -> float | None:
        return self._rate(value, name)

    def _optional(self, value: Any, name: str) -> bool | None:
        return self._of_type(value, bool, "true or false", name, "optional")

    def _missing(self, value: Any, name: str) -> int | None:
        return self._of_type(value, int, "a whole number", name, "missing")

    def _rate(self, value: Any, name: str) -> float | None:
        if type(value) in (int, float) and 0 < value < float("inf"):
            return float(value)
        self._add(f"expected a number above 0 (Hz), found {value!r}", name, "frame_rate")
        return None

    def _texts(self, value: Any, name: str, key: str) -> tuple[str, ...] | None:
        if isinstance(value, list) and all(type(one) is str for one in cast("list[Any]", value)):
            return tuple(cast("list[str]", value))
        self._add(f"expected a list of texts, found {value!r}", name, key)
        return None

    def _of_type(self, value: Any, kind: type, text: str, name: str, key: str) -> Any:
        if type(value) is kind:
            return value
        self._add(f"expected {text}, found {value!r}", name, key)
        return None

    def _choice(self, value: Any, known: Iterable[str], name: str, key: str) -> Any:
        if value in known:
            return value
        self._add(f"expected {', '.join(known)}, found {value!r}", name, key)
        return None

    def _add(self, what: str, variable: str, key: str = "", *, named: bool = False) -> None:
        where = ".".join(part for part in (f"variables.{_key(variable)}" if variable else "", key) if part)
        text = what if named else f"{where}: {what}"
        self.problems.append(_problem(self._label, text, line_of(self._text, variable, key)))
