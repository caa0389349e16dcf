"""A copy that is made meanwhile is whole, its own, and made in any case."""

from __future__ import annotations

import time
from threading import Thread
from typing import Any

import numpy as np
import pytest

from restore_sdk._util.ahead import LEAST_BYTES, CopyAhead
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import MaskError, ShapeError
from tests.conftest import make_photo

LARGE = (LEAST_BYTES // 3 // 1000 + 1, 1000, 3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5, 3), LARGE])
def test_a_copy_is_whole_and_its_own(shape: tuple[int, ...]) -> None:
    source = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    copy = CopyAhead(source)
    assert np.array_equal(copy.get(), source)
    assert copy.get() is copy.get()
    assert not np.shares_memory(copy.get(), source)


def test_a_source_of_any_strides_becomes_a_contiguous_copy() -> None:
    source = np.random.default_rng(1).integers(0, 256, LARGE, dtype=np.uint8)[::-1, ::-1]
    copy = CopyAhead(source).get()
    assert copy.flags.c_contiguous
    assert np.array_equal(copy, source)


def test_without_a_thread_the_copy_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    source = np.random.default_rng(1).integers(0, 256, LARGE, dtype=np.uint8)
    assert np.array_equal(CopyAhead(source).get(), source)


def test_an_error_of_the_thread_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TypeError("no copies of these")

    monkeypatch.setattr("restore_sdk._util.ahead.np.copyto", refuse)
    copy = CopyAhead(np.zeros(LARGE, np.uint8))
    with pytest.raises(TypeError, match="no copies of these"):
        copy.get()


@pytest.fixture
def slow_copies(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Copies take so long that whoever does not wait sees them unfinished; the times at which they ended."""
    ended: list[float] = []
    real = np.copyto

    def copyto(target: Any, source: Any) -> None:
        target[:] = 77
        time.sleep(0.3)
        real(target, source)
        ended.append(time.monotonic())

    monkeypatch.setattr("restore_sdk._util.ahead.np.copyto", copyto)
    return ended


@pytest.mark.parametrize("feather", [0, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_nobody_sees_an_unfinished_copy(
    engine: RestoreEngine, slow_copies: list[float], monkeypatch: pytest.MonkeyPatch, order: Any, feather: int
) -> None:
    """Holes of several levels, so that later crops are cut from what earlier ones restored."""
    photo = np.array(make_photo(1300, 1200), order=order)
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[200:700, 300:700] = 255
    mask[700:1200, 480:490] = 255
    assert photo.nbytes >= LEAST_BYTES
    meanwhile = engine.restore(photo, mask, feather=feather)
    assert slow_copies
    monkeypatch.undo()
    monkeypatch.setattr("restore_sdk._util.ahead.LEAST_BYTES", photo.nbytes + 1)
    assert np.array_equal(engine.restore(photo, mask, feather=feather), meanwhile)
    assert np.array_equal(engine.restore(photo, np.zeros_like(mask)), photo)


def test_after_an_error_nothing_reads_the_photographs(engine: RestoreEngine, slow_copies: list[float]) -> None:
    photo = make_photo(1300, 1200)
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[200:300, 300:400] = 255
    with pytest.raises(MaskError, match="item 1"):
        engine.restore_batch([photo, photo], [mask, mask // 255])
    assert len(slow_copies) == 2, "both were begun, and waited for: that of the refused photograph too"


def test_a_mask_of_another_form_is_told_before_anything_is_copied(
    engine: RestoreEngine, slow_copies: list[float]
) -> None:
    """Or want of memory for the copy would be told instead."""
    with pytest.raises(ShapeError, match="the mask is"):
        engine.restore(make_photo(1300, 1200), np.zeros((5, 5), np.uint8))
    assert slow_copies == []
