"""Draw the picture at the top of the README: damaged, completed edges, restored, original, side by side.

    python examples/before_after.py [--out docs/images/before_after.png] [--bundle BUNDLE]

Nothing in it is retouched: the panels are the engine's input and output as they are, and the original for comparison.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from restore_sdk import RestoreEngine

HERE = Path(__file__).resolve().parent
TITLES = ("damaged", "completed edges", "restored", "original")
GAP, BAR = 8, 26
WHITE, INK = (255, 255, 255), (60, 60, 60)


def main() -> None:
    """Restore the example portrait and write the comparison."""
    parser = argparse.ArgumentParser(description="Draw the README's before/after picture.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "images" / "before_after.png")
    parser.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    arguments = parser.parse_args()

    damaged, original = (cv2.imread(str(HERE / f"portrait{end}.png")) for end in ("_damaged", ""))
    mask = cv2.imread(str(HERE / "portrait_mask.png"), cv2.IMREAD_GRAYSCALE)
    with RestoreEngine(arguments.bundle) as engine:
        result = engine.run(damaged, mask, color="bgr", faces=[(82, 66, 84, 118)])

    # Edges dark on light, as a drawing: those that were visible in grey, those that the edge stage completed in red.
    strength = result.edges[..., None] / 255
    colour = np.where(mask[..., None] > 127, np.array((40, 40, 210)), np.array((90, 90, 90)))
    edges = np.round(255 - strength * (255 - colour)).astype(np.uint8)

    height, width = mask.shape
    columns = []
    for title, panel in zip(TITLES, (damaged, edges, result.image, original), strict=True):
        bar = np.full((BAR, width, 3), WHITE, np.uint8)
        cv2.putText(bar, title, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
        columns += [np.vstack((panel, bar)), np.full((height + BAR, GAP, 3), WHITE, np.uint8)]
    if not cv2.imwrite(str(arguments.out), np.hstack(columns[:-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        parser.error(f"cannot write {arguments.out}")
    print(arguments.out)


if __name__ == "__main__":
    main()
