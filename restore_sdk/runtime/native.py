"""What native libraries do behind the caller's back: objects that a fork or chance would destroy, and telemetry.

An ONNX Runtime session's destructor joins its threads, which a fork does not copy, and so would wait forever; pycuda's
destructors end the process. What is held here is never destroyed in a child, and in the parent by whoever releases it,
not when the last reference happens to go.

ONNX Runtime's wheels for Linux (1.32, say) send events to Microsoft some seconds after the first session was opened,
and ``onnxruntime.disable_telemetry_events()`` does not stop them. What does is ``ORT_DISABLE_TELEMETRY`` in the
environment while its library is loaded. OpenVINO sends an event when it is imported, by the package
``openvino_telemetry``, and goes without where that is not installed.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

ORT_SWITCH = "ORT_DISABLE_TELEMETRY"
_REPORTER = "openvino_telemetry"

Held = TypeVar("Held")
_HELD: dict[int, Any] = {}
_WATCHED: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_in_children(native: Held) -> Held:
    """Keep it alive for ever in children forked while it lives; in this process it is freed as always. Returns it."""
    _WATCHED.add(native)
    return native


def hold(native: Held) -> Held:
    """Keep it alive until :func:`release`, and for ever in children forked meanwhile; returns it."""
    _HELD[id(native)] = native
    return native


def release(native: object) -> None:
    """Hold it no longer; it is destroyed with its last reference."""
    _HELD.pop(id(native), None)


def _abandon() -> None:
    """In the child: one reference too many for each, so that not even the end of the process destroys it."""
    for native in (*_HELD.values(), *_WATCHED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import a library that reports its use inside; environment and modules are as before afterwards.

    It cannot undo that the program imported the library itself before; a value of the caller's own is left alone.
    """
    switch, reporter = ORT_SWITCH not in os.environ, _REPORTER not in sys.modules
    if switch:
        os.environ[ORT_SWITCH] = "1"
    if reporter:
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        if switch:
            os.environ.pop(ORT_SWITCH, None)
        if reporter:
            sys.modules.pop(_REPORTER, None)
