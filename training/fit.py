"""The trainer: one loop for all parts of the model. Stops and resumes anywhere."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn, optim
from tqdm import tqdm

from restore_sdk._util.disk import file_lock, write_file
from restore_sdk.errors import OutputError
from training import checkpoint
from training.config import BY_CRITICS, PARTS, POOL, Config, ConfigError, Part
from training.faces import DamagedViews, Faces, mask_bank
from training.log import RunLog
from training.networks.layers import LEAST_HEARD, heard_layers
from training.objectives import CoarseObjective, EdgeObjective, Objective, RepairObjective, ShapeObjective, Views
from training.optimizer import optimizers_for
from training.sheet import Sheet
from training.weights import Networks, save_weights, state_path

_SAVE_EVERY_SECONDS = 150.0
_LOG_EVERY = 60
#: Steps between measurements of the gradients that losses are balanced by, and what is kept of the last ones then.
_BALANCE_EVERY, _BALANCE_KEPT = 20, 0.8
#: The length that a balanced loss's gradient at the picture is brought to, before its weight.
_GRADIENT = 0.05


class DivergedError(Exception):
    """A gradient is not finite; nothing of it was kept."""


class StoppedError(Exception):
    """The run was asked to stop; its state is saved."""


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what to train.

    ``labels`` are contours as ``training/label.py`` writes them; ``init`` is a ``weights.safetensors`` to begin from
    where ``out`` has no checkpoint yet; ``only`` trains a single part.
    """

    data: Path
    out: Path
    labels: Path | None = None
    device: str = "cpu"
    bfloat16: bool | None = None
    init: Path | None = None
    only: str | None = None
    sheet: Sheet | None = None
    sheet_every: int = 10_000
    masks: int = 24_000


class PartTrainer:
    """Trains one part: its objective, the moving average of its generator, their optimisers, the images seen so far."""

    def __init__(self, name: str, config: Config, options: Options, networks: Networks) -> None:
        self.name, self.config, self.options, self.networks = name, config, options, networks
        self.settings: Part = config.part(name)
        torch.manual_seed(config.seed)
        self.objective = _objective(name, networks)
        self.objective.bfloat16 = has_bfloat16(options.device) if options.bfloat16 is None else options.bfloat16
        self.objective.to(options.device)
        self.generator = self.objective.generator.requires_grad_(True)
        for frozen in self.settings.frozen:
            self.generator.get_submodule(frozen).requires_grad_(False)
        self.generator.to(memory_format=torch.channels_last)
        self.average = Networks(config).part(name).to(options.device).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.beside = {"discriminators": self.objective.critics, "helpers": self.objective.helpers}
        self.optimizers = optimizers_for(nn.ModuleList([self.generator, self.objective.helpers]), self.settings.rate)
        critics = [each for each in self.objective.critics.parameters() if each.requires_grad]
        if critics and self.settings.critic_rate:
            self.optimizers["critics"] = optim.Adam(critics, self.settings.critic_rate, (0.0, 0.99))
        self.seen = self.began = 0
        self.gradients: dict[str, float] = {}
        self.pool: dict[int, Views] = {}
        self._resume()

    # -- one step ------------------------------------------------------------------------------------------------

    def step(self, views: DamagedViews) -> dict[str, float]:
        """Optimise on one batch and return its losses."""
        settings, objective = self.settings, self.objective
        prepared = self._prepared(views)
        weights, judged = settings.weights_at(self.seen)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                if name != "critics":
                    group["lr"] = settings.rate_at(self.seen, self.began)
        painted = objective.paint(prepared, self.seen - settings.critic_from)
        figures: dict[str, Tensor] = {}
        if judged:
            objective.critics.requires_grad_(True)
            figures = {f"critic_{name}": value for name, value in objective.judge(painted).items()}
            torch.stack(list(figures.values())).sum().backward()
            self._step("critics")
            objective.critics.requires_grad_(False)
        found = objective.parts(painted, judged)
        if unknown := weights.keys() - found.keys() - BY_CRITICS:
            raise ConfigError(f"The {self.name} part has no loss {sorted(unknown)[0]!r}; it has {', '.join(found)}.")
        parts = {name: value for name, value in found.items() if name in weights}
        if settings.balanced:
            self._measure(parts, painted.fake)
            terms = [
                _GRADIENT * weights[name] / max(self.gradients[name], 1e-9) * value for name, value in parts.items()
            ]
        else:
            terms = [weights[name] * value for name, value in parts.items()]
        torch.stack(terms).sum().backward()
        length = nn.utils.clip_grad_norm_([p for p in self.generator.parameters() if p.grad is not None], 1.0)
        if not torch.isfinite(length):
            raise DivergedError(
                f"The {self.name} part diverged at {self.seen} images: a gradient is not finite. The last checkpoint "
                "is valid; run again with a lower rate in the configuration."
            )
        for name in self.optimizers:
            if name != "critics":
                self._step(name)
        self._update_average()
        self.seen += settings.batch
        return {name: float(value.detach()) for name, value in (parts | figures).items()} | {"gradient": float(length)}

    def _prepared(self, views: DamagedViews) -> Views:
        """The views of this step. Each depends on the seed and the number of its batch, so a resumed run makes the pool
        again as it was."""
        settings, number = self.settings, self.seen // self.settings.batch
        first = number if not settings.fresh else max(number - POOL + 1, 0)
        self.pool = {k: each for k, each in self.pool.items() if first <= k < number}
        for k in range(first, number + 1):
            if k not in self.pool:
                torch.manual_seed(hash((self.config.seed, 1, k)) % 2**31)
                self.pool[k] = self.objective.prepare(views(k))
        torch.manual_seed(hash((self.config.seed, self.seen)) % 2**31)
        if not settings.fresh:
            return self.pool[number]
        places = [(k, i) for k in sorted(self.pool) for i in range(settings.fresh)]
        chosen = [places[i] for i in torch.randperm(max(len(places), settings.batch)) % len(places)][: settings.batch]
        return {name: torch.stack([self.pool[k][name][i] for k, i in chosen]) for name in self.pool[number]}

    def _step(self, name: str) -> None:
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)

    def _measure(self, parts: dict[str, Tensor], fake: Tensor) -> None:
        """Keep the length of each loss's gradient at what was painted."""
        due = self.seen // self.settings.batch % _BALANCE_EVERY == 0
        for name, value in parts.items():
            if due or name not in self.gradients:
                (at_fake,) = torch.autograd.grad(value, fake, retain_graph=True, allow_unused=True)
                # what is not about the picture is plainly weighed
                found = _GRADIENT if at_fake is None else float(at_fake.norm())
                before = self.gradients.get(name, found)
                self.gradients[name] = _BALANCE_KEPT * before + (1.0 - _BALANCE_KEPT) * found

    @torch.no_grad()
    def _update_average(self) -> None:
        # a short memory at first, or the average would drag the initial weights along
        steps = (self.seen - self.began) // self.settings.batch
        keep = min(self.settings.ema, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1.0 - keep)

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The newest state."""
        return state_path(self.options.out, self.name)

    def save(self) -> None:
        """Write the whole state, atomically."""
        modules = {"generator": self.generator, "average": self.average, **self.beside}
        tensors: dict[str, Tensor] = {}
        for name, module in modules.items():
            tensors |= checkpoint.with_prefix(name, module.state_dict())
        for name, optimizer in self.optimizers.items():
            tensors |= checkpoint.with_prefix(name, checkpoint.optimizer_tensors(optimizer))
        facts = {"seen": self.seen, "began": self.began, "gradients": self.gradients, "config": self.config.to_json()}
        checkpoint.save_tensors(self.path, tensors, facts)

    def _resume(self) -> None:
        if self.path.exists():
            tensors, facts = checkpoint.load_tensors(self.path)
            if facts["config"][self.name]["frozen"] != self.settings.frozen:
                raise ConfigError(
                    f"{self.path} was trained with other frozen parts ({facts['config'][self.name]['frozen']}). Go on "
                    "from weights (--init) in another folder."
                )
            given = self.generator.state_dict()  # frozen parts may have been trained on elsewhere: they are as given
            frozen = {key: given[key] for key in given if key.split(".")[0] in self.settings.frozen}
            for module, name in ((self.generator, "generator"), (self.average, "average")):
                checkpoint.load_module(module, checkpoint.under_prefix(name, tensors) | frozen, self.path)
            for name, module in self.beside.items():
                checkpoint.load_module(module, checkpoint.under_prefix(name, tensors), self.path)
            for name, optimizer in self.optimizers.items():
                checkpoint.load_optimizer(optimizer, checkpoint.under_prefix(name, tensors))
            self.seen, self.began = int(facts["seen"]), int(facts["began"])
            self.gradients = {name: float(value) for name, value in facts["gradients"].items()}
        elif self.options.init is not None:
            tensors, facts = checkpoint.load_tensors(self.options.init)
            self.networks.take(self.name, checkpoint.under_prefix(self.name, tensors), self.options.init)
            for kind, module in self.beside.items():
                own = {k: v.float() for k, v in checkpoint.under_prefix(f"{kind}.{self.name}", tensors).items()}
                if own:
                    checkpoint.load_module(module, own, self.options.init)
            self.average.load_state_dict(self.generator.state_dict())
            self.seen = self.began = int(facts.get("images", {}).get(self.name, 0))

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self, views: DamagedViews, log: RunLog, stop: Callable[[], bool]) -> None:
        """Train to the run's length. Raises :class:`StoppedError` after saving, where ``stop`` says so."""
        settings, options = self.settings, self.options
        log.truncate(self.name, self.seen)
        saved, began, sums, count = time.monotonic(), time.monotonic(), {}, 0
        first = self.seen
        bar = tqdm(total=settings.images, initial=self.seen, unit="img", desc=self.name, disable=None, smoothing=0.02)
        while self.seen + settings.batch <= settings.images:
            before = self.seen
            with heard_layers(self.generator) if count + 1 == _LOG_EVERY else nullcontext({}) as heard:
                found = self.step(views)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
            bar.update(settings.batch)
            count += 1
            if count == _LOG_EVERY:
                pace = (self.seen - first) / (time.monotonic() - began)
                figures = {name: round(value / count, 5) for name, value in sums.items()}
                dead = [name for name, share in heard.items() if share < LEAST_HEARD]
                if dead:
                    tqdm.write(f"{self.name}: layers that have died, nearly all of their channels: {', '.join(dead)}")
                log.write(self.name, self.seen, {**figures, "dead_layers": len(dead), "pace": round(pace, 1)})
                sums, count, first, began = {}, 0, self.seen, time.monotonic()
            stopping = stop()
            if options.sheet and (stopping or self.seen // options.sheet_every != before // options.sheet_every):
                options.sheet.write(options.out / f"{self.name}_{self.seen // 1000:05d}k.jpg", self.networks_now())
            if stopping or time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                self.save()
                saved = time.monotonic()
            if stopping:
                raise StoppedError(f"Stopped at {self.seen} images of the {self.name} part; run again to go on.")
        bar.close()
        self.save()

    def networks_now(self) -> Networks:
        """All parts, this one as its moving average."""
        now = Networks(self.config).to(self.options.device)
        now.load_state_dict(self.networks.state_dict())
        now.part(self.name).load_state_dict(self.average.state_dict())
        return now.eval()


def _objective(name: str, networks: Networks) -> Objective:
    edge, repair = networks.edge, networks.repair
    makers: dict[str, Callable[[], Objective]] = {
        "shape": lambda: ShapeObjective(edge.shape),
        "edge": lambda: EdgeObjective(edge.drawer, edge.shape),
        "coarse": lambda: CoarseObjective(repair.coarse, edge.shape),
        "repair": lambda: RepairObjective(repair, edge.shape, edge.drawer),
    }
    return makers[name]()


def has_bfloat16(device: str = "cpu") -> bool:
    """Whether the device computes in bfloat16 fast enough to be worth it."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def fit(config: Config, options: Options) -> Path:
    """Train everything and write ``weights.safetensors`` (half precision, all parts) into ``options.out``; or one part,
    which leaves its checkpoint.

    Raises:
        StoppedError: after SIGINT or SIGTERM, when the state is saved.
        DivergedError: a gradient is not finite.
        training.data.DataError: the photographs or their labels cannot be read.
        training.config.ConfigError: the configuration does not make networks.
        training.checkpoint.CheckpointError: a checkpoint or ``options.init`` is of another network.
        restore_sdk.errors.OutputError: another run trains this part in the folder.
    """
    options.out.mkdir(parents=True, exist_ok=True)

    def taken(_: float) -> None:
        raise OutputError(f"another run trains in {options.out}", "stop it first, or name another --out")

    with ExitStack() as locks:
        for part in PARTS if options.only is None else (options.only,):
            locks.enter_context(file_lock(options.out / f".{part}.lock", taken))
        return _fit(config, options)


def _fit(config: Config, options: Options) -> Path:
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # what is as good as zero must not slow a CPU
    networks = Networks(config).to(options.device)
    write_file(options.out / "config.json", json.dumps(config.to_json(), indent=2).encode())
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    previous: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    log = RunLog(options.out)
    faces: dict[float, Faces] = {}
    masks = mask_bank(config.seed, options.masks, options.out / "masks.npy")
    try:
        for name in PARTS:
            if options.only not in (None, name):
                if not networks.load(name, options.out, options.init):
                    print(f"{name}: neither in {options.out} nor in --init, so it is as it began", flush=True)
                continue
            trainer = PartTrainer(name, config, options, networks)
            settings = trainer.settings
            if trainer.seen + settings.batch <= settings.images:
                least = settings.sharpness
                if least not in faces:
                    faces.clear()  # a selection at a time: each is gigabytes
                    faces[least] = Faces.read(options.data, options.labels, least, options.device)
                if name == "shape" and not faces[least].found.any():
                    raise ConfigError("The shape part is trained on contours: name their file with --labels.")
                seed, batch = 10 * config.seed + PARTS.index(name), settings.fresh or settings.batch
                views = DamagedViews(faces[least], masks, trainer.objective.size, batch, seed, settings.wide)
                trainer.run(views, log, lambda: bool(asked))
            elif not trainer.path.exists():
                trainer.save()
            networks.part(name).load_state_dict(trainer.average.state_dict())
            networks.part(name).requires_grad_(False)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if options.only is not None:  # the others may have no state yet
        return state_path(options.out, options.only)
    return save_weights(options.out, options.out / "weights.safetensors")
