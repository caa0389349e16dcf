"""Faces that are looked for: when a frame is believed, what it changes, and that the shipped stage finds real ones."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.cli import main as export
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.bundle import SHIPPED
from restore_sdk.cli import main as cli
from restore_sdk.errors import ClosedError
from restore_sdk.tiling.crop import Crop
from restore_sdk.tiling.faces import find_frames
from restore_sdk.tiling.plan import Frame, plan
from tests.tiling.masks import mask_in

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PORTRAIT = np.asarray(cv2.imread(str(EXAMPLES / "portrait.png")), np.uint8)
EYES = mask_in(256, 256, 84, 88, 30, 80)

#: A frame in a picture of 400 x 400 px, and damage in it.
FACE = Frame(210.0, 180.0, 200)
HOLE = mask_in(400, 400, 190, 160, 40, 44)


def double_of_the_stage(face: Frame, sure: float = 1.0, drift: float = 0.0) -> Callable[..., Any]:
    """Finds ``face`` in whatever it is shown: its pixels hold their own places. ``drift``, in sides, goes to the
    right, in a mirror image too, and grows from look to look."""
    looks = count(1)

    def stage(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert image.shape == (1, 256, 256, 3)
        assert mask.shape == (1, 256, 256)
        known = np.argwhere(mask[0] == 0)
        places = image[0][mask[0] == 0].astype(float) * 2.0  # of the picture, from those of the crop
        rows, columns = (np.polyfit(places[:, i], known[:, i] / 256.0, 1) for i in (0, 1))
        x, y = np.polyval(columns, face.x), np.polyval(rows, face.y)
        return np.array([[sure, x + drift * next(looks), y, abs(rows[0]) * face.side]], np.float32)

    return stage


@pytest.fixture(scope="module")
def places() -> NDArray[np.uint8]:
    """400 x 400 px whose channels are half of their row and of their column."""
    rows, columns = np.mgrid[:400, :400] // 2
    return np.stack([rows, columns, columns], 2).astype(np.uint8)


def found_in(picture: NDArray[np.uint8], stage: Callable[..., Any], mask: NDArray[np.bool_]) -> tuple[Frame, ...]:
    return find_frames(stage, picture, mask, plan(mask))


def test_a_face_that_stays_where_it_is_frames_its_tile(places: NDArray[np.uint8]) -> None:
    (found,) = found_in(places, double_of_the_stage(FACE), HOLE)
    assert (found.y, found.x, found.side) == pytest.approx((FACE.y, FACE.x, FACE.side), abs=3)


@pytest.mark.parametrize(
    ("stage", "mask"),
    [
        (double_of_the_stage(FACE, sure=0.97), HOLE),
        (double_of_the_stage(FACE, drift=0.04), HOLE),  # in the mirror image it goes to the other side
        (double_of_the_stage(FACE, drift=0.2), HOLE),  # elsewhere with every look, until there are no more
        (double_of_the_stage(Frame(210.0, 182.0, 250)), HOLE),  # as the tile has it
        (double_of_the_stage(Frame(210.0, 180.0, 60)), HOLE),  # too small to help
        (double_of_the_stage(Frame(210.0, 500.0, 200)), HOLE),  # outside
        (double_of_the_stage(FACE), mask_in(400, 400, 190, 160, 8, 90)),  # a scratch is filled alike
    ],
)
def test_all_else_changes_nothing(
    places: NDArray[np.uint8], stage: Callable[..., Any], mask: NDArray[np.bool_]
) -> None:
    assert found_in(places, stage, mask) == ()


def test_a_face_in_two_tiles_is_one(places: NDArray[np.uint8]) -> None:
    mask = HOLE | mask_in(400, 400, 160, 330, 40, 40)
    assert len(plan(mask).tiles) == 2
    assert len(found_in(places, double_of_the_stage(FACE), mask)) == 1


@pytest.fixture(scope="module", params=["default", "faithful"])
def shipped(request: pytest.FixtureRequest) -> Any:
    with RestoreEngine(request.param) as engine:
        yield engine


def test_the_portrait_is_framed_and_a_face_that_fills_the_picture_is_not(shipped: RestoreEngine) -> None:
    crop = shipped.run(PORTRAIT, EYES, color="bgr").crops[-1]
    assert 150 < crop.width < 210
    assert (crop.y + crop.height / 2, crop.x + crop.width / 2) == pytest.approx((110, 127), abs=14)
    framed = cv2.resize(PORTRAIT[crop.box], (256, 256), interpolation=cv2.INTER_CUBIC)
    assert shipped.run(framed, mask_in(256, 256, 100, 70, 40, 110), color="bgr").crops == (Crop(0, 0, 256, 256),)


def test_nothing_is_framed_on_noise_and_walls(shipped: RestoreEngine) -> None:
    rng = np.random.default_rng(3)
    for picture in (np.full((256, 256, 3), 120, np.uint8), rng.integers(0, 256, (256, 256, 3), np.uint8)):
        assert shipped.run(picture, EYES).crops == (Crop(0, 0, 256, 256),)


def test_every_way_in_frames_alike(tmp_path: Path) -> None:
    with RestoreEngine("default") as engine:
        framed, plain = engine(PORTRAIT, EYES, color="bgr"), engine(PORTRAIT, EYES, color="bgr", faces=())
        assert not np.array_equal(framed, plain)
        (batched,) = engine.restore_batch([PORTRAIT], [EYES], color="bgr")
        assert np.array_equal(batched, framed)
    cv2.imwrite(str(tmp_path / "mask.png"), EYES.astype(np.uint8) * 255)
    line = ["restore", str(EXAMPLES / "portrait.png"), "--mask", str(tmp_path / "mask.png"), "-o", "OUT"]
    for words, wanted in (([], framed), (["--faces", "auto"], framed), (["--faces", "none"], plain)):
        line[-1] = str(tmp_path / "out.png")
        assert cli.main([*line, *words]) == 0
        assert np.array_equal(cv2.imread(line[-1]), wanted)
    assert cli.main([*line, "--faces", "none", "--faces", "1,2,30,40"]) == 2
    assert cli.main(["restore", str(tmp_path), *line[2:-1], str(tmp_path / "x"), "--faces", "1,2,30,40"]) == 2


@pytest.mark.parametrize("form", ["grey", "rgb", "rgba", "large", "small", "narrow", "dilated"])
def test_photographs_of_every_form_are_framed(form: str) -> None:
    photo, mask, keywords = PORTRAIT, EYES, {"color": "bgr"}
    if form == "grey":
        photo = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    elif form == "rgb":
        photo, keywords = photo[..., ::-1], {}
    elif form == "rgba":
        photo = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    elif form in ("large", "small"):
        size = (640, 640) if form == "large" else (200, 200)
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if form == "small" else cv2.INTER_CUBIC)
        mask = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(np.bool_)
    elif form == "narrow":
        photo, mask = photo[:, 40:216], mask[:, 40:216]
    else:
        mask, keywords["dilate"] = mask_in(256, 256, 88, 92, 22, 72), 4
    photo = np.ascontiguousarray(photo)
    with RestoreEngine("default") as engine:
        framed, plain = (engine.run(photo, mask, faces=faces, **keywords) for faces in ("auto", None))
    assert framed.crops != plain.crops
    assert framed.crops[-1].width == pytest.approx(0.68 * photo.shape[0], rel=0.15)
    grown = cv2.dilate(mask.view(np.uint8), np.ones((9, 9), np.uint8)).view(np.bool_)
    assert np.array_equal(framed.image[~grown], photo[~grown])
    assert not framed.notes


def test_a_face_for_which_there_are_too_few_tiles_coarsens_nothing() -> None:
    photo = np.tile(PORTRAIT, (1, 8, 1))
    scratch = mask_in(256, 2048, 95, 2, 14, 2044)
    with RestoreEngine("default") as engine:
        usual = engine.run(photo, scratch, color="bgr")
        assert min(crop.width for crop in usual.crops) < 200
        framed, plain = (
            engine.run(photo, scratch, color="bgr", max_crops=9, faces=faces).crops for faces in ("auto", None)
        )
        assert framed == plain


def test_a_mask_that_leaves_a_look_nothing_is_no_error(places: NDArray[np.uint8]) -> None:
    mask = np.ones((400, 400), bool)
    mask[:, :3] = False
    assert found_in(places, double_of_the_stage(FACE), mask) == ()


def test_a_closed_engine_looks_for_nothing() -> None:
    engine = RestoreEngine("default")
    assert engine.info()["finds_faces"] is True
    engine.close()
    with pytest.raises(ClosedError):
        engine.run(PORTRAIT, EYES, color="bgr")
    assert not engine._extras


def test_the_stage_is_put_into_a_bundle_that_has_none(tmp_path: Path) -> None:
    weights, target = str(tmp_path / "w.safetensors"), tmp_path / "bundle"
    assert export(["weights", "--out", weights]) == 0
    shutil.copytree(SHIPPED["faithful"], target)
    before = (target / "face.onnx").read_bytes()
    manifest = json.loads((target / "manifest.json").read_bytes())
    del manifest["face"], manifest["files"]["face.onnx"]
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "face.onnx").unlink()
    with RestoreEngine(target) as engine:
        assert engine.info()["finds_faces"] is False
        assert engine.run(PORTRAIT, EYES, color="bgr").crops == (Crop(0, 0, 256, 256),)
    assert export(["face", "--bundle", str(target), "--weights", weights]) == 0
    made = Bundle.load(target)
    assert made.manifest.face is not None
    assert 400_000 < made.manifest.face.parameters < 450_000
    assert made.read("face.onnx") == before  # both shipped bundles have the default model's
