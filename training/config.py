"""What a training run is made of: one frozen tree of settings, kept as JSON beside its checkpoints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from training.networks.coarse import CoarseGenerator
from training.networks.edge import EdgeGenerator, KnownEdges
from training.networks.edgeconnect import EdgeConnectEdges, EdgeConnectRepair
from training.networks.repair import RepairGenerator

#: Networks of each stage by the ``kind`` that a configuration may name; the first is the method's own.
KINDS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "edge": {"dense": EdgeGenerator, "edgeconnect": EdgeConnectEdges, "none": KnownEdges},
    "coarse": {"unet": CoarseGenerator, "none": nn.Identity},
    "repair": {"dense": RepairGenerator, "edgeconnect": EdgeConnectRepair},
}

#: What is trained, in this order. Two of them are deployed: the coarse generator becomes a part of the repair stage.
STAGES = tuple(KINDS)

#: Height and width of the images that each is trained on. The coarse generator sees a quarter of the size anyway.
TRAINING_SIZES = {"edge": 256, "coarse": 128, "repair": 256}


class ConfigError(Exception):
    """The settings do not fit: one another, or the checkpoint they meet."""


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ConfigError(f"A setting is out of range: {rule}. See training/config.py.")


@dataclass(frozen=True)
class Schedule:
    """Learning rate over images: linear warm-up, constant, then linear decay to zero over the last part of the run.

    A constant middle lets a run be prolonged: ask for more images and it goes on from where the decay began.
    """

    images: int
    rate: float = 1e-3
    warmup: int = 6_000
    decay: float = 0.25

    def __post_init__(self) -> None:
        _require(self.images >= 0, "images must not be negative")
        _require(self.rate > 0, "rate must be above 0")
        _require(self.warmup >= 0, "warmup must not be negative")
        _require(0 <= self.decay <= 1, "decay must be a share of the run, 0 to 1")

    def decay_from(self, began: int = 0) -> int:
        """The image at which the learning rate begins to fall, in a run that began at image ``began``."""
        return began + int(max(self.images - began, 0) * (1.0 - self.decay))

    def rate_at(self, image: int, began: int = 0) -> float:
        """The learning rate for the batch that begins with this image, in a run that began at image ``began``."""
        rate = self.rate * min(1.0, (image - began + 1) / max(self.warmup, 1))
        first = self.decay_from(began)
        if image >= first:
            rate *= max(self.images - image, 0) / max(self.images - first, 1)
        return rate


@dataclass(frozen=True)
class Losses:
    """Weights of a stage's losses, and within the cross-entropy that of an edge pixel (``edge_weight``).

    The discriminator learns from image ``adversarial_from`` on, or from where a run begins that is already further. The
    generator begins to listen to it then, fully after ``adversarial_ramp`` images more: at first its verdicts mean
    nothing.
    """

    l1: float = 1.0
    log_mse: float = 0.0
    cross_entropy: float = 0.0
    edge_weight: float = 1.0
    adversarial: float = 0.0
    feature_matching: float = 0.0
    perceptual: float = 0.0
    style: float = 0.0
    grid: float = 0.0
    adversarial_from: int = 0
    adversarial_ramp: int = 4_000

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            _require(value >= 0, f"{name} must not be negative")
        _require(
            not self.feature_matching or bool(self.adversarial),
            "feature_matching needs a discriminator: weigh adversarial above 0 too",
        )

    def at(self, image: int, began: int = 0) -> Losses:
        """The weights for the batch that begins with this image, in a run that began at image ``began``."""
        first = max(self.adversarial_from, began)
        heard = min(1.0, max(0.0, (image - first) / max(self.adversarial_ramp, 1)))
        return dataclasses.replace(
            self, adversarial=heard * self.adversarial, feature_matching=heard * self.feature_matching
        )


@dataclass(frozen=True)
class StageConfig:
    """One stage: kind and size of its generator, its schedule, its losses and how many images a step takes.

    ``frozen`` names parts of the generator that stay as they are, in a run that begins from trained weights.
    """

    generator: dict[str, Any]
    schedule: Schedule
    losses: Losses
    discriminator_rate: float = 2e-4
    batch: int = 8
    frozen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _require(isinstance(self.generator.get("kind", ""), str), "the kind of a network must be a name")
        _require(self.batch >= 1, "batch must be at least 1")
        _require(self.discriminator_rate > 0, "discriminator_rate must be above 0")
        _require(all(isinstance(name, str) for name in self.frozen), "frozen must be names of parts")


def _edge() -> StageConfig:
    losses = Losses(
        l1=0.0, cross_entropy=1.0, edge_weight=4.0, adversarial=0.05, feature_matching=0.5, adversarial_from=18_000
    )
    return StageConfig({"width": 48, "body": 96, "growth": 48}, Schedule(60_000), losses)


def _coarse() -> StageConfig:
    sizes = {"width": 48, "body": 96, "blocks": [2, 3], "global_blocks": 2, "structure": 128}
    schedule = Schedule(400_000, rate=2e-3, decay=0.4)
    return StageConfig(sizes, schedule, Losses(l1=1.0, log_mse=0.05), batch=32)


def _repair() -> StageConfig:
    losses = Losses(l1=1.0, log_mse=0.05, adversarial=0.002, feature_matching=0.02, adversarial_from=90_000)
    sizes = {"width": 64, "body": 128, "growth": 64, "blocks": 1, "passes16": 2}
    return StageConfig(sizes, Schedule(120_000), losses)


@dataclass(frozen=True)
class Config:
    """A whole run."""

    seed: int = 0
    ema: float = 0.999
    edge: StageConfig = field(default_factory=_edge)
    coarse: StageConfig = field(default_factory=_coarse)
    repair: StageConfig = field(default_factory=_repair)

    def __post_init__(self) -> None:
        _require(self.seed >= 0, "seed must not be negative")
        _require(0 <= self.ema < 1, "ema must be from 0 to below 1")

    def build(self, stage: str) -> nn.Module:
        """A freshly initialised generator of a stage, one of :data:`STAGES`. Raises :class:`ConfigError`.

        The repair stage's own network holds a coarse generator, unless the kind of that is ``none``.
        """
        sizes = dict(self.stage(stage).generator)
        sizes.pop("kind", None)
        kind = self.kind(stage)
        if kind not in KINDS[stage]:
            raise ConfigError(f"There is no {stage} network of kind {kind!r}; known: {', '.join(KINDS[stage])}.")
        if stage == "repair" and self.has_coarse:
            sizes["coarse"] = self.build("coarse")
        try:
            return KINDS[stage][kind](**sizes)
        except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
            raise ConfigError(f"The {stage} network of kind {kind!r} cannot be built: {error}.") from error

    @property
    def has_coarse(self) -> bool:
        """Whether the repair stage has a coarse generator, which is then trained first."""
        return self.kind("coarse") != "none" and self.kind("repair") == next(iter(KINDS["repair"]))

    def kind(self, stage: str) -> str:
        """The kind of a stage's network, a key of :data:`KINDS`, unless the configuration names another."""
        named: str = self.stage(stage).generator.get("kind", next(iter(KINDS[stage])))
        return named

    def stage(self, name: str) -> StageConfig:
        """The part that concerns one stage."""
        chosen: StageConfig = getattr(self, name)
        return chosen

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as :func:`from_json` reads them."""
        return dataclasses.asdict(self)


def from_json(values: dict[str, Any]) -> Config:
    """Read a :class:`Config`; what is left out keeps its default. Raises :class:`ConfigError` on unknown settings."""
    config: Config = _replaced(Config(), values)
    return config


def _replaced(base: Any, values: dict[str, Any]) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"Settings must be a JSON object with names, not {values!r}. See training/config.py.")
    known = {each.name: getattr(base, each.name) for each in dataclasses.fields(base)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(f"Unknown setting {unknown[0]!r}; known here: {', '.join(known)}. See training/config.py.")
    for name, value in values.items():
        default = known[name]
        if not dataclasses.is_dataclass(default) and not isinstance(
            value, (int, float) if isinstance(default, float) else type(default)
        ):
            raise ConfigError(f"Setting {name!r} must be like {default!r}, not {value!r}. See training/config.py.")
    nested = {
        name: _replaced(known[name], value) for name, value in values.items() if dataclasses.is_dataclass(known[name])
    }
    return dataclasses.replace(base, **values | nested)


def read_config(path: Path) -> Config:
    """Read a configuration file."""
    try:
        return from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from error
