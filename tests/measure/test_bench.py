"""`restore-sdk bench`: what it measures, whose name stands over it, and its verdict against a baseline."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.cli.main import main
from restore_sdk.errors import DeviceError, ExecutionError, InputError, MissingDependencyError
from restore_sdk.measure import bench, host
from restore_sdk.measure.baseline import Comparison, compare, read_baseline
from restore_sdk.measure.contender import require_named
from restore_sdk.measure.fresh import _grown, fresh_process
from tests.toy_bundle import golden_vectors, write_toy_bundle

SETTINGS = {"batch": 1, "slots": 1, "threads": None, "device": 0}
PARTS = {"decode", "prepare", "wait", "edge", "repair", "paste", "encode", "total"}


@pytest.fixture(scope="module")
def report(toy_bundle: Bundle) -> dict[str, Any]:
    """A real report of the toy bundle on ONNX Runtime; tests that change it copy it."""
    return bench.measure(toy_bundle, ["onnxruntime"], requests=10, processes=False)


def changed(report: dict[str, Any], **rounds: list[float]) -> dict[str, Any]:
    """The report with other medians of the rounds."""
    other = copy.deepcopy(report)
    other["runs"][0]["rounds"].update(rounds)
    return other


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {change.figure: change.verdict for change in comparison.changes}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["bench", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_figure_is_there(report: dict[str, Any]) -> None:
    (entry,) = report["runs"]
    assert entry["name"] == "onnxruntime fp32"
    for part in ("edge", "repair"):
        assert 0 < entry["latency_ms"][part]["p50"] < entry["latency_ms"]["request"]["p99"]
    assert set(entry["photo_ms"]) == PARTS
    medians = {part: times["p50"] for part, times in entry["photo_ms"].items()}
    assert sum(medians.values()) - medians["total"] == pytest.approx(medians["total"], rel=0.5)
    assert {len(values) for values in entry["rounds"].values()} == {bench.ROUNDS}
    assert entry["images_per_second"] > 0
    assert entry["drift"]["restored"]["worst_db"] in (None, pytest.approx(90, abs=30))
    assert report["host"]["processor"]
    assert report["host"]["packages"]["numpy"]


def test_all_that_opens_is_measured_and_the_rest_named(toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--requests", "2")
    assert code == 0
    names = {entry["asked"] for entry in found["runs"]} | {entry["runtime"] for entry in found["absent"]}
    assert names == set(bench.NAMED)
    assert all(entry["why"] for entry in found["absent"])
    process = next(entry["process"] for entry in found["runs"] if entry["asked"] == "onnxruntime")
    assert 0 < process["import_ms"] < process["cold_ms"]
    assert process["warm_ms"] > 0


def test_a_runtime_asked_for_by_name_is_never_replaced(
    toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise MissingDependencyError("tensorrt is not here", "install it")

    monkeypatch.setattr(bench, "open_runner", missing)  # stands for a host without the package
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--runtime", "tensorrt", "--requests", "1")
    assert (code, found["error"]["type"]) == (3, "MissingDependencyError")
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--requests", "1")
    assert code == 3
    assert "no runtime opens" in found["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "runtime", "precision", "right"),
    [
        ("onnxruntime", "onnxruntime", "fp32", True),
        ("auto", "onnxruntime", "fp32", True),
        ("openvino", "openvino", "fp32", True),
        ("openvino-bf16", "openvino", "bf16", True),
        ("openvino-bf16", "openvino-bf16", "bf16", True),
        ("openvino-bf16", "openvino", "fp32", False),
        ("openvino-int8", "openvino", "int8", True),
        ("openvino-int8", "openvino", "bf16", False),
        ("openvino", "openvino", "int8", False),
        ("tensorrt", "tensorrt", "fp16", True),
        ("tensorrt", "tensorrt_rtx", "fp16", False),
        ("tensorrt", "onnxruntime", "fp32", False),
    ],
)
def test_a_fallback_has_no_name(asked: Any, runtime: str, precision: str, right: bool) -> None:
    facts = {"runtime": runtime, "precision": precision}
    if right:
        require_named(asked, facts)
    else:
        with pytest.raises(DeviceError, match=f"asked for {asked}, but what opened is {runtime} {precision}"):
            require_named(asked, facts)


@pytest.mark.parametrize("option", ["--requests", "--batch", "--slots", "--threads"])
def test_counts_start_at_one(option: str, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "--bundle", str(toy_bundle.path), "--runtime", "onnxruntime", option, "0")
    assert code == 2
    assert "from 1" in found["error"]["message"]


@pytest.mark.parametrize("options", [("--tolerance", "-1"), ("--tolerance", "nan"), ("--min-psnr", "nan")])
def test_nonsense_is_refused(options: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *options)[0] == 2


def test_drift_beyond_the_gate_has_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = golden_vectors()
    hole = golden["mask"] > 127
    golden["restored"][hole] ^= 8
    bundle = write_toy_bundle(tmp_path / "off", golden=golden)
    arguments = ("--bundle", str(bundle.path), "--runtime", "onnxruntime", "--requests", "1", "--no-processes")
    code, found = run(capsys, *arguments)
    assert (code, found["ok"], found["drifted"]) == (6, False, ["onnxruntime fp32"])
    worst = found["runs"][0]["drift"]["restored"]["worst_db"]
    assert run(capsys, *arguments, "--min-psnr", str(worst - 0.1))[0] == 0


def test_the_same_report_is_the_same(report: dict[str, Any]) -> None:
    found = compare(report, report)
    assert not found.regressed
    assert set(verdicts(found).values()) == {"same"}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ([10, 10.1, 10.2], [10.5, 10.6, 10.7], "same"),  # apart, and within the tolerance
        ([10, 10.1, 10.2], [12, 12.1, 12.2], "slower"),
        ([12, 12.1, 12.2], [10, 10.1, 10.2], "faster"),
        ([10, 10.1, 13], [12, 12.1, 12.2], "unclear"),  # one round of the old was as slow
        ([10, 10], [12, 12], "unclear"),  # two rounds have no spread
    ],
)
def test_verdict_by_ratio_and_spread(report: dict[str, Any], old: list[float], new: list[float], verdict: str) -> None:
    found = compare(changed(report, request_ms=old), changed(report, request_ms=new))
    assert verdicts(found)["request"] == verdict
    assert found.regressed == (verdict == "slower")


def test_more_throughput_is_faster(report: dict[str, Any]) -> None:
    slow, fast = [changed(report, images_per_second=[x, x + 1, x + 2]) for x in (30, 60)]
    assert verdicts(compare(slow, fast))["throughput"] == "faster"
    assert verdicts(compare(fast, slow))["throughput"] == "slower"


def test_lost_precision_is_a_regression(report: dict[str, Any]) -> None:
    exact, less = copy.deepcopy(report), copy.deepcopy(report)
    exact["runs"][0]["drift"]["restored"]["worst_db"] = None
    less["runs"][0]["drift"]["restored"]["worst_db"] = 51.0
    assert verdicts(compare(exact, less))["worst drift"] == "drifted"
    assert compare(exact, less).regressed
    assert not compare(less, exact).regressed


def test_another_version_is_noted(report: dict[str, Any]) -> None:
    other = copy.deepcopy(report)
    other["host"]["restore_sdk"] = "0.0.1"
    other["host"]["packages"]["onnxruntime"] = "1.20.0"
    other["host"]["load"] = (report["host"]["load"] or 0) + 9
    other["bundle"] = "old 1.0"
    other["runs"].append({**other["runs"][0], "name": "gone fp16"})
    notes = " | ".join(compare(other, report).notes)
    for part in ("restore_sdk: 0.0.1 then", "onnxruntime: 1.20.0 then", "load of", "bundle: old", "gone fp16 is in"):
        assert part in notes


def test_nothing_in_common_is_said(report: dict[str, Any]) -> None:
    other, elsewhere = copy.deepcopy(report), copy.deepcopy(report)
    other["runs"][0]["name"] = "gone fp16"
    elsewhere["runs"][0]["runtime"]["device"] = "another GPU"
    for old, part in (
        (other, "gone fp16 is in the baseline alone"),
        (elsewhere, "ran on another GPU then, on cpu now"),
    ):
        found = compare(old, report)
        assert (found.empty, found.regressed) == (True, False)
        assert part in " | ".join(found.notes)


def test_another_model_of_the_same_name_is_noted(report: dict[str, Any]) -> None:
    other = {**copy.deepcopy(report), "fingerprint": "0" * 16}
    assert "fingerprint: 0000000000000000 then" in " | ".join(compare(other, report).notes)
    del other["fingerprint"]  # of an earlier version
    assert compare(other, report).notes == ()


def test_what_is_measured_is_kept_where_nothing_can_be_compared(
    report: dict[str, Any], toy_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, path = copy.deepcopy(report), tmp_path / "old.json"
    other["runs"][0]["name"] = "gone fp16"
    path.write_text(json.dumps(other))
    arguments = ["--bundle", str(toy_bundle.path), "--runtime", "onnxruntime", "--requests", "5", "--no-processes"]
    code, found = run(capsys, *arguments, "--compare", str(path))
    assert (code, found["comparison"]["empty"], len(found["runs"])) == (2, True, 1)
    assert main(["bench", *arguments, "--compare", str(path)]) == 2
    assert "FAILED: nothing to compare" in capsys.readouterr().out


def test_a_baseline_is_read_back(report: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(report))
    assert read_baseline(path, host.facts(), SETTINGS) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["host"].update(processor="i486"), "of another machine .processor i486 there"),
        (lambda r: r["host"].update(cores=999), "of another machine .cores 999 there"),
        (lambda r: r.update(batch=4), "measured with batch 4, this is 1"),
        (lambda r: r.update(threads=2), "measured with threads 2"),
        (lambda r: r.update(kind="holiday"), "is no report of restore-sdk bench"),
        (lambda r: r.update(schema=0), "has schema 0"),
        (lambda r: r.pop("host"), "is not whole"),
        (lambda r: r.update(host=7), "is not whole"),
        (lambda r: r.update(runs=[{}]), "is not whole"),
        (lambda r: r.update(device=1), "measured with device 1, this is 0"),
        (lambda r: r["runs"][0]["rounds"].update(request_ms=[0.0]), "no figure above 0"),
        (lambda r: r["runs"][0]["rounds"].update(request_ms=["1", "2"]), "no figure above 0"),
        (lambda r: r["runs"][0]["rounds"].update(request_ms=["x"]), "is not whole"),
    ],
)
def test_a_baseline_that_says_nothing_is_refused(
    change: Any, message: str, report: dict[str, Any], tmp_path: Path
) -> None:
    other, path = copy.deepcopy(report), tmp_path / "old.json"
    change(other)
    path.write_text(json.dumps(other))
    with pytest.raises(InputError, match=message):
        read_baseline(path, host.facts(), SETTINGS)


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "[" * 100_000])
def test_a_baseline_that_is_no_report(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    code, found = run(capsys, "--compare", str(path))
    assert code == 2
    assert "bench --json" in found["error"]["hint"]
    assert run(capsys, "--compare", str(tmp_path / "none"))[0] == 2
    assert run(capsys, "--compare", str(tmp_path))[0] == 2


def test_compare_on_the_command_line(
    report: dict[str, Any], toy_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.json"
    arguments = ["--bundle", str(toy_bundle.path), "--runtime", "onnxruntime", "--requests", "5", "--no-processes"]
    quick = {key: [value / 1000 for value in values] for key, values in report["runs"][0]["rounds"].items()}
    quick["images_per_second"] = [1e6] * 5
    path.write_text(json.dumps(changed(report, **quick)))
    code, found = run(capsys, *arguments, "--compare", str(path))
    assert (code, found["ok"], found["comparison"]["regressed"]) == (8, False, True)
    assert main(["bench", *arguments, "--compare", str(path)]) == 8
    said = capsys.readouterr().out
    assert "slower" in said
    assert "FAILED: slower than the baseline" in said
    slow = {key: [value * 1000 for value in values] for key, values in report["runs"][0]["rounds"].items()}
    slow["images_per_second"] = [1e-6] * 5
    path.write_text(json.dumps(changed(report, **slow)))
    code, found = run(capsys, *arguments, "--compare", str(path))
    assert code == 0
    assert {change["verdict"] for change in found["comparison"]["changes"]} == {"faster"}


def test_memory_grows_where_it_does() -> None:
    flat = [(turn, 100.0) for turn in range(1, 1001)]
    assert _grown(flat) == 0
    assert _grown([(turn, 100 + turn / 10) for turn in range(1, 1001)]) == pytest.approx(80, abs=10)
    assert _grown([(turn, 1e6 if turn <= 50 else 100.0) for turn in range(1, 1001)]) == 0, "before it settled"
    assert _grown(flat[:40]) is None
    assert _grown([(turn, None) for turn in range(1000)]) is None


def test_a_fresh_process(toy_bundle: Bundle) -> None:
    found = fresh_process(toy_bundle.path, "onnxruntime", requests=120, threads=1)
    assert len(found["memory"]) == 120
    assert 0 < found["first_mb"] <= found["peak_mb"] < 400
    assert abs(found["grown_percent"]) < 5
    with pytest.raises(InputError):
        fresh_process(toy_bundle.path, "onnxruntime", requests=0)


def test_a_fresh_process_opens_the_folder_and_no_shipped_model_of_its_name(
    toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toy_bundle.path, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default" / "edge.onnx").write_bytes(b"torn")
    with pytest.raises(ExecutionError, match=r"edge\.onnx is not the file"):
        fresh_process(Path("default"), "onnxruntime", requests=1)


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="no bundle at"):
        fresh_process(tmp_path / "none", "onnxruntime")


def test_a_fresh_process_that_hangs_before_its_first_image_is_ended(
    toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = "import sys, time\nsys.stderr.write('x' * 1_000_000)\nsys.stderr.flush()\ntime.sleep(600)"
    monkeypatch.setattr("restore_sdk.measure.fresh._PROGRAM", talks)
    with pytest.raises(ExecutionError, match="longer than 3 s"):
        fresh_process(toy_bundle.path, "onnxruntime", timeout=3)


def test_facts_tell_machines_apart() -> None:
    facts = host.facts()
    assert host.other_machine(facts, json.loads(json.dumps(facts))) is None
    assert "cores 7 there" in str(host.other_machine(facts, {**facts, "cores": 7}))
    assert host.resident_mb() is None or 0 < host.resident_mb() <= (host.peak_mb() or 0)
