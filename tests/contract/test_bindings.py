"""Every name that the SDK uses exists in the real Python bindings of TensorRT 10.13, 10.16, 11.4 and of RTX."""

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

from tests.contract.names import ANY, RTX_ONLY, Uses, used
from tests.fetched import BINDINGS, locked
from tests.needs import unavailable

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
    done = subprocess.run(
        [sys.executable, HERE / "dump.py", module, ",".join(used())],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def missing(found: dict[str, Any], uses: Uses) -> list[str]:
    """What a binding lacks of the names, and the signatures that do not take the arguments passed."""
    lacking = []
    for name, attributes in uses.items():
        has = found["classes"].get(name, {})
        if not has:
            lacking.append(name)
        for attribute, counts in attributes.items() if has else ():
            if attribute not in has:
                lacking.append(f"{name}.{attribute}")
                continue
            said = has[attribute]
            for count in counts:
                if (count is None) != (said is None):
                    lacking.append(f"{name}.{attribute} is {'no property' if count is None else 'no method'}")
                elif count not in (None, ANY) and not any(a <= count <= b for a, b in arities(attribute, said)):
                    lacking.append(f"{name}.{attribute} does not take {count} arguments: {said[:200]}")
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
    common = {
        name: {attribute: counts for attribute, counts in attributes.items() if attribute not in RTX_ONLY}
        for name, attributes in used().items()
        if name not in RTX_ONLY
    }
    assert missing(tensorrt, common) == []
    assert tensorrt["severities"] == [0, 1, 2, 3]


def test_rtx_has_all_that_is_used(rtx: dict[str, Any]) -> None:
    assert missing(rtx, used()) == []


def test_what_is_used_is_found() -> None:
    found = used()
    assert {"Builder", "OnnxParser", "IExecutionContext", "IRuntimeConfig", "MemoryPoolType", "ILogger"} <= set(found)
    assert found["IExecutionContext"]["set_input_shape"] == {2}
    assert found["INetworkDefinition"]["num_layers"] == {None}


def test_the_check_finds_what_is_gone(tensorrt: dict[str, Any]) -> None:
    """Names that were removed, and calls with the wrong number of arguments, are found."""
    gone: Uses = {
        "IExecutionContext": {"execute_async_v2": {2}, "infer_shapes": {None}},
        "IOptimizationProfile": {"set_shape": {3}},
        "DataType": {"NEVER": {None}},
        "INothing": {},
    }
    assert len(missing(tensorrt, gone)) == 5
