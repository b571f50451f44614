"""Errors: the tree that callers catch, and that they cross processes with all that they report."""

import copy
import inspect
import pickle
from collections.abc import Iterator

import pytest
from trialpack.store import errors
from trialpack.store.errors import (
    CorruptStoreError,
    OptionError,
    Problem,
    SourceError,
    StoreBusyError,
    StoreExistsError,
    StoreFormatError,
    TrialpackError,
    UnknownNameError,
)

TREE: dict[type[TrialpackError], tuple[type[Exception], ...]] = {
    TrialpackError: (Exception,),
    SourceError: (ValueError,),
    OptionError: (ValueError,),
    UnknownNameError: (ValueError, KeyError),
    StoreExistsError: (FileExistsError,),
    StoreBusyError: (TrialpackError,),
    StoreFormatError: (ValueError,),
    CorruptStoreError: (OSError,),
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
