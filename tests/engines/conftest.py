"""What the builder's tests share: TensorRT for RTX, the shipped model, small FP16 graphs, a made-up plan."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper

from export.writing import StageFiles
from restore_sdk.bundle import DEFAULT_BUNDLE, Bundle
from restore_sdk.engines import chain
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT, load
from restore_sdk.engines.recipe import Recipe, load_recipe
from restore_sdk.engines.sidecar import Sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import DeviceError
from tests.needs import unavailable
from tests.toy_bundle import IMAGE, MAP, edge_graph, repair_graph, write_toy_bundle

#: A host that the made-up engines fit.
TRT = TensorRT(None, "tensorrt", "10.16.1.11")
GPU = DeviceFacts(0, "NVIDIA A10", "8.6", 24 << 30, "13.0")
HOST = TRT, GPU


#: Bytes that pass for a plan.
PLAN = b"ftrt" + bytes(500)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every host: no GPU is found, unless a test makes one up."""

    def find(index: int = 0) -> None:
        raise DeviceError(f"no GPU {index} in this test", "restore-sdk build --target any-rtx")

    monkeypatch.setattr(chain, "device_facts", find)


@pytest.fixture(scope="session")
def rtx() -> TensorRT:
    """The real TensorRT for RTX, which builds without a GPU."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        unavailable("tensorrt-rtx-cu13 is not installed")
    return load("tensorrt_rtx")


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    """The model in the package."""
    if not (DEFAULT_BUNDLE / "manifest.json").exists():
        unavailable("this checkout holds no default bundle")
    return Bundle.load()


@pytest.fixture(scope="session")
def half_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose FP16 graphs build in tenths of a second."""
    return write_half_bundle(tmp_path_factory.mktemp("bundles") / "half")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    """An empty store."""
    return EngineStore(tmp_path / "store")


@pytest.fixture
def stored(store: EngineStore, half_bundle: Bundle) -> StoredEngine:
    """An engine in it."""
    return store.publish(PLAN, made_up(half_bundle))


def write_half_bundle(path: Path, *, edge: bytes | None = None, **changes: Any) -> Bundle:
    parts: dict[str, Any] = {
        "name": "half",
        "edge": StageFiles("edge", edge_graph(), edge or half_graph("edge"), parameters=1, macs=1),
        "repair": StageFiles("repair", repair_graph(), half_graph("repair"), parameters=1, macs=1),
    }
    return write_toy_bundle(path, **parts | changes)


def half_graph(stage: str, *, compute: int = TensorProto.FLOAT16, operator: str = "Mul", mixed: bool = False) -> bytes:
    """A stage that multiplies in half precision; ``compute``, ``operator`` and ``mixed`` spoil it."""
    third, output = ("mask", "completed_edges") if stage == "edge" else ("completed_edges", "restored")
    shapes = {"image": IMAGE, "mask": MAP, third: MAP}
    nodes = [helper.make_node("Cast", [name], [f"{name}_h"], to=compute, name=f"cast_{name}") for name in shapes]
    if mixed:
        nodes[1] = helper.make_node("Cast", ["mask"], ["mask_h"], to=TensorProto.FLOAT, name="cast_mask")
    nodes += [
        helper.make_node(operator, ["mask_h", f"{third}_h"], ["maps"], name="maps"),
        helper.make_node("Unsqueeze", ["maps", "last"], ["maps_4d"], name="maps_4d"),
        helper.make_node("Add", ["image_h", "maps_4d"], ["sum"], name="sum"),
    ]
    if stage == "edge":
        nodes += [helper.make_node("ReduceMean", ["sum", "last"], ["result"], keepdims=0, name="mean")]
    else:
        nodes += [helper.make_node("Identity", ["sum"], ["result"], name="same")]
    nodes += [helper.make_node("Cast", ["result"], [output], to=TensorProto.UINT8, name="out")]
    graph = helper.make_graph(
        nodes,
        f"half_{stage}",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(output, TensorProto.UINT8, MAP if stage == "edge" else IMAGE)],
        [numpy_helper.from_array(np.array([3], np.int64), "last")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()


def rtx_recipe(*capabilities: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {"workspace_mib": 512, "hardware": "capability", **changes}
    return Recipe("test", "of the tests", "tensorrt_rtx", capabilities or ("8.6",), **values)


def made_up(bundle: Bundle, stage: str = "edge", plan: bytes = PLAN, **changes: Any) -> Sidecar:
    """The sidecar of a plan that no TensorRT ever saw; ``changes`` replace fields of its key."""
    key = chain.BuildPlan(load_recipe("a10"), TRT, GPU).key(bundle, stage)
    return Sidecar(
        key=replace(key, **changes),
        target="a10",
        bundle=bundle.name,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        precision={"float16": 3},
        validation={},
        build={"seconds": 0.25, "log": ["INFO: made up"]},
        created="2026-01-01T00:00:00+00:00",
    )
