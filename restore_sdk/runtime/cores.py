"""How many CPU cores this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

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
