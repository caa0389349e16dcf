"""What tests fetch from the package index by themselves: named here, and locked in ``requirements/fetched.lock``.

These are installed beside nothing: three versions of TensorRT's bindings, CUDA's headers, pycuda for the driver double,
a server. ``python scripts/lock.py`` writes the lock, with the SHA-256 of every file that may be taken.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements" / "fetched.lock"

PYCUDA = "pycuda==2026.1"
#: cuda.h and cudaProfiler.h, as NVIDIA publishes them on PyPI; no toolkit is needed.
HEADERS = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-profiler-api==13.0.85")
SERVER = "nvidia-pytriton==0.7.0"
BINDINGS = tuple(f"tensorrt-cu13-bindings=={version}" for version in ("10.13.3.9", "10.16.1.11", "11.4.0.106"))

#: Each with nothing that it asks for, but for those of ``WITH_REQUIREMENTS``.
ALONE = (*HEADERS, SERVER, *BINDINGS)
WITH_REQUIREMENTS = (PYCUDA,)


def entries(lock: str) -> list[str]:
    """The entries of a lock in pip's form: a requirement with its hashes each."""
    return [entry for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE) if "--hash=" in entry]


@contextmanager
def locked(*requirements: str) -> Iterator[list[str]]:
    """Arguments for pip that take these files and no others, and nothing that they ask for."""
    known = {entry.split()[0]: entry for entry in entries(LOCK.read_text(encoding="utf-8"))}
    lacking = [requirement for requirement in requirements if requirement not in known]
    if lacking:
        raise LookupError(f"{LOCK.name} lacks {', '.join(lacking)}: run python scripts/lock.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text("".join(known[requirement] for requirement in requirements), encoding="utf-8")
        yield ["--disable-pip-version-check", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(path)]


def needs(requirement: str) -> list[str]:
    """What the lock holds for its sake: all that is neither in ``ALONE`` nor itself."""
    names = [entry.split()[0] for entry in entries(LOCK.read_text(encoding="utf-8"))]
    return [name for name in names if name not in (*ALONE, requirement)]
