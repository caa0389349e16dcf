"""Faces: boxes, and the frames made of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.errors import InputError, ShapeError
from restore_sdk.tiling.faces import Frame, frames
from restore_sdk.tiling.plan import plan
from tests.conftest import make_photo
from tests.tiling.holes import hole_in, scratched

#: A photo with two faces, damaged by a scratch across both.
BOXES = [(128.0, 144.0, 96.0, 128.0), (608.0, 272.0, 96.0, 128.0)]
PHOTO, SCRATCH = make_photo(700, 900), np.zeros((700, 900), np.uint8)
cv2.line(SCRATCH, (0, 150), (899, 380), 255, 8)


def test_frames_are_those_of_the_training() -> None:
    (frame,) = frames([(400, 300, 80, 110)], (1000, 1000))
    assert frame.x == 440
    assert 340 < frame.y < 355  # above the middle: hair is inside, the neck is not
    assert 1.8 < frame.side / 80 < 2.2
    assert frames([(1, 2, 30, 40), (100, 90, 30, 40)], (300, 300)) == frames(
        np.array([(100, 90, 30, 40), (1, 2, 30, 40), (1, 2, 30, 40)]), (300, 300)
    )


@pytest.mark.parametrize(
    ("faces", "what"),
    [
        ([(1, 2, 3)], "no box"),
        (["face"], "no box"),
        ([7], "no box"),
        ([(10**400, 2, 3, 4)], "no box"),
        ([(1, 2, 0, 5)], "no area"),
        ([(1, 2, float("nan"), 5)], "no area"),
        ([(900, 2, 30, 40)], "outside the picture of 300 x 200"),
        (5, "the faces are 5"),
    ],
)
def test_bad_boxes(engine: RestoreEngine, faces: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        engine(make_photo(200, 300), hole_in(200, 300, 10, 10, 5, 5), faces=faces)


def test_a_face_far_larger_than_the_picture_changes_nothing(engine: RestoreEngine) -> None:
    photo, hole = make_photo(400, 500), hole_in(400, 500, 100, 100, 90, 200)
    assert np.array_equal(engine(photo, hole, faces=[(-5e299, -5e299, 1e300, 1e300)]), engine(photo, hole))


def test_damage_in_a_small_face_is_shown_in_its_frame() -> None:
    hole = hole_in(1000, 1500, 480, 300, 12, 900)  # one scratch across both faces
    faces = [Frame(480.0, 400.0, 160), Frame(490.0, 1000.0, 200)]
    found = plan(hole, faces=faces)
    last = found.waves[-1]
    assert [(tile.crop.height, tile.crop.width) for tile in last] == [(160, 160), (200, 200)]
    assert [(tile.crop.y, tile.crop.x) for tile in last] == [(400, 320), (390, 900)]
    assert {tile.crop.width for tile in found.tiles if tile not in last} == {256}
    assert found.tiles[-1].level == 0 < found.tiles[0].level


def test_thick_damage_in_a_large_face_is_shown_in_its_frame() -> None:
    hole = hole_in(1600, 1200, 700, 480, 110, 120)
    face = Frame(750.0, 600.0, 700)
    (tile,) = plan(hole, faces=[face]).tiles
    assert (tile.crop.y, tile.crop.x, tile.crop.width) == (400, 250, 700)
    (spot,) = plan(hole_in(1600, 1200, 700, 480, 20, 20), faces=[face]).tiles
    assert spot.crop.width == 256  # thin damage keeps the photograph's resolution


def test_faces_without_damage_change_nothing() -> None:
    hole = hole_in(1000, 1500, 50, 50, 200, 20)
    assert plan(hole, faces=[Frame(700.0, 1000.0, 150)]) == plan(hole)
    assert plan(hole, faces=[Frame(100.0, 60.0, 20)]) == plan(hole)  # too small to help


@settings(max_examples=30, deadline=None)
@given(
    scratched(), st.lists(st.tuples(*[st.floats(0, 1)] * 2, st.floats(10, 500)), max_size=5), st.sampled_from([1, 64])
)
def test_with_any_faces_everything_is_restored(
    engine: RestoreEngine, hole: NDArray[np.bool_], found: list[tuple[float, float, float]], most: int
) -> None:
    """Each hole pixel is written (the toy model cannot return the photograph's 255), every other one stays."""
    height, width = hole.shape
    boxes = [(x * (width - 1) - side / 2, y * (height - 1) - side / 2, side, side) for y, x, side in found]
    photo = make_photo(height, width) // 4
    photo[hole] = 255
    restored = engine(photo, hole, faces=boxes, max_crops=most)
    assert np.array_equal(restored[~hole], photo[~hole])
    assert restored[hole].max() < 200
    assert np.array_equal(restored, engine(photo, hole, faces=boxes[::-1], max_crops=most))


def test_every_method_takes_boxes(toy_bundle: Bundle) -> None:
    photo, mask = PHOTO, SCRATCH
    with RestoreEngine(toy_bundle, slots=2) as engine, ThreadPoolExecutor(4) as pool:
        given, plain = engine(photo, mask, faces=BOXES), engine(photo, mask)
        assert not np.array_equal(given, plain)
        assert np.array_equal(engine(photo, mask, faces=np.array(BOXES)), given)  # type: ignore[arg-type]
        first, second = engine.restore_batch([photo] * 2, [mask] * 2, faces=[None, BOXES])
        assert np.array_equal(first, plain)
        assert np.array_equal(second, given)
        streamed = list(engine.stream([(photo, mask), (photo, mask, BOXES)], faces=BOXES[:1]))
        assert np.array_equal(streamed[0], engine(photo, mask, faces=BOXES[:1]))
        assert np.array_equal(streamed[1], given)
        for image in pool.map(lambda _: engine(photo, mask, faces=BOXES), range(8)):
            assert np.array_equal(image, given)
        with pytest.raises(ShapeError, match="1 images but faces for 2"):
            engine.restore_batch([photo], [mask], faces=[BOXES, BOXES])


def test_the_command(tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    for name, picture in (("photo.png", PHOTO[..., ::-1]), ("mask.png", SCRATCH)):
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    out = tmp_path / "out.png"
    command = ["restore", tmp_path / "photo.png", "--mask", tmp_path / "mask.png", "-o", out]
    words = [str(word) for word in (*command, "--bundle", toy_bundle.path)]
    given = [f"--faces={','.join(map(str, box))}" for box in BOXES]
    with RestoreEngine(toy_bundle) as engine:
        framed = engine(PHOTO, SCRATCH, faces=BOXES)
    assert cli.main([*words, *given]) == 0
    assert np.array_equal(cv2.imread(str(out))[..., ::-1], framed)
    out.unlink()
    for wrong in ("1,2,3", "1,2,3,x"):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*words, "--faces", wrong])
        assert stopped.value.code == 2
    capsys.readouterr()
    assert cli.main([*words, "--faces", "9000,2,30,40"]) == 2
    assert "outside the picture" in capsys.readouterr().err
    folder = ["restore", str(tmp_path), "--mask", str(tmp_path / "mask.png"), "-o", str(tmp_path / "all")]
    assert cli.main([*folder, *given]) == 2
    assert "--faces is for one photograph" in capsys.readouterr().err
    assert not out.exists()
