"""A real Triton Inference Server, from NVIDIA's wheel ``nvidia-pytriton``, which is unpacked and not installed.

The server, its schedulers and its protocols are real; its ONNX Runtime backend is the double in ``backends``. The wheel
(55 MB) is fetched once and kept where the CUDA driver double is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cuda_double.build import CannotBuildError, download, once
from tests.fetched import SERVER

BACKENDS = Path(__file__).resolve().parent / "backends"
START_S = 60


def installed() -> Path:
    """The folder of the unpacked server."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    library = Path(sysconfig.get_config_var("LIBDIR") or "/") / f"libpython{version}.so.1.0"
    if sys.platform != "linux" or os.uname().machine != "x86_64" or not library.exists():
        raise CannotBuildError(f"the server's wheel is for Linux on x86-64 with a shared Python, {library}")

    def make(folder: Path) -> None:
        (wheel,) = download(SERVER, folder, "--only-binary=:all:")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
        root = folder / "pytriton" / "tritonserver"
        stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.exists():
            raise CannotBuildError(f"{SERVER} has nothing for Python {version}")
        shutil.copy(stub, root / "backends" / "python")
        for program in (root / "bin" / "tritonserver", root / "backends" / "python" / stub.name):
            program.chmod(0o755)

    return once(f"{SERVER.replace('==', '-')}-py{version}", make) / "pytriton" / "tritonserver"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    log: Path
    http: int
    grpc: int

    @property
    def url(self) -> str:
        """Of the gRPC endpoint."""
        return f"127.0.0.1:{self.grpc}"


@contextlib.contextmanager
def serving(repository: Path, scratch: Path) -> Iterator[Server]:
    """The server on a repository, ready to be asked; fails with its log where it does not get ready.

    ``scratch`` is a folder for its log and its backends.
    """
    root, backends, log = installed(), scratch / "backends", scratch / "server.log"
    backends.mkdir()
    (backends / "python").symlink_to(root / "backends" / "python", target_is_directory=True)
    (backends / "onnxruntime").symlink_to(BACKENDS / "onnxruntime", target_is_directory=True)
    http, grpc = free_ports()
    command = [str(root / "bin" / "tritonserver"), f"--model-repository={repository}", "--exit-timeout-secs=5"]
    command += [f"--backend-directory={backends}", "--allow-metrics=false"]
    for kind, port in (("http", http), ("grpc", grpc)):
        command += [f"--{kind}-address=127.0.0.1", f"--{kind}-port={port}"]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
        # The backend embeds Python and finds this environment's packages by the first "python3" on the path.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        until = time.monotonic() + START_S
        while b"Started HTTPService" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the server did not get ready:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)
        yield Server(process, log, http, grpc)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports() -> tuple[int, int]:
    """Two different ones."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])
