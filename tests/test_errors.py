"""Errors: the tree that callers catch, and that they cross processes with all that they report."""

import ast
import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import trialpack
from trialpack.cli.main import COMMANDS, commands
from trialpack.cli.options import spelled
from trialpack.readers.view.server import ViewServer
from trialpack.store import errors
from trialpack.store.errors import (
    AccessError,
    Argument,
    Call,
    ClusterError,
    CorruptStoreError,
    OptionError,
    Problem,
    ResourceError,
    SourceError,
    StoreBusyError,
    StoreExistsError,
    StoreFormatError,
    TrialpackError,
    UnknownNameError,
)

ROOT = Path(__file__).resolve().parent.parent
TREE: dict[type[TrialpackError], tuple[type[Exception], ...]] = {
    TrialpackError: (Exception,),
    SourceError: (ValueError,),
    OptionError: (ValueError,),
    UnknownNameError: (ValueError, KeyError),
    StoreExistsError: (FileExistsError,),
    StoreBusyError: (TrialpackError,),
    StoreFormatError: (ValueError,),
    CorruptStoreError: (OSError,),
    ResourceError: (OSError,),
    AccessError: (PermissionError,),
    ClusterError: (OSError,),
}
FULL = Problem("mouse.zip", "truncated (expected 20 bytes, found 19)", "copy the file again", "data/videos/7.npy", 7)
BARE = Problem("/stores/mouse.zarr", "exists already")


@pytest.fixture(params=TREE, ids=lambda error: error.__name__)
def error_class(request: pytest.FixtureRequest) -> Iterator[type[TrialpackError]]:
    yield request.param


def test_every_error_class_stands_in_this_table() -> None:
    found = {value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, BaseException)}
    assert found == set(TREE)


def test_is_the_builtin_it_should_be(error_class: type[TrialpackError]) -> None:
    assert issubclass(error_class, TrialpackError)
    for builtin in TREE[error_class]:
        with pytest.raises(builtin):
            raise error_class(BARE)


def test_only_the_promised_builtins(error_class: type[TrialpackError]) -> None:
    builtin = {base for base in error_class.__mro__ if base.__module__ == "builtins"}
    promised = {base for one in TREE[error_class] for base in one.__mro__}
    assert builtin == promised - {TrialpackError} | {Exception, BaseException, object}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("problems", [(BARE,), (FULL, BARE, FULL)], ids=["one", "three"])
def test_pickles_with_its_problems(
    error_class: type[TrialpackError], problems: tuple[Problem, ...], protocol: int
) -> None:
    error = error_class(problems)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is error_class
    assert again.problems == problems
    assert (str(again), again.args) == (str(error), error.args)
    assert (again.path, again.member, again.trial) == (error.path, error.member, error.trial)


def test_copies_with_its_problems(error_class: type[TrialpackError]) -> None:
    error = error_class([FULL, BARE])
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert type(again) is error_class and again.problems == (FULL, BARE)


@pytest.mark.parametrize("given", [FULL, [FULL], (FULL,), iter([FULL])], ids=["problem", "list", "tuple", "iterator"])
def test_takes_one_problem_or_many(given: object) -> None:
    assert SourceError(given).problems == (FULL,)  # type: ignore[arg-type]


def test_one_line_for_each_problem(error_class: type[TrialpackError]) -> None:
    error = error_class([FULL, BARE])
    assert str(error).splitlines() == [str(FULL), str(BARE)]
    assert (error.path, error.member, error.trial) == ("mouse.zip", "data/videos/7.npy", 7)


def test_a_line_says_where_what_and_what_to_do() -> None:
    line = "mouse.zip: data/videos/7.npy: truncated (expected 20 bytes, found 19); copy the file again"
    assert str(FULL) == line
    assert str(BARE) == "/stores/mouse.zarr: exists already"


def problem_of(number: int, what: str = "found {}", advice: str = "mend it", path: str = "m") -> Problem:
    return Problem(path, what.format(number), advice, f"{number}.npy", number)


def test_one_line_for_each_cause(error_class: type[TrialpackError]) -> None:
    """Numbers, names and what is quoted may differ; everything else is another fault, with a line of its own."""
    error = error_class(
        [
            *(problem_of(number) for number in range(60)),
            problem_of(3, "lost {}"),
            problem_of(3, advice="save it"),
            problem_of(3, path="n"),
            *(problem_of(number, "shape ({}, 4) of '" + "x" * number + "'") for number in (1, 2)),
        ]
    )
    assert str(error).splitlines() == [
        "m: 0.npy: found 0 (and 59 more: 1.npy, 2.npy, 3.npy, 4.npy, …); mend it",
        "m: 3.npy: lost 3; mend it",
        "m: 3.npy: found 3; save it",
        "n: 3.npy: found 3; mend it",
        "m: 1.npy: shape (1, 4) of 'x' (and 1 more: 2.npy); mend it",
    ]
    assert len(error.problems) == 65


def test_what_names_no_file_has_a_line_of_its_own() -> None:
    """Of arguments, the values are what matters."""
    problems = [Problem("m", f"no {name!r}", argument=Argument("max_error", 1, name)) for name in "ab"]
    assert errors.one_a_cause(problems) == problems


def test_trials_of_one_file_are_named_by_their_numbers() -> None:
    error = SourceError(
        Problem("m", f"trial {trial} has no tier", "give it one", "tiers", trial) for trial in (3, 5, 9)
    )
    assert str(error) == "m: tiers: trial 3 has no tier (and 2 more: trial 5, trial 9); give it one"


def test_the_same_of_one_file_is_said_once() -> None:
    """As of one that is read twice; what differs in numbers only is counted."""
    twice, other = Problem("m", "found 3", "mend it", "x"), Problem("m", "found 4", "mend it", "x")
    assert str(SourceError([twice, twice])) == str(twice)
    assert str(SourceError([twice, other])) == "m: x: found 3 (and 1 more); mend it"


def test_texts_of_one_cause_are_one() -> None:
    texts = [*(f"pupil of trial {n} have {n * 7} frames, its videos 300" for n in range(20_000)), "no train trials"]
    texts += [*(f"{name} is left out" for name in ("notes/a.md", "x.txt", "LICENSE")), "no train trials"]
    assert errors.one_text_a_cause(texts) == [
        "pupil of trial 0 have 0 frames, its videos 300 (and 19999 more: trial 1, trial 2, trial 3, trial 4, …)",
        "no train trials",
        "notes/a.md is left out (and 1 more: x.txt)",
        "LICENSE is left out",
    ]


ADVICE = ("give ", Argument("max_memory", "191MB"), ", or ", Call("convert_mouse", "a b"))
ADVISED = Problem("mouse", "too small", ADVICE)
WRONG = Problem("", "no such variable", argument=Argument("max_error", 0.5, "pupil"))


def test_arguments_are_spelled_as_in_python_and_as_options_on_the_command_line() -> None:
    assert str(ADVISED) == "mouse: too small; give max_memory='191MB', or convert_mouse('a b', to)"
    assert ADVISED.text(spelled) == "mouse: too small; give --max-memory 191MB, or trialpack convert 'a b' --to DIR"
    assert str(WRONG) == "max_error={'pupil': 0.5}: no such variable"
    assert WRONG.text(spelled) == "--max-error pupil=0.5: no such variable"


FUNCTIONS = ("convert_mouse", "export_mouse", "push_store", "train_statistics")


def arguments_in_texts() -> Iterator[tuple[str, ast.Call]]:
    """Yield where a layer below the command line speaks of an argument or a call; checks name the one that they got."""
    for layer in ("store", "readers", "convert"):
        for path in set((ROOT / layer).rglob("*.py")) - {ROOT / "store" / "arguments.py"}:
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            named = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id in ("Argument", "Call")]
            yield from ((str(path), one) for one in named)


def test_whatever_a_text_speaks_of_is_there_in_python_and_on_the_command_line() -> None:
    functions = [*(getattr(trialpack, name) for name in FUNCTIONS), ViewServer]
    parameters = {name for function in functions for name in inspect.signature(function).parameters}
    commands_ = [commands.get_command(click.Context(commands), name) for name in COMMANDS]
    options = {text for one in commands_ if one for each in one.params for text in (*each.opts, *each.secondary_opts)}
    found = list(arguments_in_texts())
    assert len(found) >= 8
    for path, node in found:
        name, *value = [ast.literal_eval(one) if isinstance(one, ast.Constant) else "x" for one in node.args]
        if isinstance(node.func, ast.Name) and node.func.id == "Call":
            assert callable(getattr(trialpack, name)) and spelled(Call(name, "x")).split()[1] in COMMANDS, path
        else:
            assert name in parameters and spelled(Argument(name, *value)).split()[0] in options, path
