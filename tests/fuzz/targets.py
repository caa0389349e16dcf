"""Entry points for bytes from strangers, each as a function that must return.

Whatever the bytes, a target ends in the SDK's own error, which it swallows, or in a result that keeps its promises.
Everything else it lets through is a finding: another exception, a broken promise (``AssertionError``), a crash, a hang.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from restore_sdk.bundle.onnxfile import self_contained
from restore_sdk.errors import ImageError, MaskError, OutputError
from restore_sdk.files import Photo, check_image, open_photo, read_mask
from tests.conftest import make_photo
from tests.memory import bounded
from tests.toy_bundle import repair_graph

Target = Callable[[bytes], None]

#: Larger pictures are refused, so that a run of the fuzzer spends its time on small ones.
MAX_PIXELS = 500_000


@functools.cache
def _scratch() -> Path:
    """A folder of this process, in memory where there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="restore-sdk-fuzz.", dir=memory if memory.is_dir() else None))


def image(data: bytes) -> None:
    """A photograph's file, and a mask's: what is decoded is what the header claimed, in bounded memory.

    Written again with what metadata it has, it can be read again, to the same pixels where the format has no loss.
    """
    path = _scratch() / "picture"
    path.write_bytes(data)
    due = 32 * MAX_PIXELS + 4 * len(data) + 2**23  # the largest pixel is four doubles
    with contextlib.suppress(ImageError), bounded(due, "a picture"):
        photo = open_photo(path, MAX_PIXELS)
        size = check_image(data)
        shape = photo.pixels.shape
        assert photo.pixels.dtype in (np.uint8, np.uint16)
        assert shape[:2] in (size, size[::-1])
        assert shape[0] * shape[1] <= MAX_PIXELS
        assert len(shape) == 2 or shape[2] in (3, 4)
        _written_again(photo, path.with_suffix((".png", ".tiff", ".jpg", ".webp")[len(data) % 4]))
    with contextlib.suppress(MaskError), bounded(due, "a mask"):
        mask = read_mask(path, MAX_PIXELS)
        assert mask.ndim == 2
        assert mask.dtype == np.uint8


def _written_again(photo: Photo, path: Path) -> None:
    try:
        encoded = photo.encode(path, photo.pixels)
    except OutputError:  # alpha or 16 bits into a format without
        return
    path.write_bytes(encoded.data)
    again = open_photo(path, MAX_PIXELS).pixels
    pixels = photo.pixels
    if path.suffix == ".webp" and pixels.ndim == 2:  # which knows no grey
        pixels = np.dstack([pixels] * 3)
    assert again.shape == pixels.shape
    assert not encoded.lossless or np.array_equal(again, pixels)


def graph(data: bytes) -> None:
    """An ONNX graph, given the weights that it keeps in another file, and looked through for further ones."""
    with contextlib.suppress(ValueError):
        self_contained(data, lambda _name: bytes(64))


TARGETS: dict[str, Target] = {each.__name__: each for each in (image, graph)}

#: Small inputs that led to new code, and those that once were a finding.
CORPUS = Path(__file__).resolve().parent / "corpus"


def corpus(name: str) -> list[bytes]:
    """What the fuzzer begins from, and every test run tries again: sound input, then the kept files."""
    return [*seeds(name), *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]


def seeds(name: str) -> list[bytes]:
    """Sound input to begin from, made anew."""
    return _pictures() if name == "image" else [repair_graph()]


def _pictures() -> list[bytes]:
    photo = make_photo(12, 17)
    found = []
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff"):
        for picture in (photo, photo[..., 0], np.dstack((photo, photo[..., :1]))):
            if suffix in (".jpg", ".bmp") and picture.ndim == 3 and picture.shape[2] == 4:
                continue
            options = [cv2.IMWRITE_WEBP_QUALITY, 80] if suffix == ".webp" and picture.ndim == 2 else []
            found.append(bytes(cv2.imencode(suffix, picture, options)[1]))
    return found
