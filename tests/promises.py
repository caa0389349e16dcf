"""What the project promises, and the tests that hold it to that: ``python -m tests.promises`` makes the table.

    python -m tests.promises                  # all, into docs/promises.md
    python -m tests.promises network images   # only these, printed

A case is a test, or each value that it is tried with: parameters, examples of hypothesis, and what a test notes with
``record_property("cases", n)``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "promises.md"


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence of SECURITY.md, and the tests behind it: files, classes or functions as pytest names them."""

    name: str
    text: str
    tests: tuple[str, ...]


PROMISES = (
    Promise(
        "network",
        "Nothing is fetched and nobody is called, at import or later, by this package or the runtimes under it; only "
        "`restore-sdk serve` and what stands on Ray and Triton use the network.",
        ("tests/attacks/test_no_network.py", "tests/serve/test_limits.py::test_it_listens_on_this_host_only"),
    ),
    Promise(
        "code",
        "Nothing that is read is run: no pickle, no eval, no shell, in no file of the repository that is not a test; a "
        "name steers neither terminal nor shell.",
        (
            "tests/attacks/test_source.py",
            "tests/attacks/test_names.py",
            "tests/bundle/test_bundle.py::test_golden_vectors_hold_no_pickle",
            "tests/attacks/test_bundles.py::test_hostile_golden_vectors",
        ),
    ),
    Promise(
        "bundles",
        "A bundle that is damaged, swapped or of another schema ends in an error that says what to do before any of it "
        "runs; nothing outside its folder is read; an operator that fails or asks for more than "
        "there is, in an error.",
        (
            "tests/attacks/test_bundles.py",
            "tests/bundle/test_bundle.py",
            "tests/fuzz/test_fuzz.py",
        ),
    ),
    Promise(
        "plans",
        "A byte of a plan reaches TensorRT only when the store and the file are the user's own, and its SHA-256 is "
        "that of a sound sidecar, for this model, TensorRT and device.",
        (
            "tests/attacks/test_plans.py",
            "tests/engines/test_store.py",
            "tests/runtime/tensorrt/test_open.py::test_an_altered_plan_never_reaches_tensorrt",
            "tests/runtime/tensorrt/test_open.py::test_an_engine_of_another_kind_never_reaches_tensorrt",
            "tests/runtime/tensorrt/test_open.py::test_an_engine_that_drifts_is_refused",
            "tests/runtime/tensorrt/test_failures.py::test_a_plan_that_tensorrt_refuses",
        ),
    ),
    Promise(
        "images",
        "An image file costs memory and time by the pixels that its header claims, within the limit, and not by what "
        "else it says; one that is not what it claims is refused.",
        (
            "tests/attacks/test_images.py",
            "tests/files",
            "tests/fuzz/test_fuzz.py",
        ),
    ),
    Promise(
        "arrays",
        "An array of any strides, subclass or memory is treated as its plain copy, and left as it was; what is no "
        "image or mask is refused in words.",
        ("tests/attacks/test_arrays.py", "tests/imaging/test_image.py"),
    ),
    Promise(
        "pixels",
        "Outside the hole every byte stays; size and type are kept; a request gets the same answer alone, in a batch, "
        "in a stream, in any thread.",
        (
            "tests/attacks/test_properties.py",
            "tests/engine/test_concurrency.py",
            "tests/runtime/tensorrt/test_threads.py",
            "tests/benchmarks/test_load.py::test_many_requests_over_eight_threads",
        ),
    ),
    Promise(
        "whole",
        "Killed at any moment, or with a full disk, no final name holds half a file, no lock stays that blocks, and "
        "the next run goes on or refuses in words.",
        (
            "tests/attacks/test_killed.py",
            "tests/folder/test_kill.py",
            "tests/folder/test_command.py::test_a_full_disk_ends_the_run_and_loses_nothing",
            "tests/folder/test_command.py::test_two_runs_at_once",
            "tests/util/test_atomic.py",
            "tests/engines/test_chain.py::test_interrupted",
            "tests/engines/test_chain.py::test_processes_that_build_the_same",
            "tests/engines/test_store_writes.py::test_readers_never_see_a_mixture",
            "tests/training/test_fit.py::test_a_stopped_run_resumes_exactly",
        ),
    ),
    Promise(
        "faults",
        "After a fault of the runtime, of memory, of files or of the clock, the request that met it ends in an error, "
        "and all others are answered right.",
        (
            "tests/attacks/test_faults.py",
            "tests/runtime/tensorrt/test_memory.py",
            "tests/runtime/tensorrt/test_failures.py",
            "tests/engine/test_concurrency.py::test_close_while_threads_work",
            "tests/serve/test_limits.py::test_a_fault_of_the_model_stays_inside_and_shows_in_readiness",
        ),
    ),
    Promise(
        "service",
        "Strangers get no further than the service's limits: on bytes, pixels, time, company; no answer is another "
        "client's; at twice its capacity it refuses the rest and recovers.",
        (
            "tests/serve/test_limits.py",
            "tests/serve/test_hostile.py",
            "tests/serve/test_restore.py::test_files_that_cannot_be_used",
            "tests/serve/test_restore.py::test_bodies_that_cannot_be_read",
            "tests/benchmarks/test_load.py::test_twice_what_the_service_can_do",
        ),
    ),
    Promise(
        "release",
        "A release is the same bytes whoever makes it, with checksums and a bill of materials; continuous integration "
        "installs locked files by SHA-256.",
        ("tests/packaging/test_release.py", "tests/packaging/test_wheel.py"),
    ),
)


@dataclass(slots=True)
class Tally:
    """What came of the tests of a promise."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def words(self) -> str:
        """As it stands in the table."""
        if self.outcomes["failed"]:
            return f"**{self.outcomes['failed']} FAILED**"
        skipped = f", {self.outcomes['skipped']} skipped here" if self.outcomes["skipped"] else ""
        return f"{self.outcomes['passed']} tests passed{skipped}" if self.outcomes["passed"] else f"none ran{skipped}"


class Counting:
    """A pytest plugin that counts what each test tries."""

    def __init__(self) -> None:
        self.tests: dict[str, Tally] = {}

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Count the examples of a hypothesis test."""
        handle = getattr(getattr(item, "obj", None), "hypothesis", None)
        if handle is None:
            return
        inner, tally = handle.inner_test, self.tests.setdefault(item.nodeid, Tally())

        def counted(*arguments: Any, **named: Any) -> Any:
            tally.cases += 1
            return inner(*arguments, **named)

        handle.inner_test = counted

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome."""
        if report.when != "call" and report.outcome == "passed":
            return
        tally = self.tests.setdefault(report.nodeid, Tally())
        noted = dict(report.user_properties).get("cases")
        tally.cases = int(noted) if noted is not None else max(1, tally.cases)
        tally.outcomes[report.outcome] += 1


def tally(tests: dict[str, Tally], promise: Promise) -> Tally:
    """The sum over the tests of a promise."""
    total = Tally()
    for node, found in tests.items():
        if any(node == name or node.startswith((f"{name}::", f"{name}[", f"{name}/")) for name in promise.tests):
            total.outcomes += found.outcomes
            total.cases += found.cases if not found.outcomes["skipped"] else 0
    return total


def table(tests: dict[str, Tally], promises: tuple[Promise, ...] = PROMISES) -> str:
    """The table as Markdown."""
    lines = ["| promise | tests | cases tried | result |", "|---|---|---|---|"]
    for promise in promises:
        found = tally(tests, promise)
        names = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in promise.tests)
        lines.append(f"| {promise.text} | {names} | {found.cases:,} | {found.words()} |")
    return "\n".join(lines) + "\n"


def page(tests: dict[str, Tally]) -> str:
    """The whole page."""
    import onnxruntime

    today = datetime.now(UTC).date().isoformat()
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        "# Promises, and what holds them\n\n"
        "Written by `python -m tests.promises`, which runs the tests named here; all of them run in continuous "
        f"integration, too.\nLast run: {today}, Python {version} on {sys.platform}, ONNX Runtime "
        f"{onnxruntime.__version__}. TensorRT's part ran on a double of the CUDA driver.\n\n{table(tests)}"
    )


def main() -> int:
    """Run the tests and write the page, or print the part that was asked for."""
    names = [promise.name for promise in PROMISES]
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description="Run the tests behind the promises.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these, printed: {', '.join(names)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no promise is called {', '.join(sorted(unknown))}")
    chosen = tuple(promise for promise in PROMISES if not arguments.names or promise.name in arguments.names)
    counting = Counting()
    wanted = dict.fromkeys(test for promise in chosen for test in promise.tests)
    status = pytest.main(["-q", "-p", "no:cacheprovider", *wanted], plugins=[counting])
    if status not in (0, 1):
        return int(status)
    if arguments.names:
        print(table(counting.tests, chosen))
    else:
        PAGE.write_text(page(counting.tests), encoding="utf-8")
        print(PAGE)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
