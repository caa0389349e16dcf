"""The short forms of ``python -m benchmarks soak`` and ``overload``, and that both can fail."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import serve
from benchmarks.overload import Overload, overload
from benchmarks.soak import GROWTH, Soak, soak
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine


def test_many_requests_over_eight_threads(toy_bundle: Bundle) -> None:
    """So few that the memory still settles: flat within 1% is what the long form asks for."""
    found = soak(toy_bundle, 300, 8)
    assert found.requests >= 300
    assert (found.wrong, found.errors) == (0, [])
    assert found.files[0] == found.files[1]
    assert found.running[0] == found.running[1]
    assert found.growth < 0.15


def test_a_soak_sees_wrong_answers(toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = RestoreEngine.restore, iter(range(10**6))

    def spoiled(self: RestoreEngine, image: object, mask: object) -> NDArray[np.uint8]:
        restored = real(self, image, mask)
        if next(count) % 31 == 30:
            restored.flat[-1] ^= 1
        return restored

    monkeypatch.setattr(RestoreEngine, "restore", spoiled)
    found = soak(toy_bundle, 60, 4)
    assert found.wrong > 0
    assert not found.passed


def test_what_a_soak_must_not_show() -> None:
    flat = [(number, 100_000_000) for number in range(0, 1001, 10)]
    found = Soak("onnxruntime fp32", 1000, 8, 1.0, 0, [], flat, (9, 9), (1, 1))
    assert found.passed
    leak = [(number, 100_000_000 + number * 2_000) for number, _ in flat]
    assert replace(found, memory=leak).growth > GROWTH
    for changes in ({"memory": leak}, {"files": (9, 10)}, {"running": (1, 2)}, {"wrong": 1}, {"errors": ["x"]}):
        assert not replace(found, **changes).passed


def test_twice_what_the_service_can_do(toy_bundle: Bundle) -> None:
    with serve.served("--max-requests", "4", bundle=toy_bundle.path) as url:
        found = overload(url, serve.cases(toy_bundle, 6), 4, 5)
    assert (found.wrong, found.broken, found.unhealthy) == (0, [], 0)
    assert set(found.statuses) == {200, 503}
    assert statistics.median(found.seconds) <= found.limit
    assert max(found.seconds) <= 3 * found.limit  # the long form allows none beyond; here the host may be busy
    assert found.recovered <= 5


def test_what_an_overload_must_not_show() -> None:
    memory = [(float(second), 1e8) for second in range(90)]
    statuses = Counter({200: 9, 503: 9})
    found = Overload(16, 16.0, 32.0, 90.0, statuses, [1.0] * 9, memory=memory, recovered=1.0)
    assert found.passed
    grown = [(second, 1e8 + second * 1e6) for second, _ in memory]
    for changes in (
        *({"memory": grown}, {"seconds": [9.0]}, {"recovered": 9.0}, {"wrong": 1}, {"broken": ["x"]}, {"unhealthy": 1}),
        *({"statuses": Counter(each)} for each in ({200: 9, 503: 9, 500: 1}, {200: 9}, {503: 9})),
    ):
        assert not replace(found, **changes).passed, changes


def test_a_service_that_dies_of_it_is_a_finding(toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def storm(*_: object) -> None:
        def gone(*_: object) -> None:
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr("benchmarks.overload._ask", gone)
        monkeypatch.setattr("benchmarks.overload._metric", gone)

    monkeypatch.setattr("benchmarks.overload._storm", storm)
    monkeypatch.setattr("benchmarks.overload.RECOVERY_S", 0.02)
    with serve.served("--max-requests", "4", bundle=toy_bundle.path) as url:
        found = overload(url, serve.cases(toy_bundle, 2), 4, 1)
    assert not found.passed
    assert "no metrics afterwards" in found.broken[-1]
    assert "FAILED" in found.to_table()
