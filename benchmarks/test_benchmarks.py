"""Latency of every runtime, the PyTorch reference and the peers; drift from the reference; fresh processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import drift, report
from benchmarks.fresh import fresh_process
from restore_sdk.bundle import Bundle
from restore_sdk.errors import RestoreError
from restore_sdk.measure.bench import NAMED
from restore_sdk.measure.timing import Case

FIGURES = (
    "stages",
    "request",
    "throughput",
    *(f"batch of {count}" for count in report.BATCHES),
    f"{report.LARGE[0]} x {report.LARGE[1]}",
)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("runtime", NAMED)
def test_runtime(
    runtime: str, figure: str, own_case: Callable[[str, str], Case], measure: Callable[[Case], None]
) -> None:
    measure(own_case(runtime, figure))


@pytest.mark.parametrize("number", range(11))
def test_peer(number: int, peer_cases: list[Case], measure: Callable[[Case], None]) -> None:
    """The reference, EdgeConnect and the stack on four backends, OpenCV's two methods."""
    if number >= len(peer_cases):
        pytest.skip("a peer that this host does not have")
    measure(peer_cases[number])


@pytest.mark.parametrize("runtime", NAMED)
def test_drift(runtime: Any, bundle: Bundle) -> None:
    """Against PyTorch on this host, not against what the bundle remembers of it."""
    try:
        found = drift.measure(bundle, [runtime], drift.golden_probes(bundle))["drift"]
    except RestoreError as error:
        pytest.skip(f"{runtime}: {error}")
    for outputs in found.values():
        assert (outputs["restored"]["worst_db"] or 999) >= 45, outputs


@pytest.mark.parametrize("runtime", NAMED)
def test_start_and_memory(runtime: Any, bundle: Bundle, benchmark: Any) -> None:
    benchmark.group = "process"
    try:
        found = benchmark.pedantic(lambda: fresh_process(bundle.path, runtime, 150), rounds=1)
    except RestoreError as error:
        pytest.skip(f"{runtime}: {error}")
    benchmark.extra_info.update(found)
    assert found["import_ms"] < found["cold_ms"]
    assert abs(found["grown_percent"] or 0) <= 5  # over so few, pools still fill
