"""Find the damage of a photograph, and restore it with the mask that was proposed.

    python examples/find_damage.py [PHOTO] [--out found.jpg] [--bundle BUNDLE]

Writes three panels: the photograph, what was found (red), the restored photograph.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from restore_sdk import RestoreEngine

PORTRAIT = Path(__file__).resolve().parent / "portrait_damaged.png"


def main() -> None:
    """Find, restore, and write the panels."""
    parser = argparse.ArgumentParser(description="Find the damage of a photograph, and restore it.")
    parser.add_argument("photo", nargs="?", type=Path, default=PORTRAIT)
    parser.add_argument("--out", type=Path, default=Path("found.jpg"))
    parser.add_argument("--bundle", help="default, or the folder of another bundle")
    arguments = parser.parse_args()
    photo = cv2.imread(str(arguments.photo))
    if photo is None:
        parser.error(f"cannot read {arguments.photo}")
    with RestoreEngine(arguments.bundle) as engine:
        damage = engine.find_damage(photo, color="bgr")
        restored = engine(photo, damage.mask, color="bgr")
    red = np.where(damage.mask[..., None] > 0, photo // 3 + np.array([0, 0, 170], np.uint8), photo)
    if not cv2.imwrite(str(arguments.out), np.hstack((photo, red, restored)), [cv2.IMWRITE_JPEG_QUALITY, 92]):
        parser.error(f"cannot write {arguments.out}")
    print(f"{arguments.out}: {damage.share:.1%} of the photograph was found to be damaged")


if __name__ == "__main__":
    main()
