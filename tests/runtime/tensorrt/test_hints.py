"""What errors about engines tell to do mends the very engine that is meant."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import numpy as np
import pytest

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle, StageFiles
from restore_sdk.engines.sidecar import Host
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import DeviceError, EngineError, ExecutionError
from restore_sdk.runtime.tensorrt import open_tensorrt
from tests.cuda_double.stages import make_plan
from tests.runtime.tensorrt.conftest import plans, publish
from tests.toy_bundle import edge_graph, repair_graph, write_toy_bundle


def command(error: EngineError | ExecutionError) -> list[str]:
    words = shlex.split(error.hint.partition(": ")[2].partition(";")[0])
    assert words[:2] == ["restore-sdk", "build"]
    return words


def test_a_plan_that_does_not_load(store: EngineStore, toy_bundle: Bundle, trt: ModuleType) -> None:
    publish(store, toy_bundle, (b"garbage", plans(toy_bundle)[1]))
    with pytest.raises(EngineError, match="magicTag") as caught:
        open_tensorrt(toy_bundle)
    words = command(caught.value)
    assert words[2:] == ["--edition", "tensorrt", "--force", "--bundle", str(toy_bundle.path)]


def test_a_warm_up_that_gives_nonsense(store: EngineStore, toy_bundle: Bundle, trt: ModuleType) -> None:
    constant = repair_graph().replace(np.float32(255).tobytes(), np.float32(0).tobytes())  # clips to black
    publish(store, toy_bundle, (plans(toy_bundle)[0], make_plan(constant)))
    with pytest.raises(ExecutionError, match="the warm-up gave") as caught:
        open_tensorrt(toy_bundle)
    assert str(toy_bundle.path) in command(caught.value)


def test_the_device_is_named(store: EngineStore, toy_bundle: Bundle) -> None:
    publish(store, toy_bundle, plans(toy_bundle))
    host = Host("tensorrt", "99.0", "8.6", "somewhere", index=3)
    with pytest.raises(EngineError) as caught:
        store.find(toy_bundle, "edge", host)
    assert "--device 3" in caught.value.hint
    assert host == replace(host, index=0), "which device it is decides nothing else"
    with pytest.raises(EngineError) as missing:
        EngineStore(store.root / "other").find(toy_bundle, "edge", host)
    assert "--device 3" in missing.value.hint


def test_a_tensorrt_that_does_not_start(
    built: object, toy_bundle: Bundle, trt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "Runtime", Mock(side_effect=TypeError("pybind11::init(): factory returned nullptr")))
    with pytest.raises(DeviceError, match=r"does not start.*nullptr") as caught:
        open_tensorrt(toy_bundle)
    assert "driver" in caught.value.hint


@pytest.fixture
def sibling(tmp_path: Path) -> Bundle:
    """Another model that shares the edge stage."""
    other = repair_graph().replace(b"toy_repair", b"two_repair")
    return write_toy_bundle(tmp_path / "sibling", repair=StageFiles("repair", other, other, 0, 0))


def test_auto_is_not_alarmed_by_the_engine_of_a_shared_stage(
    store: EngineStore, toy_bundle: Bundle, sibling: Bundle, trt: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store, toy_bundle, plans(toy_bundle))
    with caplog.at_level(logging.WARNING, logger="restore_sdk"), RestoreEngine(sibling) as engine:
        info = engine.info()
    assert info["runtime"] == "onnxruntime"
    assert "tensorrt: no built engine of stage repair" in info["reason"]
    assert caplog.text == ""
    engines = publish(store, sibling, (make_plan(edge_graph()), make_plan(repair_graph())))
    with RestoreEngine(sibling) as engine:
        assert engine.info()["runtime"] == "tensorrt_double"
    (store.root / engines[1].sidecar.file).write_text("{}")
    with caplog.at_level(logging.WARNING, logger="restore_sdk"), RestoreEngine(sibling) as engine:
        assert engine.info()["runtime"] == "onnxruntime"
    assert "is not valid" in caplog.text, "an engine that was built for it"
