"""The one seam to OpenCV: every wheel of it (headless, desktop, contrib) brings the same module ``cv2``."""

from __future__ import annotations

from typing import Any

from restore_sdk.errors import MissingDependencyError

#: What to do when ``cv2`` is absent or does not load.
HINT = "run: pip install --force-reinstall opencv-python-headless"

try:
    import cv2 as _module
except ImportError as error:
    if "libGL" in str(error) or "libgthread" in str(error) or "libX" in str(error) or "libxcb" in str(error):
        raise MissingDependencyError(
            f"the installed OpenCV needs desktop libraries that this host lacks: {error}",
            "run: pip uninstall -y opencv-python opencv-contrib-python && pip install opencv-python-headless",
        ) from error
    raise MissingDependencyError(f"OpenCV (cv2) cannot be imported: {error}", HINT) from error

#: The module. Its stubs differ from wheel to wheel, so results are typed where they are used.
cv2: Any = _module
