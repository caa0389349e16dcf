"""The commands on TensorRT, in this process, over the doubles: what a maintainer with a GPU would run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.cli.main import main
from restore_sdk.engines.store import EngineStore
from restore_sdk.files import read_photo
from tests.cuda_double.double import Double
from tests.gpu import test_gpu

ROOT = Path(__file__).resolve().parents[3]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_verify(built: object, toy_bundle: Bundle, double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys, "verify", "--runtime", "tensorrt", "--bundle", str(toy_bundle.path))
    assert (code, report["passed"], report["runtime"]) == (0, True, "tensorrt_double")
    assert report["min_psnr_db"] == 55.0, "half precision has a gate of its own"


def test_bench(built: object, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--runtime", "tensorrt", "--bundle", str(toy_bundle.path), "--requests", "8", "--batch", "2")
    code, report = run(capsys, "bench", *arguments, "--no-processes")  # a fresh process would not see the doubles
    assert code == 0
    (entry,) = report["runs"]
    stages = entry["figures"]["stages"]
    assert set(stages["parts"]) == {"edge", "repair", "upload", "download", "compute"}
    for times in (stages["ms"], *stages["parts"].values()):
        assert 0 <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert stages["parts"]["compute"]["p50"] < stages["ms"]["p50"]
    assert entry["figures"]["throughput"]["images_per_second"] > 0
    assert entry["runtime"]["device_memory_bytes"] > 0
    assert [engine["stage"] for engine in entry["runtime"]["engines"]] == ["edge", "repair"]
    assert all(engine["plan_bytes"] > 0 for engine in entry["runtime"]["engines"])
    assert set(entry["drift"]) == {"restored", "completed_edges"}


def test_bench_of_more_images_than_the_profile_takes(
    built: object, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """They go in as many runs as they need: 4, 4 and 1."""
    options = ("--requests", "1", "--batch", "9", "--no-processes")
    code, report = run(capsys, "bench", "--runtime", "tensorrt", "--bundle", str(toy_bundle.path), *options)
    assert (code, report["batch"]) == (0, 9)
    assert report["runs"][0]["runtime"]["max_batch"] == 4


def test_restore_and_info(
    built: object, toy_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, mask = ROOT / "examples" / "portrait_damaged.png", ROOT / "examples" / "portrait_mask.png"
    results = []
    for runtime in ("tensorrt", "onnxruntime"):
        out = tmp_path / f"{runtime}.png"
        code, _ = run(
            capsys,
            "restore",
            str(photo),
            "--mask",
            str(mask),
            "-o",
            str(out),
            "--runtime",
            runtime,
            "--bundle",
            str(toy_bundle.path),
        )
        assert code == 0
        results.append(read_photo(out))
    assert np.array_equal(*results)
    assert main(["info", "--runtime", "tensorrt", "--bundle", str(toy_bundle.path)]) == 0
    assert "driver double" in capsys.readouterr().out


def test_no_engine_is_an_exit_code_of_its_own(
    store: EngineStore, toy_bundle: Bundle, trt: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = run(capsys, "verify", "--runtime", "tensorrt", "--bundle", str(toy_bundle.path))
    assert code == 4
    assert "restore-sdk build" in report["error"]["hint"]


def test_the_scripts_of_the_gpu_suite(
    built: object,
    toy_bundle: Bundle,
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody runs them where this is developed, so they run on the doubles, lest they fail on the GPU they are for."""
    monkeypatch.setattr(Bundle, "load", classmethod(lambda cls: toy_bundle))
    monkeypatch.setattr("sys.argv", ["script", "tensorrt"])
    exec(compile(test_gpu._PROBE, "probe", "exec"), {})
    assert "driver double" in capsys.readouterr().out
    exec(compile(test_gpu._SERVE, "serve", "exec"), {})
    found = json.loads(capsys.readouterr().out)
    assert found["differing_from_serial"] == 0
    assert found["known_pixels_equal"]
    exec(compile(test_gpu._OPEN_CLOSE.replace("range(100)", "range(3)"), "open_close", "exec"), {})
    free = json.loads(capsys.readouterr().out)
    assert free["free_after_first"] == free["free_after_last"]
    monkeypatch.setattr("sys.argv", ["script", "tensorrt", "after"])
    torch = ModuleType("torch")  # on this host's processor: the order of events is what is tried out here
    torch.ones = lambda size, device: np.ones(size, np.float64)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    exec(compile(test_gpu._TORCH, "torch", "exec"), {})
    exec(compile(test_gpu._SERVED, "served", "exec"), {})
    exec(compile(test_gpu._FORK, "fork", "exec"), {})
