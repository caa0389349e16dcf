"""The small parts: log, progress, timing cache, inspection, the wording of failures."""

import json
import logging
import subprocess
import sys
import threading
import types
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from restore_sdk.engines import timing, trtlog
from restore_sdk.engines.builder import configure
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.failures import failure
from restore_sdk.engines.precision import measured_precision
from restore_sdk.engines.progress import Phases
from restore_sdk.engines.recipe import load_recipe
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import (
    BuildCancelledError,
    BuildError,
    BuildOutOfMemoryError,
    BuildParseError,
    BuildPrecisionError,
    BuildProfileError,
)

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
        assert trtlog.logger(rtx.module) is trtlog.logger(rtx.module)
        with trtlog.capture() as kept:
            rtx.module.Builder(trtlog.logger(rtx.module))
            rtx.module.Builder(trtlog.logger(rtx.module))
        assert not [text for text in kept.of("WARNING", "ERROR") if "logger" in text]

    def test_it_never_raises(self, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception in it would end the process inside of C++."""

        def broken(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(trtlog._LOG, "log", broken)
        trtlog.logger(rtx.module).log(rtx.module.ILogger.ERROR, "text")
        trtlog.logger(rtx.module).log("no severity", None)

    def test_it_remembers_only_so_much(self, rtx: TensorRT) -> None:
        with trtlog.capture() as kept:
            for index in range(3 * trtlog.KEEP):
                trtlog.logger(rtx.module).log(rtx.module.ILogger.INFO, str(index))
        assert len(kept.lines) == trtlog.KEEP
        assert kept.tail(1) == [f"INFO: {3 * trtlog.KEEP - 1}"]

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
    phases, shares = Phases(), []
    shares.append(phases.start("all", None, 2))
    shares.append(phases.start("part", "all", 4))
    shares += [phases.step("part", step) for step in range(4)]
    shares.append(phases.finish("part"))
    shares.append(phases.step("all", 0))
    shares.append(phases.step("nobody", 7))
    shares.append(phases.step("all", 1))
    shares.append(phases.finish("all"))
    assert shares == sorted(shares)
    assert shares[:6] == [0, 0, 0.125, 0.25, 0.375, 0.5]
    assert shares[-1] == 1
    assert phases.start("again", None, 3) == 1  # it does not fall


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
        cache = timing.attach(store, TRT, A10, config)
        timing.keep(store, TRT, A10, config)
        return bytes(cache.content)

    def test_what_one_build_measured_the_next_one_has(self, store: EngineStore) -> None:
        with store.lock("build"):
            pass
        assert [self.round(store, Config()) for _ in range(3)] == [b"", b"+", b"++"]
        (path,) = store.root.glob("*.timing")
        assert path.name == "tensorrt-10.16.1.11-sm86-nvidia-a10.timing"

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
                assert timing.attach(store, trt, A10, config) is not None
                timing.keep(store, trt, A10, config)
        assert timing.cache_path(store, trt, A10).stat().st_size > 0
        assert not [record for record in caplog.records if record.name == "restore_sdk"]

    def test_one_a_device_and_version(self, store: EngineStore) -> None:
        other = TensorRT(TRT.module, "tensorrt", "11.4.0.106")
        names = {timing.cache_path(store, trt, gpu).name for trt in (TRT, other) for gpu in (
            A10, DeviceFacts(1, "NVIDIA A40", "8.6", 1, "13.0")
        )}  # fmt: skip
        assert len(names) == 4

    def test_a_spoiled_one_is_left_alone(self, store: EngineStore, caplog: pytest.LogCaptureFixture) -> None:
        with store.lock("build"):
            pass
        path = timing.cache_path(store, TRT, A10)
        path.write_bytes(b"garbage")
        path.chmod(0o600)
        assert self.round(store, Config(takes=b"good")) == b""
        assert "starting an empty one" in caplog.text
        path.chmod(0o666)
        assert self.round(store, Config()) == b""
        assert "others can write" in caplog.text

    def test_rtx_has_none(self, store: EngineStore) -> None:
        rtx = TensorRT(TRT.module, "tensorrt_rtx", "1.7.1.116")
        assert timing.attach(store, rtx, A10, None) is None
        assert timing.attach(store, TRT, None, None) is None

    def test_a_full_disk_does_not_fail_the_build(
        self, store: EngineStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        nowhere = EngineStore(tmp_path / "nowhere" / "store")
        self.round(nowhere, Config())
        assert "not kept" in caplog.text


class TestConfiguration:
    """What a recipe asks of TensorRT, on real enumerations; RTX's own configuration forgets the hardware level."""

    def configure(self, rtx: TensorRT, **changes: Any) -> types.SimpleNamespace:
        flags: list[Any] = []
        limits: dict[Any, int] = {}
        config = types.SimpleNamespace(
            flags=flags, limits=limits, set_flag=flags.append, set_memory_pool_limit=limits.__setitem__
        )
        builder = types.SimpleNamespace(create_builder_config=lambda: config)
        configure(replace(rtx, edition="tensorrt"), builder, changed(load_recipe("a10"), **changes))
        return config

    def test_the_usual(self, rtx: TensorRT) -> None:
        config = self.configure(rtx)
        assert config.limits == {rtx.module.MemoryPoolType.WORKSPACE: 2048 << 20}
        assert config.builder_optimization_level == 4
        assert config.flags == []
        assert not hasattr(config, "hardware_compatibility_level")

    @pytest.mark.parametrize(
        ("hardware", "level"), [("capability", "SAME_COMPUTE_CAPABILITY"), ("ampere_plus", "AMPERE_PLUS")]
    )
    def test_for_more_than_one_device(self, rtx: TensorRT, hardware: str, level: str) -> None:
        config = self.configure(rtx, hardware=hardware)
        assert config.hardware_compatibility_level == getattr(rtx.module.HardwareCompatibilityLevel, level)

    def test_for_later_versions(self, rtx: TensorRT) -> None:
        config = self.configure(rtx, version_compatible=True)
        assert config.flags == [rtx.module.BuilderFlag.VERSION_COMPATIBLE]

    def test_a_real_configuration_takes_it(self, rtx: TensorRT) -> None:
        builder = rtx.module.Builder(trtlog.logger(rtx.module))
        recipe = changed(load_recipe("a10"), version_compatible=True)
        config = configure(replace(rtx, edition="tensorrt"), builder, recipe)
        assert config.get_memory_pool_limit(rtx.module.MemoryPoolType.WORKSPACE) == 2048 << 20
        assert config.builder_optimization_level == 4
        assert config.get_flag(rtx.module.BuilderFlag.VERSION_COMPATIBLE)


class TestInspection:
    def layers(self, *layers: tuple[str, str]) -> str:
        return json.dumps(
            {
                "Layers": [
                    {"Name": "l", "LayerType": kind, "Outputs": [{"Format/Datatype": form}]} for kind, form in layers
                ]
            }
        )

    def test_counts(self) -> None:
        text = self.layers(
            ("CaskConvolution", "Channel major FP16 format where channel % 8 == 0"),
            ("PointWiseV2", "Half"),
            ("Reduce", "Row major linear FP32"),
            ("Myelin", "UInt8"),
        )
        assert measured_precision(text, "edge") == {"float16": 2, "float32": 1}

    @pytest.mark.parametrize("kind", ["CaskConvolution", "CaskGemmMatrixMultiply", "Deconvolution"])
    @pytest.mark.parametrize("form", ["Row major linear FP32", "Float"])
    def test_fp32_arithmetic_is_refused(self, kind: str, form: str) -> None:
        with pytest.raises(BuildPrecisionError, match="stage edge"):
            measured_precision(self.layers((kind, form)), "edge")

    @pytest.mark.parametrize(("operand", "valid"), [("Half", True), ("Float", False)])
    def test_half_operands_may_be_summed_in_float32(self, operand: str, valid: bool) -> None:
        factors = [{"Dimensions": [1], "Format/Datatype": "Half"}]  # alpha and beta say nothing
        operands = [{"Dimensions": [1, 64, 64], "Format/Datatype": operand}] * 2
        layer = {"Name": "qk", "LayerType": "gemm", "Inputs": operands + factors}
        text = json.dumps({"Layers": [{**layer, "Outputs": [{"Format/Datatype": "Float"}]}]})
        if valid:
            assert measured_precision(text, "repair") == {"float32": 1}
            return
        with pytest.raises(BuildPrecisionError, match="'qk' in FP32"):
            measured_precision(text, "repair")

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"Layers": ["name", "name"]}', '{"Layers": [{}]}'])
    def test_no_details(self, text: str) -> None:
        assert measured_precision(text, "edge") == {}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error Code 10: Could not find any implementation for node {ForeignNode[a...b]}.", BuildOutOfMemoryError),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.) out of memory", BuildOutOfMemoryError),
        ("Tactic Selection: no tactics to implement the operation within workspace limit.", BuildOutOfMemoryError),
        ("Network has dynamic or shape inputs, but no optimization profile has been defined.", BuildProfileError),
        (
            "Operation SUM must have same input types. But they are of types Half and Float.",
            BuildPrecisionError,
        ),
        ("IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by user)", BuildCancelledError),
        ("Plugin not found, are the plugin name, version, and namespace correct?", BuildParseError),
        ("Internal Error: something else", BuildError),
        ("", BuildError),
    ],
)
def test_failures(said: str, kind: type[BuildError]) -> None:
    error = failure("edge", "TensorRT 10.16", [said], parsing=False)
    assert type(error) is kind
    assert error.hint
    assert said[:40] in error.message


def test_other_parse_failures() -> None:
    assert type(failure("edge", "TensorRT 10.16", ["odd"], parsing=True)) is BuildParseError
