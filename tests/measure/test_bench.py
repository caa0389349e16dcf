"""`restore-sdk bench` and `doctor`: what they measure and find."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from restore_sdk.bundle import SHIPPED, Bundle
from restore_sdk.cli.main import main
from restore_sdk.errors import ExecutionError, MissingDependencyError
from restore_sdk.measure import bench, doctor
from restore_sdk.measure.doctor import Finding, examine
from restore_sdk.measure.timing import BLOCKS, Case, time_in_blocks
from tests.child import python
from tests.cuda_double.build import driver
from tests.cuda_double.double import Double


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["bench", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_cases_take_turns_and_are_checked() -> None:
    order: list[str] = []
    checked: list[str] = []

    def case(name: str) -> Case:
        def call() -> dict[str, float]:
            order.append(name)
            return {"edge": 2.0}

        return Case(name, "toy", call, lambda _: checked.append(name), dict, images=2, facts={"batch": 2})

    found = time_in_blocks([case("a"), case("b")], 12)
    assert {(each["calls"], len(each["blocks"]), each["batch"]) for each in found} == {(12, BLOCKS, 2)}
    assert found[0]["parts"]["edge"]["p95"] == 2.0
    assert found[0]["images_per_second"] == pytest.approx(2e3 / found[0]["ms"]["p50"], rel=0.1)
    assert sorted(checked) == ["a"] * 7 + ["b"] * 7
    assert sum(one != other for one, other in itertools.pairwise(order)) >= BLOCKS, "they did not take turns"


def test_a_slow_case_has_fewer_calls_and_a_wrong_result_is_no_figure() -> None:
    (found,) = time_in_blocks([Case("a", "toy", lambda: time.sleep(0.05))], 1000, seconds=0.3)
    assert 1 <= found["calls"] <= 6
    assert len(found["blocks"]) == min(BLOCKS, found["calls"])

    def check(result: object) -> None:
        assert result == 1, "it is not one"

    with pytest.raises(ExecutionError, match="a, toy: it is not one"):
        time_in_blocks([Case("a", "toy", lambda: 2, check)], 1)


def test_every_figure_is_there(toy_bundle: Bundle) -> None:
    report = bench.measure(toy_bundle, ["onnxruntime"], requests=10)
    (entry,) = report["runs"]
    assert entry["name"] == "onnxruntime fp32"
    figures = entry["figures"]
    parts = {"stages": {"edge", "repair"}, "request": {"prepare", "wait", "edge", "repair", "paste"}}
    assert set(figures) == {*parts, "throughput"}
    assert {name: set(figures[name]["parts"]) for name in parts} == parts
    for figure in figures.values():
        assert 0 < figure["ms"]["p50"] <= figure["ms"]["p95"] <= figure["ms"]["p99"] <= figure["ms"]["max"]
    medians = [times["p50"] for times in figures["request"]["parts"].values()]
    assert sum(medians) == pytest.approx(figures["request"]["ms"]["p50"], rel=0.5)
    assert len(figures["request"]["blocks"]) == BLOCKS
    assert figures["throughput"]["images_per_second"] > 0
    assert entry["drift"]["restored"]["worst_db"] in (None, pytest.approx(90, abs=30))
    assert report["host"]["processor"]
    assert report["host"]["packages"]["numpy"]


def test_all_that_opens_is_measured_and_the_rest_named(toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--requests", "2")
    assert code == 0
    names = {entry["asked"] for entry in found["runs"]} | {entry["runtime"] for entry in found["absent"]}
    assert names == set(bench.NAMED)
    assert all(entry["why"] for entry in found["absent"])


def test_a_named_runtime_is_never_replaced(
    toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise MissingDependencyError("tensorrt is not here", "install it")

    monkeypatch.setattr(bench, "open_runner", missing)  # stands for a host without the package
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--runtime", "tensorrt", "--requests", "1")
    assert (code, found["error"]["type"]) == (3, "MissingDependencyError")
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--requests", "1")
    assert code == 3
    assert "no runtime opens" in found["error"]["message"]


@pytest.mark.parametrize("option", ["requests", "batch", "slots", "threads"])
def test_options_that_are_refused(option: str, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--runtime", "onnxruntime", f"--{option}", "0")
    assert (code, found["error"]["message"]) == (2, f"{option} is 0")


def install(folder: Path, name: str, version: str) -> None:
    """As pip leaves it, without a module."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def finding(name: str) -> Finding:
    return next(item for item in examine() if item.name == name)


@pytest.fixture
def fake_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of broken packages that every probe, and this process, sees first."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    real = doctor._run
    monkeypatch.setattr(doctor, "_run", lambda code: real(f"sys.path.insert(0, {str(tmp_path)!r})\n{code}"))
    return tmp_path


def test_this_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(SHIPPED) == doctor.MODELS
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    findings = {item["name"]: item for item in report["findings"]}
    for name in ("numpy", "opencv", "onnxruntime", "model default"):
        assert (findings[name]["status"], findings[name]["required"]) == ("ok", True), findings[name]
    assert "match their hashes" in findings["model faithful"]["detail"]
    assert findings["nvidia driver"]["status"] in ("ok", "absent")
    assert all(item["hint"] for item in findings.values() if item["status"] == "broken")


@pytest.mark.parametrize(
    ("name", "source", "detail", "hint"),
    [
        ("tensorrt", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with signal 11", ""),
        ("tensorrt", "raise RuntimeError('no libnvinfer')", "no libnvinfer", ""),
        ("tensorrt", "import sys; sys.exit(3)", "exit code 3", ""),
        ("tensorrt", "import time; time.sleep(60)", "Timeout", ""),
        ("opencv", "raise ImportError('libGL.so.1: cannot open')", "libGL", "pip install opencv-python-headless"),
    ],
)
def test_a_package_that_crashes_or_hangs_is_a_finding(
    fake_modules: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, detail: str, hint: str
) -> None:
    (fake_modules / {"opencv": "cv2.py"}.get(name, f"{name}.py")).write_text(source)
    if detail == "Timeout":
        monkeypatch.setattr(doctor, "PROBE_SECONDS", 2)
    found = finding(name)
    assert (found.status, bool(found.hint)) == ("broken", True)
    assert detail in found.detail
    assert hint in found.hint


def test_pycuda_is_not_imported_without_a_driver(fake_modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake_modules / "pycuda.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(doctor, "_driver", lambda: Finding("nvidia driver", "absent", "none"))
    found = finding("pycuda")
    assert found.status == "absent"
    assert "needs the NVIDIA driver" in found.detail


def test_a_driver_too_old_for_tensorrt(
    fake_modules: Path, loaded_double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every probe finds the driver double, which serves CUDA up to 13.0, and a TensorRT for a later one."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver().parent))
    (fake_modules / "tensorrt.py").write_text("__version__ = '11.9.0.1'")
    for cuda, status in ((13, "ok"), (14, "broken")):
        for old in fake_modules.glob("*.dist-info"):
            shutil.rmtree(old)
        install(fake_modules, f"tensorrt-cu{cuda}", "11.9.0.1")
        found = {item.name: item for item in examine()}
        assert found["nvidia driver"].detail == "CUDA 13.0: CUDA driver double (no GPU) (8.6)"
        assert found["tensorrt"].status == status
        assert f"for CUDA {cuda}" in found["tensorrt"].detail
    assert "the driver of CUDA driver double (no GPU) serves CUDA up to 13.0" in found["tensorrt"].detail


def test_it_works_where_opencv_and_onnxruntime_do_not(tmp_path: Path) -> None:
    """``restore-sdk doctor`` in a process in which nothing native imports."""
    for name in ("cv2", "onnxruntime", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken on purpose')")
    done = python("-m", "restore_sdk", "doctor", "--json", env={"PYTHONPATH": str(tmp_path)})
    report = json.loads(done.stdout)
    assert (done.returncode, report["works"]) == (3, False)
    statuses = {item["name"]: item["status"] for item in report["findings"]}
    assert statuses["opencv"] == statuses["onnxruntime"] == statuses["numpy"] == "broken"
    other = python("-m", "restore_sdk", "info", env={"PYTHONPATH": str(tmp_path)})
    assert other.returncode == 3
    assert "restore-sdk doctor" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("the NVIDIA driver finds no usable GPU (cuInit: error 803): versions differ", "broken"),
        ("the NVIDIA driver finds no usable GPU (cuInit: error 100): no GPU is visible to it", "absent"),
        ("no NVIDIA driver: libcuda.so.1: cannot open shared object file", "absent"),
    ],
)
def test_a_driver_that_does_not_work_is_not_absent(monkeypatch: pytest.MonkeyPatch, said: str, status: str) -> None:
    monkeypatch.setattr(doctor, "_run", lambda _: (False, said))
    assert doctor._driver().status == status
