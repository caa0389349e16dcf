"""``python -m export drift``: the figures, the gate and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from export import drift, gates, stages
from export.cli import main
from export.pictures import drawn_face, mask_of
from restore_sdk.bundle import Bundle


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two photographs and a mask."""
    faces, masks = tmp_path_factory.mktemp("faces"), tmp_path_factory.mktemp("masks")
    for seed in range(2):
        cv2.imwrite(str(faces / f"{seed}.png"), drawn_face(seed)[..., ::-1])
    cv2.imwrite(str(masks / "mask.png"), mask_of(0.3, 5))
    return faces, masks


@pytest.fixture(autouse=True)
def _few_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "SHARES", (0.0, 0.5, 1.0))


def arguments(bundle: Bundle, folders: tuple[Path, Path], *more: str) -> list[str]:
    return ["drift", "--bundle", str(bundle.path), "--faces", str(folders[0]), "--masks", str(folders[1]), *more]


def test_figures(bundle: Bundle, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(bundle, folders, "--json")) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["probes"] == 5, "each photograph with a mask, and one for each share"
    assert figures["hole"] == [0.0, 1.0]
    for parts in figures["drift"].values():
        assert set(parts) == {"edge", "repair", "chain"}
        for found in parts.values():
            assert 55 <= found["worst_db"] <= found["pooled_db"] < 120
            assert "missing" in found["worst"]
    assert figures["drift"]["pytorch_half"]["repair"] != figures["drift"]["onnxruntime_fp16"]["repair"]
    for layers in figures["largest_activation"].values():
        assert len(layers) > 10
    assert figures["fp16_headroom"] > 8


class Coarse(stages.TorchStage):
    """Half arithmetic that loses far more than half precision does."""

    def __call__(self, *inputs: stages.Bytes) -> stages.Outcome:
        outcome = super().__call__(*inputs)
        if next(self.stage.parameters()).dtype != torch.float16:
            return outcome
        hole = inputs[1] > 127
        where = hole if outcome.output.ndim == 3 else hole[..., None]
        return stages.Outcome(np.where(where, outcome.output // 16 * 16, outcome.output), outcome.unrounded)


def test_what_is_beyond_the_gate_has_an_exit_code_of_its_own(
    bundle: Bundle, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gates, "TorchStage", Coarse)
    assert main(arguments(bundle, folders, "--json")) == 6
    said = capsys.readouterr()
    assert json.loads(said.out)["drift"]["pytorch_half"]["chain"]["worst_db"] < 55, "the figures are shown all the same"
    assert said.err.startswith("error: ")
    assert "the gate is 60 and 55 dB" in said.err


def test_a_pooled_error_beyond_the_gate_is_enough() -> None:
    found = {"pooled_db": 59.9, "worst_db": 58.0, "worst": "a"}
    with pytest.raises(drift.GateError, match=r"repair, half: 59\.9 dB"):
        drift.require_drift({"drift": {"half": {"repair": found}}})
    with pytest.raises(drift.GateError, match=r"54\.9 dB at worst"):
        drift.require_drift({"drift": {"half": {"edge": found | {"pooled_db": 70.0, "worst_db": 54.9}}}})
    with pytest.raises(drift.GateError):
        drift.require_drift({"drift": {"half": {"edge": found | {"pooled_db": float("nan")}}}})
    drift.require_drift({"drift": {"half": {"edge": found | {"pooled_db": 60.0, "worst_db": 55.0}}}})
