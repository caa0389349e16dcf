"""A photograph larger than the model's square: damage it, restore it as usual and in one square, and compare.

    python examples/large_photo.py [OUT]

Writes the comparison (default comparison.jpg): damaged, restored in one square (`max_crops=1`), restored as usual, the
original. Prints how close both come to the original inside the damage.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from restore_sdk import RestoreEngine, psnr

PHOTO = Path(__file__).resolve().parent.parent / "docs" / "images" / "astronaut.jpg"
PAPER = (222, 232, 238)


def main() -> None:
    """Damage, restore twice, compare."""
    out = sys.argv[1] if len(sys.argv) > 1 else "comparison.jpg"
    original = cv2.imread(str(PHOTO))
    if original is None:
        sys.exit(f"cannot read {PHOTO}")
    height, width = original.shape[:2]

    mask = np.zeros((height, width), np.uint8)
    for start, end, thickness in (((0, 60), (511, 330), 5), ((250, 0), (170, 511), 3), ((30, 511), (420, 0), 2)):
        cv2.line(mask, start, end, 255, thickness)
    for centre, radius in (((212, 108), 9), ((330, 180), 14), ((120, 330), 12)):
        cv2.circle(mask, centre, radius, 255, -1)
    damaged = original.copy()
    damaged[mask > 127] = PAPER

    with RestoreEngine() as engine:
        # The mask hits the damage exactly here. One drawn by hand does better with dilate=3, feather=3.
        usual = engine.run(damaged, mask, color="bgr")
        single = engine.run(damaged, mask, color="bgr", max_crops=1)

    hole = mask > 127
    for name, result in (("one square", single), ("as usual", usual)):
        decibels = psnr(result.image[hole], original[hole])
        print(f"{name}: {len(result.crops)} crops, {result.timings.total_ms:.0f} ms, {decibels:.2f} dB in the damage")
    window = slice(0, 340), slice(60, 400)
    panels = np.hstack([image[window] for image in (damaged, single.image, usual.image, original)])
    if not cv2.imwrite(out, panels, [cv2.IMWRITE_JPEG_QUALITY, 88]):
        sys.exit(f"cannot write {out}")
    print(out)


if __name__ == "__main__":
    main()
