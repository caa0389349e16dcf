"""The adversarial finish of a trained network: parts that stay as they are, and verdicts on the hole alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from training.config import Config, ConfigError, from_json, read_config
from training.fit import Options, StageTrainer, fit, freeze
from training.losses import discriminator_hinge, generator_hinge, pixel_grid

ROOT = Path(__file__).resolve().parents[2]


def _hole() -> torch.Tensor:
    """The left upper quarter of 8 x 8 pixels: one of four patches."""
    hole = torch.zeros(1, 1, 8, 8)
    hole[..., :4, :4] = 1
    return hole


def test_only_patches_of_the_hole_are_called_fake() -> None:
    real = torch.full((1, 1, 2, 2), 3.0)
    fake = torch.full((1, 1, 2, 2), 5.0)
    fake[..., 0, 0] = -0.25
    assert discriminator_hinge(real, fake, _hole()) == pytest.approx(0.75)  # the other three are as real as can be
    assert generator_hinge(fake, _hole()) == pytest.approx(0.25)
    assert discriminator_hinge(torch.zeros(1, 1, 2, 2), fake, torch.zeros(1, 1, 8, 8)) == pytest.approx(1.0)


def test_a_grid_counts_and_a_texture_does_not() -> None:
    torch.manual_seed(0)
    plain = torch.zeros(1, 3, 64, 64)
    dots = torch.zeros_like(plain)
    dots[..., ::4, ::4] = 0.2  # one place of every block
    noise = 0.2 * torch.randn_like(plain)
    grid = pixel_grid(dots, plain)
    # less the mean of the block, 15 places are off by 1/16 of 0.2, and one by the rest
    assert grid == pytest.approx((15 * 0.2 / 16 + 0.2 * 15 / 16) / 16)
    assert pixel_grid(dots.roll((1, 2), (2, 3)), plain) == pytest.approx(float(grid)), "wherever the dots are"
    assert pixel_grid(dots, dots) == 0, "what the truth has is no fault"
    assert pixel_grid(plain + 0.3, plain) == pytest.approx(0, abs=1e-6)
    assert pixel_grid(noise, plain) < 0.25 * noise.abs().mean()


def test_frozen_parts_stay_and_all_others_learn(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    fit(tiny, Options(pictures, tmp_path / "first", workers=0))
    longer = dataclasses.replace(tiny.repair, schedule=dataclasses.replace(tiny.repair.schedule, images=30))
    config = dataclasses.replace(tiny, repair=longer)
    options = Options(pictures, tmp_path, workers=0, init=tmp_path / "first" / "weights.safetensors")
    trainer = _trainer(config, ["coarse", "texture_stem.1"], options)
    before = {name: each.detach().clone() for name, each in trainer.generator.named_parameters()}
    for batch, _ in zip(trainer._batches(), range(2), strict=False):
        trainer.step(batch)
    frozen = {name for name in before if name.startswith(("coarse.", "texture_stem.1."))}
    assert frozen
    for network in (trainer.generator, trainer.average):
        parameters = dict(network.named_parameters())
        assert all(torch.equal(parameters[name], before[name]) for name in frozen)
    moved = {name for name, each in trainer.generator.named_parameters() if not torch.equal(each, before[name])}
    assert moved | frozen == before.keys()
    trainer.save()
    again = _trainer(config, ["coarse", "texture_stem.1"], options)
    assert again.images == trainer.images
    again.step(batch)


def _trainer(config: Config, frozen: list[str], options: Options) -> StageTrainer:
    config = dataclasses.replace(config, repair=dataclasses.replace(config.repair, frozen=frozen))
    torch.manual_seed(1)
    return StageTrainer("repair", config, options, config.build("edge"))


def test_frozen_parts_need_trained_weights(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="they would stay random"):
        _trainer(tiny, ["coarse"], Options(pictures, tmp_path, workers=0))
    plain = dataclasses.replace(tiny.repair, generator={**tiny.repair.generator, "passes16": 0})
    fit(dataclasses.replace(tiny, repair=plain), Options(pictures, tmp_path / "first", workers=0))
    options = Options(pictures, tmp_path, workers=0, init=tmp_path / "first" / "weights.safetensors")
    with pytest.raises(ConfigError, match=r"lacks scale16, shift16, which the configuration keeps frozen"):
        _trainer(tiny, ["scale16", "shift16"], options)


def test_other_frozen_parts_than_before(
    tiny: Config, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Momentum is kept by the number of a parameter: it must not pass to another one."""
    options = Options(pictures, tmp_path, workers=0)
    first = _trainer(tiny, [], options)
    for batch, _ in zip(first._batches(), range(2), strict=False):
        first.step(batch)
    first.save()
    second = _trainer(tiny, ["texture_stem"], options)
    assert "muon begins anew" in capsys.readouterr().out
    assert not any(second.optimizers[name].state_dict()["state"] for name in second.optimizers)
    assert second.critic.state_dict()["state"].keys() == first.critic.state_dict()["state"].keys()
    own, average = second.generator.texture_stem, second.average.texture_stem
    pairs = list(zip(own.parameters(), average.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs), "the rest is trained with what is released"
    second.step(batch)
    second.save()
    third = _trainer(tiny, ["texture_stem"], options)
    assert "anew" not in capsys.readouterr().out
    assert (
        third.optimizers["muon"].state_dict()["state"].keys() == second.optimizers["muon"].state_dict()["state"].keys()
    )


def test_the_settings_of_the_vivid_model_fit_the_shipped_network() -> None:
    config = read_config(ROOT / "training" / "vivid.json")
    generator = config.build("repair")
    freeze(generator, config.repair.frozen)
    learning = sum(each.numel() for each in generator.parameters() if each.requires_grad)
    assert learning == pytest.approx(1_144_000, rel=0.01), "a third: what bundles/vivid holds beside the default"
    assert generator.state_dict().keys() == Config().build("repair").state_dict().keys()
    assert config.repair.losses.adversarial_from == 0


def test_parts_that_are_none_are_named(tiny: Config) -> None:
    generator = tiny.build("repair")
    for name in ("nose", "coars", "coarse.nothing", ""):
        with pytest.raises(ConfigError, match=f"no part '{name}' to freeze; the generator has: .*fusion"):
            freeze(generator, [name])
    assert all(each.requires_grad for each in generator.parameters())
    with pytest.raises(ConfigError, match="frozen must be names"):
        from_json({"repair": {"frozen": [1]}})
