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


def build(*options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *options, str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build("--wheel", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert re.fullmatch(r"restore_sdk-0\.1\.0-py3-none-any\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if name.startswith("restore_sdk-0.1.0.dist-info/")}
    told = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert {name.split("/", 1)[1] for name in info} == told
    # what git has: a stray file in the folder is not meant to be in the wheel
    done = subprocess.run(["git", "ls-files", "restore_sdk"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert names - info == set(done.stdout.split())
    assert "restore_sdk/py.typed" in names
    for model in ("default", "faithful"):
        for name in ("manifest.json", "edge.onnx", "edge.fp16.onnx", "repair.onnx", "repair.fp16.onnx", "golden.npz"):
            assert f"restore_sdk/bundle/models/{model}/{name}" in names
    assert wheel.stat().st_size < 40_000_000


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """``build`` makes the wheel out of the source archive, not out of the checkout."""
    build("--outdir", str(tmp_path))
    (rebuilt,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
        assert all(first.read(name) == second.read(name) for name in first.namelist())


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
