from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch

from restore_sdk._util.lock import file_lock
from restore_sdk.errors import OutputError
from training import checkpoint, steps
from training.checkpoint import CheckpointError, load_tensors, save_tensors
from training.config import Config, ConfigError, Losses, from_json
from training.fit import DivergedError, Options, StageTrainer, StoppedError, fit
from training.log import RunLog
from training.weights import load_stages


def _options(pictures: Path, out: Path) -> Options:
    out.mkdir(exist_ok=True)
    return Options(pictures, out, workers=0)


def _edge(config: Config) -> torch.nn.Module:
    torch.manual_seed(1)
    return config.build("edge")


def _longer(config: Config, stage: str, images: int) -> Config:
    part = config.stage(stage)
    part = dataclasses.replace(part, schedule=dataclasses.replace(part.schedule, images=images))
    return dataclasses.replace(config, **{stage: part})  # type: ignore[arg-type]


def _same(a: Path, b: Path) -> bool:
    first, second = load_tensors(a)[0], load_tensors(b)[0]
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_whole_run_leaves_weights_a_log_and_its_configuration(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    path = fit(tiny, _options(pictures, tmp_path / "run"))
    edge, repair, config, facts = load_stages(path)
    assert config == tiny
    assert facts["images"] == {"edge": 8, "coarse": 6, "repair": 10}
    initial = tiny.build("repair").state_dict()
    assert any(not torch.equal(value, initial[name]) for name, value in repair.generator.state_dict().items())
    assert next(edge.parameters()).dtype == torch.float32
    assert from_json(json.loads((tmp_path / "run" / "config.json").read_text())) == tiny
    assert not list((tmp_path / "run").glob(".*tmp"))


def test_two_runs_do_not_share_a_folder(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    options = _options(pictures, tmp_path / "run")
    with file_lock(options.out / ".lock"), pytest.raises(OutputError, match="another run trains in"):
        fit(tiny, options)
    assert not (options.out / "config.json").exists()


@pytest.mark.parametrize("kind", ["of-tomorrow", ["dense"]])
def test_weights_of_unknown_networks_are_named(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {}, {"config": {"edge": {"generator": {"kind": kind}}}, "images": {}})
    with pytest.raises(CheckpointError, match=r"holds networks that this version cannot build .*kind"):
        load_stages(path)


def test_the_repair_stage_begins_from_the_runs_coarse_generator(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    options = _options(pictures, tmp_path)
    coarse = StageTrainer("coarse", tiny, options, _edge(tiny))
    assert next(coarse._batches()).image.shape == (2, 3, 128, 128)
    coarse.run(RunLog(tmp_path), lambda: False)
    repair = StageTrainer("repair", tiny, options, _edge(tiny))
    own = {name: tensor.clone() for name, tensor in coarse.average.state_dict().items()}
    repair.take_coarse(coarse)
    for generator in (repair.generator, repair.average):
        taken = generator.get_submodule("coarse").state_dict()
        assert all(torch.equal(taken[name], tensor) for name, tensor in own.items())
    repair.step(next(repair._batches()))
    learned = repair.generator.state_dict()["coarse.head.0.weight"]
    assert not torch.equal(learned, own["head.0.weight"]), "it learns on with the rest"


def test_a_run_trains_the_coarse_generator_first_and_only_then(
    tiny: Config, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = _options(pictures, tmp_path / "run")
    released = fit(_longer(tiny, "repair", 0), options)
    alone = checkpoint.under_prefix("average", load_tensors(options.out / "coarse.last.safetensors")[0])
    joined = checkpoint.under_prefix("repair.coarse", load_tensors(released)[0])
    assert alone.keys() == joined.keys()
    assert all(torch.equal(joined[name], tensor.half()) for name, tensor in alone.items())

    fit(tiny, options)
    before = (options.out / "coarse.last.safetensors").read_bytes()
    capsys.readouterr()
    fit(_longer(tiny, "coarse", 20), options)
    assert "coarse: not trained alone, since the repair stage has begun" in capsys.readouterr().out
    assert (options.out / "coarse.last.safetensors").read_bytes() == before

    joined = checkpoint.under_prefix("repair.coarse", load_tensors(released)[0])  # trained on with the rest by now
    begun = dataclasses.replace(_options(pictures, tmp_path / "second"), init=released)
    trainer = StageTrainer("coarse", tiny, begun, _edge(tiny))
    assert trainer.images == 6
    assert all(torch.equal(joined[name].float(), tensor) for name, tensor in trainer.generator.state_dict().items())


def test_a_run_without_a_coarse_generator(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    plain = dataclasses.replace(tiny, coarse=dataclasses.replace(tiny.coarse, generator={"kind": "none"}))
    _, repair, _, facts = load_stages(fit(plain, _options(pictures, tmp_path)))
    assert repair.generator.coarse is None
    assert facts["images"] == {"edge": 8, "repair": 10}


def test_a_coarse_generator_for_another_body_is_refused(tiny: Config) -> None:
    wide = dataclasses.replace(tiny.coarse, generator={**tiny.coarse.generator, "structure": 32})
    with pytest.raises(ConfigError, match="coarse takes 32 structure features, the body has 16"):
        dataclasses.replace(tiny, coarse=wide).build("repair")


def test_weights_of_an_earlier_version_are_named(tmp_path: Path) -> None:
    save_tensors(tmp_path / "old.safetensors", {"edge.a": torch.ones(1)}, {"config": {"batch": 8}, "images": {}})
    with pytest.raises(CheckpointError, match=r"cannot build .*'batch'.* Use the version that made them"):
        load_stages(tmp_path / "old.safetensors")


@pytest.mark.parametrize("stop_at", [2, 8])
def test_a_stopped_run_resumes_exactly(tiny: Config, pictures: Path, tmp_path: Path, stop_at: int) -> None:
    whole = StageTrainer("repair", tiny, _options(pictures, tmp_path / "whole"), _edge(tiny))
    whole.run(RunLog(tmp_path / "whole"), lambda: False)

    options = _options(pictures, tmp_path / "parts")
    first = StageTrainer("repair", tiny, options, _edge(tiny))
    with pytest.raises(StoppedError, match=f"at {stop_at} images"):
        first.run(RunLog(options.out), lambda: first.images >= stop_at)
    second = StageTrainer("repair", tiny, options, _edge(tiny))
    second.run(RunLog(options.out), lambda: False)
    assert _same(whole.path, second.path)


def test_the_layout_in_memory_changes_the_result_by_rounding_only(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    initial, averages = tiny.build("repair").state_dict(), []
    for channels_last in (False, True):
        options = dataclasses.replace(
            _options(pictures, tmp_path / str(channels_last)), bfloat16=False, channels_last=channels_last
        )
        trainer = StageTrainer("repair", tiny, options, _edge(tiny))
        trainer.generator.load_state_dict(initial)
        trainer.average.load_state_dict(initial)
        for _, batch in zip(range(2), trainer._batches(), strict=False):
            trainer.step(batch)
        wide = [each for each in trainer.generator.parameters() if each.dim() == 4 and min(each.shape) > 1]
        assert all(each.is_contiguous(memory_format=torch.channels_last) for each in wide) == channels_last
        trainer.save()
        tensors, _ = load_tensors(trainer.path)
        averages.append(checkpoint.under_prefix("average", tensors))
    plain, last = (torch.cat([each[name].flatten() for name in initial]) for each in averages)
    learned = plain - torch.cat([each.flatten() for each in initial.values()])
    assert 0 < torch.norm(last - plain) < 0.1 * torch.norm(learned), "Muon rounds to bfloat16"


def test_a_longer_plan_goes_on_from_before_the_decay(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    long = _longer(tiny, "repair", 16)
    short = _longer(long, "repair", 8)
    at_once = StageTrainer("repair", long, _options(pictures, tmp_path / "once"), _edge(tiny))
    at_once.run(RunLog(tmp_path / "once"), lambda: False)
    options = _options(pictures, tmp_path / "twice")
    StageTrainer("repair", short, options, _edge(tiny)).run(RunLog(options.out), lambda: False)
    prolonged = StageTrainer("repair", long, options, _edge(tiny))
    prolonged.run(RunLog(options.out), lambda: False)
    assert prolonged.images == 16
    assert _same(at_once.path, prolonged.path)


def test_a_run_can_begin_from_released_weights(
    tiny: Config, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released = fit(tiny, _options(pictures, tmp_path / "first"))
    longer = _longer(_longer(tiny, "edge", 16), "repair", 20)
    repair = dataclasses.replace(longer.repair, generator={**longer.repair.generator, "blocks": 2})
    longer = dataclasses.replace(longer, repair=repair)
    options = dataclasses.replace(_options(pictures, tmp_path / "second"), init=released)
    trainer = StageTrainer("repair", longer, options, _edge(tiny))
    old, (tensors, _) = trainer.generator.state_dict(), load_tensors(released)
    for name, tensor in checkpoint.under_prefix("repair", tensors).items():
        assert torch.equal(old[name], tensor.float())
    assert trainer.images == trainer.began == 10
    assert longer.repair.schedule.rate_at(10, trainer.began) < longer.repair.schedule.rate, "warms up again"
    said = capsys.readouterr().out
    assert "repair: not in weights.safetensors, so they begin anew: " in said
    assert "body8.1.last.weight" in said

    _, _, config, facts = load_stages(fit(longer, options))
    assert config == longer
    assert facts["images"] == {"edge": 16, "coarse": 6, "repair": 20}, "images are counted on"
    assert load_tensors(options.out / "repair.last.safetensors")[1]["began"] == 10

    only_repair = dataclasses.replace(_options(pictures, tmp_path / "third"), init=released)
    _, _, _, facts = load_stages(fit(_longer(tiny, "repair", 12), only_repair))
    assert facts["images"] == {"edge": 8, "coarse": 6, "repair": 12}, "a stage that has seen enough is taken as it is"


def test_a_run_from_weights_keeps_what_its_rate_falls_from(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    weights = fit(tiny, _options(pictures, tmp_path / "first"))
    options = dataclasses.replace(_options(pictures, tmp_path / "second"), init=weights)
    trainer = StageTrainer("repair", _longer(tiny, "repair", 14), options, _edge(tiny))
    assert trainer.began == 10
    trainer.run(RunLog(options.out), lambda: False)
    assert 10 <= checkpoint.load_facts(trainer.stable_path)["images"] < 14


def test_a_checkpoint_is_no_released_weights(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    StageTrainer("edge", tiny, _options(pictures, tmp_path), None).save()
    options = dataclasses.replace(_options(pictures, tmp_path / "b"), init=tmp_path / "edge.last.safetensors")
    with pytest.raises(CheckpointError, match="holds no released weights"):
        StageTrainer("edge", tiny, options, None)


def test_weights_carry_the_settings_of_each_stage(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    options = _options(pictures, tmp_path)
    fit(tiny, options)
    longer = _longer(tiny, "edge", 12)
    _, _, config, facts = load_stages(fit(longer, options))
    assert facts["images"]["edge"] == config.edge.schedule.images == 12
    assert config.repair == tiny.repair


def test_a_coarse_generator_alone_can_be_prolonged(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    options = _options(pictures, tmp_path)
    alone = _longer(tiny, "repair", 0)
    fit(alone, options)
    weights = fit(_longer(alone, "coarse", 10), options)
    coarse = load_tensors(tmp_path / "coarse.last.safetensors")[0]
    released = load_tensors(weights)[0]
    name = next(iter(tiny.build("coarse").state_dict()))
    assert torch.equal(released[f"repair.coarse.{name}"], coarse[f"average.{name}"].half())


def test_weights_of_a_larger_network_are_refused(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    released = fit(tiny, _options(pictures, tmp_path / "first"))
    narrow = from_json({**tiny.to_json(), "edge": {"generator": {"width": 8, "body": 16, "growth": 8}}})
    options = dataclasses.replace(_options(pictures, tmp_path / "second"), init=released)
    with pytest.raises(CheckpointError, match="another network than the configuration asks for"):
        StageTrainer("edge", narrow, options, None)


def test_a_finished_stage_is_not_trained_again(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    options = _options(pictures, tmp_path)
    StageTrainer("edge", tiny, options, None).run(RunLog(tmp_path), lambda: False)
    before = (tmp_path / "edge.last.safetensors").stat().st_mtime_ns
    again = StageTrainer("edge", tiny, options, None)
    again.run(RunLog(tmp_path), lambda: False)
    assert again.images == 8
    assert (tmp_path / "edge.last.safetensors").stat().st_mtime_ns == before


def test_the_log_forgets_what_will_happen_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for images in (2, 4, 6):
        log.write("edge", images, {"cross_entropy": 1.0})
    log.write("repair", 2, {"l1": 1.0})
    log.truncate("edge", 4)
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(record["stage"], record["images"]) for record in kept] == [("edge", 2), ("edge", 4), ("repair", 2)]


def test_adversarial_losses_set_in_when_they_should(
    tiny: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = StageTrainer("repair", tiny, _options(pictures, tmp_path), _edge(tiny))
    batches = trainer._batches()
    judge = trainer.discriminator.judge.parametrizations.weight.original
    before = judge.detach().clone()
    assert "adversarial" not in trainer.step(next(batches))
    assert torch.equal(judge, before)
    trainer.images = 5
    assert {"adversarial", "feature_matching", "discriminator"} <= trainer.step(next(batches)).keys()
    assert not torch.equal(judge, before)
    before = judge.detach().clone()
    monkeypatch.setattr(steps, "discriminator_loss", lambda network, *_: judge.sum() * float("nan"))
    with pytest.raises(DivergedError, match="not finite"):
        trainer.step(next(batches))
    assert torch.equal(judge, before), "a discriminator that diverged is not kept"


def test_schedule(tiny: Config) -> None:
    schedule = dataclasses.replace(tiny.repair.schedule, images=100, warmup=10, decay=0.5, rate=1.0)
    assert [round(schedule.rate_at(i), 3) for i in (0, 9, 30, 50, 75, 100)] == [0.1, 1.0, 1.0, 1.0, 0.5, 0.0]
    assert [round(schedule.rate_at(i, 60), 3) for i in (60, 69, 79, 90, 100)] == [0.1, 1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"seed": -1}, "seed"),
        ({"ema": 1.0}, "ema"),
        ({"repair": {"batch": 0}}, "batch"),
        ({"edge": {"schedule": {"rate": 0.0}}}, "rate"),
        ({"edge": {"schedule": {"decay": 1.5}}}, "decay"),
        ({"edge": {"losses": {"adversarial": 0.0}}}, "feature_matching needs a discriminator"),
        ({"repair": {"losses": {"l1": -1.0}}}, "l1"),
    ],
)
def test_settings_out_of_range_are_named(values: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=f"out of range: {rule}"):
        from_json(values)


def test_networks_that_cannot_be_are_named() -> None:
    with pytest.raises(ConfigError, match="cannot be built"):
        from_json({"edge": {"generator": {"width": -1}}}).build("edge")


def test_nothing_to_learn_from_is_named() -> None:
    with pytest.raises(ConfigError, match="none of cross_entropy has a weight"):
        steps.weighted_sum({"cross_entropy": torch.ones(())}, Losses(cross_entropy=0.0))


class TestCheckpoint:
    def test_a_full_disk_leaves_the_last_one_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "last.safetensors"
        save_tensors(path, {"a": torch.ones(3)}, {"images": 1})

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device"):
            save_tensors(path, {"a": torch.zeros(3)}, {"images": 2})
        monkeypatch.undo()
        assert load_tensors(path)[1] == {"images": 1}
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("keep", [0, 5, 60, -1])
    def test_a_torn_file_is_refused(self, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "torn.safetensors"
        save_tensors(path, {"a": torch.ones(30)}, {"images": 1})
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(CheckpointError, match="not a whole checkpoint"):
            load_tensors(path)

    def test_another_configuration_is_refused_by_name(self, tiny: Config, pictures: Path, tmp_path: Path) -> None:
        StageTrainer("edge", tiny, _options(pictures, tmp_path), None).save()
        wider = from_json({**tiny.to_json(), "edge": {"generator": {"width": 32, "body": 16, "growth": 8}}})
        with pytest.raises(CheckpointError, match=r"another network.*expected .*32.*found .*16"):
            StageTrainer("edge", wider, _options(pictures, tmp_path), None)

    def test_weights_that_overflow_half_precision_are_refused(self) -> None:
        with pytest.raises(CheckpointError, match="does not fit"):
            checkpoint.half_precision({"a": torch.tensor([7e4])})


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="'lerning_rate'"):
        from_json({"repair": {"schedule": {"lerning_rate": 1}}})


def test_the_average_remembers_as_long_as_the_configuration_says(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    trainer = StageTrainer("edge", tiny, _options(pictures, tmp_path), None)
    trainer.images = 10_000 * tiny.edge.batch
    before = [parameter.clone() for parameter in trainer.average.parameters()]
    for parameter in trainer.generator.parameters():
        parameter.data += 1.0
    trainer._update_average()
    for old, new, target in zip(before, trainer.average.parameters(), trainer.generator.parameters(), strict=True):
        torch.testing.assert_close(new, old + (1 - tiny.ema) * (target - old))


def test_a_diverged_step_reaches_neither_weights_nor_checkpoints(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    trainer = StageTrainer("edge", tiny, _options(pictures, tmp_path), None)
    batch = next(trainer._batches())
    with torch.no_grad():
        trainer.generator.head[0][0].bias[0] = float("nan")
    sound = [parameter.clone() for parameter in trainer.average.parameters()]
    with pytest.raises(DivergedError, match="not finite"):
        trainer.step(batch)
    assert all(torch.equal(a, b) for a, b in zip(sound, trainer.average.parameters(), strict=True))
    assert not trainer.path.exists()


def test_a_refused_configuration_does_not_replace_the_runs_own(tiny: Config, pictures: Path, tmp_path: Path) -> None:
    options = _options(pictures, tmp_path / "run")
    fit(tiny, options)
    own = (options.out / "config.json").read_bytes()
    wider = from_json({**tiny.to_json(), "edge": {"generator": {"width": 32, "body": 16, "growth": 8}}})
    with pytest.raises(CheckpointError):
        fit(wider, options)
    assert (options.out / "config.json").read_bytes() == own


def test_changed_settings_are_said(
    tiny: Config, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    StageTrainer("edge", tiny, _options(pictures, tmp_path), None).save()
    StageTrainer("edge", _longer(tiny, "edge", 99), _options(pictures, tmp_path), None)
    assert capsys.readouterr().out == ""
    StageTrainer("edge", dataclasses.replace(tiny, seed=7), _options(pictures, tmp_path), None)
    assert "seed was 0, is 7" in capsys.readouterr().out


def test_the_generator_listens_to_the_discriminator_by_degrees() -> None:
    losses = Losses(adversarial=1.0, feature_matching=2.0, adversarial_from=100, adversarial_ramp=50)
    assert [losses.at(image).adversarial for image in (0, 100, 125, 150, 999)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert losses.at(125).feature_matching == 1.0
    assert losses.at(0).l1 == losses.l1
    begun = [losses.at(image, began=1000).adversarial for image in (1000, 1025, 1050, 1999)]
    assert begun == [0.0, 0.5, 1.0, 1.0], "a discriminator that begins anew is not heard at once"


@pytest.mark.parametrize("values", [{"edge": 3}, {"seed": "8"}, {"repair": {"generator": [1]}}])
def test_settings_of_another_kind_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        from_json(values)
