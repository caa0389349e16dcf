"""A copy that is made meanwhile is whole, its own, and made in any case."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest

from restore_sdk.ahead import LEAST_BYTES, CopyAhead
from restore_sdk.engine import RestoreEngine
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


def test_a_large_photograph_is_restored_as_one_that_is_copied_at_once(
    engine: RestoreEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holes of several levels, so that later crops are cut from what earlier ones restored."""
    photo = make_photo(1300, 1200)
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[200:700, 300:700] = 255
    mask[700:1200, 480:490] = 255
    assert photo.nbytes >= LEAST_BYTES
    meanwhile = engine.restore(photo, mask)
    monkeypatch.setattr("restore_sdk.ahead.LEAST_BYTES", photo.nbytes + 1)
    assert np.array_equal(engine.restore(photo, mask), meanwhile)
    assert np.array_equal(engine.restore(np.asfortranarray(photo), mask), meanwhile)
