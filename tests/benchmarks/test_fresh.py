"""A fresh process: its start, its first image, its memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.fresh import fresh_process, grown_percent
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ExecutionError


def test_memory_grows_where_it_does() -> None:
    assert grown_percent([100.0] * 1000) == 0
    assert grown_percent([100 + turn / 10 for turn in range(1000)]) == pytest.approx(80, abs=10)
    assert grown_percent([1e6] * 50 + [100.0] * 950) == 0, "before it settled"
    assert grown_percent([100.0] * 40) is None
    assert grown_percent([None] * 1000) is None


def test_a_fresh_process(toy_bundle: Bundle) -> None:
    found = fresh_process(toy_bundle.path, "onnxruntime", requests=120, threads=1)
    assert 0 < found["import_ms"] < found["cold_ms"]
    assert found["warm_ms"] > 0
    assert 0 < found["first_mb"] <= found["peak_mb"] < 400
    assert abs(found["grown_percent"]) < 5
    with pytest.raises(ExecutionError, match="no bundle at"):
        fresh_process(toy_bundle.path / "none", "onnxruntime")


def test_a_fresh_process_opens_the_folder_and_no_shipped_model_of_its_name(
    toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toy_bundle.path, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default" / "edge.onnx").write_bytes(b"torn")
    with pytest.raises(ExecutionError, match=r"edge\.onnx is not the file"):
        fresh_process(Path("default"), "onnxruntime", requests=1)


def test_a_fresh_process_that_hangs_before_its_first_image_is_ended(
    toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = "import sys, time; sys.stderr.write('x' * 1_000_000); sys.stderr.flush(); time.sleep(600)"
    monkeypatch.setattr("benchmarks.fresh._PROGRAM", talks)
    with pytest.raises(ExecutionError, match="longer than 3 s"):
        fresh_process(toy_bundle.path, "onnxruntime", timeout=3)
