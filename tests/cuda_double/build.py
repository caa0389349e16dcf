"""Builds the driver double, and the real pycuda against it: ``python -m tests.cuda_double.build``.

Needs a C and a C++ compiler and, the first time, a package index. What is built is kept in
``~/.cache/restore-sdk-tests`` (or ``RESTORE_SDK_TEST_CACHE``), so that pycuda's two minutes are spent once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.fetched import HEADERS, PYCUDA, locked, needs

HERE = Path(__file__).resolve().parent
MINUTES = 15


class CannotBuildError(Exception):
    """Something that the build needs is not to be had here."""


def cache() -> Path:
    folder = Path(os.environ.get("RESTORE_SDK_TEST_CACHE") or Path.home() / ".cache" / "restore-sdk-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def driver() -> Path:
    """The double, a ``libcuda.so.1``."""
    sources = [HERE / "driver.c", HERE / "refused.c"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + HEADERS[0].encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
        where = [f"-I{headers()}", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1")]
        _run(["cc", *flags, *map(str, sources), *where, "-lpthread", "-ldl"])

    return once(f"driver-{digest}-{sysconfig.get_platform()}", make) / "libcuda.so.1"


def headers() -> Path:
    """A folder with the CUDA driver's headers."""

    def make(folder: Path) -> None:
        for requirement in HEADERS:
            for wheel in download(requirement, folder, "--only-binary=:all:"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(folder)
                wheel.unlink()

    name = "-".join(requirement.partition("==")[2] for requirement in HEADERS)
    return next(once(f"headers-{name}", make).rglob("cuda.h")).parent


def pycuda() -> Path:
    """A folder to put on ``sys.path``: the real pycuda with what it needs."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            stub = Path(scratch) / "libcuda.so"  # what to link against; the symbols are found when it is loaded
            flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", os.devnull, "-o", str(stub)]
            _run(["cc", *flags])
            (archive,) = download(PYCUDA, Path(scratch), "--no-binary=pycuda", "--no-build-isolation")
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
            source = Path(scratch) / archive.name.removesuffix(".tar.gz")
            (source / "siteconf.py").write_text(
                f"CUDA_ROOT = ''\nCUDA_INC_DIR = [{str(headers())!r}]\nCUDADRV_LIB_DIR = [{scratch!r}]\n"
                "CUDA_ENABLE_CURAND = False\n"
            )
            install = [sys.executable, "-m", "pip", "install", "--target", str(folder / "site")]
            with locked(*needs(PYCUDA)) as chosen:
                _run([*install, "--only-binary=:all:", *chosen])
            _run([*install, "--quiet", "--no-deps", "--no-build-isolation", str(source)])

    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-{sysconfig.get_platform()}"
    return once(f"{PYCUDA.replace('==', '-')}-{HEADERS[0].partition('==')[2]}-{tag}", make) / "site"


def once(name: str, make: object) -> Path:
    """The folder ``name`` of the cache, made by ``make`` when it is not there; whole or not at all."""
    final = cache() / name
    if not final.is_dir():
        with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{name}.") as scratch:
            folder = Path(scratch) / "made"
            folder.mkdir()
            make(folder)  # type: ignore[operator]
            try:
                folder.rename(final)
            except OSError:  # another process was quicker
                if not final.is_dir():
                    raise
    return final


def download(requirement: str, folder: Path, *options: str) -> list[Path]:
    """What pip fetches for one requirement of ``requirements/fetched.lock``, without what it needs."""
    before = set(folder.iterdir())
    with locked(requirement) as chosen:
        _run([sys.executable, "-m", "pip", "download", *options, *chosen, "--dest", str(folder)])
    return sorted(set(folder.iterdir()) - before)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuildError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise CannotBuildError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-3000:]}")


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit("the CUDA driver double is for Linux")
    print(f"driver double: {driver()}\npycuda: {pycuda()}")
