"""What a process takes: import, cold and warm start, the whole command, memory over many requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.budgets import IMPORT
from benchmarks.inputs import portrait, require_known
from benchmarks.processes import MASK, PHOTO, answer, seconds_to_exit
from benchmarks.subjects import RUNTIMES
from restore_sdk.bundle import Bundle
from restore_sdk.errors import RestoreError
from restore_sdk.measure.fresh import fresh_process
from restore_sdk.runtime.select import open_runner

#: Requests after which memory must be where it was; with ``--long``, and without.
REQUESTS = {True: 5000, False: 150}

#: What memory may grow by over them, percent. Over few requests it is not settled: pools fill for a while.
MOST_GROWN = {True: 1.0, False: 5.0}


@pytest.fixture(params=RUNTIMES)
def key(request: pytest.FixtureRequest, bundle: Bundle) -> str:
    """A runtime that opens here."""
    name: str = request.param
    try:
        open_runner(name, bundle, device=0, slots=1, threads=None)[0].close()  # type: ignore[arg-type]
    except RestoreError as error:
        pytest.skip(f"{name}: {error}")
    return name


def test_import(benchmark: Any) -> None:
    benchmark.group = "process"
    seconds = [float(answer(IMPORT)) for _ in range(3)]
    benchmark.extra_info["import_s"] = seconds
    benchmark.pedantic(lambda: answer(IMPORT), rounds=3)
    assert min(seconds) < 0.2


def test_command(benchmark: Any, bundle: Bundle, tmp_path: Path) -> None:
    """``restore-sdk restore`` from start to exit."""
    benchmark.group, out = "process", tmp_path / "restored.png"
    command = ["-m", "restore_sdk", "restore", str(PHOTO), "--mask", str(MASK), "-o", str(out)]
    benchmark.pedantic(lambda: seconds_to_exit(*command, "--bundle", str(bundle.path.resolve())), rounds=3)
    require_known(portrait(), np.ascontiguousarray(cv2.imread(str(out))[..., ::-1]))


def test_start_and_memory(key: str, benchmark: Any, bundle: Bundle, long: bool) -> None:
    """A fresh process: its figures stand in ``extra_info``, the time is that of the whole of it."""
    benchmark.group = "process"
    found = benchmark.pedantic(lambda: fresh_process(bundle.path, key, requests=REQUESTS[long]), rounds=1)
    benchmark.extra_info.update({name: value for name, value in found.items() if name != "memory"}, key=key)
    assert found["import_ms"] < found["cold_ms"]
    if found["grown_percent"] is not None:
        assert abs(found["grown_percent"]) <= MOST_GROWN[long]
