"""What a training run is made of: one frozen tree of settings, kept as JSON beside its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from training import TrainingError

#: What is trained, in this order. The first two are the edge stage, the last two the repair stage.
PARTS = ("shape", "edge", "coarse", "repair")
#: Losses that critics tell.
BY_CRITICS = {"adversarial", "matching", "small"}
#: Steps whose views are kept, where a batch is drawn from them.
POOL = 16


class ConfigError(TrainingError):
    """The settings do not fit: one another, or the checkpoint they meet."""


Count = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=1e-9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Weights = dict[str, Annotated[float, Meta(ge=0)]]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one part of the model is trained.

    Args:
        images: length of the run.
        batch: images a step.
        rate: learning rate of the generator: it rises over ``warmup`` images, is constant, and falls to zero over the
            last ``decay`` of the run.
        losses: names of the objective's losses and what share each has in the gradient at the painted picture, or, for
            an objective whose losses are not ``balanced``, plain weights. What is not named has none.
        balanced: whether weights are shares of the gradient (VQGAN's adaptive weight: Esser et al., CVPR 2021).
        critic_rate: learning rate of the discriminators, 0 for none.
        critic_from: images after which they learn, and over the ``critic_ramp`` after that are listened to by and by.
        paired: the losses until then, where they differ.
        ema: memory of the moving average, a step.
        frozen: names of parts of the generator that stay as they are.
        wide: share of masks that hide more than 30%.
        fresh: views that are prepared anew at each step, 0 for the whole batch; else a batch is drawn from the last
            :data:`POOL` steps' views, other squares of them.
        sharpness: least sharpness of the photographs, as the data's index.csv has it.
        network: arguments of the network.
    """

    images: Count
    batch: Annotated[int, Meta(ge=1)] = 16
    rate: Rate = 4e-4
    warmup: Count = 3_000
    decay: Share = 0.0
    losses: Weights = {}
    balanced: bool = False
    critic_rate: Annotated[float, Meta(ge=0)] = 0.0
    critic_from: Count = 0
    critic_ramp: Count = 10_000
    paired: Weights = {}
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    frozen: list[str] = []
    wide: Share = 0.75
    fresh: Count = 0
    sharpness: float = 0.0
    network: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.fresh <= self.batch <= POOL * (self.fresh or self.batch):
            raise ConfigError("fresh must fill a batch. See training/config.py.")

    def rate_at(self, seen: int, began: int = 0) -> float:
        """The learning rate after so many images, in a run that began (or was resumed) at ``began``."""
        rate = self.rate * min(1.0, (seen - began + 1) / max(self.warmup, 1))
        falls_from = self.images - int(self.decay * self.images)
        if seen >= falls_from and self.decay:
            rate *= max(self.images - seen, 0) / max(self.images - falls_from, 1)
        return rate

    def weights_at(self, seen: int) -> tuple[dict[str, float], bool]:
        """Weights of the losses after so many images, and whether critics judge."""
        judged = bool(self.critic_rate) and seen >= self.critic_from
        if not judged:
            return self.paired or self.losses, False
        heard = min(1.0, (seen - self.critic_from) / max(self.critic_ramp, 1))
        return {name: value * (heard if name in BY_CRITICS else 1.0) for name, value in self.losses.items()}, True


def _shape() -> Part:
    return Part(1_200_000, 64, 2e-3, 6_000, 0.5, {"points": 1.0, "presence": 0.05}, wide=0.8)


def _edge() -> Part:
    weights = {"strength": 1.0, "dice": 0.3, "adversarial": 0.2, "matching": 8.0}
    return Part(200_000, 8, 5e-4, 2_000, 0.2, weights, critic_rate=2e-4, critic_from=8_000, wide=0.7, fresh=2,
                sharpness=80.0)  # fmt: skip


def _coarse() -> Part:
    shares = {"colour": 0.8, "rim": 0.3, "perceptual": 1.0, "texture": 0.5, "adversarial": 0.5, "small": 0.4,
              "grid": 0.6, "look": 0.2}  # fmt: skip
    paired = {"l1": 1.0, "perceptual": 0.7, "look": 0.2}
    return Part(
        1_000_000, rate=2e-4, decay=0.06, losses=shares, balanced=True, critic_rate=4e-4, critic_from=110_000,
        paired=paired, ema=0.9993, wide=0.8
    )  # fmt: skip


def _repair() -> Part:
    shares = {"colour": 0.15, "rim": 0.4, "perceptual": 1.0, "texture": 0.3, "adversarial": 0.5, "small": 0.12,
              "grid": 1.0}  # fmt: skip
    paired = {"l1": 0.5, "rim": 0.3, "perceptual": 1.0}
    return Part(
        400_000, 8, 1e-4, losses=shares, balanced=True, critic_rate=4e-4, critic_from=4_000, paired=paired,
        ema=0.998, wide=0.6, fresh=2, sharpness=120.0, frozen=["coarse"]
    )  # fmt: skip


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole run."""

    seed: int = 0
    shape: Part = msgspec.field(default_factory=_shape)
    edge: Part = msgspec.field(default_factory=_edge)
    coarse: Part = msgspec.field(default_factory=_coarse)
    repair: Part = msgspec.field(default_factory=_repair)

    def part(self, name: str) -> Part:
        """The settings of one of :data:`PARTS`."""
        chosen: Part = getattr(self, name)
        return chosen

    def changed(self, name: str, **settings: Any) -> Config:
        """Other settings of one of :data:`PARTS`."""
        return msgspec.structs.replace(self, **{name: msgspec.structs.replace(self.part(name), **settings)})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as :func:`from_json` reads them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def from_json(values: Any) -> Config:
    """Read a :class:`Config`; what is left out keeps its default, single losses and arguments of networks, too (a
    weight of 0 takes a loss away). Raises :class:`ConfigError` on what is unknown or out of range."""
    try:
        return msgspec.convert(_merged(Config().to_json(), values), Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"A setting cannot be used: {error}. See training/config.py.") from error


def _merged(base: Any, values: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(values, dict)):
        return values
    return base | {name: _merged(base.get(name), value) for name, value in values.items()}


def read_config(path: Path) -> Config:
    """Read a configuration file."""
    try:
        return from_json(msgspec.json.decode(path.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from error
