"""The one seam to OpenCV: every wheel of it (headless, desktop, contrib) brings the same module ``cv2``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from restore_sdk.errors import MissingDependencyError, OutOfMemoryError

#: What to do when ``cv2`` is absent or does not load.
HINT = "run: pip install --force-reinstall opencv-python-headless"

try:
    import cv2 as _module
except ImportError as error:
    raise MissingDependencyError(f"OpenCV (cv2) cannot be imported: {error}", HINT) from error

#: The module. Its stubs differ from wheel to wheel, so results are typed where they are used.
cv2: Any = _module

_Function = TypeVar("_Function", bound=Callable[..., Any])


def translate_memory_errors(function: _Function) -> _Function:
    """The function, with numpy's and OpenCV's want of memory raised as :class:`OutOfMemoryError`."""

    @wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except (MemoryError, cv2.error) as error:
            if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
                raise
            raise OutOfMemoryError(f"no memory for the photo: {error}", "make it smaller", reason="photo") from error

    return cast(_Function, wrapper)
