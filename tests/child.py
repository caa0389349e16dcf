"""A child process: this Python, on this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def python(
    *arguments: object, environment: dict[str, str] | None = None, timeout: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run to the end, whatever the status; ``options`` are those of ``subprocess.run``."""
    chosen: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout, **(chosen | options)
    )
