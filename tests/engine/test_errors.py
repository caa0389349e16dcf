import inspect
import pickle

import pytest

from restore_sdk import errors
from restore_sdk.errors import ImageError, MissingDependencyError, RestoreError

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_carries_a_hint_and_crosses_process_borders(kind: type[RestoreError]) -> None:
    error = kind("what happened", "what to do", "reason")
    assert isinstance(error, RestoreError)
    assert str(error) == "what happened (what to do)"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), copy.message, copy.hint, copy.reason) == (kind, "what happened", "what to do", "reason")


def test_the_builtin_kinds_that_callers_may_expect() -> None:
    assert issubclass(ImageError, ValueError)
    assert issubclass(MissingDependencyError, ImportError)
