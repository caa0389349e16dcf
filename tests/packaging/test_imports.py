"""What may import what, what an import costs, and what it leaves alone."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import restore_sdk
from tests.child import ROOT, python

#: The only outside packages that the wheel may import: those that it declares.
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL"}
NAMES = [re.split(r"[<>=\[]", need)[0].lower() for need in PROJECT["dependencies"]]
WHEEL_NEEDS = {MODULES.get(name, name) for name in NAMES}
#: What only one part of the wheel may import, each of them an extra.
EXTRAS = {
    "serve/": {"fastapi", "starlette", "pydantic", "pydantic_core", "uvicorn", "prometheus_client"},
    "runtime/triton.py": {"tritonclient"},
    "files/read.py": {"pillow_heif"},
    "files/write.py": {"jpeglib"},
}
#: The one file for each that is kept to a file.
SEAMS = {
    "cv2": {"_util/opencv.py"},
    "onnxruntime": {"runtime/onnxruntime.py"},
    "openvino": {"runtime/openvino.py"},
    "pycuda": {"runtime/cuda.py"},
}


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_the_wheel_needs_what_it_declares_and_nothing_heavier() -> None:
    for path in files("restore_sdk"):
        outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"restore_sdk"}
        place = path.relative_to(ROOT / "restore_sdk").as_posix()
        extra = set().union(*(names for part, names in EXTRAS.items() if place.startswith(part)))
        assert outside <= WHEEL_NEEDS | {"pycuda", "openvino", "tensorrt", "tensorrt_rtx"} | extra, path
        for name in outside & set(SEAMS):
            assert path.relative_to(ROOT / "restore_sdk").as_posix() in SEAMS[name], f"{path} imports {name}"


def test_modules_stay_small() -> None:
    for path in files("restore_sdk"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_public_names() -> None:
    assert PROJECT["version"] == restore_sdk.__version__
    extras = {"RestoreBatches", "TritonRunner"}  # need packages that not every host has
    for name in set(restore_sdk.__all__) - extras:
        assert getattr(restore_sdk, name) is not None
        assert name in dir(restore_sdk)
    with pytest.raises(AttributeError, match="nothing"):
        _ = restore_sdk.nothing  # type: ignore[attr-defined]


def test_the_import_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import restore_sdk; print(time.perf_counter() - t); "
        "print([name for name in ('numpy', 'cv2', 'onnxruntime', 'torch', 'pycuda') if name in sys.modules])"
    )
    for _ in range(10):  # the best of them, for a busy host
        seconds, heavy = python("-c", code).stdout.splitlines()
        assert heavy == "[]"
        if float(seconds) < 0.2:
            return
    pytest.fail(f"importing takes {seconds} s")


def test_the_engine_s_import_touches_no_gpu_package_and_no_global_state() -> None:
    code = (
        "import os, sys, logging, cv2; before = dict(os.environ), cv2.getNumThreads(), list(logging.root.handlers)\n"
        "from restore_sdk import RestoreEngine\n"
        "print(before == (dict(os.environ), cv2.getNumThreads(), list(logging.root.handlers)))\n"
        "print({'torch', 'pycuda', 'openvino', 'tensorrt', 'tensorrt_rtx', 'PIL'} & set(sys.modules))"
    )
    assert python("-c", code).stdout.splitlines() == ["True", "set()"]
