"""From the engine store to restored pictures: which engines are loaded, which are refused, what the commands say."""

from __future__ import annotations

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from export.writing import StageFiles
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli.main import main
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import DeviceError, DriftError, EngineError, OutOfMemoryError, RestoreError
from restore_sdk.runtime.golden import require_golden
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner, open_tensorrt
from tests.conftest import make_pairs
from tests.cuda_double.double import Double
from tests.cuda_double.stages import make_module, make_plan, session_of
from tests.gpu import test_gpu
from tests.runtime.tensorrt.conftest import plans, publish, requests, same
from tests.toy_bundle import edge_graph, repair_graph, write_toy_bundle


@pytest.mark.parametrize("slots", [1, 2])
def test_the_engine_gives_what_it_gives_on_onnx_runtime(
    store: EngineStore, toy_bundle: Bundle, trt: ModuleType, slots: int
) -> None:
    publish(store, toy_bundle, plans(toy_bundle))
    work = make_pairs(9)
    with RestoreEngine(toy_bundle, runtime="onnxruntime", threads=1) as engine:
        expected = [engine(*pair) for pair in work]
    before = trt.control.double.counters().living
    with RestoreEngine(toy_bundle, runtime="tensorrt", slots=slots) as engine:
        engine.warmup()
        one_by_one = [engine(*pair) for pair in work]
        streamed = list(engine.stream(work))
        batched = engine.restore_batch(*zip(*work, strict=True))
        with ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(lambda pair: engine(*pair), work))
        run = engine.run(*work[0])
        info = engine.info()
    assert trt.control.double.counters().living == before
    for results in (one_by_one, streamed, batched, parallel):
        assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))
    assert np.array_equal(run.image, expected[0])
    assert run.timings.edge_ms > 0
    assert (info["runtime"], info["reason"]) == ("tensorrt_double", "asked for by name")


@pytest.mark.slow
def test_the_shipped_model_equals_onnx_runtime(trt: ModuleType) -> None:
    """Its FP16 graphs on the doubles, against the same graphs in ONNX Runtime directly; the golden gate passes."""
    bundle = Bundle.load()
    images, masks = requests(1)[0]
    (completed,) = session_of(bundle.read(bundle.file("edge", "fp16"))).run(
        ["completed_edges"], {"image": images, "mask": masks}
    )
    (restored,) = session_of(bundle.read(bundle.file("repair", "fp16"))).run(
        ["restored"], {"image": images, "mask": masks, "completed_edges": completed}
    )
    runner = TensorRtRunner(bundle, *plans(bundle, max_batch=1), trt)
    try:
        result = runner.infer(images, masks)
        assert np.array_equal(result.completed_edges, completed)
        assert np.array_equal(result.restored, restored)
        assert require_golden(runner, bundle)["images"] > 0
    finally:
        runner.close()


def test_a_driver_too_old_for_this_tensorrt(
    store: EngineStore, toy_bundle: Bundle, trt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found before an object of TensorRT is made: the real one ends the process, or speaks of CUDA error 35."""
    publish(store, toy_bundle, plans(toy_bundle), edition="tensorrt_rtx")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", trt)
    monkeypatch.setattr("restore_sdk.engines.edition._cuda_major", lambda *_: "14")
    made = trt.control.double.counters().allocations
    with pytest.raises(DeviceError, match=r"is for CUDA 14, the driver of .* serves CUDA up to 13\.0") as caught:
        open_tensorrt(toy_bundle, "tensorrt_rtx")
    assert "tensorrt-rtx-cu13" in caught.value.hint
    assert trt.control.double.counters().allocations == made


def test_an_engine_that_drifts_is_refused(tmp_path: Path, store: EngineStore, trt: ModuleType, double: Double) -> None:
    """An engine of the right form, the right graph by its sidecar, that computes something else."""
    bundle = write_toy_bundle(tmp_path / "bundle")
    other = repair_graph().replace(np.float32(1.0).tobytes(), np.float32(1.25).tobytes())  # a darker mean colour
    publish(store, bundle, (make_plan(edge_graph()), make_plan(other)))
    before = double.counters().living
    with pytest.raises(DriftError, match=r"restored is \d.* dB") as caught:
        RestoreEngine(bundle, runtime="tensorrt")
    assert f"build it again: restore-sdk build --edition tensorrt --force --bundle {bundle.path}" in caught.value.hint
    assert double.counters().living == before


@pytest.mark.parametrize("change", [{"compute_capabilities": ("9.0",)}, None], ids=["another GPU", "altered"])
def test_what_does_not_fit_never_reaches_tensorrt(
    store: EngineStore, toy_bundle: Bundle, trt: ModuleType, double: Double, change: dict[str, Any] | None
) -> None:
    edge, _ = publish(store, toy_bundle, plans(toy_bundle), **(change or {}))
    if change is None:
        edge.path.write_bytes(edge.plan[:-1] + b"!")
    before = double.counters().allocations
    with pytest.raises(EngineError) as caught:
        RestoreEngine(toy_bundle, runtime="tensorrt")
    assert "restore-sdk build" in caught.value.hint
    assert double.counters().allocations == before


def test_auto_takes_the_edition_that_fits(
    store: EngineStore, toy_bundle: Bundle, trt: ModuleType, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both editions are installed, engines are there for both, those of the first do not fit this GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", make_module(double, "tensorrt_rtx_double"))
    publish(store, toy_bundle, plans(toy_bundle), compute_capabilities=("9.0",))
    publish(store, toy_bundle, plans(toy_bundle), edition="tensorrt_rtx")
    with RestoreEngine(toy_bundle) as engine:
        assert engine.info()["runtime"] == "tensorrt_rtx_double"
    with RestoreEngine(toy_bundle, runtime="tensorrt_rtx") as engine:
        assert engine.info()["runtime"] == "tensorrt_rtx_double"
    with pytest.raises(EngineError):
        RestoreEngine(toy_bundle, runtime="tensorrt")


def test_rtx_compiles_at_once_and_once_for_all_contexts(
    toy_bundle: Bundle, double: Double, reference: OnnxRunner
) -> None:
    """Else its results change while a thread of its own goes on compiling."""
    module = make_module(double, "tensorrt_rtx_double")
    before = double.counters().living
    (request,) = requests(1)
    runner = TensorRtRunner(toy_bundle, *plans(toy_bundle), module, slots=2)
    try:
        assert same(runner.infer(*request), reference.infer(*request))
    finally:
        runner.close()
    configs = module.control.configs
    assert len(configs) == 2 * 2, "two stages a slot"
    assert {config.dynamic_shapes_kernel_specialization_strategy.name for config in configs} == {"EAGER"}
    assert len({id(config.cache) for config in configs}) == 2, "one a stage"
    assert double.counters().living == before
    assert module.control.violations == []
    module.control.refuse = ("set_runtime_cache",)
    with pytest.raises(EngineError, match="its cache of kernels is refused"):
        TensorRtRunner(toy_bundle, *plans(toy_bundle), module)
    assert double.counters().living == before


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        ({"init": 100}, DeviceError, "cannot be used"),
        ({"memory": 4096}, OutOfMemoryError, "cannot be used"),
        ({"capability": "12.0"}, EngineError, "cannot be used"),
        ({}, EngineError, "others can write"),  # copied by somebody whose group may write
    ],
    ids=str,
)
def test_auto_says_why_a_built_engine_is_not_used(
    store: EngineStore, toy_bundle: Bundle, built: list[StoredEngine], double: Double,
    caplog: pytest.LogCaptureFixture, trouble: dict[str, Any], kind: type[RestoreError], said: str,
) -> None:  # fmt: skip
    if "memory" in trouble:
        trouble = {"memory": double.counters().device_bytes + trouble["memory"]}
    double.reset(**trouble)
    if not trouble:
        (store.root / built[0].sidecar.file).chmod(0o664)
    with caplog.at_level(logging.WARNING, logger="restore_sdk"), RestoreEngine(toy_bundle) as engine:
        info = engine.info()
    assert info["runtime"] == "onnxruntime"
    assert ("tensorrt" if trouble else said) in info["reason"]
    assert said in caplog.text
    with pytest.raises(kind):
        RestoreEngine(toy_bundle, runtime="tensorrt")


def test_auto_without_engines_touches_no_driver(
    store: EngineStore, toy_bundle: Bundle, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restore_sdk.engines.driver.load_driver", lambda *_: pytest.fail("the driver was asked"))
    with RestoreEngine(toy_bundle) as engine:
        assert engine.info()["runtime"] == "onnxruntime"
        assert "no built engine" in engine.info()["reason"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_verify(built: object, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys, "verify", "--runtime", "tensorrt", "--bundle", str(toy_bundle.path))
    assert (code, report["passed"], report["runtime"]) == (0, True, "tensorrt_double")
    assert report["min_psnr_db"] == 55.0, "half precision has a gate of its own"


def test_bench(built: object, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--runtime", "tensorrt", "--bundle", str(toy_bundle.path), "--requests", "4", "--batch", "9")
    code, report = run(capsys, "bench", *arguments)
    assert code == 0
    (entry,) = report["runs"]
    assert (report["batch"], entry["runtime"]["max_batch"]) == (9, 4), "in as many runs as they need: 4, 4 and 1"
    stages = entry["figures"]["stages"]
    assert set(stages["parts"]) == {"edge", "repair", "upload", "download", "compute"}
    assert stages["parts"]["compute"]["p50"] < stages["ms"]["p50"]
    assert entry["runtime"]["device_memory_bytes"] > 0
    assert [engine["stage"] for engine in entry["runtime"]["engines"]] == ["edge", "repair"]
    assert all(engine["plan_bytes"] > 0 for engine in entry["runtime"]["engines"])


def test_no_engine_is_an_exit_code_of_its_own(
    store: EngineStore, toy_bundle: Bundle, trt: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = run(capsys, "verify", "--runtime", "tensorrt", "--bundle", str(toy_bundle.path))
    assert code == 4
    assert "restore-sdk build" in report["error"]["hint"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_scripts_of_the_gpu_suite(
    built: object, toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody runs them where this is developed, so they run on the doubles, lest they fail on the GPU they are for."""
    monkeypatch.setattr(Bundle, "load", classmethod(lambda cls: toy_bundle))
    monkeypatch.setattr("sys.argv", ["script", "tensorrt", "after"])
    torch = ModuleType("torch")  # on this host's processor: the order of events is what is tried out here
    torch.ones = lambda size, device: np.ones(size, np.float64)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    for script in (
        test_gpu._PROBE,
        test_gpu._SERVED,
        test_gpu._TORCH,
        test_gpu._SERVE.replace("range(100)", "range(3)"),
    ):
        exec(compile(script, "script", "exec"), {})
    device, found = capsys.readouterr().out.splitlines()
    assert "driver double" in device
    assert json.loads(found) == {
        **{"requests": 50, "differing_from_serial": 0, "batch_worst_db": 999.0, "known_pixels_equal": True},
        **{"forked_child_is_told": True, "lost_bytes": 0},
    }


def test_a_tensorrt_that_does_not_start(
    built: object, toy_bundle: Bundle, trt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "Runtime", Mock(side_effect=TypeError("pybind11::init(): factory returned nullptr")))
    with pytest.raises(DeviceError, match=r"does not start.*nullptr") as caught:
        open_tensorrt(toy_bundle)
    assert "driver" in caught.value.hint


def test_auto_is_not_alarmed_by_the_engine_of_a_shared_stage(
    tmp_path: Path, store: EngineStore, toy_bundle: Bundle, trt: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    other = repair_graph().replace(b"toy_repair", b"two_repair")
    sibling = write_toy_bundle(tmp_path / "sibling", repair=StageFiles("repair", other, other, 0, 0))
    publish(store, toy_bundle, plans(toy_bundle))
    with caplog.at_level(logging.WARNING, logger="restore_sdk"), RestoreEngine(sibling) as engine:
        assert engine.info()["runtime"] == "onnxruntime"
        assert "no built engine of this model" in engine.info()["reason"]
    assert caplog.text == ""
    publish(store, sibling, plans(sibling))
    with RestoreEngine(sibling) as engine:
        assert engine.info()["runtime"] == "tensorrt_double"
