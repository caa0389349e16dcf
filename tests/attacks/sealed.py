"""A child process without a network: the kernel ends it at the first socket that anything in it makes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from restore_sdk.runtime.native import ORT_SWITCH
from tests.child import ROOT, python

#: Number of the system call ``socket`` by processor, and the processor's number for the filter.
_CALLS = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}

#: Runs first in the child, and binds native code too. seccomp needs no rights of its own once no new ones can be had.
#: ``socketpair`` stays allowed: it reaches nobody else.
_SEAL = """
import ctypes, faulthandler, signal, struct
faulthandler.register(signal.SIGSYS, chain=True)  # says where, then ends the process
def seal(call, machine):
    filters = b"".join(struct.pack("HBBI", *line) for line in (
        (0x20, 0, 0, 4),            # load the processor
        (0x15, 0, 3, machine),      # another one: allow
        (0x20, 0, 0, 0),            # load the number of the call
        (0x15, 0, 1, call),         # not socket: allow
        (0x06, 0, 0, 0x00030000),   # SIGSYS
        (0x06, 0, 0, 0x7FFF0000),   # allow
    ))
    code = ctypes.create_string_buffer(filters, len(filters))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(filters) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp here")
seal(%d, %d)
"""


def sealable() -> bool:
    """Whether this host can seal a process."""
    return sys.platform == "linux" and platform.machine() in _CALLS


def run_sealed(code: str, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a sealed child; ``returncode`` is ``-SIGSYS`` where it made a socket.

    The child has no switch that keeps ONNX Runtime quiet, as the tests' own process has: the SDK has to see to that.

    Args:
        home: the user's folder, where a library may leave something; that of this process by default.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop(ORT_SWITCH, None)
    if home is not None:
        environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    return python("-c", _SEAL % _CALLS[platform.machine()] + code, *arguments, env=environment, timeout=120)
