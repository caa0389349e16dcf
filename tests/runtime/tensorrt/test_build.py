"""Building on the driver double: the context that is current, and validation before anything is published."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.engines import chain
from restore_sdk.engines.builder import Built
from restore_sdk.engines.driver import current, device_facts
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.recipe import recipe_for_device
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import DeviceError, DriftError, OutOfMemoryError
from restore_sdk.runtime.tensorrt import validate
from tests.cuda_double.double import OUT_OF_MEMORY, Double
from tests.cuda_double.stages import VERSION, make_plan
from tests.toy_bundle import golden_vectors, write_toy_bundle


def test_the_context_is_current_while_it_builds_and_only_then(double: Double) -> None:
    gpu = device_facts()
    assert (gpu.compute_capability, double.depth()) == ("8.6", 0)
    with current(gpu):
        assert double.depth() == 1
    with pytest.raises(ValueError, match="mine"), current(gpu):
        raise ValueError("mine")
    assert double.depth() == 0
    double.fail("cuDevicePrimaryCtxRetain", OUT_OF_MEMORY)
    with pytest.raises(DeviceError, match="cuDevicePrimaryCtxRetain: out of memory"), current(gpu):
        pass


@pytest.fixture
def plan(trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> chain.BuildPlan:
    """A build for the double, whose plans are its own."""
    monkeypatch.setattr(
        chain, "build_stage", lambda trt, graph, stage, recipe, **_: Built(make_plan(graph), {"float16": 1}, {})
    )
    return chain.BuildPlan(recipe_for_device("tensorrt", "8.6"), TensorRT(trt, "tensorrt", VERSION), device_facts())


def suffixes(store: EngineStore) -> list[str]:
    return sorted(path.suffix for path in store.root.glob("[!.]*"))


def test_engines_that_compute_what_the_reference_did_are_published(
    plan: chain.BuildPlan, store: EngineStore, toy_bundle: Bundle, double: Double
) -> None:
    before = double.counters().living
    for outcome in chain.build_chain(toy_bundle, plan, store, validate=validate):
        found = outcome.sidecar.validation
        assert found["images"] == 2
        assert found["restored"] == {"pooled_db": None, "worst_db": None, "worst_picture": 0}  # equal to the last bit
        assert "double" in found["device"]
    assert suffixes(store) == [".json", ".json", ".plan", ".plan"]
    assert double.counters().living == before


def test_engines_that_drift_or_find_no_memory_are_not(
    plan: chain.BuildPlan, store: EngineStore, toy_bundle: Bundle, double: Double, tmp_path: Path
) -> None:
    golden = golden_vectors()
    golden["restored"] = golden["restored"] ^ 16
    before = double.counters().living
    with pytest.raises(DriftError, match="restored is"):
        chain.build_chain(write_toy_bundle(tmp_path / "drifting", golden=golden), plan, store, validate=validate)
    double.reset(memory=double.counters().device_bytes + (1 << 20))
    with pytest.raises(OutOfMemoryError, match="memory"):
        chain.build_chain(toy_bundle, plan, store, validate=validate)
    assert suffixes(store) == []
    assert double.counters().living == before
