"""Objects of the runtimes that nobody may destroy in a forked child, or by chance.

An ONNX Runtime session's destructor joins its threads, which a fork does not copy, and so would wait forever; pycuda's
destructors end the process. What is held here is never destroyed in a child, and in the parent by whoever releases it,
not when the last reference happens to go.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, TypeVar

Thing = TypeVar("Thing")
_HELD: dict[int, Any] = {}
_WATCHED: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_in_children(thing: Thing) -> Thing:
    """Keep it alive for ever in children forked while it lives; in this process it goes as always. Gives it back."""
    _WATCHED.add(thing)
    return thing


def hold(thing: Thing) -> Thing:
    """Keep it alive until :func:`release`, and for ever in children forked meanwhile; gives it back."""
    _HELD[id(thing)] = thing
    return thing


def release(thing: object) -> None:
    """Hold it no longer; it is destroyed with its last reference."""
    _HELD.pop(id(thing), None)


def _abandon() -> None:
    """In the child: one reference too many for each, so that not even the end of the process destroys it."""
    for thing in (*_HELD.values(), *_WATCHED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)
