"""The golden vectors on fresh engines: the real runtime and pycuda, on the doubles of driver and TensorRT."""

from typing import Any

import pytest

from tests.engines.conftest import on_double

CODE = """
import json
from pathlib import Path
from restore_sdk.engines import chain
from restore_sdk.engines.builder import Built
from restore_sdk.engines.driver import find_gpu
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.plan import BuildPlan
from restore_sdk.runtime.tensorrt import validate
from restore_sdk.engines.recipe import recipe_for_device
from restore_sdk.bundle import Bundle
from restore_sdk.errors import DriftError, OutOfMemoryError
from restore_sdk.engines.store import EngineStore
from tests.cuda_double.stages import make_module, make_plan
from tests.toy_bundle import golden_vectors, write_toy_bundle

chain.build_stage = lambda trt, graph, stage, recipe, **_: Built(make_plan(graph), (), {"float16": 1}, {})
folder, seen = Path(sys.argv[1]), {}
golden = golden_vectors()
golden["restored"] = golden["restored"] ^ 16
with doubles.pycuda_importable():
    module = make_module(double)
    plan = BuildPlan(recipe_for_device("tensorrt", "8.6"), TensorRT(module, "tensorrt", module.__version__), find_gpu())
    before = double.counters().living
    for name, bundle in (
        ("valid", write_toy_bundle(folder / "valid")),
        ("drifting", write_toy_bundle(folder / "drifting", golden=golden)),
    ):
        store = EngineStore(folder / f"{name} store")
        try:
            outcomes = chain.build_chain(bundle, plan, store, validate=validate)
            seen[name] = [[one.sidecar.verified, dict(one.sidecar.verification)] for one in outcomes]
        except DriftError as error:
            seen[name] = str(error)
        seen[name + " files"] = sorted(path.suffix for path in store.root.glob("[!.]*"))
    double.reset(memory=double.counters().device_bytes + (1 << 20))
    store = EngineStore(folder / "full")
    try:
        chain.build_chain(Bundle.load(folder / "valid"), plan, store, validate=validate)
    except OutOfMemoryError as error:
        seen["full"] = str(error)
    seen["full files"] = sorted(path.suffix for path in store.root.glob("[!.]*"))
    seen["freed"] = double.counters().living == before
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = on_double(CODE, tmp_path_factory.mktemp("validation"))
    return found


def test_engines_that_compute_what_the_reference_did_are_published(seen: dict[str, Any]) -> None:
    assert seen["valid files"] == [".json", ".json", ".plan", ".plan"]
    for verified, verification in seen["valid"]:
        assert verified
        assert verification["status"] == "passed"
        assert verification["images"] == 2
        assert verification["restored"] == {
            "pooled_db": None,
            "worst_db": None,
            "worst_picture": 0,
        }  # equal to the last bit
        assert "double" in verification["device"]


def test_engines_that_drift_are_not(seen: dict[str, Any]) -> None:
    assert "restored is" in seen["drifting"]
    assert seen["drifting files"] == []


def test_engines_that_find_no_room_on_the_device_are_not_published(seen: dict[str, Any]) -> None:
    assert "MiB of GPU memory are free" in seen["full"]
    assert seen["full files"] == []


def test_nothing_is_left_on_the_device(seen: dict[str, Any]) -> None:
    assert seen["freed"]
