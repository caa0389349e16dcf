"""The small parts: log, configuration, the wording of failures, the driver, validation."""

import logging
import threading
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace as changed

from restore_sdk.engines import trtlog
from restore_sdk.engines.builder import configure
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.network import failure
from restore_sdk.engines.recipe import load_recipe
from tests.child import python
from tests.engines.conftest import on_double


class TestLog:
    def test_into_logging_and_kept(self, rtx: TensorRT, caplog: pytest.LogCaptureFixture) -> None:
        module, log = rtx.module, trtlog.logger(rtx.module)
        caplog.set_level(logging.DEBUG, "restore_sdk.tensorrt")
        with trtlog.capture() as kept:
            for severity in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"):
                log.log(getattr(module.ILogger, severity), f"a {severity}")
        log.log(module.ILogger.ERROR, "after")
        assert list(kept.lines) == [(name, f"a {name}") for name in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO")]
        assert kept.errors == ["a INTERNAL_ERROR", "a ERROR"]
        assert kept.lines[-1] == ("INFO", "a INFO")
        levels = [record.levelname for record in caplog.records]
        assert levels == ["ERROR", "ERROR", "WARNING", "DEBUG", "ERROR"]

    def test_lines_of_other_threads_can_be_left_out(self, rtx: TensorRT) -> None:
        log = trtlog.logger(rtx.module)
        with trtlog.capture() as all_of_it, trtlog.capture(own=True) as own:
            log.log(rtx.module.ILogger.ERROR, "mine")
            other = threading.Thread(target=log.log, args=(rtx.module.ILogger.ERROR, "CUDA out of memory elsewhere"))
            other.start()
            other.join()
        assert own.errors == ["mine"]
        assert all_of_it.errors == ["mine", "CUDA out of memory elsewhere"]

    def test_it_never_raises(self, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception in it would end the process inside of C++."""
        monkeypatch.setattr(trtlog._LOG, "log", Mock(side_effect=KeyboardInterrupt))
        trtlog.logger(rtx.module).log(rtx.module.ILogger.ERROR, "text")
        trtlog.logger(rtx.module).log("no severity", None)

    def test_it_is_silent_where_nobody_listens(self) -> None:
        code = (
            "from restore_sdk.engines import trtlog; import types\n"
            "trt = types.SimpleNamespace(__name__='t', ILogger=type('L', (), {'__init__': lambda s: None, "
            "'INTERNAL_ERROR': 0, 'ERROR': 1, 'WARNING': 2, 'INFO': 3}))\n"
            "trtlog.logger(trt).log(1, 'text')"
        )
        done = python("-c", code)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("hardware", ["device", "capability"])
def test_what_a_recipe_asks_of_tensorrt(rtx: TensorRT, hardware: str) -> None:
    """A real configuration takes all of it; RTX's own forgets the hardware level, so that is seen on a made-up one."""
    recipe, trt = changed(load_recipe("a10"), hardware=hardware), replace(rtx, edition="tensorrt")
    module, made_up = rtx.module, Mock(spec_set=CONFIG)
    configure(trt, Mock(**{"create_builder_config.return_value": made_up}), recipe)
    made_up.set_memory_pool_limit.assert_called_once_with(module.MemoryPoolType.WORKSPACE, 2048 << 20)
    level = module.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    assert (made_up.hardware_compatibility_level == level) == (hardware == "capability")
    real = configure(trt, module.Builder(trtlog.logger(module)), recipe)
    assert real.get_memory_pool_limit(module.MemoryPoolType.WORKSPACE) == 2048 << 20
    assert real.builder_optimization_level == made_up.builder_optimization_level == 4


CONFIG = ["set_memory_pool_limit", "hardware_compatibility_level", "builder_optimization_level"]


@pytest.mark.parametrize("parsing", [False, True])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error Code 10: Could not find any implementation for node {ForeignNode[a...b]}.", "memory"),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.) out of memory", "memory"),
        ("Tactic Selection: no tactics to implement the operation within workspace limit.", "memory"),
        ("Network has dynamic or shape inputs, but no optimization profile has been defined.", "profile"),
        ("Operation SUM must have same input types. But they are of types Half and Float.", "precision"),
        ("Plugin not found, are the plugin name, version, and namespace correct?", "parse"),
        ("Internal Error: something else", ""),
        ("", ""),
    ],
)
def test_failures(said: str, reason: str, parsing: bool) -> None:
    error = failure("edge", "TensorRT 10.16", [said], parsing=parsing)
    assert error.reason == reason or (parsing and not reason and error.reason == "parse")
    assert said[:40] in error.message


DEVICE = """
import ctypes, json
from restore_sdk.engines.driver import current, find_gpu
from restore_sdk.errors import DeviceError

def now():
    context = ctypes.c_void_p()
    assert double.library.cuCtxGetCurrent(ctypes.byref(context)) == 0
    return bool(context.value)

gpu = find_gpu()
seen = {"capability": gpu.compute_capability, "before": now()}
with current(gpu):
    seen["inside"] = now()
try:
    with current(gpu):
        raise ValueError
except ValueError:
    seen["after an error"] = now()
seen["after"] = now()
for name, act in (
    ("no such device", lambda: find_gpu(7)),
    ("context refused", lambda: (double.fail("cuDevicePrimaryCtxRetain", 2), current(gpu).__enter__())),
    ("no device", lambda: (double.reset(init=100), find_gpu())),
):
    try:
        act()
        seen[name] = "nothing raised"
    except DeviceError as error:
        seen[name] = str(error)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    found: dict[str, Any] = on_double(DEVICE)
    return found


def test_the_context_is_current_while_it_builds_and_only_then(asked: dict[str, Any]) -> None:
    assert asked["capability"] == "8.6"
    assert (asked["before"], asked["inside"], asked["after an error"], asked["after"]) == (False, True, False, False)


def test_what_the_driver_refuses(asked: dict[str, Any]) -> None:
    for name in ("no such device", "no device"):
        assert "restore-sdk build --target any-rtx" in asked[name]
    assert "cuDevicePrimaryCtxRetain" in asked["context refused"]


VALIDATION = """
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
            seen[name] = [dict(one.sidecar.validation) for one in outcomes]
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
    found: dict[str, Any] = on_double(VALIDATION, tmp_path_factory.mktemp("validation"))
    return found


def test_engines_that_compute_what_the_reference_did_are_published(seen: dict[str, Any]) -> None:
    assert seen["valid files"] == [".json", ".json", ".plan", ".plan"]
    for found in seen["valid"]:
        assert found["images"] == 2
        assert found["restored"] == {"pooled_db": None, "worst_db": None, "worst_picture": 0}  # equal to the last bit
        assert "double" in found["device"]


def test_engines_that_drift_are_not(seen: dict[str, Any]) -> None:
    assert "restored is" in seen["drifting"]
    assert seen["drifting files"] == []


def test_engines_that_find_no_room_on_the_device_are_not_published(seen: dict[str, Any]) -> None:
    assert "memory" in seen["full"]
    assert seen["full files"] == []


def test_nothing_is_left_on_the_device(seen: dict[str, Any]) -> None:
    assert seen["freed"]
