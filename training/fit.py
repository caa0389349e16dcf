"""The trainer: the edge GAN, the coarse generator alone, then the repair GAN, from that and on the edge stage's output.

Stops and resumes anywhere.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn, optim
from tqdm import tqdm

from restore_sdk._util.atomic import write_file
from restore_sdk._util.lock import file_lock
from restore_sdk.errors import OutputError
from training import checkpoint, steps
from training.checkpoint import CheckpointError
from training.config import STAGES, TRAINING_SIZES, Config, ConfigError, Schedule
from training.data import Batch, DamagedFaces, samples_of, stream
from training.log import RunLog
from training.networks.coarse import CoarseRepair
from training.networks.discriminator import PatchDiscriminator
from training.optimizer import optimizers_for
from training.steps import Sample
from training.weights import save_weights, state_path

#: Measures ``{stage: generator}`` and returns figures for the log.
Validator = Callable[[dict[str, nn.Module]], dict[str, float]]

#: What the discriminator of a stage sees.
_DISCRIMINATOR_CHANNELS = {"edge": 2, "coarse": 3, "repair": 4}

_SAVE_EVERY_SECONDS = 180.0
_LOG_EVERY = 50


class DivergedError(Exception):
    """A gradient is not finite; nothing of it was kept."""


class StoppedError(Exception):
    """The run was asked to stop; its state is saved."""


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what to train.

    ``compile``, ``bfloat16`` (``None``: where the CPU computes in it) and ``channels_last`` (the layout of weights and
    activations in memory) change the result by rounding only. ``init`` is a ``weights.safetensors`` to begin from where
    the folder ``out`` has no checkpoint yet.
    """

    data: Path
    out: Path
    workers: int = 1
    compile: bool = False
    bfloat16: bool | None = None
    channels_last: bool = False
    validate_every: int = 12_000
    validator: Validator | None = None
    perceptual: steps.Perceptual | None = None
    init: Path | None = None


class StageTrainer:
    """Trains one stage: generator, its moving average, discriminator, their optimisers and the images seen so far.

    ``edge`` is the trained edge generator, ``None`` for the edge stage itself.
    """

    def __init__(self, stage: str, config: Config, options: Options, edge: nn.Module | None) -> None:
        torch.manual_seed(config.seed)
        self.stage, self.config, self.options, self.edge = stage, config, options, edge
        self.settings = config.stage(stage)
        self.generator = config.build(stage)
        freeze(self.generator, self.settings.frozen)
        self.average = config.build(stage)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        if options.channels_last:
            for generator in (self.generator, self.average):
                generator.to(memory_format=torch.channels_last)
        self.discriminator = PatchDiscriminator(_DISCRIMINATOR_CHANNELS[stage])
        self.optimizers = optimizers_for(self.generator, self.settings.schedule.rate)
        self.critic = optim.Adam(self.discriminator.parameters(), self.settings.discriminator_rate, (0.5, 0.99))
        self.images = self.began = 0
        self.bfloat16 = has_bfloat16() if options.bfloat16 is None else options.bfloat16
        compiled = (lambda f: torch.compile(f)) if options.compile else (lambda f: f)
        self.forward = compiled(self.generator)
        self.edge_forward = compiled(edge) if edge is not None else None
        self._resume()
        if self.settings.frozen and not self.images:
            raise ConfigError(
                f"The {stage} stage has frozen parts and no trained weights: they would stay random. Begin from some, "
                "with --init, or leave frozen out of the configuration."
            )

    # -- one step ------------------------------------------------------------------------------------------------

    def step(self, batch: Batch) -> dict[str, float]:
        """Optimise on one batch and return its losses."""
        weights, schedule = self.settings.losses, self.settings.schedule
        adversarial = bool(weights.adversarial) and self.images >= weights.adversarial_from
        rate = schedule.rate_at(self.images, self.began)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        for group in self.critic.param_groups:
            group["lr"] = self.settings.discriminator_rate * rate / schedule.rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            sample = Sample.of(batch)
            outcome = self._outcome(sample)
            parts = dict(outcome.parts)
            if adversarial:
                self.discriminator.requires_grad_(False)
                parts |= steps.adversarial_parts(self.discriminator, outcome, sample.hole)
                self.discriminator.requires_grad_(True)
            loss = steps.weighted_sum(parts, weights.at(self.images, self.began))
        loss.backward()
        self._require_finite_gradient(self.generator, 1.0)
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if adversarial:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                parts["discriminator"] = steps.discriminator_loss(self.discriminator, outcome, sample.hole)
            parts["discriminator"].backward()
            self._require_finite_gradient(self.discriminator, float("inf"))
            self.critic.step()
            self.critic.zero_grad(set_to_none=True)
        self._update_average()
        self.images += batch.image.shape[0]
        return {name: float(value.detach()) for name, value in parts.items()}

    def _require_finite_gradient(self, network: nn.Module, longest: float) -> None:
        """Shorten a network's gradient to ``longest``; stop before one that is not finite reaches the weights, so that
        what is saved stays sound."""
        if not torch.isfinite(nn.utils.clip_grad_norm_(network.parameters(), longest)):
            raise DivergedError(
                f"The {self.stage} stage diverged at {self.images} images: a gradient is not finite. The last "
                "checkpoint is sound; run again with a lower rate in the configuration, or without --channels-last."
            )

    def _outcome(self, sample: Sample) -> steps.Outcome:
        if self.edge_forward is None:
            return steps.edge_step(self.forward, sample, self.settings.losses)
        if self.stage == "coarse":
            return steps.coarse_step(self.forward, sample)
        with torch.no_grad():
            _, completed = steps.complete_edges(self.edge_forward, sample)
        return steps.repair_step(self.forward, sample, completed, self.options.perceptual)

    @torch.no_grad()
    def _update_average(self) -> None:
        # a short memory at first, or the average would drag the initial weights along
        steps_taken = (self.images - self.began) // self.settings.batch
        keep = min(self.config.ema, (1 + steps_taken) / (10 + steps_taken))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1.0 - keep)

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The newest state."""
        return state_path(self.options.out, self.stage)

    @property
    def stable_path(self) -> Path:
        """The state at the moment the learning rate began to fall: what a longer run goes on from."""
        return self.options.out / f"{self.stage}.stable.safetensors"

    def save(self, path: Path | None = None) -> None:
        """Write the whole state, atomically."""
        modules = {"generator": self.generator, "average": self.average, "discriminator": self.discriminator}
        tensors: dict[str, Tensor] = {}
        for name, module in modules.items():
            tensors |= checkpoint.with_prefix(name, module.state_dict())
        for name, optimizer in self._all_optimizers().items():
            tensors |= checkpoint.with_prefix(name, checkpoint.optimizer_tensors(optimizer))
        checkpoint.save_tensors(path or self.path, tensors, self._facts())

    def _all_optimizers(self) -> dict[str, optim.Optimizer]:
        return {**self.optimizers, "critic": self.critic}

    def _facts(self) -> dict[str, Any]:
        return {"images": self.images, "began": self.began, "config": self.config.to_json()}

    def _resume(self) -> None:
        """Go on from the last checkpoint, or from the stable one where the plan has since become longer."""
        for path in (self.path, self.stable_path):
            if not path.exists():
                continue
            tensors, meta = checkpoint.load_tensors(path)
            planned = Schedule(**meta["config"][self.stage]["schedule"])
            decaying = self.path == path and meta["images"] > planned.decay_from(int(meta.get("began", 0)))
            if decaying and planned.images < self.settings.schedule.images:
                if self.stable_path.exists():
                    continue
                print(f"{self.stage}: goes on from a rate that had fallen: {self.stable_path} is missing", flush=True)
            for name in ("generator", "average", "discriminator"):
                checkpoint.load_module(getattr(self, name), checkpoint.under_prefix(name, tensors), path)
            refrozen = meta["config"][self.stage].get("frozen", []) != self.settings.frozen
            for name, optimizer in self._all_optimizers().items():
                if name in self.optimizers and refrozen:
                    print(f"{self.stage}: other parts are frozen than before, so {name} begins anew", flush=True)
                else:
                    checkpoint.load_optimizer(optimizer, checkpoint.under_prefix(name, tensors))
            self._keep_frozen_at_their_average()
            self.images, self.began = int(meta["images"]), int(meta.get("began", 0))
            for change in changes(meta["config"], self.config.to_json()):
                print(f"{self.stage}: resumed with another setting than before: {change}", flush=True)
            return
        if self.options.init is not None:
            self._begin_from(self.options.init)

    @torch.no_grad()
    def _keep_frozen_at_their_average(self) -> None:
        """Parts that were trained until now and are frozen from here on: what is released of them is their average."""
        for own, average in zip(self.generator.parameters(), self.average.parameters(), strict=True):
            if not own.requires_grad:
                own.copy_(average)

    def _begin_from(self, path: Path) -> None:
        """Begin from released weights, and go on counting from the images that they have seen. The optimisers and the
        discriminator are not part of a release: they begin anew, at a rate that rises again."""
        tensors, meta = checkpoint.load_tensors(path)
        if not isinstance(meta.get("images"), dict):
            raise CheckpointError(f"{path} holds no released weights. Name a weights.safetensors, such as fit writes.")
        prefix = "repair.coarse" if self.stage == "coarse" else self.stage  # released as a part of the repair stage
        weights = {name: each.float() for name, each in checkpoint.under_prefix(prefix, tensors).items()}
        missing = checkpoint.load_partly(self.generator, weights, path)
        trainable = {name for name, each in self.generator.named_parameters() if each.requires_grad}
        if lost := [name for name in missing if name not in trainable]:
            raise ConfigError(f"{path} lacks {', '.join(lost)}, which the configuration keeps frozen: never learned.")
        if missing:
            print(f"{self.stage}: not in {path.name}, so they begin anew: {', '.join(missing)}", flush=True)
        self.average.load_state_dict(self.generator.state_dict())
        counts = {"coarse": 0, **meta["images"]}  # weights of a network without one have none to count
        self.images = self.began = int(counts[self.stage])

    def take_coarse(self, coarse: StageTrainer) -> None:
        """Begin the repair stage from a trained coarse generator."""
        for generator in (self.generator, self.average):
            generator.get_submodule("coarse").load_state_dict(coarse.average.state_dict())

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self, log: RunLog, stop: Callable[[], bool]) -> None:
        """Train until the schedule ends. Raises :class:`StoppedError` after saving, where ``stop`` says so."""
        schedule, options = self.settings.schedule, self.options
        if self.images + self.settings.batch > schedule.images:
            if not self.path.exists() or not self.images:  # begun from weights that are old enough, or never to begin
                self.save()
            return
        log.truncate(self.stage, self.images)
        saved, sums, count = time.monotonic(), {}, 0
        bar = tqdm(
            total=schedule.images, initial=self.images, unit="img", desc=self.stage, disable=None, smoothing=0.02
        )
        for batch in self._batches():
            before = self.images
            if before < schedule.decay_from(self.began) <= before + self.settings.batch:
                self.save(self.stable_path)
            losses = self.step(batch)
            bar.update(self.images - before)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            if self.images // self.settings.batch % _LOG_EVERY == 0:
                log.write(self.stage, self.images, {name: value / count for name, value in sums.items()})
                sums, count = {}, 0
            if self.images // options.validate_every != before // options.validate_every:
                self._validate(log)
            stopping = stop()
            if stopping or time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                self.save()
                saved = time.monotonic()
            if stopping:
                raise StoppedError(f"Stopped at {self.images} images of the {self.stage} stage; run again to go on.")
        bar.close()
        self.save()
        if self.images % options.validate_every:
            self._validate(log)

    def _batches(self) -> Iterator[Batch]:
        options, settings = self.options, self.settings
        samples = DamagedFaces(
            options.data,
            len(STAGES) * self.config.seed + STAGES.index(self.stage),
            self.images,
            settings.schedule.images,
            TRAINING_SIZES[self.stage],
        )
        for parts in samples_of(stream(samples, settings.batch, options.workers)):
            yield Batch(*parts)

    def _validate(self, log: RunLog) -> None:
        if self.options.validator is None:
            return
        stages = {self.stage: self.average} if self.edge is None else {"edge": self.edge, "repair": self.average}
        if self.stage == "coarse":
            stages["repair"] = CoarseRepair(self.average)
        figures = self.options.validator(stages)
        log.write(self.stage, self.images, {f"val_{name}": value for name, value in figures.items()})
        print(
            f"{self.stage} {self.images} images: " + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True
        )


def _train_coarse(coarse: StageTrainer, repair: StageTrainer, log: RunLog, stop: Callable[[], bool]) -> None:
    """Train the coarse generator alone and give it to the repair stage, unless that has begun: then it has its own."""
    if not repair.images:
        coarse.run(log, stop)
        repair.take_coarse(coarse)
        return
    if coarse.images + coarse.settings.batch <= coarse.settings.schedule.images:
        print("coarse: not trained alone, since the repair stage has begun and goes on with its own", flush=True)
    if not coarse.path.exists():
        coarse.save()


def freeze(generator: nn.Module, names: Iterable[str]) -> None:
    """Keep parts of a generator as they are. Raises :class:`ConfigError` where it has no part of a name."""
    for name in names:
        parts = [each for path, each in generator.named_parameters() if f"{path}.".startswith(f"{name}.")]
        if not parts:
            known = ", ".join(dict(generator.named_children()))
            raise ConfigError(f"There is no part {name!r} to freeze; the generator has: {known}.")
        for each in parts:
            each.requires_grad_(False)


def has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16; elsewhere it is emulated, and slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def changes(before: dict[str, Any], after: dict[str, Any], path: str = "") -> list[str]:
    """What differs between two configurations, as lines; the length of the run is meant to."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changes(old, new, f"{path}{name}.")
        elif old != new and not (name == "images" and path.endswith("schedule.")):
            lines.append(f"{path}{name} was {old}, is {new}")
    return lines


def fit(config: Config, options: Options) -> Path:
    """Train everything and write ``weights.safetensors`` (half precision, both stages) into ``options.out``.

    Raises:
        StoppedError: after SIGINT or SIGTERM, when the state is saved.
        DivergedError: a gradient is not finite.
        training.config.ConfigError: the configuration does not make networks.
        training.checkpoint.CheckpointError: a checkpoint or ``options.init`` is of another network.
        restore_sdk.errors.OutputError: another run trains in the folder.
    """
    options.out.mkdir(parents=True, exist_ok=True)

    def taken(_: float) -> None:
        raise OutputError(f"another run trains in {options.out}", "stop it first, or name another --out")

    with file_lock(options.out / ".lock", taken):
        return _fit(config, options)


def _fit(config: Config, options: Options) -> Path:
    edge = StageTrainer("edge", config, options, None)
    coarse = StageTrainer("coarse", config, options, edge.average) if config.has_coarse else None
    repair = StageTrainer("repair", config, options, edge.average)
    # only now that all stages fit it: a refused configuration must not replace the run's own
    write_file(options.out / "config.json", json.dumps(config.to_json(), indent=2).encode())
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    previous: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    log = RunLog(options.out)
    try:
        edge.run(log, lambda: bool(asked))
        if coarse is not None:
            _train_coarse(coarse, repair, log, lambda: bool(asked))
        repair.run(log, lambda: bool(asked))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return save_weights(options.out, options.out / "weights.safetensors")
