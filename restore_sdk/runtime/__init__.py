"""Runtimes: one file each, all behind :class:`restore_sdk.runtime.base.StageRunner`.

A new one: a file with its runner, its name here, and its line in :func:`restore_sdk.runtime.select.open_runner`.
"""

import os
from pathlib import Path
from typing import Literal, get_args

#: Every runtime by its name; ``"auto"`` chooses.
Runtime = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "openvino-int8", "tensorrt", "tensorrt_rtx"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

#: What NVIDIA Triton's model repository and its client agree on: the ensembles that return the restored image, and with
#: it the completed edges (the stages are named after the first); the parameter that holds
#: :meth:`restore_sdk.bundle.Bundle.facts` as JSON.
MODEL, MODEL_WITH_EDGES, FACTS = "restore", "restore_with_edges", "restore_sdk"

#: Where Linux (cgroup version 2) states the CPU quota of a container, as "microseconds period" or "max period".
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

#: Most threads that a call takes of its own accord: the layers are small, and each ends in a wait for all threads.
MAX_THREADS = 8


def usable_cores() -> int:
    """Cores that this process may use: of its affinity mask, and within its container's CPU quota; at least 1.

    ``os.cpu_count()`` knows neither: in a container with two cores' worth of time on a 64-core host it says 64.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    try:
        quota, period = map(int, CPU_QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores
    return max(1, min(cores, quota // period)) if period > 0 else cores
