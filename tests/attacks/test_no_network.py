"""Nothing is fetched and nobody is called, at import or later: all work is done where no socket may be made."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.runtime.native import ORT_SWITCH, no_telemetry
from tests.attacks.sealed import run_sealed, sealable
from tests.needs import unavailable

pytestmark = pytest.mark.skipif(not sealable(), reason="seals processes on Linux only")


def test_the_seal_holds() -> None:
    for code in ("import socket; socket.socket()", "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)"):
        assert run_sealed(code).returncode == -signal.SIGSYS


def test_every_module_imports_without_a_socket() -> None:
    """Those of the service too; the ones that need what is not installed here say so in the usual way.

    Ray looks for the host's address when it is imported, so what stands on it is left out.
    """
    code = """
import importlib, pkgutil, restore_sdk
from restore_sdk.errors import MissingDependencyError
count = 0
for module in pkgutil.walk_packages(restore_sdk.__path__, "restore_sdk."):
    if not module.name.endswith("__main__") and ".ray" not in module.name:
        try:
            importlib.import_module(module.name)
        except MissingDependencyError:
            continue
        count += 1
print(count)
"""
    done = run_sealed(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


#: Seconds in which a library may report that it was used.
LATER = 4

TELL = """
import os, sys, time, numpy as np
os.register_at_fork(before=lambda: os._exit(3))  # OpenVINO reports from a child
from restore_sdk import RestoreEngine
with RestoreEngine(sys.argv[1], runtime=sys.argv[2], slots=2) as engine:
    image, mask = np.full((90, 80, 3), 99, np.uint8), np.zeros((90, 80), np.uint8)
    mask[20:40, 20:50] = 255
    out = engine(image, mask)
    assert all((one == out).all() for one in engine.restore_batch([image] * 3, [mask] * 3))
    assert all((one == out).all() for one in engine.stream([(image, mask)] * 3))
    time.sleep(float(sys.argv[3]))
print("ORT_DISABLE_TELEMETRY" in os.environ, sys.modules.get("openvino_telemetry", "not there"))
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_restoring_needs_no_socket_and_no_library_reports_it(toy_bundle: Bundle, tmp_path: Path, runtime: str) -> None:
    """Nor keeps a name for this host to report it by; and the environment is as it was."""
    if importlib.util.find_spec(runtime) is None:
        unavailable(f"{runtime} is not installed")
    done = run_sealed(TELL, str(toy_bundle.path), runtime, str(LATER), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False not there"
    assert list(tmp_path.iterdir()) == []


def test_the_callers_own_telemetry_setting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ORT_SWITCH, "0")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sys)
    with no_telemetry():
        assert os.environ[ORT_SWITCH] == "0"
        assert sys.modules["openvino_telemetry"] is sys
    assert os.environ[ORT_SWITCH] == "0"
    monkeypatch.delenv(ORT_SWITCH)
    monkeypatch.delitem(sys.modules, "openvino_telemetry")
    with no_telemetry():
        assert os.environ[ORT_SWITCH] == "1"
    assert ORT_SWITCH not in os.environ
    assert "openvino_telemetry" not in sys.modules
