"""What runs on this host, what does not, and how to get it.

Nothing here may crash: every native library is imported in a process of its own, the CUDA driver is asked before
anything that needs it, and no TensorRT object is made.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any, Literal

from restore_sdk import __version__
from restore_sdk._util.extras import install
from restore_sdk.runtime.cores import usable_cores

#: "ok" works, "absent" is optional and not there, "warning" works but should be looked at, "broken" does not work.
Status = Literal["ok", "absent", "warning", "broken"]

#: The shipped models; not from where they are opened, since that imports numpy.
MODELS = ("default", "vivid")

#: Seconds that one import may take before it counts as hanging.
PROBE_SECONDS = 60

_OPENCV_WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``required`` ones must not be broken for ``restore-sdk restore`` to work."""

    name: str
    status: Status
    detail: str
    hint: str = ""
    required: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything that the SDK can use; takes a second or two, changes nothing."""
    driver = _driver()
    return [
        Finding("restore-sdk", "ok", f"{__version__} at {Path(__file__).parents[1]}"),
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        Finding("cpu", "ok", f"{usable_cores()} of {os.cpu_count()} cores usable, {platform.machine()}"),
        _required("numpy", "numpy", "print(numpy.__version__)", "pip install 'numpy>=1.26,<3'"),
        _opencv(),
        _onnxruntime(),
        *(_model(name) for name in MODELS),
        _openvino(),
        driver,
        _pycuda(driver),
        _tensorrt("tensorrt", f"NVIDIA data-centre and Jetson GPUs: {install('tensorrt')}", driver),
        _tensorrt("tensorrt_rtx", f"consumer GPUs: {install('rtx')}", driver),
        _engines(),
    ]


def _required(module: str, package: str, show: str, install: str) -> Finding:
    found, text = _run(f"import {module}; {show}")
    if found:
        return Finding(package, "ok", text, required=True)
    return Finding(package, "broken", text, install, required=True)


def _opencv() -> Finding:
    wheels = sorted({name for name in map(_name, distributions()) if name in _OPENCV_WHEELS})
    found, text = _run("import cv2; cv2.imencode; print(cv2.__version__)")
    if len(wheels) > 1:
        removal = f"pip uninstall -y {' '.join(wheels)} && pip install opencv-python-headless"
        status: Status = "warning" if found else "broken"
        return Finding(
            "opencv", status, f"{text}; {' and '.join(wheels)} overwrite each other's files", removal, required=True
        )
    if found:
        return Finding("opencv", "ok", f"{text} ({wheels[0] if wheels else 'not from a wheel'})", required=True)
    hint = "pip install --force-reinstall opencv-python-headless"
    if "libGL" in text or "libgthread" in text or "libX" in text or "libxcb" in text:
        hint = f"needs a desktop; run: pip uninstall -y {' '.join(wheels)} && pip install opencv-python-headless"
    return Finding("opencv", "broken", text, hint, required=True)


def _onnxruntime() -> Finding:
    found, text = _run(
        "from restore_sdk._util.telemetry import no_telemetry\nwith no_telemetry():\n    import onnxruntime as o\n"
        "p = o.get_available_providers(); print(o.__version__, ' '.join(p)); assert 'CPUExecutionProvider' in p"
    )
    if found:
        return Finding("onnxruntime", "ok", text, required=True)
    return Finding("onnxruntime", "broken", text, "pip install --force-reinstall onnxruntime", required=True)


def _model(name: str) -> Finding:
    found, text = _run(
        f"from restore_sdk.bundle import Bundle; b = Bundle.load({name!r}); b.verify_files(); "
        "print(f'{b.name}, all {len(b.manifest.files)} files match their hashes')"
    )
    if found:
        return Finding(f"model {name}", "ok", text, required=name == "default")
    hint = "reinstall restore-sdk, or pass --bundle"
    return Finding(f"model {name}", "broken", text, hint, required=name == "default")


def _openvino() -> Finding:
    if importlib.util.find_spec("openvino") is None:
        return Finding("openvino", "absent", "not installed", f"faster on many CPUs: {install('openvino')}")
    found, text = _run(
        "from restore_sdk.runtime.openvino import offers; v, p = offers(); print(v, 'computes in', ' and '.join(p))"
    )
    if found:
        return Finding("openvino", "ok", text)
    return Finding("openvino", "broken", text, "pip install --force-reinstall openvino")


def _driver() -> Finding:
    found, text = _run(
        "from restore_sdk.errors import DeviceError; from restore_sdk.engines.driver import all_devices\n"
        "try: found = all_devices()\n"
        "except DeviceError as error: sys.exit(error.message)\n"
        "print(f'CUDA {found[0].cuda}:', ', '.join(f'{gpu.name} ({gpu.compute_capability})' for gpu in found))"
    )
    if found:
        return Finding("nvidia driver", "ok", text)
    if "cuInit" in text and "error 100)" not in text:  # it is installed, and does not work
        return Finding("nvidia driver", "broken", text, "look at nvidia-smi; without a GPU nothing is lost")
    return Finding("nvidia driver", "absent", text, "only for NVIDIA GPUs: install the driver of your distribution")


def _pycuda(driver: Finding) -> Finding:
    if importlib.util.find_spec("pycuda") is None:
        return Finding("pycuda", "absent", "not installed", f"only for NVIDIA GPUs: {install('tensorrt')}")
    if driver.status != "ok":
        return Finding("pycuda", "absent", f"{_version('pycuda')} installed, but it needs the NVIDIA driver")
    found, text = _run("import pycuda, pycuda.driver; print(pycuda.VERSION_TEXT)")
    if found:
        return Finding("pycuda", "ok", text)
    return Finding(
        "pycuda", "broken", text, "build it for this CUDA: pip install --force-reinstall --no-cache-dir pycuda"
    )


def _tensorrt(edition: str, hint: str, driver: Finding) -> Finding:
    if importlib.util.find_spec(edition) is None:
        return Finding(edition, "absent", "not installed", hint)
    # Only imported: without a driver, an object of TensorRT can take the process down.
    fits = "require_driver(t, device_facts()); " if driver.status == "ok" else ""
    found, text = _run(
        "from restore_sdk.engines.edition import load, require_driver; "
        "from restore_sdk.engines.driver import device_facts; "
        f"t = load({edition!r}); {fits}a = ' '.join(t.ahead_of_time); c = f'for CUDA {{t.cuda}}, ' if t.cuda else ''; "
        "print(t.version, c + ('builds on any host for compute capability ' + a if a else 'builds on the GPU at hand'))"
    )
    return Finding(edition, "ok", text) if found else Finding(edition, "broken", text, hint)


def _engines() -> Finding:
    found, text = _run(
        "from restore_sdk.engines.store import EngineStore; s = EngineStore(); e = s.verify(); "
        "print(len(e), sum(x.error is not None for x in e), s.root)"
    )
    if not found:
        return Finding("engines", "warning", text, "set RESTORE_SDK_STORE to a folder of yours")
    count, invalid, root = text.split(maxsplit=2)
    if int(invalid):
        detail = f"{invalid} of {count} in {root} are not what was stored"
        return Finding("engines", "warning", detail, "run: restore-sdk engines verify, then: restore-sdk engines prune")
    if int(count):
        return Finding("engines", "ok", f"{count} in {root}, all match their hashes")
    return Finding("engines", "absent", f"none in {root}", "on a host with an NVIDIA GPU: restore-sdk build")


def _run(code: str) -> tuple[bool, str]:
    """Run code in a process of its own: whether it worked, and its last line."""
    # -P: not the current folder, where a stray cv2.py may lie. The SDK is imported from where this file is.
    home = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {home!r})\n{code}"
    try:
        done = subprocess.run(
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
    if done.returncode < 0:
        return False, f"the import crashed with signal {-done.returncode}"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    text = lines[-1] if lines else f"exit code {done.returncode}"
    return done.returncode == 0, re.sub(r"^restore_sdk\.errors\.\w+: ", "", text)[:300]


def _name(distribution: Any) -> str:
    try:
        return str(distribution.metadata["Name"]).lower().replace("_", "-")
    except Exception:  # broken metadata of some other package is not our patient
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown version"
