from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_sdk._util.disk import file_lock
from restore_sdk.errors import OutputError
from training.checkpoint import CheckpointError, load_tensors, under_prefix
from training.config import PARTS, Config, ConfigError, Part, from_json
from training.data import DataError
from training.faces import DamagedViews, Faces, mask_bank
from training.fit import DivergedError, Options, PartTrainer, StoppedError, fit
from training.weights import Networks, load_networks, save_weights

pytestmark = pytest.mark.usefixtures("weights_of_features")
Run = Callable[..., Options]


@pytest.fixture
def options(pictures: Path, labels: Path, trained: Path, tmp_path: Path) -> Run:
    """How to run in a new folder, or with ``go_on`` in a copy of the trained one."""

    def made(go_on: bool = False, **changes: Any) -> Options:
        out = tmp_path / "run"
        if go_on:
            shutil.copytree(trained, out)
        out.mkdir(exist_ok=True)
        return Options(pictures, out, labels, masks=20, bfloat16=False, **changes)

    return made


def _views(options: Options, size: int, batch: int) -> DamagedViews:
    return DamagedViews(Faces.read(options.data, options.labels), mask_bank(0, 20, workers=1), size, batch, 2)


def test_a_whole_run_leaves_weights_and_its_configuration(tiny: Config, trained: Path) -> None:
    networks, facts = load_networks(trained / "weights.safetensors")
    assert facts["images"] == {"shape": 8, "edge": 6, "coarse": 8, "repair": 6}
    for name in PARTS:
        average = under_prefix("average", load_tensors(trained / f"{name}.safetensors")[0])
        own = networks.part(name).state_dict()
        shared = [key for key in own if name != "repair" or not key.startswith("coarse.")]
        assert all(torch.allclose(own[key], average[key], atol=1e-2) for key in shared)
    assert from_json(json.loads((trained / "config.json").read_text())) == tiny
    assert not list(trained.glob(".*tmp"))


def test_a_stopped_run_resumes_exactly(
    tiny: Config, options: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, run = PartTrainer.step, options()

    def interrupted(self: PartTrainer, views: DamagedViews) -> dict[str, float]:
        losses = step(self, views)
        if (self.name, self.seen) in (("shape", 4), ("repair", 2)):
            os.kill(os.getpid(), signal.SIGINT)
        return losses

    monkeypatch.setattr(PartTrainer, "step", interrupted)
    for _ in range(2):
        with pytest.raises(StoppedError, match="run again to go on"):
            fit(tiny, run)
    (run.out / "log.jsonl").write_text('{"stage": "repair", "images": 2}\n{"stage": "repair", "images": 9}\n')
    fit(tiny, run)
    assert (run.out / "log.jsonl").read_text().count("repair") == 1, "what will happen again is forgotten"
    for name in PARTS:
        whole, parts = (load_tensors(each / f"{name}.safetensors")[0] for each in (trained, run.out))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name


def test_one_part_is_trained_on_the_others_as_they_are(tiny: Config, options: Run) -> None:
    run = options(go_on=True, only="coarse")
    before = {name: (run.out / f"{name}.safetensors").read_bytes() for name in PARTS}
    fit(tiny.changed("coarse", images=12), run)
    assert {name for name in PARTS if (run.out / f"{name}.safetensors").read_bytes() != before[name]} == {"coarse"}


def test_a_run_can_begin_from_released_weights(tiny: Config, options: Run, trained: Path, tmp_path: Path) -> None:
    weights = save_weights(trained, tmp_path / "weights.safetensors", discriminators=True)
    trainer = PartTrainer("coarse", tiny, options(init=weights), Networks(tiny))
    assert trainer.seen == trainer.began == 8
    released, _ = load_tensors(weights)
    for module, prefix in ((trainer.generator, "coarse"), (trainer.objective.critics, "discriminators.coarse")):
        wanted = under_prefix(prefix, released)
        assert all(torch.equal(value, wanted[name].float()) for name, value in module.state_dict().items())


def test_frozen_parts_stay_and_all_others_learn(tiny: Config, options: Run) -> None:
    run = options()
    trainer, views = PartTrainer("repair", tiny, run, Networks(tiny)), _views(run, 256, 2)
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    for _ in range(3):
        trainer.step(views)
    changed = {name for name, value in trainer.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("coarse.") for name in changed)


def test_a_diverged_step_reaches_neither_weights_nor_checkpoints(tiny: Config, options: Run) -> None:
    run = options()
    trainer, views = PartTrainer("shape", tiny, run, Networks(tiny)), _views(run, 128, 4)
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    views.faces.points[:] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        trainer.step(views)
    assert all(torch.equal(value, before[name]) for name, value in trainer.generator.state_dict().items())
    assert not trainer.path.exists()


def test_what_does_not_fit_is_named(tiny: Config, options: Run, tmp_path: Path) -> None:
    run = options(go_on=True)
    for config, error, says in (
        (tiny.changed("shape", network={"width": 24, "body": 16}), CheckpointError, "another network"),
        (tiny.changed("shape", losses={"points": 1.0, "beauty": 1.0}, images=12), ConfigError, "no loss 'beauty'"),
        (tiny.changed("repair", network={"passes": 1}), ConfigError, "cannot be built"),
    ):
        with pytest.raises(error, match=says):
            fit(config, run)
    with pytest.raises(ConfigError, match="--labels"):
        fit(tiny.changed("shape", images=12), dataclasses.replace(run, labels=None))
    (tmp_path / "labels.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"label\.py"):
        fit(tiny.changed("shape", images=12), dataclasses.replace(run, labels=tmp_path / "labels.npz"))


def test_two_runs_do_not_train_a_part_in_one_folder(tiny: Config, options: Run) -> None:
    run = options(only="edge")
    with file_lock(run.out / ".edge.lock"), pytest.raises(OutputError, match="another run trains in"):
        fit(tiny, run)
    assert not (run.out / "config.json").exists()


def test_schedule_and_losses_that_fade_in() -> None:
    part = Part(1000, rate=1.0, warmup=100, decay=0.5)
    assert part.rate_at(0) < part.rate_at(50) < part.rate_at(99) == part.rate_at(499) == 1.0
    assert part.rate_at(750) == pytest.approx(0.5, abs=0.01)
    assert part.rate_at(1000) == 0.0
    assert part.rate_at(300, began=300) < 0.1
    shares = {"rim": 1.0, "adversarial": 2.0}
    part = Part(10, losses=shares, paired={"l1": 1.0}, critic_rate=1e-4, critic_from=100, critic_ramp=100)
    assert part.weights_at(0) == ({"l1": 1.0}, False)
    assert part.weights_at(150) == ({"rim": 1.0, "adversarial": 1.0}, True)
    assert part.weights_at(500) == (shares, True)


def test_settings_out_of_range_are_named() -> None:
    for values, message in (
        ({"shape": {"rate": 0.0}}, r">= 1e-09 - at `\$.shape.rate`"),
        ({"edges": {}}, "unknown field `edges`"),
        ({"repair": {"batch": "many"}}, r"got `str` - at `\$.repair.batch`"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_json(values)
