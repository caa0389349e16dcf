"""What the suite shares: options, subjects opened once, and the timing of a case by pytest-benchmark.

pytest benchmarks                  about three minutes on two cores
pytest benchmarks --long           more rounds, 5,000 requests for the memory
pytest benchmarks -k request       a part of it; all of pytest-benchmark's own options work
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks.cases import Case
from benchmarks.inputs import Damaged, portrait, reference_engine
from benchmarks.subjects import Stable, Subject
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import RestoreError
from restore_sdk.measure.contender import require_named, run_name
from restore_sdk.runtime.base import Inference

#: Seconds a case is timed for, and rounds at least and at most; with ``--long``, and without.
SECONDS = {True: 5.0, False: 0.6}
LEAST_ROUNDS, MOST_ROUNDS = 5, 500

#: Calls before any is timed.
WARMUP = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("Restore SDK's benchmarks")
    group.addoption("--long", action="store_true", help="more rounds, and memory over 5,000 requests")
    group.addoption("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.config.getoption("--bundle"))


@pytest.fixture(scope="session")
def stable(bundle: Bundle) -> Iterator[Stable]:
    with Stable(bundle) as stable:
        yield stable


@pytest.fixture(scope="session")
def subject(stable: Stable) -> Callable[..., Subject]:
    """A subject by its key; one that this host does not have skips the test and says why."""

    def open_(key: str, **options: Any) -> Subject:
        try:
            return stable.subject(key, **options)
        except RestoreError as error:
            pytest.skip(f"{key}: {error}")

    return open_


@pytest.fixture(scope="session")
def engine(bundle: Bundle) -> Iterator[Callable[..., tuple[str, RestoreEngine]]]:
    """What runs, and an engine on a runtime by its name; one that this host does not have skips the test."""
    engines: dict[tuple[Any, ...], RestoreEngine] = {}
    with ExitStack() as stack:

        def open_(key: str, **options: Any) -> tuple[str, RestoreEngine]:
            place = key, *sorted(options.items())
            if place not in engines:
                try:
                    engines[place] = stack.enter_context(RestoreEngine(bundle, runtime=key, **options))  # type: ignore[arg-type]
                except RestoreError as error:
                    pytest.skip(f"{key}: {error}")
            facts = engines[place].info()
            require_named(key, facts)  # type: ignore[arg-type]
            return run_name(facts), engines[place]

        yield open_


@pytest.fixture(scope="session")
def reference(stable: Stable) -> Inference:
    """What the PyTorch reference makes of the portrait, both stages."""
    return stable.subject("pytorch").runner.infer(*portrait().batch(1))


@pytest.fixture(scope="session")
def answer(bundle: Bundle) -> Iterator[Callable[[Damaged], Any]]:
    """What the PyTorch reference makes of a photograph of any size, in the SDK's own host work."""
    with reference_engine(bundle) as engine:
        yield lambda damaged: engine.restore(damaged.photo, damaged.mask)


@pytest.fixture
def measure(benchmark: Any, long: bool) -> Callable[[Case], None]:
    """Warm a case up, time it, and check its result before and after."""

    def run(case: Case) -> None:
        benchmark.group = case.group
        benchmark.extra_info.update(what=case.what, images=case.images, **case.facts)
        seconds = _warm(case)
        rounds = min(max(round(SECONDS[long] / seconds), LEAST_ROUNDS), MOST_ROUNDS)
        parts: list[dict[str, float]] = []

        def call() -> Any:
            result = case.call()
            parts.append(case.parts(result))
            return result

        result = benchmark.pedantic(call, rounds=rounds)
        case.check(result)
        benchmark.extra_info["parts_ms"] = {
            part: round(statistics.median(each[part] for each in parts), 4) for part in parts[0]
        }

    return run


def _warm(case: Case) -> float:
    """Seconds of a call that is neither the first nor the second."""
    for _ in range(WARMUP):
        case.check(case.call())
    started = time.perf_counter()
    case.call()
    return max(time.perf_counter() - started, 1e-6)
