"""What runs on this host, what does not, and how to get it.

Nothing here may crash: every native library is imported in a process of its own, the CUDA driver is asked before
anything that needs it, and no TensorRT object is made.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restore_sdk import __version__
from restore_sdk._util.terminal import install_command
from restore_sdk.runtime import usable_cores

#: "ok" works, "absent" is optional and not there, "broken" does not work.
Status = Literal["ok", "absent", "broken"]

#: The shipped models; not from where they are opened, since that imports numpy.
MODELS = ("default", "faithful")

#: Seconds that one import may take before it counts as hanging.
PROBE_SECONDS = 60

_ONNXRUNTIME = """
from restore_sdk.runtime.native import no_telemetry
with no_telemetry():
    import onnxruntime as o
p = o.get_available_providers(); print(o.__version__, ' '.join(p)); assert 'CPUExecutionProvider' in p
"""
_MODEL = """
from restore_sdk.bundle import Bundle
b = Bundle.load({!r}); b.verify_files(); print(b.name + ',', 'all', len(b.manifest.files), 'files match their hashes')
"""
_OPENVINO = "from restore_sdk.runtime.openvino import offers; v, p = offers(); print(v, 'computes in', ' and '.join(p))"
_DRIVER = """
from restore_sdk.errors import DeviceError; from restore_sdk.engines.driver import all_devices
try: found = all_devices()
except DeviceError as error: sys.exit(error.message)
print(f'CUDA {found[0].cuda}:', ', '.join(f'{gpu.name} ({gpu.compute_capability})' for gpu in found))
"""
_ENGINES = """
from restore_sdk.engines.store import EngineStore
store = EngineStore(); found = store.entries(plans=True); bad = sum(each.error is not None for each in found)
if bad: sys.exit(f'{bad} of {len(found)} in {store.root} are not what was stored')
print(f'{len(found)} in {store.root}' + ', all match their hashes' * bool(found))
"""
_ENGINES_HINT = "run: restore-sdk engines list, then: restore-sdk engines prune; or set RESTORE_SDK_STORE"
_TENSORRT = """
from restore_sdk.engines.edition import load, require_driver; from restore_sdk.engines.driver import device_facts
t = load({edition!r}); {driver} and require_driver(t, device_facts()); ahead = ' '.join(t.ahead_of_time)
print(t.version, f'for CUDA {{t.cuda}},' * bool(t.cuda), 'builds on',
      'any host for compute capability ' + ahead if ahead else 'the GPU at hand')
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; ``required`` ones must not be broken for ``restore-sdk restore`` to work."""

    name: str
    status: Status
    detail: str
    hint: str = ""
    required: bool = False


def examine() -> list[Finding]:
    """Look at everything that the SDK can use; takes a second or two, changes nothing."""
    driver = _driver()
    host = f"Python {platform.python_version()} on {platform.platform()}, {usable_cores()} cores usable"
    return [
        Finding("restore-sdk", "ok", f"{__version__} at {Path(__file__).parents[1]}; {host}"),
        _probe("numpy", "import numpy; print(numpy.__version__)", "pip install 'numpy>=1.26,<3'", required=True),
        _probe(
            "opencv",
            "from restore_sdk._util.opencv import cv2; cv2.imencode; print(cv2.__version__)",
            "keep one wheel of it: pip uninstall -y opencv-python opencv-contrib-python opencv-python-headless "
            "&& pip install opencv-python-headless",
            required=True,
        ),
        _probe("onnxruntime", _ONNXRUNTIME, "pip install --force-reinstall onnxruntime", required=True),
        *(
            _probe(f"model {name}", _MODEL.format(name), "reinstall restore-sdk", required=name == "default")
            for name in MODELS
        ),
        _probe(
            "openvino",
            _OPENVINO,
            "pip install --force-reinstall openvino",
            absent=f"faster on many CPUs: {install_command('openvino')}",
        ),
        driver,
        _pycuda(driver),
        # Only imported: without a driver, an object of TensorRT can take the process down.
        *(
            _probe(edition, _TENSORRT.format(edition=edition, driver=driver.status == "ok"), hint, absent=hint)
            for edition, hint in (
                ("tensorrt", f"NVIDIA data-centre and Jetson GPUs: {install_command('tensorrt')}"),
                ("tensorrt_rtx", f"consumer GPUs: {install_command('rtx')}"),
            )
        ),
        _probe("engines", _ENGINES, _ENGINES_HINT),
    ]


def _probe(name: str, code: str, hint: str, *, required: bool = False, absent: str = "") -> Finding:
    """What code says in a process of its own; ``broken``, with ``hint``, where it fails.

    ``absent`` is the hint where the package of this name is not installed, and need not be.
    """
    if absent and importlib.util.find_spec(name) is None:
        return Finding(name, "absent", "not installed", absent)
    works, text = _run(code)
    return Finding(name, "ok" if works else "broken", text, "" if works else hint, required)


def _driver() -> Finding:
    works, text = _run(_DRIVER)
    if works:
        return Finding("nvidia driver", "ok", text)
    if "cuInit" in text and "error 100)" not in text:  # it is installed, and does not work
        return Finding("nvidia driver", "broken", text, "look at nvidia-smi; without a GPU nothing is lost")
    return Finding("nvidia driver", "absent", text, "only for NVIDIA GPUs: install the driver of your distribution")


def _pycuda(driver: Finding) -> Finding:
    if driver.status != "ok" and importlib.util.find_spec("pycuda"):
        return Finding("pycuda", "absent", "installed, but it needs the NVIDIA driver")
    code = "import pycuda, pycuda.driver; print(pycuda.VERSION_TEXT)"
    hint = "build it for this CUDA: pip install --force-reinstall --no-cache-dir pycuda"
    return _probe("pycuda", code, hint, absent=f"only for NVIDIA GPUs: {install_command('tensorrt')}")


def _run(code: str) -> tuple[bool, str]:
    """Run code in a process of its own: whether it worked, and its last line."""
    # -P: not the current folder, where a stray cv2.py may lie. The SDK is imported from where this file is.
    home = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {home!r})\n{code}"
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"{type(error).__name__}: {error}"
    if process.returncode < 0:
        return False, f"the import crashed with signal {-process.returncode}"
    lines = (process.stdout if process.returncode == 0 else process.stderr).strip().splitlines()
    text = lines[-1] if lines else f"exit code {process.returncode}"
    return process.returncode == 0, re.sub(r"^restore_sdk\.errors\.\w+: ", "", text)[:300]
