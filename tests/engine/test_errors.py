import inspect
import pickle

import pytest

from restore_sdk import errors
from restore_sdk.errors import ImageError, InputError, MissingDependencyError, RestoreError

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_in_the_tree_and_carries_a_hint(kind: type[RestoreError]) -> None:
    error = kind("what happened", "what to do")
    assert isinstance(error, RestoreError)
    assert error.message == "what happened"
    assert error.hint == "what to do"
    assert str(error) == "what happened (what to do)"
    assert kind.__doc__
    assert "\n" not in kind.__doc__.split("hint")[0]


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_cross_process_borders(kind: type[RestoreError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("a", "b")))  # noqa: S301
    assert type(copy) is kind
    assert (copy.message, copy.hint) == ("a", "b")


def test_the_builtin_kinds_that_callers_may_expect() -> None:
    assert issubclass(ImageError, ValueError)
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingDependencyError, ImportError)


def test_the_tree_in_the_docstring_names_every_class() -> None:
    assert errors.__doc__ is not None
    for kind in CLASSES:
        assert kind.__name__ in errors.__doc__
