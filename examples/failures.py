"""Draw the model card's picture of what the model cannot do: cases by row, damaged, restored and original beside.

    python examples/failures.py [--out docs/images/failures.jpg] [--bundle BUNDLE]

The cases are chosen to fail; nothing in the panels is retouched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore_sdk import RestoreEngine

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parent / "docs" / "images" / "astronaut.jpg"
GAP, BAR = 6, 22
WHITE, INK, PAPER = (255, 255, 255), (60, 60, 60), (222, 232, 238)

Image = NDArray[np.uint8]


def cases(portrait: Image, photo: Image) -> list[tuple[str, Image, Image]]:
    """Title, photograph ``(256, 256, 3)`` and mask ``(256, 256)`` of each case."""
    half = np.zeros(portrait.shape[:2], np.uint8)
    half[30:200, 118:220] = 255
    most = np.full(portrait.shape[:2], 255, np.uint8)
    for start in range(-240, 256, 60):
        cv2.line(most, (start, 0), (start + 256, 256), 0, 14)
    spot = np.zeros(portrait.shape[:2], np.uint8)
    cv2.ellipse(spot, (120, 105), (45, 60), 0, 0, 360, 255, -1)
    helmet = photo[256:512, 230:486]
    part = np.zeros(helmet.shape[:2], np.uint8)
    cv2.circle(part, (128, 128), 60, 255, -1)
    return [
        ("half a face, loosely framed: features out of place", portrait, half),
        ("two thirds missing: soft", portrait, most),
        (
            "upside down: features the wrong way round",
            np.ascontiguousarray(portrait[::-1, ::-1]),
            np.ascontiguousarray(spot[::-1, ::-1]),
        ),
        ("no face: a fill without sense", helmet, part),
    ]


def main() -> None:
    """Damage, restore and draw every case."""
    parser = argparse.ArgumentParser(description="Draw the model card's picture of failures.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "images" / "failures.jpg")
    parser.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    arguments = parser.parse_args()

    portrait, photo = cv2.imread(str(HERE / "portrait.png")), cv2.imread(str(PHOTO))
    rows = []
    with RestoreEngine(arguments.bundle) as engine:
        for title, original, mask in cases(portrait, photo):
            damaged = np.where(mask[..., None] > 127, np.array(PAPER, np.uint8), original)
            restored = engine(damaged, mask, color="bgr")
            space = np.full((mask.shape[0], GAP, 3), WHITE, np.uint8)
            panels = np.hstack((damaged, space, restored, space, original))
            bar = np.full((BAR, panels.shape[1], 3), WHITE, np.uint8)
            cv2.putText(bar, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
            rows += [bar, panels]
    if not cv2.imwrite(str(arguments.out), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85]):
        parser.error(f"cannot write {arguments.out}")
    print(arguments.out)


if __name__ == "__main__":
    main()
