"""Files from strangers: what was once a finding, and sound files with bytes changed all over."""

from __future__ import annotations

import functools
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from restore_sdk.errors import OutputError
from restore_sdk.files import InvalidImageError, open_photo, read_mask
from tests.attacks.caught import error_of
from tests.conftest import make_photo
from tests.files.conftest import XMP, exif_block, profile
from tests.memory import bounded

MAX_PIXELS = 500_000


def is_harmless(data: bytes) -> None:
    """It ends in one error, or in a picture within the limit that can be written and read again; never in a hang."""
    started, due = time.process_time(), 32 * MAX_PIXELS + 4 * len(data) + 2**23  # the largest pixel is four doubles
    try:
        with bounded(due, "a picture"):
            photo = open_photo(data, MAX_PIXELS)
    except InvalidImageError:
        return
    pixels = photo.pixels
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    error = error_of(InvalidImageError, read_mask, data, MAX_PIXELS)
    assert error is None or "white" in str(error) or "transparent" in str(error)
    for suffix in (".png", ".tiff", ".jpg", ".webp"):
        try:
            encoded = photo.encode(f"a{suffix}", pixels)
        except OutputError:  # alpha or 16 bits into a format without
            continue
        again = open_photo(encoded.data, MAX_PIXELS).pixels
        same = np.dstack([pixels] * 3) if suffix == ".webp" and pixels.ndim == 2 else pixels  # it knows no grey
        assert again.shape == same.shape
        assert not encoded.lossless or np.array_equal(again, same)
    assert time.process_time() - started < 4


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "corpus").iterdir()), ids=lambda path: path.name)
def test_what_was_once_a_finding(path: Path) -> None:
    is_harmless(path.read_bytes())


@functools.cache
def samples() -> list[bytes]:
    exif, photo, found = exif_block(6, b"thumb"), make_photo(12, 17), []
    more: dict[str, dict[str, Any]] = {
        "JPEG": {"exif": b"Exif\0\0" + exif, "icc_profile": profile(), "xmp": XMP},
        "PNG": {"exif": exif, "icc_profile": profile(), "dpi": (300, 300)},
        "WEBP": {"exif": exif, "icc_profile": profile(), "xmp": XMP, "lossless": True},
        "TIFF": {"icc_profile": profile(), "dpi": (300, 300), "description": "text", "compression": "tiff_lzw"},
        "BMP": {},
    }
    for kind, options in more.items():
        for picture in (photo, photo[..., 0]):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, kind, **options)
            found.append(file.getvalue())
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_changed_all_over(data: st.DataObject) -> None:
    sample = bytearray(data.draw(st.sampled_from(samples())))
    for _ in range(data.draw(st.integers(0, 8))):
        sample[data.draw(st.integers(0, len(sample) - 1))] = data.draw(st.integers(0, 255))
    is_harmless(bytes(sample[: data.draw(st.one_of(st.none(), st.integers(0, len(sample))))]))
