"""The ablation on tiny networks: what each variant lacks, that budgets are equal, that it resumes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from training import ablation
from training.ablation import ablate, budget, to_markdown, variant
from training.cli import main
from training.config import Config, ConfigError, from_json
from training.cost import cost
from training.fit import Options
from training.networks.attention import ChannelSpatialAttention, GlobalAttention
from training.networks.coarse import CoarseGenerator
from training.networks.dense import DenseResidualSkip
from training.networks.fusion import BidirectionalGatedFusion
from training.protocol import cases

PARTS = {
    "plain fusion": (BidirectionalGatedFusion,),
    "plain skips": (DenseResidualSkip,),
    "no coarse guess": (CoarseGenerator,),
    "no attention": (ChannelSpatialAttention, GlobalAttention),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_variant_lacks_its_part_and_no_other(name: str) -> None:
    present = {type(module) for module in variant(Config(), name).build("repair").modules()}
    for other, kinds in PARTS.items():
        if name == "no coarse guess" and other == "no attention":
            kinds = (ChannelSpatialAttention,)  # global attention is a part of the coarse generator
        assert all((kind in present) != (other == name) for kind in kinds), other


def test_without_an_edge_stage_nothing_is_completed() -> None:
    edge = variant(Config(), "no edge stage").build("edge")
    hole = torch.ones(1, 1, 256, 256)
    assert torch.sigmoid(edge(hole, hole, hole)).max() < 1e-6


def test_the_baseline_costs_what_the_method_costs() -> None:
    ours, theirs = (
        sum(cost(stage, variant(Config(), name))[1] for stage in ("edge", "repair")) for name in ("full", "EdgeConnect")
    )
    assert theirs == pytest.approx(ours, rel=0.05)


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match="no edge network of kind 'vgg'; known: dense, edgeconnect, none"):
        from_json({"edge": {"generator": {"kind": "vgg"}}}).build("edge")
    with pytest.raises(ConfigError, match="cannot be built"):
        from_json({"repair": {"generator": {"wide": 3}}}).build("repair")


def test_variants_are_trained_measured_and_not_trained_twice(
    tiny: Config, pictures: Path, mask_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = budget(tiny, edge=4, coarse=4, repair=4)
    assert config.edge.losses.adversarial == 0
    chosen, names = list(cases(pictures, mask_files, 1)), ("full", "no edge stage", "plain fusion")
    options = Options(pictures, tmp_path, workers=0)
    results = ablate(config, options, chosen, names)
    assert list(results) == list(names)
    for result in results.values():
        assert len(result["buckets"]) == 6
        assert all(0 < figures["psnr"] < 60 and 0 < figures["ssim"] <= 1 for figures in result["buckets"].values())
    assert json.loads((tmp_path / "ablation.json").read_text()) == results
    assert (tmp_path / "ablation.md").read_text() == to_markdown(results)
    assert to_markdown(results).count("\n") == 5
    for stage in ("edge", "coarse"):
        whole, shared = (
            (tmp_path / name / f"{stage}.last.safetensors").read_bytes() for name in ("full", "plain-fusion")
        )
        assert whole == shared, f"the same {stage} stage"
    monkeypatch.setattr(ablation, "fit", lambda *_: pytest.fail("trained again"))
    assert ablate(config, options, chosen, names) == results
    with pytest.raises(ConfigError, match="full holds a result of other settings"):
        ablate(budget(tiny, edge=4, coarse=4, repair=6), options, chosen, names)
    other = dataclasses.replace(chosen[0], mask=255 - chosen[0].mask)
    for cases_now in (chosen[1:], [other, *chosen[1:]]):
        with pytest.raises(ConfigError, match="other settings, data or faces"):
            ablate(config, options, cases_now, names)
    more = shutil.copytree(pictures, tmp_path / "more")
    shutil.copy(next(more.iterdir()), more / "another.png")
    with pytest.raises(ConfigError, match="other settings, data or faces"):
        ablate(config, dataclasses.replace(options, data=more), chosen, names)


def test_the_command_needs_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ablate", "--data", str(tmp_path), "--validate", str(tmp_path), str(tmp_path), "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "No images below" in capsys.readouterr().err
