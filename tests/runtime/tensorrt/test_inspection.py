"""What a build reads back from the engine that it built, on the doubles of driver and TensorRT."""

from __future__ import annotations

from types import ModuleType

import pytest

from restore_sdk.engines.driver import current, find_gpu
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.precision import inspect
from restore_sdk.engines.trtlog import capture, logger
from restore_sdk.errors import BuildError, BuildPrecisionError
from tests.cuda_double.double import Double
from tests.cuda_double.stages import make_plan
from tests.toy_bundle import edge_graph


def read_back(module: ModuleType, plan: bytes) -> tuple[dict[str, int], int]:
    trt = TensorRT(module, "tensorrt", module.__version__)
    with current(find_gpu()), capture() as log:
        return inspect(trt, plan, logger(module), "edge", log)


def test_precision_and_scratch_memory(trt: ModuleType, double: Double) -> None:
    layers = (("CaskConvolution", "Half"), ("Reduce", "Row major linear FP32"), ("NoOp", "UInt8"))
    before = double.counters().living
    plan = make_plan(edge_graph(), max_batch=2, scratch=300_000, layers=layers)
    assert read_back(trt, plan) == ({"float16": 1, "float32": 1}, 600_000)
    assert double.counters().living == before, "the engine is freed while its context is current"


def test_an_engine_that_was_built_in_fp32(trt: ModuleType) -> None:
    with pytest.raises(BuildPrecisionError, match="'layer 0' in FP32"):
        read_back(trt, make_plan(edge_graph(), layers=(("CaskConvolution", "Row major linear FP32"),)))


def test_an_engine_that_does_not_load(trt: ModuleType) -> None:
    with pytest.raises(BuildError, match=r"stage edge \(it was built, and does not load\): .*magicTag") as caught:
        read_back(trt, b"garbage")
    assert "doctor" in caught.value.hint


def test_a_version_compatible_engine(trt: ModuleType) -> None:
    assert read_back(trt, make_plan(edge_graph(), host_code=True))[0] == {"float16": 1}
