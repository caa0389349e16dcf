"""The small parts: log, progress, timing cache, inspection, the wording of failures."""

import json
import logging
import subprocess
import sys
import threading
import types
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace as changed

from restore_sdk.engines import trtlog
from restore_sdk.engines.builder import attach_timing, cache_path, configure, keep_timing
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.network import failure, measured_precision
from restore_sdk.engines.progress import Phases, Watch, make_monitor
from restore_sdk.engines.recipe import load_recipe
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import BuildError

A10 = DeviceFacts(0, "NVIDIA A10", "8.6", 24 << 30, "13.0")
TRT = TensorRT(types.ModuleType("tensorrt"), "tensorrt", "10.16.1.11")


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
        assert kept.tail(1) == ["INFO: a INFO"]
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

    def test_there_is_one_a_process(self, rtx: TensorRT) -> None:
        """TensorRT ignores every later one, and warns."""
        with trtlog.capture() as kept:
            for _ in range(2):
                rtx.module.Builder(trtlog.logger(rtx.module))
        assert not [text for text in kept.of("WARNING", "ERROR") if "logger" in text]

    def test_it_never_raises(self, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception in it would end the process inside of C++."""
        monkeypatch.setattr(trtlog._LOG, "log", Mock(side_effect=KeyboardInterrupt))
        trtlog.logger(rtx.module).log(rtx.module.ILogger.ERROR, "text")
        trtlog.logger(rtx.module).log("no severity", None)

    def test_it_remembers_only_so_much(self, rtx: TensorRT) -> None:
        with trtlog.capture() as kept:
            for index in range(3 * trtlog.KEEP):
                trtlog.logger(rtx.module).log(rtx.module.ILogger.INFO, str(index))
        assert (len(kept.lines), kept.tail(1)) == (trtlog.KEEP, [f"INFO: {3 * trtlog.KEEP - 1}"])

    def test_it_is_silent_where_nobody_listens(self) -> None:
        code = (
            "from restore_sdk.engines import trtlog; import types\n"
            "trt = types.SimpleNamespace(__name__='t', ILogger=type('L', (), {'__init__': lambda s: None, "
            "'INTERNAL_ERROR': 0, 'ERROR': 1, 'WARNING': 2, 'INFO': 3}))\n"
            "trtlog.logger(trt).log(1, 'text')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("", "")


def test_progress_grows_through_nested_phases() -> None:
    phases = Phases()
    shares = [phases.start("all", None, 2), phases.start("part", "all", 4)]
    shares += [phases.step("part", step) for step in range(4)]
    shares += [phases.finish("part"), phases.step("all", 0), phases.step("nobody", 7), phases.step("all", 1)]
    shares += [phases.finish("all")]
    assert shares == sorted(shares)
    assert shares[:6] == [0, 0, 0.125, 0.25, 0.375, 0.5]
    assert shares[-1] == 1
    assert phases.start("again", None, 3) == 1  # it does not fall


def test_a_monitor_raises_nothing_whatever_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    monitor = make_monitor(types.SimpleNamespace(IProgressMonitor=object), Watch(), None)
    told: Any = "no number"
    monitor.phase_start("part", None, told)
    monitor.phase_start("part", None, 2)
    assert monitor.step_complete("part", told)
    monitor.phase_finish("part")
    assert caplog.text.count("showing the progress of a build failed") == 2


class Config:
    """What the timing cache needs of a TensorRT configuration."""

    def __init__(self, takes: bytes | None = None) -> None:
        self.takes, self.cache = takes, None

    def create_timing_cache(self, content: bytes) -> Any:
        if self.takes is not None and content not in (b"", self.takes):
            return None
        return types.SimpleNamespace(content=content, serialize=lambda: content + b"+")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache


class TestTimingCache:
    def round(self, store: EngineStore, config: Config) -> bytes:
        cache = attach_timing(store, TRT, A10, config)
        keep_timing(store, TRT, A10, config)
        return bytes(cache.content)

    def test_what_one_build_measured_the_next_one_has(self, store: EngineStore) -> None:
        with store.lock("build"):
            pass
        assert [self.round(store, Config()) for _ in range(3)] == [b"", b"+", b"++"]
        (path,) = store.root.glob("*.timing")
        assert path.name == "tensorrt-10.16.1.11-sm86-nvidia-a10.timing", "one a version and device"

    def test_with_a_real_configuration(
        self, store: EngineStore, rtx: TensorRT, caplog: pytest.LogCaptureFixture
    ) -> None:
        """RTX's takes and gives a cache, which holds nothing; the SDK itself finds nothing to warn of."""
        trt = replace(rtx, edition="tensorrt")
        builder = rtx.module.Builder(trtlog.logger(rtx.module))
        with store.lock("build"):
            pass
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # RTX's, of its own method
            for _ in range(2):
                config = builder.create_builder_config()
                assert attach_timing(store, trt, A10, config) is not None
                keep_timing(store, trt, A10, config)
        assert cache_path(store, trt, A10).stat().st_size > 0
        assert not [record for record in caplog.records if record.name == "restore_sdk"]

    def test_a_spoiled_one_is_left_alone(self, store: EngineStore, caplog: pytest.LogCaptureFixture) -> None:
        with store.lock("build"):
            pass
        path = cache_path(store, TRT, A10)
        path.write_bytes(b"garbage")
        path.chmod(0o600)
        assert self.round(store, Config(takes=b"good")) == b""
        assert "starting an empty one" in caplog.text
        path.chmod(0o666)
        assert self.round(store, Config()) == b""
        assert "others can write" in caplog.text

    def test_rtx_has_none(self, store: EngineStore) -> None:
        rtx = TensorRT(TRT.module, "tensorrt_rtx", "1.7.1.116")
        assert attach_timing(store, rtx, A10, None) is None
        assert attach_timing(store, TRT, None, None) is None

    def test_a_full_disk_does_not_fail_the_build(
        self, store: EngineStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        nowhere = EngineStore(tmp_path / "nowhere" / "store")
        self.round(nowhere, Config())
        assert "not kept" in caplog.text


@pytest.mark.parametrize(
    ("changes", "level", "flags"),
    [
        ({}, None, []),
        ({"hardware": "capability"}, "SAME_COMPUTE_CAPABILITY", []),
        ({"hardware": "ampere_plus"}, "AMPERE_PLUS", []),
        ({"version_compatible": True}, None, ["VERSION_COMPATIBLE"]),
    ],
)
def test_what_a_recipe_asks_of_tensorrt(
    rtx: TensorRT, changes: dict[str, Any], level: str | None, flags: list[str]
) -> None:
    """A real configuration takes all of it; RTX's own forgets the hardware level, so that is seen on a made-up one."""
    recipe, trt = changed(load_recipe("a10"), **changes), replace(rtx, edition="tensorrt")
    module, made_up, limits = rtx.module, Mock(spec_set=CONFIG), {}
    made_up.set_memory_pool_limit = limits.__setitem__
    configure(trt, Mock(**{"create_builder_config.return_value": made_up}), recipe)
    assert limits == {module.MemoryPoolType.WORKSPACE: 2048 << 20}
    assert [call.args[0].name for call in made_up.set_flag.call_args_list] == flags
    found = made_up.hardware_compatibility_level
    assert (None if isinstance(found, Mock) else found.name) == level
    real = configure(trt, module.Builder(trtlog.logger(module)), recipe)
    assert real.get_memory_pool_limit(module.MemoryPoolType.WORKSPACE) == 2048 << 20
    assert real.builder_optimization_level == made_up.builder_optimization_level == 4
    assert real.get_flag(module.BuilderFlag.VERSION_COMPATIBLE) == ("VERSION_COMPATIBLE" in flags)


CONFIG = [
    *("set_memory_pool_limit", "set_flag", "hardware_compatibility_level", "builder_optimization_level"),
    "profiling_verbosity",
]


class TestInspection:
    @pytest.mark.parametrize(("operand", "valid"), [("Half", True), ("Float", False)])
    def test_half_operands_may_be_summed_in_float32(self, operand: str, valid: bool) -> None:
        factors = [{"Dimensions": [1], "Format/Datatype": "Half"}]  # alpha and beta say nothing
        operands = [{"Dimensions": [1, 64, 64], "Format/Datatype": operand}] * 2
        layer = {"Name": "qk", "LayerType": "gemm", "Inputs": operands + factors}
        text = json.dumps({"Layers": [{**layer, "Outputs": [{"Format/Datatype": "Float"}]}]})
        with nullcontext() if valid else pytest.raises(BuildError, match="'qk' in FP32"):
            assert measured_precision(text, "repair") == {"float32": 1}

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"Layers": ["name", "name"]}', '{"Layers": [{}]}'])
    def test_no_details(self, text: str) -> None:
        assert measured_precision(text, "edge") == {}


@pytest.mark.parametrize("parsing", [False, True])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error Code 10: Could not find any implementation for node {ForeignNode[a...b]}.", "memory"),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.) out of memory", "memory"),
        ("Tactic Selection: no tactics to implement the operation within workspace limit.", "memory"),
        ("Network has dynamic or shape inputs, but no optimization profile has been defined.", "profile"),
        ("Operation SUM must have same input types. But they are of types Half and Float.", "precision"),
        ("IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by user)", "cancelled"),
        ("Plugin not found, are the plugin name, version, and namespace correct?", "parse"),
        ("Internal Error: something else", ""),
        ("", ""),
    ],
)
def test_failures(said: str, reason: str, parsing: bool) -> None:
    error = failure("edge", "TensorRT 10.16", [said], parsing=parsing)
    assert error.reason == reason or (parsing and not reason and error.reason == "parse")
    assert error.hint
    assert said[:40] in error.message
