"""``python -m benchmarks plans`` on a toy model: what is drawn, measured and shown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import detail, plans
from restore_sdk import RestoreEngine
from restore_sdk.imaging.quality import psnr
from restore_sdk.tiling import plan
from tests.conftest import make_photo


@pytest.mark.parametrize("thickness", [3, 9, 48, 160])
def test_damage_is_as_thick_as_it_says(thickness: int) -> None:
    masks = [plans.damage((500, 600), thickness, np.random.default_rng(seed)) for seed in range(6)]
    assert len({mask.tobytes() for mask in masks}) == 6
    found = [2 * cv2.distanceTransform(mask, cv2.DIST_L2, 5).max() for mask in masks]
    assert 0.5 * thickness <= np.median(found) <= 2.4 * thickness + 3  # thicker where scratches cross


def test_every_plan_is_measured_and_the_usual_one_comes_back(engine: RestoreEngine) -> None:
    photo, usual = make_photo(400, 500), (plan.CONTEXT, plan.REACH)
    rows = plans.by_thickness(engine, [photo], 2, thicknesses=(80, 300))
    assert list(rows) == [80]  # 300 px would be most of it
    assert list(rows[80]) == list(plans.PLANS)
    assert all(tiles == 1 for _, tiles in rows[80]["one tile"])
    masks = [plans.damage((400, 500), 80, np.random.default_rng((80, 0, case))) for case in (0, 1)]
    wanted = [psnr(engine(photo, mask, detail="none")[mask > 0], photo[mask > 0]) for mask in masks]
    assert [db for db, _ in rows[80]["as usual"]] == pytest.approx(wanted)
    assert rows[80]["2 t"] != rows[80]["6 t"]
    (face,) = plans.by_face(engine, [make_photo(256, 256)], sides=(110,)).values()
    assert face["with boxes"] != face["without boxes"]
    (strip,) = plans.by_strip(engine, [make_photo(256, 256)], heights=(100,)).values()
    assert strip["within"] != strip["as usual"]
    assert usual == (plan.CONTEXT, plan.REACH)


def test_the_table_shows_the_best() -> None:
    found, tiles = {"one tile": 20.0, "as usual": 21.5}, {"one tile": 1, "as usual": 2.5}
    row = {"px": 24, "cases": 3, "psnr_db": found, "tiles": tiles}
    assert plans.tables({"thickness": [row]}).splitlines()[-1] == "| 24 | 20.00 (1.0) | **21.50** (2.5) |"
    assert [photo.shape for photo in plans.photographs(None)] == [(512, 512, 3)]


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
