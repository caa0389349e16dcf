"""``python -m benchmarks plans`` on a toy model: what is drawn, measured and shown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import plans
from benchmarks.processes import MeasurementError
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
    photo, usual = make_photo(400, 500), plan.CONTEXT
    rows = plans.by_thickness(engine, [photo], 2, thicknesses=(3, 80, 300))
    assert [(row.size, row.cases) for row in rows] == [(3, 2), (80, 2)]  # 300 px would be most of it
    assert usual == plan.CONTEXT
    for row in rows:
        assert row.crops["one square"] == 1
        assert list(row.psnr) == list(plans.PLANS)
    mask = plans.damage((400, 500), 80, np.random.default_rng((80, 0, 1)))
    first = plans.damage((400, 500), 80, np.random.default_rng((80, 0, 0)))
    wanted = [psnr(engine(photo, each)[each > 0], photo[each > 0]) for each in (first, mask)]
    assert rows[1].psnr["as usual"] == pytest.approx(np.mean(wanted), abs=0.001)
    assert rows[1].psnr["2 t"] != rows[1].psnr["6 t"]


def test_small_faces_are_framed(engine: RestoreEngine) -> None:
    (row,) = plans.by_face(engine, [make_photo(256, 256)], sides=(110,))
    assert row.psnr["with boxes"] != row.psnr["without boxes"]
    table = plans.Plans((), (row,))
    assert table.to_json()["face"][0]["face_px"] == 110


def test_squares_reach_out_of_strips(engine: RestoreEngine) -> None:
    usual = plan.REACH
    (row,) = plans.by_strip(engine, [make_photo(256, 256)], heights=(100,))
    assert usual == plan.REACH
    assert list(row.psnr) == list(plans.REACHES)
    assert row.psnr["within"] != row.psnr["as usual"]
    table = plans.Plans((row,), (), (row,))
    assert table.to_json()["strip"][0]["strip_px"] == 100
    assert "| strip, px | within | 4 | as usual | 16 |" in table.to_table()


def test_the_table_shows_the_best() -> None:
    row = plans.Row(24, 3, {"one square": 20.0, "as usual": 21.5}, {"one square": 1, "as usual": 2.5})
    assert plans.Plans((row,)).to_table().splitlines()[-1] == "| 24 | 20.00 (1.0) | **21.50** (2.5) |"


def test_photographs_that_are_too_small_are_none(tmp_path: Path) -> None:
    assert [photo.shape for photo in plans.photographs(None)] == [(512, 512, 3)]
    cv2.imwrite(str(tmp_path / "small.png"), make_photo(256, 256))
    (tmp_path / "notes.txt").write_text("no photograph")
    with pytest.raises(MeasurementError, match="no colour photographs of more than 256 px"):
        plans.photographs(tmp_path)
    assert len(plans.photographs(tmp_path, above=128)) == 1
