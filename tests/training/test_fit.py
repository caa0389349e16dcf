from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_sdk._util.lock import file_lock
from restore_sdk.errors import OutputError
from training import checkpoint
from training.checkpoint import CheckpointError, load_tensors
from training.config import PARTS, Config, ConfigError, Part, from_json
from training.data import DataError
from training.faces import DamagedViews, Faces, mask_bank
from training.fit import DivergedError, Options, PartTrainer, StoppedError, fit
from training.log import RunLog
from training.weights import Networks, load_networks, save_weights

pytestmark = pytest.mark.usefixtures("weights_of_features")


def _options(pictures: Path, labels: Path, out: Path, **changes: Any) -> Options:
    out.mkdir(exist_ok=True)
    return Options(pictures, out, labels, masks=20, bfloat16=False, **changes)


def _longer(config: Config, name: str, images: int) -> Config:
    return dataclasses.replace(config, **{name: dataclasses.replace(config.part(name), images=images)})


def _same(a: Path, b: Path) -> bool:
    first, second = load_tensors(a)[0], load_tensors(b)[0]
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_whole_run_leaves_weights_and_its_configuration(tiny: Config, trained: Path) -> None:
    networks, facts = load_networks(trained / "weights.safetensors")
    assert facts["images"] == {"shape": 8, "edge": 6, "coarse": 8, "repair": 6}
    for name in PARTS:
        state = load_tensors(trained / f"{name}.safetensors")[0]
        average = checkpoint.under_prefix("average", state)
        own = networks.part(name).state_dict()
        shared = [key for key in own if name != "repair" or not key.startswith("coarse.")]
        assert all(torch.allclose(own[key], average[key], atol=1e-2) for key in shared)
    assert from_json(json.loads((trained / "config.json").read_text())) == tiny
    assert not list(trained.glob(".*tmp"))


def test_a_stopped_run_resumes_exactly(
    tiny: Config, pictures: Path, labels: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = PartTrainer.step

    def interrupted(self: PartTrainer, views: DamagedViews) -> dict[str, float]:
        losses = step(self, views)
        if (self.name, self.seen) in (("shape", 4), ("coarse", 6), ("repair", 2)):
            os.kill(os.getpid(), signal.SIGINT)
        return losses

    monkeypatch.setattr(PartTrainer, "step", interrupted)
    for _ in range(3):
        with pytest.raises(StoppedError, match="run again to go on"):
            fit(tiny, _options(pictures, labels, tmp_path / "parts"))
    fit(tiny, _options(pictures, labels, tmp_path / "parts"))
    for name in PARTS:
        assert _same(trained / f"{name}.safetensors", tmp_path / "parts" / f"{name}.safetensors"), name


def test_one_part_is_trained_on_the_others_as_they_are(
    tiny: Config, pictures: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    before = {name: (run / f"{name}.safetensors").read_bytes() for name in PARTS}
    fit(_longer(tiny, "coarse", 12), _options(pictures, labels, run, only="coarse"))
    changed = {name for name in PARTS if (run / f"{name}.safetensors").read_bytes() != before[name]}
    assert changed == {"coarse"}


def test_a_run_can_begin_from_released_weights(
    tiny: Config, pictures: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    weights = save_weights(trained, tmp_path / "weights.safetensors", discriminators=True)
    options = _options(pictures, labels, tmp_path / "second", init=weights)
    trainer = PartTrainer("coarse", tiny, options, Networks(tiny))
    assert trainer.seen == trainer.began == 8
    wanted = checkpoint.under_prefix("coarse", load_tensors(weights)[0])
    assert all(torch.equal(value, wanted[name].float()) for name, value in trainer.generator.state_dict().items())
    wanted = checkpoint.under_prefix("discriminators.coarse", load_tensors(weights)[0])
    assert all(torch.equal(each, wanted[name].float()) for name, each in trainer.objective.critics.state_dict().items())


def test_critics_are_heard_from_when_they_should(tiny: Config, pictures: Path, labels: Path, tmp_path: Path) -> None:
    options = _options(pictures, labels, tmp_path / "run")
    trainer = PartTrainer("coarse", tiny, options, Networks(tiny))
    views = DamagedViews(Faces.read(pictures, labels), mask_bank(0, 20), 128, 2, 2)
    first = [trainer.step(views) for _ in range(4)]
    assert ["critic_projected" in losses for losses in first] == [False, False, True, True]
    assert "l1" in first[0]
    assert "adversarial" in first[2]


def test_frozen_parts_stay_and_all_others_learn(tiny: Config, pictures: Path, labels: Path, tmp_path: Path) -> None:
    options = _options(pictures, labels, tmp_path / "run")
    trainer = PartTrainer("repair", tiny, options, Networks(tiny))
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    views = DamagedViews(Faces.read(pictures, labels), mask_bank(0, 20), 256, 2, 3)
    for _ in range(3):
        trainer.step(views)
    changed = {name for name, value in trainer.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("coarse.") for name in changed)


def test_a_diverged_step_reaches_neither_weights_nor_checkpoints(
    tiny: Config, pictures: Path, labels: Path, tmp_path: Path
) -> None:
    trainer = PartTrainer("shape", tiny, _options(pictures, labels, tmp_path / "run"), Networks(tiny))
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    views = DamagedViews(Faces.read(pictures, labels), mask_bank(0, 20), 128, 4, 0)
    views.faces.points[:] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        trainer.step(views)
    assert all(torch.equal(value, before[name]) for name, value in trainer.generator.state_dict().items())
    assert not trainer.path.exists()


def test_two_runs_do_not_train_a_part_in_one_folder(tiny: Config, pictures: Path, labels: Path, tmp_path: Path) -> None:
    options = _options(pictures, labels, tmp_path / "run", only="edge")
    with file_lock(options.out / ".edge.lock"), pytest.raises(OutputError, match="another run trains in"):
        fit(tiny, options)
    assert not (options.out / "config.json").exists()


def test_weights_of_another_network_are_named(
    tiny: Config, pictures: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    wider = dataclasses.replace(tiny, shape=dataclasses.replace(tiny.shape, network={"width": 24, "body": 16}))
    with pytest.raises(CheckpointError, match="another network"):
        fit(wider, _options(pictures, labels, run))


def test_contours_need_labels(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(ConfigError, match="--labels"):
        fit(tiny, Options(pictures, out, masks=20))
    broken = tmp_path / "labels.npz"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"label\.py"):
        Faces.read(pictures, broken)


def test_the_log_forgets_what_will_happen_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for stage, images in (("edge", 10), ("coarse", 10), ("coarse", 20)):
        log.write(stage, images, {"l1": 0.5})
    log.truncate("coarse", 10)
    assert [(record["stage"], record["images"]) for record in log.records()] == [("edge", 10), ("coarse", 10)]


def test_schedule() -> None:
    part = Part(1000, rate=1.0, warmup=100, decay=0.5)
    assert part.rate_at(0) < part.rate_at(50) < part.rate_at(99) == part.rate_at(499) == 1.0
    assert part.rate_at(750) == pytest.approx(0.5, abs=0.01)
    assert part.rate_at(1000) == 0.0
    assert part.rate_at(300, began=300) < 0.1


def test_losses_fade_in() -> None:
    part = Part(10, losses={"rim": 1.0, "adversarial": 2.0}, paired={"l1": 1.0}, critic_rate=1e-4, critic_from=100,
                critic_ramp=100)  # fmt: skip
    assert part.weights_at(0) == ({"l1": 1.0}, False)
    assert part.weights_at(150) == ({"rim": 1.0, "adversarial": 1.0}, True)
    assert part.weights_at(500) == ({"rim": 1.0, "adversarial": 2.0}, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": {"rate": 0.0}}, "rate must be above 0"),
        ({"coarse": {"wide": 1.5}}, "wide must be a share"),
        ({"edge": {"losses": {"dice": -1.0}}}, "losses must be >= 0"),
        ({"edges": {}}, "Unknown setting 'edges'"),
        ({"repair": {"batch": "many"}}, "'batch' must be like"),
        ({"repair": {"balanced": 1}}, "'balanced' must be like"),
    ],
)
def test_settings_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(values)


def test_networks_that_cannot_be_are_named() -> None:
    with pytest.raises(ConfigError, match="cannot be built"):
        Networks(from_json({"repair": {"network": {"passes16": -1}}}))


def test_unknown_losses_are_named(tiny: Config, pictures: Path, labels: Path, tmp_path: Path) -> None:
    odd = dataclasses.replace(tiny, shape=dataclasses.replace(tiny.shape, losses={"points": 1.0, "beauty": 1.0}))
    with pytest.raises(ConfigError, match="no loss 'beauty'"):
        fit(odd, _options(pictures, labels, tmp_path / "run"))
