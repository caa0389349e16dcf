"""The report: figures taken in turns, ratios and targets from them, pages and plots; what it refuses."""

from __future__ import annotations

import copy
import itertools
import json
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import cli, drift, report, subjects
from benchmarks.cases import Case
from benchmarks.figures import EDGECONNECT, STACK
from benchmarks.page import page, readme_table
from benchmarks.plots import draw
from benchmarks.processes import MeasurementError, WrongResultError
from benchmarks.subjects import Stable
from benchmarks.targets import Target, targets
from benchmarks.turns import take_turns
from restore_sdk.bundle import Bundle
from restore_sdk.errors import DeviceError
from restore_sdk.measure import host
from restore_sdk.measure.bench import ROUNDS
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.docs.pages import ROOT


def figure(group: str, what: str, ms: float, images: int = 1, **facts: Any) -> dict[str, Any]:
    return {
        "group": group,
        "what": what,
        "facts": facts,
        "calls": 5,
        "ms": {"p50": ms, "p95": 1.2 * ms, "p99": 1.3 * ms, "max": 2 * ms},
        "rounds": [0.9 * ms, ms, ms, ms, 1.1 * ms],
        "parts": {"decode": 0.02 * ms, "prepare": 0.02 * ms, "wait": 0.0, "edge": 0.3 * ms, "repair": 0.66 * ms}
        | {"paste": 0.01 * ms, "encode": 0.05 * ms},
        "images_per_second": 1e3 * images / ms,
    }


def made_up() -> dict[str, Any]:
    """A report of figures that nobody measured, with every section; its ratios are easy to see."""
    ours = {"onnxruntime": ("onnxruntime fp32", 20.0), "openvino-bf16": ("openvino bf16", 8.0)}
    latency, batch, size = [], [], []
    for key, (what, ms) in ours.items():
        latency += [figure(group, what, ms, key=key) for group in ("request", "photo", "chain")]
        batch += [figure("batch", what, n * ms / 1.1 if n > 1 else ms, n, key=key, batch=n) for n in (1, 2, 4)]
        batch += [figure("callers", what, 8 * ms / n, 8, key=key, callers=n) for n in (1, 2)]
        batch += [figure("threads", what, 2 * ms / n, key=key, threads=n) for n in (1, 2)]
        size += [figure("size", what, ms, key=key, width=256, height=256)]
        size += [figure("size", what, 1.5 * ms, key=key, width=4000, height=3000)]
        size += [figure("size, wide hole", what, 5 * ms, key=key, width=4000, height=3000)]
    latency += [figure("chain", "PyTorch eager fp32", 60.0, key="pytorch")]
    latency += [figure("chain", "EdgeConnect, onnxruntime fp32", 600.0, key=EDGECONNECT)]
    latency += [figure("stack", "18 convolutions, onnxruntime fp32", 40.0, key=STACK)]
    latency += [figure("opencv", "OpenCV Telea", 10.0, key="OpenCV Telea")]
    drifts = {
        what: {
            "restored": {"pooled_db": 70.0, "worst_db": 50.0, "worst": "golden 1"},
            "completed_edges": {"pooled_db": 70.0, "worst_db": 50.0, "worst": "golden 1"},
            "truth_db": {"mean": -0.01, "worst": -0.1},
        }
        for what, _ in ours.values()
    }
    budgets = [
        {"name": name, "unit": "s", "limit": 1, "median": value, "values": [value, value]}
        for name, value in (("import restore_sdk", 0.1), ("restore-sdk restore, the whole command", 1.0))
    ]
    fresh = {"import_ms": [50.0], "cold_ms": [400.0], "warm_ms": [100.0]}
    curve = {"first_mb": 90.0, "peak_mb": 120.0, "grown_percent": 0.2, "memory": [(n, 100.0) for n in range(1, 101)]}
    sections: dict[str, Any] = {
        "latency": {"figures": latency, "absent": [{"runtime": "pytorch-compiled", "why": "--quick", "hint": ""}]},
        "parts": {"figures": [figure("host part", "Canny", 0.2, 0)]},
        "batch": {"figures": batch},
        "size": {"figures": size},
        "start": {"budgets": budgets, "processes": {what: fresh for what, _ in ours.values()}},
        "memory": {"requests": 5000, "runs": {what: curve for what, _ in ours.values()}},
        "drift": {"golden": {"pictures": 6, "hole": [0.1, 0.5], "reference_db": 30.0, "drift": drifts}},
    }
    for each in sections.values():
        each |= {"measured": "2026-01-01T00:00:00+00:00", "load": 0.1, "quick": False}
    return {
        "kind": report.KIND,
        "schema": report.SCHEMA,
        "host": host.facts(),
        "bundle": {"name": "toy 1.0", "parameters": 1, "macs": 1},
        "absent": [{"runtime": "tensorrt", "why": "no NVIDIA driver", "hint": ""}],
        "sections": sections,
    }


def test_cases_take_turns_and_are_checked() -> None:
    order: list[str] = []
    checked: list[str] = []

    def case(what: str) -> Case:
        def call() -> dict[str, float]:
            order.append(what)
            return {"edge": 2.0}

        return Case("toy", what, call, lambda _: checked.append(what), dict, images=2, facts={"batch": 2})

    found = take_turns([case("a"), case("b")], seconds=0.01)
    assert [each["what"] for each in found] == ["a", "b"]
    assert {len(each["rounds"]) for each in found} == {ROUNDS}
    assert found[0]["parts"] == {"edge": 2.0}
    assert found[0]["images_per_second"] == pytest.approx(2e3 / found[0]["ms"]["p50"], rel=0.1)
    assert sorted(checked) == ["a"] * 3 + ["b"] * 3
    assert len([1 for a, b in itertools.pairwise(order) if a != b]) >= ROUNDS, "they did not take turns"


def test_a_slow_check_does_not_cost_a_case_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.turns.SHORT_MS", 50.0)
    calls: list[int] = []
    [found] = take_turns([Case("toy", "quick", lambda: calls.append(1), lambda _: time.sleep(0.06))], seconds=0.01)
    assert len(calls) == 2 + ROUNDS + found["calls"], "each round has a call that does not count"


def test_a_wrong_result_is_no_figure() -> None:
    def check(result: object) -> None:
        assert result == 1, "it is not one"

    with pytest.raises(WrongResultError, match="toy: two: it is not one"):
        take_turns([Case("toy", "two", lambda: 2, check)], seconds=0.01)


def verdicts(made: dict[str, Any]) -> dict[str, str]:
    return {each.name.rpartition(",")[0] or each.name: each.verdict for each in targets(made)}


def test_targets_are_ratios_within_the_report() -> None:
    made = made_up()
    found = {each.name: each for each in targets(made)}
    assert {each.verdict for each in found.values()} == {"reached"}
    values = [each.value for each in found.values()]
    assert values[:4] == [30.0, 0.5, 0.4, 50.0]
    assert found["host work in a request, 256 px, onnxruntime"].value == pytest.approx(4.0)
    assert found["12 megapixels with one hole, of the 256 px request, openvino-bf16"].value == 1.5
    slow = copy.deepcopy(made)
    for each in slow["sections"]["latency"]["figures"]:
        if each["what"] == "onnxruntime fp32":
            each["rounds"] = [100.0] * ROUNDS
    assert "MISSED" in {each.verdict for each in targets(slow)}


def test_what_is_to_be_equal_has_a_spread() -> None:
    verdicts = [Target("x", 0.99, 1.0, True, highest=highest).verdict for highest in (0.995, 1.02)]
    assert [*verdicts, Target("x", 1.01, 1.0, True, highest=1.1).verdict] == ["MISSED", "within the spread", "reached"]


def test_what_was_not_measured_is_not_reached() -> None:
    empty = {**made_up(), "sections": {}}
    assert {each.verdict for each in targets(empty)} == {"not measured"}
    few = made_up()
    few["sections"]["memory"]["requests"] = 300
    assert [each.verdict for each in targets(few) if each.name.startswith("memory")] == ["not measured"] * 2


def test_page_and_plots(tmp_path: Path) -> None:
    made = made_up()
    pictures = draw(made, tmp_path)
    assert pictures == ["latency.png", "throughput.png", "drift.png", "parts.png", "memory.png"]
    for name in pictures:
        drawn = cv2.imread(str(tmp_path / name))
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    assert (tmp_path / "latency.png").stat().st_size < 100_000
    text = page(made, pictures)
    for part in (host.facts()["processor"], "![", "30", "no NVIDIA driver", "pytorch-compiled: --quick", "+0.20 %"):
        assert part in text
    assert "| OpenCV Telea | 10.0" in readme_table(made)
    assert "| 30.0 |" in readme_table(made)
    stack = "18 convolutions, onnxruntime fp32"
    assert stack in text
    assert stack not in readme_table(made)


def test_a_report_without_figures_still_is_one(tmp_path: Path) -> None:
    empty = {**made_up(), "sections": {}}
    assert draw(empty, tmp_path) == []
    assert "Not measured." in page(empty, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made["host"].update(cores=999), "cores 999 there"),
        (lambda made: made["host"].update(restore_sdk="0.0.1"), "restore_sdk 0.0.1 there"),
        (lambda made: made["host"]["packages"].update(onnxruntime="1.0"), "packages"),
        (lambda made: made["bundle"].update(name="other"), "model"),
        (lambda made: made.update(kind="holiday"), "no report"),
        (lambda made: made.pop("host"), "no report"),
    ],
)
def test_sections_of_another_machine_or_version_are_not_kept(
    change: Any, message: str, tmp_path: Path, toy_bundle: Bundle
) -> None:
    made = made_up()
    made["bundle"] = report._about(toy_bundle)
    path = tmp_path / "report.json"
    assert report.read_kept(path, toy_bundle) is None
    path.write_text(json.dumps(made))
    kept = report.read_kept(path, toy_bundle)
    assert kept is not None
    assert set(kept["sections"]) == set(cli.SECTIONS)
    change(made)
    path.write_text(json.dumps(made))
    with pytest.raises(MeasurementError, match=message):
        report.read_kept(path, toy_bundle)


@pytest.mark.parametrize("command", ["drift", "report"])
def test_a_folder_without_faces(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no face")
    extra = ["--out", str(tmp_path / "out")] if command == "report" else []
    assert cli.main([command, "--faces", str(tmp_path), *extra]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert cli.main([command, "--masks", str(tmp_path), *extra]) == 2
    assert "--masks needs --faces" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["drift"], ["report", "--only", "parts"]])
def test_a_runtime_that_is_not_here(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise DeviceError("no such device", "buy one")

    monkeypatch.setattr(subjects, "open_runner", missing)  # stands for a host without it
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--runtime", "tensorrt"]) == 2
    assert "no such device" in capsys.readouterr().err


def test_the_section_on_starts(tmp_path: Path) -> None:
    arguments = ["report", "--only", "start", "--quick", "--runtime", "onnxruntime"]
    assert cli.main([*arguments, "--out", str(tmp_path)]) in (0, 1)  # 1: a limit is missed, as on a busy host
    section = json.loads((tmp_path / "report.json").read_bytes())["sections"]["start"]
    assert {each["name"] for each in section["budgets"]} >= {"host work in a request"}
    (times,) = section["processes"].values()
    assert 0 < min(times["import_ms"]) < min(times["cold_ms"])


def test_a_fallback_is_not_reported_under_the_name_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load()

    def fallen_back(*_: object, **__: object) -> tuple[OnnxRunner, str]:
        return OnnxRunner(bundle), "the CPU serves instead"

    monkeypatch.setattr(subjects, "open_runner", fallen_back)  # stands for a runtime that falls back silently
    with (
        Stable(bundle) as stable,
        pytest.raises(DeviceError, match="asked for tensorrt, but what opened is onnxruntime"),
    ):
        stable.subject("tensorrt")


@pytest.mark.parametrize(
    "arguments", [["drift", "--limit", "0"], ["drift", "--min-psnr", "nan"], ["report", "--only", ""]]
)
def test_nonsense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2


def test_drift_over_the_golden_vectors_has_a_gate(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["drift", "--runtime", "onnxruntime", "--json"]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["drift"]) == ["onnxruntime fp32"]
    assert found["drift"]["onnxruntime fp32"]["restored"]["worst_db"] > 60
    assert abs(found["drift"]["onnxruntime fp32"]["truth_db"]["worst"]) < 0.1
    assert cli.main([*arguments, "--min-psnr", "200"]) == 6
    assert json.loads(capsys.readouterr().out)["beyond"] == ["onnxruntime fp32"]


def test_beyond_the_gate_is_the_worst_picture() -> None:
    figures = made_up()["sections"]["drift"]["golden"]
    assert drift.beyond(figures, 50.0) == []
    assert drift.beyond(figures, 50.1) == ["onnxruntime fp32", "openvino bf16"]


@pytest.mark.slow
def test_the_suite_runs_and_says_what_it_skips() -> None:
    """A part of it, each case once: the whole takes minutes."""
    chosen = "test_chain and (onnxruntime or tensorrt) or host_part or test_stage and onnxruntime"
    command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "-k", chosen, "--benchmark-disable"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    if not find_spec("tensorrt"):
        assert re.search(r"SKIPPED.*tensorrt", done.stdout), "what is left out is said"


def test_a_bundle_without_its_networks_has_no_reference(toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["drift", "--runtime", "onnxruntime", "--bundle", str(toy_bundle.path)]) == 2
    assert "no reference in PyTorch" in capsys.readouterr().err


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.cli._drift", interrupted)
    assert cli.main(["drift"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
