import os
from pathlib import Path

import pytest

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.runtime import cores
from restore_sdk.runtime.cores import usable_cores
from restore_sdk.runtime.onnxruntime import waiting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 64),
        ("", 64),
        ("1 0", 64),
    ],
)
def test_a_container_s_quota(text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "CPU_QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == 64
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores() == expected


def test_slots_share_the_cores(toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for slots, threads in ((1, 6), (2, 5), (6, 1), (8, 1)):
        with RestoreEngine(toy_bundle, slots=slots) as engine:
            assert engine.info()["threads"] == threads
    with RestoreEngine(toy_bundle, slots=2, threads=5) as engine:
        assert engine.info()["threads"] == 5


@pytest.mark.parametrize(("version", "spins"), [("1.20.1", False), ("1.31.0", False), ("1.32.0", True), ("2.0", True)])
def test_threads_spin_only_where_it_can_be_kept_short(version: str, spins: bool) -> None:
    entries = waiting(version)
    assert (entries.get("session.intra_op.allow_spinning") == "0") is not spins
    assert ("session.intra_op.spin_duration_us" in entries) is spins
