"""Whole requests of the SDK's runtimes and their parts, photographs of every size, batches, several callers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.inputs import BATCHES, SIZES, Damaged, enlarged, portrait
from benchmarks.subjects import RUNTIMES
from restore_sdk.engine import RestoreEngine

Open = Callable[..., tuple[str, RestoreEngine]]
Answer = Callable[[Damaged], Any]
Measure = Callable[[Case], None]

HOST_PARTS = ("decode", "decode the mask", "crop", "Canny", "paste", "encode")


@pytest.mark.parametrize("key", RUNTIMES)
def test_request(key: str, engine: Open, answer: Answer, measure: Measure) -> None:
    measure(cases.request(*engine(key), portrait(), answer(portrait())))


@pytest.mark.parametrize("key", RUNTIMES)
def test_photo(key: str, engine: Open, answer: Answer, measure: Measure, tmp_path: Path) -> None:
    measure(cases.photo(*engine(key), tmp_path, portrait(), answer(portrait())))


@pytest.mark.parametrize("part", HOST_PARTS)
def test_host_part(part: str, measure: Measure, tmp_path: Path) -> None:
    (case,) = [case for case in cases.host_parts(tmp_path) if case.what == part]
    measure(case)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("key", RUNTIMES)
def test_size(key: str, size: tuple[int, int], engine: Open, answer: Answer, measure: Measure) -> None:
    damaged = enlarged(*size)
    measure(cases.request(*engine(key), damaged, answer(damaged), group="size"))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("key", RUNTIMES)
def test_batch(key: str, batch: int, engine: Open, answer: Answer, measure: Measure) -> None:
    measure(cases.batch(*engine(key), batch, answer(portrait())))


@pytest.mark.parametrize("callers", [1, 2])
@pytest.mark.parametrize("key", RUNTIMES)
def test_callers(key: str, callers: int, engine: Open, answer: Answer, measure: Measure) -> None:
    measure(cases.callers(*engine(key, slots=callers), callers, answer(portrait())))
