"""ONNX Runtime behind the engine: graphs that it must not load, its failures, its buffers, forks, cores."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from export.writing import StageFiles
from restore_sdk import RestoreEngine, runtime
from restore_sdk.bundle import Bundle
from restore_sdk.errors import BundleError, ClosedError, ExecutionError, OutOfMemoryError, RestoreError
from restore_sdk.runtime.base import Inference
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.toy_bundle import edge_graph, expected, repair_graph, write_toy_bundle


def test_a_graph_that_is_not_what_its_manifest_says(tmp_path: Path) -> None:
    for edge, message in ((repair_graph(), "its manifest says"), (b"no onnx", "no graph that a bundle may hold")):
        bundle = write_toy_bundle(tmp_path / "b", edge=StageFiles("edge", edge, edge_graph(), 0, 0))
        with pytest.raises(BundleError, match=message):
            RestoreEngine(bundle)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (RuntimeError("node Conv_3 failed"), ExecutionError),
        (RuntimeError("std::bad_alloc"), OutOfMemoryError),
        (RuntimeError("Failed to allocate memory for requested buffer of size 1"), OutOfMemoryError),
        (MemoryError(), OutOfMemoryError),
    ],
)
def test_failures_of_the_runtime_are_mapped(
    engine: RestoreEngine,
    photo: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    raised: Exception,
    kind: type[RestoreError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", Mock(side_effect=raised))
    with pytest.raises(kind, match="edge stage failed") as caught:
        engine(photo, mask)
    assert caught.value.__cause__ is raised
    monkeypatch.undo()
    assert np.array_equal(engine(photo, mask, detail="none"), expected(photo, mask))  # the slot came back


def test_the_edges_reach_the_repair_stage_in_the_runtime_s_own_buffer(toy_bundle: Bundle) -> None:
    """The edge stage's output is the repair stage's input: one address, no copy."""
    runner, golden = OnnxRunner(toy_bundle), toy_bundle.golden()
    runner.infer(*(golden[name][:1] for name in ("image", "mask")))
    with runner.slot() as slot:
        edge, repair = slot._bindings[1]
        shared = slot._buffers["completed_edges"]
        assert edge.get_outputs()[0].data_ptr() == shared.ctypes.data
        before = slot._buffers["restored"][0].copy()
        shared[...] = 255 - shared
        slot._repair.run_with_iobinding(repair)
        assert not np.array_equal(slot._buffers["restored"][0], before), "it reads what stands there"
    runner.close()


def test_runs_of_any_batch_size(toy_bundle: Bundle) -> None:
    golden = toy_bundle.golden()
    runner = OnnxRunner(toy_bundle)
    for count in range(1, runner.max_batch + 1):
        pick = np.arange(count) % 2
        result = runner.infer(golden["image"][pick], golden["mask"][pick])
        assert isinstance(result, Inference)
        assert np.array_equal(result.restored, golden["restored"][pick])
        assert np.array_equal(result.completed_edges, golden["completed_edges"][pick])
    runner.close()
    with pytest.raises(ClosedError):
        runner.infer(golden["image"], golden["mask"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    ("runtime", "child"),
    [
        ("onnxruntime", "engine = RestoreEngine(path, threads=2); engine.warmup()"),
        ("onnxruntime", "engine = None"),
        ("onnxruntime", "engine.close(); del engine"),
        ("openvino", "engine = None"),
        ("openvino", "engine.close(); del engine"),
    ],
)
def test_a_forked_child_may_drop_or_replace_the_engine(toy_bundle: Bundle, runtime: str, child: str) -> None:
    """The destructor of a session or a compiled model would wait for threads that the fork did not copy."""
    pytest.importorskip(runtime)
    code = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
from restore_sdk import RestoreEngine
path = sys.argv[1]
engine = RestoreEngine(path, runtime=sys.argv[2], threads=2)
engine.warmup()
if (number := os.fork()) == 0:
    import signal; signal.alarm(20)
    {child}
    os._exit(0)  # as multiprocessing does
code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
engine.warmup()
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, toy_bundle.path, runtime], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_engine_carried_into_a_fork_raises(
    toy_bundle: Bundle, photo: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    engine = RestoreEngine(toy_bundle)
    engine(photo, mask)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            engine(photo, mask)
        except ClosedError as error:
            code = 0 if "fork" in error.message else 2
            engine.close()  # does not hang on the parent's locks
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(engine(photo, mask, detail="none"), expected(photo, mask))
    engine.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 64),
        ("", 64),
        ("1 0", 64),
    ],
)
def test_a_container_s_quota(text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(runtime, "CPU_QUOTA", tmp_path / "cpu.max")
    assert runtime.usable_cores() == 64
    (tmp_path / "cpu.max").write_text(text)
    assert runtime.usable_cores() == expected


def test_slots_share_the_cores(toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for slots, threads in ((1, 6), (2, 5), (6, 1), (8, 1)):
        with RestoreEngine(toy_bundle, slots=slots) as engine:
            assert engine.info()["threads"] == threads
    with RestoreEngine(toy_bundle, slots=2, threads=5) as engine:
        assert engine.info()["threads"] == 5
