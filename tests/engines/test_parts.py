"""The small parts: log, configuration, the wording of failures."""

import logging
import threading
from dataclasses import replace
from unittest.mock import Mock

import pytest
from msgspec.structs import replace as changed

from restore_sdk.engines import trtlog
from restore_sdk.engines.builder import configure, failure
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.recipe import load_recipe


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


@pytest.mark.parametrize("hardware", ["device", "capability"])
def test_what_a_recipe_asks_of_tensorrt(rtx: TensorRT, hardware: str) -> None:
    """A real configuration takes all of it; RTX's own forgets the hardware level, so that is seen on a made-up one."""
    recipe, trt = changed(load_recipe("a10"), hardware=hardware), replace(rtx, edition="tensorrt")
    names = ["set_memory_pool_limit", "hardware_compatibility_level", "builder_optimization_level"]
    module, made_up = rtx.module, Mock(spec_set=names)
    configure(trt, Mock(**{"create_builder_config.return_value": made_up}), recipe)
    level = module.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    assert (made_up.hardware_compatibility_level == level) == (hardware == "capability")
    real = configure(trt, module.Builder(trtlog.logger(module)), recipe)
    assert real.get_memory_pool_limit(module.MemoryPoolType.WORKSPACE) == 2048 << 20
    assert real.builder_optimization_level == 4


@pytest.mark.parametrize("parsing", [False, True])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error Code 10: Could not find any implementation for node {ForeignNode[a...b]}.", "memory"),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.) out of memory", "memory"),
        ("Tactic Selection: no tactics to implement the operation within workspace limit.", "memory"),
        (repr(MemoryError()), "memory"),
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
