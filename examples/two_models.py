"""Draw what tells the two shipped models apart: by row a damage, beside it both models' answers and the original.

    python examples/two_models.py [--out docs/images/two_models.jpg]

Nothing in the panels is retouched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from restore_sdk import RestoreEngine

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parent / "docs" / "images" / "astronaut.jpg"
#: Left, top and side of the face's square in the photograph, framed as the models know faces.
FACE = (122, 8, 200)
TITLES = ("damaged", "default", "faithful", "original")
GAP, BAR = 6, 24
WHITE, INK, PAPER = (255, 255, 255), (60, 60, 60), (222, 232, 238)


def main() -> None:
    """Damage the example portrait in three ways, restore it with both models and draw the comparison."""
    parser = argparse.ArgumentParser(description="Draw both shipped models side by side.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "images" / "two_models.jpg")
    arguments = parser.parse_args()

    left, top, side = FACE
    portrait = cv2.imread(str(PHOTO))[top : top + side, left : left + side]
    portrait = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_CUBIC)
    torn, half, whole = (np.zeros(portrait.shape[:2], np.uint8) for _ in range(3))
    strokes = np.array([[20, 90, 140, 60], [150, 80, 120, 170], [60, 150, 150, 200], [190, 150, 235, 60]])
    for start, end in strokes.reshape(-1, 2, 2).tolist():
        cv2.line(torn, start, end, 255, 30)
    cv2.rectangle(half, (130, 20), (235, 235), 255, -1)
    cv2.ellipse(whole, (125, 135), (75, 88), 0, 0, 360, 255, -1)
    rows = []
    with RestoreEngine("default") as default, RestoreEngine("faithful") as faithful:
        for mask in (torn, half, whole):
            damaged = np.where(mask[..., None] > 127, np.array(PAPER, np.uint8), portrait)
            panels = [damaged, *(engine(damaged, mask, color="bgr") for engine in (default, faithful)), portrait]
            space = np.full((mask.shape[0], GAP, 3), WHITE, np.uint8)
            rows.append(np.hstack([part for panel in panels for part in (panel, space)][:-1]))
    bar = np.full((BAR, rows[0].shape[1], 3), WHITE, np.uint8)
    for column, title in enumerate(TITLES):
        place = (column * (portrait.shape[1] + GAP) + 4, 17)
        cv2.putText(bar, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    gap = np.full((GAP, rows[0].shape[1], 3), WHITE, np.uint8)
    if not cv2.imwrite(
        str(arguments.out), np.vstack((bar, rows[0], gap, rows[1], gap, rows[2])), [cv2.IMWRITE_JPEG_QUALITY, 88]
    ):
        parser.error(f"cannot write {arguments.out}")
    print(arguments.out)


if __name__ == "__main__":
    main()
