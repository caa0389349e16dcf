"""Restore one photograph from Python.

    python examples/restore_photo.py [PHOTO MASK OUT]

Without arguments it restores the example portrait to restored.png in the current folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from restore_sdk import RestoreEngine

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Read, restore, write."""
    defaults = (HERE / "portrait_damaged.png", HERE / "portrait_mask.png", Path("restored.png"))
    photo, mask, out = (Path(argument) for argument in sys.argv[1:4]) if len(sys.argv) == 4 else defaults

    image = cv2.imread(str(photo), cv2.IMREAD_COLOR)  # H x W x 3, uint8, BGR
    marked = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)  # H x W, uint8, white is what to repaint
    if image is None or marked is None:
        sys.exit(f"cannot read {photo if image is None else mask}")

    with RestoreEngine() as engine:
        result = engine.run(image, marked, color="bgr")
    if not cv2.imwrite(str(out), result.image):
        sys.exit(f"cannot write {out}")

    timings = result.timings
    print(f"{out}: {timings.total_ms:.0f} ms, of which edges {timings.edge_ms:.0f}, repair {timings.repair_ms:.0f}")


if __name__ == "__main__":
    main()
