"""``python -m benchmarks detail`` on a toy model: what is drawn, measured and shown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import detail
from restore_sdk import RestoreEngine


@pytest.mark.parametrize("thickness", [48, 160])
def test_damage_is_as_thick_as_it_says(thickness: int) -> None:
    masks = [detail.damage((500, 600), thickness, np.random.default_rng(seed)) for seed in range(6)]
    assert len({mask.tobytes() for mask in masks}) == 6
    found = [2 * cv2.distanceTransform(mask, cv2.DIST_L2, 5).max() for mask in masks]
    assert 0.5 * thickness <= np.median(found) <= 2.4 * thickness + 3


def test_grain_is_measured_without_and_with(
    engine: RestoreEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "THICKNESSES", (60, 900))
    rows = detail.measure(engine, [np.full((300, 300, 3), 120, np.uint8)], tmp_path)
    assert [(row["grain"], row["px"]) for row in rows] == [(0, 60), (detail.GRAIN, 60)]  # 900 px are all of it
    without, matched = rows[1]["noise"]
    assert without < 0.3
    assert 0.8 < matched < 1.2
    assert rows[1]["swd"][1] < rows[1]["swd"][0] / 3
    assert {path.name for path in tmp_path.iterdir()} == {"0_0_60.png", f"0_{detail.GRAIN}_60.png"}
    assert len(detail.tables(rows).splitlines()) == 4
    assert [photo.shape for photo in detail.photographs(None)] == [(512, 512, 3)]
