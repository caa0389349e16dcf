"""What the suite shares: the runtimes opened once, and the timing of a case by pytest-benchmark.

pytest benchmarks                  a few minutes on two cores
pytest benchmarks -k request       a part of it; all of pytest-benchmark's own options work
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks import peers, report
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import RestoreError
from restore_sdk.measure.bench import Run
from restore_sdk.measure.timing import Case
from restore_sdk.runtime.select import open_runner


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("Restore SDK's benchmarks")
    group.addoption("--bundle", metavar="BUNDLE", help="default, faithful, or the folder of another bundle")


@pytest.fixture(scope="session")
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.config.getoption("--bundle"))


@pytest.fixture(scope="session")
def own_case(bundle: Bundle) -> Iterator[Callable[[str, str], Case]]:
    """A case by its runtime and figure; a runtime that this host does not have skips the test and says why."""
    found: dict[str, dict[str, Case] | RestoreError] = {}
    with ExitStack() as stack:

        def open_(name: Any) -> dict[str, Case]:
            runner, reason = open_runner(name, bundle, device=0, slots=1, threads=None)
            stack.callback(runner.close)
            run = Run(name, runner, reason, 0.0, stack.enter_context(RestoreEngine(bundle, runtime=name)))
            return {case.figure: case for case in (*run.cases(bundle, 1), *report.more_cases(run, bundle))}

        def get(name: str, figure: str) -> Case:
            if name not in found:
                try:
                    found[name] = open_(name)
                except RestoreError as error:
                    found[name] = error
            cases = found[name]
            if isinstance(cases, RestoreError):
                pytest.skip(f"{name}: {cases}")
            return cases[figure]

        yield get


@pytest.fixture(scope="session")
def peer_cases(bundle: Bundle) -> list[Case]:
    return peers.cases(bundle)[0]


@pytest.fixture
def measure(benchmark: Any) -> Callable[[Case], None]:
    """Warm a case up, time it, and check its result before and after."""

    def run(case: Case) -> None:
        benchmark.group = case.figure
        benchmark.extra_info.update(run=case.run, images=case.images, **case.facts)
        parts: list[dict[str, float]] = []

        def call() -> Any:
            result = case.call()
            parts.append(case.parts(result))
            return result

        case.check(case.call())
        case.check(benchmark.pedantic(call, rounds=10, warmup_rounds=2))
        benchmark.extra_info["parts_ms"] = {name: statistics.median(each[name] for each in parts) for name in parts[0]}

    return run
