"""The wheel: exactly what is meant to be in it, and it works where nothing else of the checkout is."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        text=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def tracked() -> set[str]:
    """What git would ship of the package: a stray file in the folder is not meant to be in the wheel."""
    done = subprocess.run(["git", "ls-files", "restore_sdk"], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert re.fullmatch(r"restore_sdk-0\.1\.0-py3-none-any\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if name.startswith("restore_sdk-0.1.0.dist-info/")}
    assert {name.split("/", 1)[1] for name in info} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    assert names - info == tracked()
    assert "restore_sdk/py.typed" in names


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """``build`` makes the wheel out of the source archive, not out of the checkout."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        text=True,
    )
    (rebuilt,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
        assert all(first.read(name) == second.read(name) for name in first.namelist())


def test_the_models_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for model in ("default", "vivid"):
        for name in ("manifest.json", "edge.onnx", "edge.fp16.onnx", "repair.onnx", "repair.fp16.onnx", "golden.npz"):
            assert f"restore_sdk/bundle/models/{model}/{name}" in names
    assert wheel.stat().st_size < 40_000_000


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("restore_sdk-0.1.0.dist-info/METADATA").decode()
        scripts = archive.read("restore_sdk-0.1.0.dist-info/entry_points.txt").decode()
    needs = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.MULTILINE)
    assert sorted(needs) == ["filelock", "msgspec", "numpy", "onnxruntime", "opencv-python-headless", "platformdirs"]
    assert set(re.findall(r"^Provides-Extra: (\w+)$", metadata, re.MULTILINE)) == {
        "export",
        "training",
        "tensorrt",
        "openvino",
        "rtx",
        "serve",
        "ui",
        "release",
        "ray",
        "triton",
        "dev",
    }
    assert "Requires-Python: >=3.11" in metadata
    assert "restore-sdk = restore_sdk.cli.main:main" in scripts


def test_it_installs_and_imports_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In a venv that holds nothing but the wheel: no dependency, no torch, no other folder of this repository."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel],
        check=True,
        capture_output=True,
        text=True,
    )
    code = (
        "import importlib.util as u, restore_sdk, pathlib; from restore_sdk.errors import RestoreError; "
        "print(pathlib.Path(restore_sdk.__file__).is_relative_to(__import__('sys').prefix), restore_sdk.__version__, "
        "[n for n in ('export', 'engines', 'training', 'benchmarks', 'tests', 'numpy') if u.find_spec(n)])"
    )
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split(maxsplit=2) == ["True", "0.1.0", "[]\n"]
    command = python.with_name("restore-sdk")
    done = subprocess.run([command, "info"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
