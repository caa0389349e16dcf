import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

import restore_sdk
from restore_sdk import RestoreEngine, RestoreOptions
from restore_sdk.bundle import Bundle
from restore_sdk.errors import BundleError, ClosedError, DeviceError, InputError, RestoreError, ShapeError
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.tiling.crop import Crop
from tests.conftest import make_photo
from tests.toy_bundle import expected, toy_edge


def test_the_chain(engine: RestoreEngine, photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    restored = engine(photo, mask, detail="none")
    assert np.array_equal(restored, expected(photo, mask))
    assert np.array_equal(restored, engine.restore(photo, mask, detail="none"))
    assert restored.flags.c_contiguous
    assert restored.flags.writeable
    assert restored.flags.owndata


def test_run_returns_everything(engine: RestoreEngine, photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    result = engine.run(photo, mask, detail="none")
    assert np.array_equal(result.image, expected(photo, mask))
    assert np.array_equal(result.edges, toy_edge(photo, mask))
    assert result.crops == (Crop(0, 0, 256, 256),)
    timings = result.timings
    assert min(timings.prepare_ms, timings.edge_ms, timings.repair_ms, timings.paste_ms) > 0
    assert timings.total_ms == pytest.approx(timings.host_ms + timings.wait_ms + timings.edge_ms + timings.repair_ms)
    large = make_photo(600, 900)
    large_mask = np.zeros((600, 900), bool)
    large_mask[300:330, 200:240] = True
    result = engine.run(large, large_mask)
    (crop,) = result.crops
    edges = result.edges.copy()  # in the photograph's frame
    assert edges[crop.box].any()
    edges[crop.box] = 0
    assert not edges.any()


def test_the_wait_for_a_slot_is_part_of_the_time(
    toy_bundle: Bundle, photo: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    with RestoreEngine(toy_bundle) as engine, ThreadPoolExecutor(1) as pool:
        engine.warmup()
        with engine._runner.slot():  # type: ignore[attr-defined]
            waiting = pool.submit(engine.run, photo, mask)
            time.sleep(0.4)
        timings = waiting.result().timings
    assert timings.wait_ms > 200
    assert timings.total_ms > timings.wait_ms


def test_channel_orders_agree(engine: RestoreEngine, photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    restored = engine(photo, mask)
    assert np.array_equal(engine(photo[..., ::-1], mask, color="bgr"), restored[..., ::-1])
    image = Image.fromarray(photo)
    image.info["dpi"] = (300, 300)
    for found in (engine(image, Image.fromarray(mask)), *engine.restore_batch([image], [mask])):
        assert (type(found), found.info) == (Image.Image, {"dpi": (300, 300)})
        assert np.array_equal(found, restored)
    assert np.array_equal(engine.run(image, mask).image, restored)
    assert np.array_equal(engine(photo, mask > 127), restored)
    alpha = np.dstack((photo, mask))
    assert np.array_equal(engine(alpha, mask), np.dstack((restored, mask)))


def test_an_empty_mask_gives_a_copy_without_inference(
    engine: RestoreEngine, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRunner, "infer", lambda *_: pytest.fail("the model ran"))
    empty = np.zeros((256, 256), np.uint8)
    for result in (engine(photo, empty), engine.run(photo, empty).image, engine.restore_batch([photo], [empty])[0]):
        assert np.array_equal(result, photo)
        assert not np.shares_memory(result, photo)
    run = engine.run(photo, empty)
    assert run.crops == ()
    assert not run.edges.any()


def test_options_are_one_object_or_keywords(
    engine: RestoreEngine, photo: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    wide = RestoreOptions(dilate=5, feather=2)
    expected = engine.restore(photo, mask, dilate=5, feather=2)
    for result in (
        engine(photo, mask, wide),
        engine.restore(photo, mask, RestoreOptions(dilate=9), dilate=5, feather=2),
        engine.run(photo, mask, wide).image,
        engine.restore_batch([photo], [mask], wide)[0],
        next(engine.stream([(photo, mask)], wide)),
    ):
        assert np.array_equal(result, expected)
    with pytest.raises(InputError, match="options is 'bgr'"):
        engine(photo, mask, "bgr")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dilated"):
        engine(photo, mask, dilated=5)  # type: ignore[call-arg]


def test_bad_batches(engine: RestoreEngine, photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    with pytest.raises(ShapeError, match="2 images but 1 masks"):
        engine.restore_batch([photo, photo], [mask])
    with pytest.raises(ShapeError, match="item 6: the mask is"):
        engine.restore_batch([photo] * 9, [mask] * 6 + [mask[:9]] + [mask] * 2)


def test_streams_are_lazy_ordered_and_bounded(
    toy_bundle: Bundle, photo: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    with RestoreEngine(toy_bundle, slots=2) as engine:
        read = 0

        def endless() -> object:
            nonlocal read
            while True:
                picture = photo.copy()
                picture[0, 0] = read % 256
                read += 1
                yield picture, mask

        stream = engine.stream(endless())  # type: ignore[arg-type]
        for index in range(30):
            assert (next(stream)[0, 0] == index).all()
            assert read <= index + 8
        stream.close()  # type: ignore[attr-defined]
        assert read < 45


def test_an_error_in_a_stream_comes_in_its_place(
    engine: RestoreEngine, photo: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    stream = engine.stream([(photo, mask), (photo, mask), (photo, mask[:1]), (photo, mask)])
    assert np.array_equal(next(stream), next(stream))
    with pytest.raises(ShapeError, match="item 2"):
        next(stream)
    assert list(stream) == []


def test_closing(toy_bundle: Bundle, photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    with pytest.raises(KeyError, match="mine"), RestoreEngine(toy_bundle) as engine:
        raise KeyError("mine")  # the caller's exception survives the with block
    engine.close()
    for use in (
        lambda: engine(photo, mask),
        lambda: engine.run(photo, mask),
        lambda: engine.restore_batch([photo], [mask]),
        lambda: list(engine.stream([(photo, mask)])),
        engine.warmup,
        engine.info,
        engine.__enter__,
    ):
        with pytest.raises(ClosedError):
            use()


def test_warmup_and_info(toy_bundle: Bundle) -> None:
    for bundle in (toy_bundle, toy_bundle.path, str(toy_bundle.path)):
        with RestoreEngine(bundle, slots=3, threads=1) as engine:
            assert engine.warmup() > 0
            info = engine.info()
        about = {
            "version": restore_sdk.__version__,
            "asked": "auto",
            "runtime": "onnxruntime",
            "slots": 3,
            "threads": 1,
        }
        assert info.items() >= {**about, "runtime_version": onnxruntime.__version__}.items()
        assert info["providers"] == ["CPUExecutionProvider"]
        assert (info["bundle"]["name"], info["bundle"]["path"]) == ("toy", str(toy_bundle.path))


def test_the_choice_of_auto_is_logged_once(
    toy_bundle: Bundle, photo: NDArray[np.uint8], mask: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="restore_sdk"), RestoreEngine(toy_bundle) as engine:
        engine(photo, mask)
        engine(photo, mask)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "onnxruntime" in caplog.text
    assert "toy 1.0" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"runtime": "opencl"}, InputError),
        ({"runtime": None}, InputError),
        ({"slots": 0}, InputError),
        ({"slots": 1.5}, InputError),
        ({"slots": True}, InputError),
        ({"threads": 0}, InputError),
        ({"threads": -1}, InputError),
        ({"device": 1}, DeviceError),
        ({"device": 1, "runtime": "onnxruntime"}, DeviceError),
        ({"device": 1, "runtime": "openvino"}, DeviceError),
        ({"bundle": "/nowhere"}, BundleError),
    ],
)
def test_arguments_that_are_refused(toy_bundle: Bundle, arguments: dict[str, object], kind: type[RestoreError]) -> None:
    with pytest.raises(kind):
        RestoreEngine(**({"bundle": toy_bundle} | arguments))  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_are_whole_numbers(toy_bundle: Bundle, photo: NDArray[np.uint8]) -> None:
    mask = np.zeros(photo.shape[:2], bool)
    mask[50:80, 50:80] = True
    with RestoreEngine(toy_bundle, slots=np.uint8(1), threads=np.int64(1)) as engine:
        narrow = engine.restore(photo, mask, dilate=np.uint8(200), max_crops=np.int32(3))
        assert np.array_equal(narrow, engine.restore(photo, mask, dilate=200, max_crops=3))
        for wrong in (np.bool_(True), np.float32(1), np.int8(-1), np.timedelta64(5), np.timedelta64(5, "D"), "1"):
            with pytest.raises(InputError, match="dilate is"):
                engine.restore(photo, mask, dilate=wrong)


def test_tensorrt_by_name_never_falls_back(toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver no package helps: that comes first, and none is imported."""
    for name in ("tensorrt", "pycuda"):
        (tmp_path / f"{name}.py").write_text("raise SystemError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("restore_sdk.engines.driver.ctypes.CDLL", Mock(side_effect=OSError("cannot open")))
    with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        RestoreEngine(toy_bundle, runtime="tensorrt")
    assert "onnxruntime" in caught.value.hint
