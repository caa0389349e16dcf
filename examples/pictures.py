"""Draw the pictures of the pages; nothing in their panels is retouched.

python examples/pictures.py before_after docs/images/before_after.png    the top of the README
python examples/pictures.py two_models docs/images/two_models.jpg        what tells both shipped models apart
python examples/pictures.py failures docs/images/failures.jpg            what the default model cannot do
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore_sdk import RestoreEngine

HERE = Path(__file__).resolve().parent
GAP, BAR = 6, 24
PAPER = np.array((222, 232, 238), np.uint8)

Image = NDArray[np.uint8]


def read(path: Path) -> Image:
    """A picture that comes with the checkout, BGR."""
    return np.asarray(cv2.imread(str(path)), np.uint8)


def blank() -> Image:
    """A mask of 256 x 256 px without a hole."""
    return np.zeros((256, 256), np.uint8)


def torn(image: Image, mask: Image) -> Image:
    """The picture with bare paper in its holes."""
    return np.where(mask[..., None] > 127, PAPER, image)


def row(panels: list[Image]) -> Image:
    """Panels of one size side by side."""
    space = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, space)][:-1])


def titled(picture: Image, titles: list[str]) -> Image:
    """The picture below a bar with evenly spaced titles."""
    bar = np.full((BAR, picture.shape[1], 3), 255, np.uint8)
    for column, title in enumerate(titles):
        place = (column * (picture.shape[1] + GAP) // len(titles) + 4, 17)
        cv2.putText(bar, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, (60, 60, 60), 1, cv2.LINE_AA)
    return np.vstack((bar, picture))


def before_after() -> Image:
    """The example portrait: damaged, its completed edges, restored, original."""
    damaged, original = (read(HERE / f"portrait{end}.png") for end in ("_damaged", ""))
    mask = read(HERE / "portrait_mask.png")[..., 0]
    with RestoreEngine("default") as engine:
        result = engine.run(damaged, mask, color="bgr")
    # Edges dark on light, as a drawing: those that were visible in grey, those that the edge stage completed in red.
    strength = result.edges[..., None] / 255
    colour = np.where(mask[..., None] > 127, np.array((40, 40, 210)), np.array((90, 90, 90)))
    edges = np.round(255 - strength * (255 - colour)).astype(np.uint8)
    titles = ["damaged", "completed edges", "restored", "original"]
    return titled(row([damaged, edges, result.image, original]), titles)


def two_models() -> Image:
    """A face of 200 px, damaged in three ways: what both models make of it, and the original."""
    portrait = read(HERE.parent / "docs" / "images" / "astronaut.jpg")[8:208, 122:322]
    portrait = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_CUBIC)
    strokes, half, whole = blank(), blank(), blank()
    for x, y, to_x, to_y in ((20, 90, 140, 60), (150, 80, 120, 170), (60, 150, 150, 200), (190, 150, 235, 60)):
        cv2.line(strokes, (x, y), (to_x, to_y), 255, 30)
    cv2.rectangle(half, (130, 20), (235, 235), 255, -1)
    cv2.ellipse(whole, (125, 135), (75, 88), 0, 0, 360, 255, -1)
    rows = []
    with RestoreEngine("default") as default, RestoreEngine("faithful") as faithful:
        for mask in (strokes, half, whole):
            damaged = torn(portrait, mask)
            answers = [engine(damaged, mask, color="bgr") for engine in (default, faithful)]
            rows += [row([damaged, *answers, portrait]), np.full((GAP, 4 * 256 + 3 * GAP, 3), 255, np.uint8)]
    return titled(np.vstack(rows[:-1]), ["damaged", "default", "faithful", "original"])


def failures() -> Image:
    """Cases that are chosen to fail: damaged, restored, original."""
    portrait = read(HERE / "portrait.png")
    helmet = read(HERE.parent / "docs" / "images" / "astronaut.jpg")[256:512, 230:486]
    half, spot, part = blank(), blank(), blank()
    most = np.full_like(half, 255)
    half[30:200, 118:220] = 255
    for start in range(-240, 256, 60):
        cv2.line(most, (start, 0), (start + 256, 256), 0, 14)
    cv2.ellipse(spot, (120, 105), (45, 60), 0, 0, 360, 255, -1)
    cv2.circle(part, (128, 128), 60, 255, -1)
    turned = [np.ascontiguousarray(each[::-1, ::-1]) for each in (portrait, spot)]
    cases = [
        ("half a small face, not framed: features out of place", portrait, half),
        ("two thirds missing: soft", portrait, most),
        ("upside down: features the wrong way round", *turned),
        ("no face: a fill without sense", helmet, part),
    ]
    rows = []
    with RestoreEngine("default") as engine:
        for title, original, mask in cases:
            damaged = torn(original, mask)
            rows.append(titled(row([damaged, engine(damaged, mask, color="bgr"), original]), [title]))
    return np.vstack(rows)


def main() -> None:
    """Draw one of them."""
    drawings = {each.__name__: each for each in (before_after, two_models, failures)}
    parser = argparse.ArgumentParser(description="Draw a picture of the pages.")
    parser.add_argument("picture", choices=drawings)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    settings = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 9], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 86]}
    picture = drawings[arguments.picture]()
    if not cv2.imwrite(str(arguments.out), picture, settings.get(arguments.out.suffix, [])):
        parser.error(f"cannot write {arguments.out}")
    print(arguments.out)


if __name__ == "__main__":
    main()
