import json
import shutil
from pathlib import Path

import pytest

from restore_sdk.bundle import SHIPPED
from restore_sdk.cli import main as cli
from restore_sdk.measure import doctor
from restore_sdk.measure.doctor import Finding, examine
from tests.child import python
from tests.cuda_double.build import driver
from tests.cuda_double.double import Double


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


def test_this_host() -> None:
    findings = {item.name: item for item in examine()}
    for name in ("numpy", "opencv", "onnxruntime"):
        assert findings[name].status == "ok", findings[name]
        assert findings[name].required
    assert findings["nvidia driver"].status in ("ok", "absent")
    assert all(item.hint for item in findings.values() if item.status in ("broken", "warning"))


def test_a_damaged_second_model_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(SHIPPED) == doctor.MODELS
    monkeypatch.setattr(doctor, "_run", lambda code: ("faithful" not in code, "what it says"))
    assert [(f.name, f.status, f.required) for f in map(doctor._model, doctor.MODELS)] == [
        ("model default", "ok", True),
        ("model faithful", "broken", False),
    ]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    broken = [item["name"] for item in report["findings"] if item["required"] and item["status"] == "broken"]
    assert (code, report["works"], report["ok"]) == ((3, False, False) if broken else (0, True, True))


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
