"""Fixtures: the doubles in place, plans of the toy bundle, runners that must leave nothing behind."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner
from tests.cuda_double import double as doubles
from tests.cuda_double.double import Double
from tests.cuda_double.stages import VERSION, make_module, make_plan
from tests.engines.conftest import made_up

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture
def double(loaded_double: Double) -> Iterator[Double]:
    """The driver double, with the real pycuda importable; the test must leave every context popped."""
    loaded_double.reset()
    made = loaded_double.counters().contexts_made
    with doubles.pycuda_importable():
        yield loaded_double
    assert loaded_double.depth() == 0, "a context was left current in this thread"
    assert loaded_double.counters().contexts_made == made, "a context was made; only the primary one is to be used"
    loaded_double.hide()


@pytest.fixture
def trt(double: Double, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The stage double in the place of ``tensorrt``."""
    module = make_module(double)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    yield module
    assert module.control.violations == []


Open = Callable[..., Any]


@pytest.fixture
def open_runner(toy_bundle: Bundle, trt: ModuleType) -> Open:
    """A context manager that opens a runner on the toy bundle, closes it, and checks that nothing is left."""

    @contextmanager
    def opened(bundle: Bundle = toy_bundle, *, max_batch: int = 4, **options: Any) -> Iterator[TensorRtRunner]:
        gc.collect()  # what a failed test before this one left in its traceback
        before = trt.control.double.counters().living
        runner = TensorRtRunner(bundle, *plans(bundle, max_batch=max_batch), trt, **options)
        try:
            yield runner
        finally:
            runner.close()
        assert trt.control.double.counters().living == before, "something was not freed"

    return opened


def plans(bundle: Bundle, **options: Any) -> tuple[bytes, bytes]:
    """Plans of both stages."""
    edge, repair = (make_plan(bundle.read(bundle.file(spec.name, "fp16")), **options) for spec in bundle.stages)
    return edge, repair


def requests(count: int, batch: int = 1, seed: int = 0) -> list[Batch]:
    """Different requests, so that an exchanged or stale result shows."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        images = rng.integers(0, 256, (batch, 256, 256, 3), dtype=np.uint8)
        images[:, :, : 8 + index % 64] //= 2
        masks = np.zeros((batch, 256, 256), np.uint8)
        masks[:, 20 + index % 90 : 120, 30:200] = 255
        made.append((images, masks))
    return made


@pytest.fixture(scope="session")
def reference(toy_bundle: Bundle) -> Iterator[OnnxRunner]:
    """The toy bundle on ONNX Runtime: what every result must be equal to, byte for byte."""
    runner = OnnxRunner(toy_bundle, slots=1, threads=1)
    yield runner
    runner.close()


def same(left: Any, right: Any) -> bool:
    return np.array_equal(left.restored, right.restored) and np.array_equal(left.completed_edges, right.completed_edges)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineStore:
    """An empty store, the one that the SDK finds."""
    monkeypatch.setenv("RESTORE_SDK_STORE", str(tmp_path / "store"))
    return EngineStore()


@pytest.fixture
def built(store: EngineStore, toy_bundle: Bundle, trt: ModuleType) -> list[StoredEngine]:
    """Engines of the toy bundle in it."""
    return publish(store, toy_bundle, plans(toy_bundle))


def publish(store: EngineStore, bundle: Bundle, built: tuple[bytes, bytes], **changes: Any) -> list[StoredEngine]:
    """Put plans into the store as a build would."""
    here = {"edition": "tensorrt", "version": VERSION, "hardware": "capability", "device_name": ""}
    stages = zip(bundle.stages, built, strict=True)
    return [store.publish(plan, made_up(bundle, spec.name, plan, **(here | changes))) for spec, plan in stages]
