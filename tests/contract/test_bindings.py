"""Every name that the SDK uses exists in the real Python bindings of TensorRT 10.13, 10.16, 11.4 and of RTX."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.names import ENUMS, FILES, METHODS, MODULES, OTHER, RECEIVERS, RTX_ENUMS, RTX_METHODS
from tests.fetched import BINDINGS, locked
from tests.needs import unavailable

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module", params=BINDINGS)
def tensorrt(request: pytest.FixtureRequest) -> dict[str, Any]:
    version = request.param.partition("==")[2]
    if sys.platform != "linux" or shutil.which("cc") is None:
        unavailable("the stub libraries need Linux and a C compiler")
    home = request.config.cache.mkdir(f"tensorrt-bindings-{version}-{sys.version_info.minor}")
    if not (home / "done").exists():
        shutil.rmtree(home)
        with locked(request.param) as chosen:
            command = [sys.executable, "-m", "pip", "install", "--only-binary", ":all:", "--target", home, *chosen]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            unavailable(f"{request.param} cannot be had: {done.stderr.strip()[-200:]}")
        for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
            library = home / f"lib{name}.so.{version.split('.')[0]}"
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "stub.c"], check=True)
        (home / "done").touch()
    return dump("tensorrt_bindings", {"PYTHONPATH": str(home), "LD_LIBRARY_PATH": str(home)})


@pytest.fixture(scope="module")
def rtx() -> dict[str, Any]:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        unavailable("tensorrt-rtx-cu13 is not installed")
    return dump("tensorrt_rtx", {})


def dump(module: str, environment: dict[str, str]) -> dict[str, Any]:
    classes, enums = ",".join({**METHODS, **RTX_METHODS}), ",".join({**ENUMS, **RTX_ENUMS})
    done = subprocess.run(
        [sys.executable, HERE / "dump.py", module, classes, enums],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def missing(found: dict[str, Any], methods: Any, enums: Any) -> list[str]:
    """What a binding lacks of the names, and the signatures that do not take the arguments passed."""
    lacking = [
        f"{name}.{member}" for name in enums for member in enums[name] if member not in found["enums"].get(name, ())
    ]
    for name, attributes in methods.items():
        has = found["classes"].get(name, {})
        for attribute, count in attributes.items():
            if attribute not in has:
                lacking.append(f"{name}.{attribute}")
            elif count is None:
                if attribute not in found["properties"][name]:
                    lacking.append(f"{name}.{attribute} is no property")
            elif not any(least <= count <= most for least, most in arities(attribute, has[attribute])):
                lacking.append(f"{name}.{attribute} does not take {count} arguments: {has[attribute][:200]}")
    return lacking


def arities(name: str, documentation: str) -> list[tuple[int, int]]:
    """Least and most arguments (without self) of each signature that pybind11 wrote into a docstring."""
    found = []
    for inside in re.findall(rf"\b{name}\((.*)\)(?: -> |$)", documentation, re.MULTILINE):
        flat = inside
        while (shorter := re.sub(r"[\[(<{][^\[\](){}<>]*[\])>}]", "", flat)) != flat:  # commas inside of types
            flat = shorter
        parameters = [part for part in flat.split(",") if part.strip()][1:]
        found.append((sum("=" not in part for part in parameters), len(parameters)))
    return found


def test_tensorrt_has_all_that_is_used(tensorrt: dict[str, Any]) -> None:
    assert missing(tensorrt, METHODS, ENUMS) == []
    assert tensorrt["numbers"]["severities"] == [0, 1, 2, 3]


def test_rtx_has_all_that_is_used(rtx: dict[str, Any]) -> None:
    assert missing(rtx, METHODS, ENUMS) == []
    assert missing(rtx, RTX_METHODS, RTX_ENUMS) == []


def test_the_check_finds_what_is_gone(tensorrt: dict[str, Any]) -> None:
    """Names that were removed, and calls with the wrong number of arguments, are found."""
    gone = {"IExecutionContext": {"execute_async_v2": 2}, "IOptimizationProfile": {"set_shape": 3}}
    assert len(missing(tensorrt, gone, {"DataType": ("NEVER",)})) == 3
    if tensorrt["version"].startswith("11."):
        removed = {"ICudaEngine": {"device_memory_size": None}}
        assert missing(tensorrt, removed, {}) == ["ICudaEngine.device_memory_size"]


def test_the_strongly_typed_flag_has_another_number_in_each_version(tensorrt: dict[str, Any]) -> None:
    """Why the flag is always shifted by its own number and never written as one."""
    expected = 0 if tensorrt["version"].startswith("11.") else 1
    assert tensorrt["numbers"]["STRONGLY_TYPED"] == expected


@pytest.mark.parametrize("file", FILES)
def test_the_list_is_complete(file: str) -> None:
    """Every attribute that the source takes from an object of TensorRT stands in the list."""
    path = ROOT / "restore_sdk" / file
    known = {name: {*METHODS.get(name, {}), *RTX_METHODS.get(name, {})} for name in {*METHODS, *RTX_METHODS}}
    enums = {**ENUMS, **RTX_ENUMS}
    unlisted = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if name in MODULES and node.attr not in {*known, *enums, *OTHER}:
            unlisted.append(node.attr)
        elif name in FILES[file] and node.attr not in known[RECEIVERS[name]] | {"module", "__init__"}:
            unlisted.append(f"{RECEIVERS[name]}.{node.attr}")
        elif name in enums and node.attr not in enums[name]:
            unlisted.append(f"{name}.{node.attr}")
    assert unlisted == []
