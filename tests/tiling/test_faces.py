"""Faces: boxes, the frames made of them, and the detector, on a double of YuNet's model (``yunet_double``)."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.errors import FaceModelError, InputError, ShapeError
from restore_sdk.tiling.faces import FaceDetector, Frame, frames
from restore_sdk.tiling.plan import plan
from tests.conftest import make_photo
from tests.tiling.holes import hole_in, scratched
from tests.yunet_double import FACE, MAGENTA, write_yunet_double


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yunet_double(tmp_path_factory.mktemp("faces") / "yunet_double.onnx")


@pytest.fixture(scope="module")
def detector(model: Path) -> FaceDetector:
    return FaceDetector(model)


def crowd() -> tuple[NDArray[np.uint8], list[tuple[float, float, float, float]]]:
    """A photo with two faces for the double, and their boxes."""
    photo, boxes = np.full((700, 900, 3), 90, np.uint8), []
    for y, x in ((192, 160), (320, 640)):
        photo[y : y + 32, x : x + 32] = MAGENTA
        boxes.append((x + 16 - FACE[0] / 2, y + 16 - FACE[1] / 2, *FACE))
    return photo, boxes


def test_frames_are_those_of_the_training() -> None:
    (frame,) = frames([(400, 300, 80, 110)], (1000, 1000))
    assert frame.x == 440
    assert 340 < frame.y < 355  # above the middle: hair is inside, the neck is not
    assert 1.8 < frame.side / 80 < 2.2
    assert frames([(1, 2, 30, 40), (100, 90, 30, 40)], (300, 300)) == frames(
        np.array([(100, 90, 30, 40), (1, 2, 30, 40), (1, 2, 30, 40)]), (300, 300)
    )


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((1, 2, 3), "no box"),
        ("face", "no box"),
        (7, "no box"),
        ((10**400, 2, 3, 4), "no box"),
        ((1, 2, 0, 5), "no area"),
        ((1, 2, float("nan"), 5), "no area"),
        ((900, 2, 30, 40), "outside the picture of 300 x 200"),
    ],
)
def test_bad_boxes(engine: RestoreEngine, box: object, what: str) -> None:
    hole = hole_in(200, 300, 10, 10, 5, 5)
    with pytest.raises(InputError, match=what):
        engine(make_photo(200, 300), hole, faces=[box])  # type: ignore[list-item]


def test_faces_that_are_no_list(engine: RestoreEngine) -> None:
    with pytest.raises(InputError, match="the faces are 5"):
        engine(make_photo(200, 300), hole_in(200, 300, 10, 10, 5, 5), faces=5)  # type: ignore[arg-type]


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


def test_the_detector_finds_what_is_there(detector: FaceDetector) -> None:
    photo, boxes = crowd()
    assert sorted(detector(photo)) == [pytest.approx(box) for box in boxes]
    assert detector(photo[..., ::-1].copy(), "bgr") == detector(photo)
    assert detector(np.zeros((40, 30), np.uint8)) == []
    large = cv2.resize(photo, None, fx=1280 * 2 / 900, fy=1280 * 2 / 900, interpolation=cv2.INTER_NEAREST)
    assert len(detector(large)) <= 2  # looked at in 1280 px, given in its own
    for x, y, width, height in detector(large):
        assert 0 <= x + width / 2 < 2560
        assert 0 <= y + height / 2 < large.shape[0]


def test_a_model_of_any_size_serves_too(tmp_path: Path, detector: FaceDetector) -> None:
    """As OpenCV's file of May 2026 has it, which OpenCV 5 can hand to ONNX Runtime."""
    photo, boxes = crowd()
    assert sorted(FaceDetector(write_yunet_double(tmp_path / "any.onnx", any_size=True))(photo)) == [
        pytest.approx(box) for box in boxes
    ]


def test_detected_faces_are_as_good_as_given_ones(toy_bundle: Bundle, detector: FaceDetector) -> None:
    photo, boxes = crowd()
    hole = np.zeros(photo.shape[:2], np.uint8)
    cv2.line(hole, (0, 150), (899, 380), 255, 8)
    assert len(detector(photo)) == 2
    with RestoreEngine(toy_bundle, slots=2) as engine, ThreadPoolExecutor(4) as pool:
        given, plain = engine(photo, hole, faces=boxes), engine(photo, hole)
        assert not np.array_equal(given, plain)
        assert np.array_equal(engine(photo, hole, faces=detector), given)
        assert np.array_equal(engine(photo, hole, faces=np.array(boxes)), given)  # type: ignore[arg-type]
        assert np.array_equal(engine.restore_batch([photo], [hole], faces=detector)[0], given)
        first, second = engine.restore_batch([photo] * 2, [hole] * 2, faces=[None, boxes])
        assert np.array_equal(first, plain)
        assert np.array_equal(second, given)
        streamed = list(engine.stream([(photo, hole), (photo, hole, boxes)], faces=detector))
        assert all(np.array_equal(image, given) for image in streamed)
        for image in pool.map(lambda _: engine(photo, hole, faces=detector), range(8)):
            assert np.array_equal(image, given)
        with pytest.raises(ShapeError, match="1 images but faces for 2"):
            engine.restore_batch([photo], [hole], faces=[boxes, boxes])


def test_the_command(tmp_path: Path, toy_bundle: Bundle, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, boxes = crowd()
    hole = np.zeros(photo.shape[:2], np.uint8)
    cv2.line(hole, (0, 150), (899, 380), 255, 8)
    for name, picture in (("photo.png", photo[..., ::-1]), ("mask.png", hole)):
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    out = tmp_path / "out.png"
    command = ["restore", tmp_path / "photo.png", "--mask", tmp_path / "mask.png", "-o", out]
    words = [str(word) for word in (*command, "--bundle", toy_bundle.path)]
    given = [f"--faces={','.join(map(str, box))}" for box in boxes]
    with RestoreEngine(toy_bundle) as engine:
        framed = engine(photo, hole, faces=boxes)
    for how in (["--face-detector", str(model)], given):
        assert cli.main([*words, *how]) == 0
        assert np.array_equal(cv2.imread(str(out))[..., ::-1], framed)
        out.unlink()
    for wrong in (["--faces", "1,2,3"], ["--faces", "1,2,3,x"], [*given, "--face-detector", str(model)]):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*words, *wrong])
        assert stopped.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert cli.main([*words, "--faces", "9000,2,30,40"]) == 2
    assert "outside the picture" in capsys.readouterr().err
    folder = ["restore", str(tmp_path), "--mask", str(tmp_path / "mask.png"), "-o", str(tmp_path / "all")]
    assert cli.main([*folder, *given]) == 2
    assert "--faces is for one photograph" in capsys.readouterr().err
    assert cli.main([*words, "--face-detector", str(tmp_path / "no.onnx")]) == 2
    assert "no.onnx does not exist" in capsys.readouterr().err
    assert not out.exists()


class TestBadModel:
    """Each a clear answer, before anything is restored."""

    def test_files(self, tmp_path: Path, model: Path, toy_bundle: Bundle) -> None:
        def refused(data: bytes, what: str) -> None:
            path = tmp_path / "model.onnx"
            path.write_bytes(data)
            with pytest.raises(FaceModelError, match=what) as caught:
                FaceDetector(path)
            assert caught.value.hint

        refused(b"", "no ONNX model")
        refused(b"<html>not found</html>", "no ONNX model")
        refused(model.read_bytes()[:-2000], "no ONNX model")
        refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:8f2", "Git LFS pointer")
        refused(toy_bundle.read(toy_bundle.file("edge", "fp32")), "no ONNX model of a face detector")
        refused(write_yunet_double(tmp_path / "old.onnx", cls_8="loc").read_bytes(), "its outputs are bbox_16,.*loc")
        with pytest.raises(FaceModelError, match="cannot be read"):
            FaceDetector(tmp_path)

    def test_hash_and_score(self, model: Path) -> None:
        right = hashlib.sha256(model.read_bytes()).hexdigest()
        FaceDetector(model, sha256=right.upper())
        with pytest.raises(FaceModelError, match=f"has SHA-256 {right}, expected 00"):
            FaceDetector(model, sha256="00")
        with pytest.raises(InputError, match="min_score"):
            FaceDetector(model, min_score=2)
