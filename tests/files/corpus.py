"""Any images through the command, compared outside the mask with what Pillow and tifffile see.

    python -m tests.files.corpus FOLDER [--list]

Each file below the folder is restored with a small mask, into its own format where that is written, else into PNG.
Says how many were restored, refused (with each reason, so that it can be read for truth), and wrong: other pixels
outside the mask, another size, an internal fault, or lines on standard error that are not the command's. Exit code 1
where any was.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from restore_sdk.cli.main import main
from restore_sdk.files import FORMATS, MAX_PIXELS
from tests.toy_bundle import write_toy_bundle

Array = NDArray[Any]

#: Largest mean difference, of 255, outside the mask from what a JPEG held before, where all of it was encoded anew;
#: and how far from the mask every pixel is the same, where it was not.
JPEG_DRIFT, JPEG_REACH = 6.0, 33


def pillow(path: Path, page: int = 0) -> Array:
    """Upright; grey, RGB or RGBA, 8 bits; of 16 the higher ones."""
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too large to compare, and refused")
        if page:  # a HEIC opens at its primary picture
            image.seek(page)
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
            alpha = image.mode != "P" or "transparency" in image.info
            image = image.convert("LA") if image.mode == "La" else image
            return np.asarray(image.convert("RGBA" if alpha else "RGB"))
        return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGBA" if image.mode == "RGBA" else "RGB"))


def tiff(path: Path) -> list[Array]:
    """The pages of a TIFF by tifffile, where it gives plain grey, RGB or palettes; 8 bits, as they lie."""
    import tifffile

    found = []
    with tifffile.TiffFile(path) as file:
        for page in file.pages[:4]:
            if page.size > 4 * MAX_PIXELS:
                continue
            array, bits = page.asarray(), page.bitspersample
            kind = page.photometric.name
            if kind not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE") or not isinstance(bits, int):
                continue
            if kind == "PALETTE":
                array = (np.moveaxis(page.colormap, 0, -1)[array] >> 8).astype(np.uint8)
            elif bits in (8, 16):
                array = array >> (bits - 8)
            else:
                array = array * (255 // (2**bits - 1))
            array = np.moveaxis(array, 0, -1) if array.ndim == 3 and page.planarconfig == 2 else array
            found.append((255 - array if kind == "MINISWHITE" else array).astype(np.uint8))
    return found


def same(first: Array, second: Array, mask: Array, most: float) -> bool:
    """Whether two pictures agree outside the mask, with grey as three equal channels and no alpha as opaque."""

    def full(array: Array) -> Array:
        array = np.dstack([array] * 3) if array.ndim == 2 else array
        array = np.dstack([array[..., :1]] * 3 + [array[..., 1]]) if array.shape[2] == 2 else array
        return array if array.shape[2] == 4 else np.dstack((array, np.full(array.shape[:2], 255, np.uint8)))

    first, second = full(first), full(second)
    if first.shape != second.shape:
        return False
    known = np.abs(first.astype(np.int16) - second)[mask == 0]
    return bool(known.max(initial=0) <= 1 if most == 0 else known.size == 0 or known.mean() <= most)


def judge(path: Path, place: Path, bundle: Path) -> tuple[str, str]:
    """``restored``, ``refused`` or ``wrong``, and why."""
    truths: list[Array] = []
    for read in (lambda: [pillow(path)], lambda: [pillow(path, 1)], lambda: tiff(path)):
        try:
            truths += [array for array in read() if array.ndim in (2, 3) and array.shape[-1]]
        except Exception:  # what another decoder does not read
            continue
    kind = FORMATS.get(path.suffix.lower(), "png")
    output = place / f"out{path.suffix.lower() if path.suffix.lower() in FORMATS else '.png'}"
    said = ""
    for shape in dict.fromkeys(truth.shape[:2] for truth in truths) or [(64, 64)]:
        mask = np.zeros(shape, np.uint8)
        middle = shape[0] // 2, shape[1] // 2
        mask[middle[0] : middle[0] + max(1, shape[0] // 16), middle[1] : middle[1] + max(1, shape[1] // 16)] = 255
        Image.fromarray(mask).save(place / "mask.png")
        code, out, said = run("restore", path, "--mask", place / "mask.png", "-o", output, "--bundle", bundle)
        if "px, the image" not in said:
            break
    lines = [line for line in said.splitlines() if not line.startswith(("restore-sdk: ", "  hint: "))]
    if lines or code not in (0, 2):
        return "wrong", f"exit code {code}: {said.strip()[-300:]}"
    if code == 2:
        return "refused", re.sub(r"\d+", "N", said.replace(str(path), "FILE").replace("\n  hint: ", " -> ").strip())
    result = pillow(output)
    output.unlink()
    drift = 0.0
    if kind == "jpeg":
        drift = JPEG_DRIFT if "encoded anew" in out or "jpeglib" not in sys.modules else 0.0
        mask = cv2.dilate(mask, np.ones((2 * JPEG_REACH + 1,) * 2))
    if result.shape[:2] == mask.shape and any(same(result, truth, mask, drift) for truth in truths):
        return "restored", out.partition("note: ")[2]
    return "wrong", f"{result.shape} is none of {[truth.shape for truth in truths]}, or differs"


def run(*words: object) -> tuple[int, str, str]:
    """The command in this process: exit code, and what came out on both streams, from libraries in C as well."""
    found: list[Any] = []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        kept = [os.dup(1), os.dup(2)]
        try:
            for file, number in ((out, 1), (error, 2)):
                os.dup2(file.fileno(), number)
            found.append(main([str(word) for word in words]))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in enumerate(kept, 1):
                os.dup2(old, number)
                os.close(old)
        for file in (out, error):
            file.seek(0)
            found.append(file.read().decode(errors="replace"))
    return found[0], found[1], found[2]


def corpus() -> int:
    parser = argparse.ArgumentParser(description="Restore any images and compare with other decoders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="name every file, as it is done")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with suppress(ImportError):
        __import__("pillow_heif").register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None
    found: dict[str, dict[str, list[Path]]] = {what: defaultdict(list) for what in ("restored", "refused", "wrong")}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        write_toy_bundle(bundle)
        for path in sorted(path for path in options.folder.rglob("*") if path.is_file()):
            what, why = judge(path, Path(folder), bundle)
            found[what][why].append(path)
            if options.list or what == "wrong":
                print(f"{what} {path}: {why}", flush=True)
    for why, paths in sorted(found["refused"].items(), key=lambda item: -len(item[1])):
        print(f"refused {len(paths)}, as {paths[0]}: {why}")
    counts = {what: sum(map(len, reasons.values())) for what, reasons in found.items()}
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(corpus())
