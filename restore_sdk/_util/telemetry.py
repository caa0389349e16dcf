"""No library that this SDK loads tells anybody that, or how, it is used.

ONNX Runtime's wheels for Linux (1.32, say) send events to Microsoft some seconds after the first session was opened,
and ``onnxruntime.disable_telemetry_events()`` does not stop them. What does is ``ORT_DISABLE_TELEMETRY`` in the
environment while its library is loaded. OpenVINO sends an event when it is imported, by the package
``openvino_telemetry``, and goes without where that is not installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ORT_SWITCH = "ORT_DISABLE_TELEMETRY"
_REPORTER = "openvino_telemetry"


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import such a library inside; environment and modules are as before afterwards.

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
