"""The GPU at hand, on the CUDA driver double."""

from typing import Any

import pytest

from tests.engines.conftest import on_double

CODE = """
import ctypes, json
from restore_sdk.engines.driver import current, find_gpu
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
    found: dict[str, Any] = on_double(CODE)
    return found


def test_the_context_is_current_while_it_builds_and_only_then(seen: dict[str, Any]) -> None:
    assert seen["capability"] == "8.6"
    assert (seen["before"], seen["inside"], seen["after an error"], seen["after"]) == (False, True, False, False)


def test_what_the_driver_refuses(seen: dict[str, Any]) -> None:
    for name in ("no such device", "no device"):
        assert "restore-sdk build --target any-rtx" in seen[name]
    assert "cuDevicePrimaryCtxRetain" in seen["context refused"]
