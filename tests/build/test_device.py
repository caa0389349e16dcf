"""The GPU at hand, on the CUDA driver double, in a process of its own."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.build.conftest import unavailable

CODE = """
import ctypes, json, sys
from tests.cuda_double.build import CannotBuildError
from tests.cuda_double.double import load
try:
    double = load()
    double.reset()
except CannotBuildError as error:
    print(json.dumps({"unavailable": str(error)}))
    sys.exit()
from restore_sdk.build.device import current, find_gpu
from restore_sdk.errors import DeviceError

def now():
    context = ctypes.c_void_p()
    assert double.library.cuCtxGetCurrent(ctypes.byref(context)) == 0
    return bool(context.value)

gpu = find_gpu()
seen = {"capability": gpu.compute_capability, "before": now()}
with current(gpu):
    seen["inside"] = now()
try:
    with current(gpu):
        raise ValueError
except ValueError:
    seen["after an error"] = now()
seen["after"] = now()
for name, act in (
    ("no such device", lambda: find_gpu(7)),
    ("context refused", lambda: (double.fail("cuDevicePrimaryCtxRetain", 2), current(gpu).__enter__())),
    ("no device", lambda: (double.reset(init=100), find_gpu())),
):
    try:
        act()
        seen[name] = "nothing raised"
    except DeviceError as error:
        seen[name] = str(error)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    if sys.platform != "linux":
        unavailable("the driver double is for Linux")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    if "unavailable" in found:
        unavailable(found["unavailable"])
    return found


def test_the_context_is_current_while_it_builds_and_only_then(seen: dict[str, Any]) -> None:
    assert seen["capability"] == "8.6"
    assert (seen["before"], seen["inside"], seen["after an error"], seen["after"]) == (False, True, False, False)


def test_what_the_driver_refuses(seen: dict[str, Any]) -> None:
    for name in ("no such device", "no device"):
        assert "restore-sdk build --target any-rtx" in seen[name]
    assert "cuDevicePrimaryCtxRetain" in seen["context refused"]
