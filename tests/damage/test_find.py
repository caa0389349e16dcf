"""Finding damage in arrays: windows, two scales, levels, and what a bundle says of the stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export.writing import add_extra_stage
from restore_sdk import Bundle, RestoreEngine
from restore_sdk.errors import BundleError, ClosedError, ImageError, InputError
from restore_sdk.tiling.damage import WINDOW
from tests.damage.conftest import scratched
from tests.toy_bundle import damage_graph, edge_graph, write_toy_bundle


@pytest.fixture(scope="module")
def seeing(seeing_bundle: Bundle) -> Any:
    with RestoreEngine(seeing_bundle) as engine:
        yield engine


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 400), (257, 300), (WINDOW + 5, 2 * WINDOW + 1)])
def test_every_mark_is_found_and_nothing_else(seeing: RestoreEngine, height: int, width: int) -> None:
    assert not seeing.find_damage(scratched(height, width)).mask.any()
    step = WINDOW - 128  # marks across the seams of windows, and at every border
    boxes = [(y, x, y + 6, x + 40) for y in (0, step - 3, height - 6) for x in (0, step - 20, width - 40)]
    picture = scratched(height, width, *((max(0, y), max(0, x), b, r) for y, x, b, r in boxes))
    marked = (picture[..., 1] == 0).astype(np.uint8)
    damage = seeing.find_damage(picture)
    if marked.sum() < 3:
        assert not damage.mask.any()
        return
    assert damage.mask.shape == (height, width)
    assert set(np.unique(damage.mask)) <= {0, 255}
    assert (damage.mask[marked > 0] == 255).all()
    assert not damage.mask[cv2.dilate(marked, np.ones((11, 11), np.uint8)) == 0].any()
    assert damage.share == np.count_nonzero(damage.mask) / damage.mask.size
    assert np.array_equal(seeing.find_damage(np.ascontiguousarray(picture[..., ::-1]), color="bgr").mask, damage.mask)


def test_sensitivity_decides_what_is_certain_enough(seeing: RestoreEngine) -> None:
    picture = scratched(200, 400, (20, 20, 30, 80))
    picture[60:70, 20:80], picture[100:110, 20:80], picture[150, 50] = (242, 0, 0), (225, 0, 0), (255, 0, 0)
    shares = [seeing.find_damage(picture, sensitivity=name).share for name in ("low", "normal", "high")]
    assert 0 < shares[0] < shares[1] < shares[2]
    assert not seeing.find_damage(picture, sensitivity="high").mask[140:160].any()  # grain
    with pytest.raises(InputError, match="low, normal or high"):
        seeing.find_damage(picture, sensitivity="very")  # type: ignore[arg-type]
    with pytest.raises(ImageError):
        seeing.find_damage(picture.astype(np.float32))


def test_long_damage_need_not_be_as_certain(seeing: RestoreEngine) -> None:
    assert seeing.find_damage(scratched(200, 400, (20, 20, 24, 84), level=190)).share
    assert not seeing.find_damage(scratched(200, 400, (20, 20, 24, 83), level=190)).share


def test_what_a_damaged_line_fades_into_belongs_to_it(seeing: RestoreEngine) -> None:
    picture = scratched(100, 200, (50, 20, 53, 60))
    picture[50:53, 60:120] = (150, 0, 0)  # faint, and part of the line
    picture[20:23, 60:120] = (150, 0, 0)  # as faint, alone
    mask = seeing.find_damage(picture).mask
    assert mask[51, 115] == 255
    assert not mask[:40].any()


def test_an_engine_without_the_stage_says_what_to_do(engine: RestoreEngine, seeing_bundle: Bundle) -> None:
    assert engine.info()["finds_damage"] is False
    with pytest.raises(BundleError, match="no stage that finds damage") as caught:
        engine.find_damage(scratched(20, 20))
    assert "mark it by hand" in caught.value.hint
    with RestoreEngine(seeing_bundle) as closed:
        assert closed.info()["finds_damage"] is True
    with pytest.raises(ClosedError):
        closed.find_damage(scratched(20, 20))


def test_the_stage_is_added_once_and_the_rest_stays(tmp_path: Path, seeing_bundle: Bundle) -> None:
    plain = write_toy_bundle(tmp_path / "bundle")
    assert b'"damage"' not in (plain.path / "manifest.json").read_bytes()  # what older versions read
    before = {name: (plain.path / name).read_bytes() for name in plain.manifest.files}
    for _ in range(2):
        made = add_extra_stage(Bundle.load(plain.path), "damage", damage_graph(), 7, 8, [])
    assert {name: (made.path / name).read_bytes() for name in before} == before
    assert made.manifest.files.keys() == before.keys() | {"damage.onnx"}
    assert (made.damage.parameters, made.damage.macs) == (7, 8)
    assert made.read("damage.onnx") == damage_graph()


def test_another_graph_or_other_tensors_are_refused(tmp_path: Path) -> None:
    wrong = add_extra_stage(write_toy_bundle(tmp_path / "wrong"), "damage", edge_graph(), 0, 0, [])
    with RestoreEngine(wrong) as engine, pytest.raises(BundleError, match="graph has"):
        engine.find_damage(scratched(20, 20))
    manifest = json.loads((wrong.path / "manifest.json").read_bytes())
    manifest["damage"]["outputs"][0]["shape"] = ["batch", 256, 256]
    (wrong.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="damage stage has another name or other tensors"):
        Bundle.load(wrong.path)
