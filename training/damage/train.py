"""Train the damage stage on one CPU thread: rendered prints, and in every batch a third of whole photographs.

The learning rate falls over ``minutes`` of the clock, whatever the machine does in them. Everything is in
``out/last.pt``, every three minutes; started again with the same folder it goes on.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.damage.net import DamageNet
from training.damage.pictures import Pictures, files_of
from training.damage.render import render

SIZE, CROP = 256, 160


class Pool:
    """Rendered prints, each used a few times in other crops and turns; of whole ones the hard ones stay longer."""

    def __init__(self, capacity: int, whole: bool) -> None:
        self.capacity, self.whole = capacity, whole
        self.items: list[tuple[Any, Any]] = []
        self.score: list[float] = []
        self.uses: list[int] = []

    def add(self, rng: np.random.Generator, pictures: Pictures) -> None:
        image, truth, _ = render(rng, pictures, SIZE, whole=self.whole)
        item = np.ascontiguousarray(image), truth
        if len(self.items) < self.capacity:
            self.items.append(item)
            self.score.append(math.inf)
            self.uses.append(0)
            return
        i = int(np.argmax(self.uses))
        if self.whole and self.uses[i] < 12:  # the easiest of a few: what stays is harder than what comes
            i = min(rng.integers(0, self.capacity, 4).tolist(), key=self.score.__getitem__)
        self.items[i], self.score[i], self.uses[i] = item, math.inf, 0

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[int], Tensor, Tensor]:
        """Places, scans (count, 3, CROP, CROP) uint8 and kinds (count, CROP, CROP) uint8."""
        places, scans, kinds = [int(i) for i in rng.integers(0, len(self.items), count)], [], []
        for i in places:
            self.uses[i] += 1
            image, truth = self.items[i]
            y, x = rng.integers(0, SIZE - CROP + 1, 2)
            image, truth = image[y : y + CROP, x : x + CROP], truth[y : y + CROP, x : x + CROP]
            turn, flip = int(rng.integers(4)), 1 - 2 * int(rng.integers(2))
            image, truth = np.rot90(image, turn)[:, ::flip], np.rot90(truth, turn)[:, ::flip]
            if rng.random() < 0.3:
                image = cv2.LUT(
                    np.ascontiguousarray(image),
                    np.clip(255 * (np.arange(256) / 255) ** rng.uniform(0.6, 1.6), 0, 255).astype(np.uint8),
                )
            scans.append(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
            kinds.append(torch.from_numpy(np.ascontiguousarray(truth)))
        return places, torch.stack(scans), torch.stack(kinds)


def loss_of(logit: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of a batch and, by picture, the mean of its worst hundredth of pixels (how hard it is)."""
    truth, judged = ((kind > 0) & (kind < 255)).float(), (kind < 255).float()
    positive = torch.tensor(3.0)  # damage is a few hundredths of the pixels
    each = F.binary_cross_entropy_with_logits(logit, truth, reduction="none", pos_weight=positive) * judged
    worst = each.detach().flatten(1).topk(CROP * CROP // 100).values.mean(1)
    chance = torch.sigmoid(logit) * judged
    damaged = truth.flatten(1).sum(1) > 0
    weight = torch.where(damaged, 1.0, 1.5)[:, None, None]
    dice = 1 - (2 * (chance * truth).sum((1, 2)) + 20) / (chance.sum((1, 2)) + truth.sum((1, 2)) + 20)
    return (each * weight).mean() * 4 + dice[damaged].sum() / max(1, len(damaged)) * 0.5, worst


def train(
    data: Path, others: Sequence[Path], out: Path, minutes: float, batch: int = 9, rate: float = 5e-3, seed: int = 1
) -> None:
    """Train on the faces of ``data`` (a folder of the index beside it) and other photographs; write ``out/last.pt``."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    pictures, rng = Pictures(files_of(data), others), np.random.default_rng([seed, int(time.time())])
    torch.manual_seed(seed)
    net = DamageNet()
    net.load_encoder()
    net = net.to(memory_format=torch.channels_last)
    average = copy.deepcopy(net)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], rate, weight_decay=1e-3)
    step, elapsed, last = 0, 0.0, out / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed"]
    pools = Pool(1200, False), Pool(500, True)
    for pool in pools:
        for _ in range(pool.capacity // 4):
            pool.add(rng, pictures)
    counts = batch - batch // 3, batch // 3
    began, saved, reported, sums = time.monotonic() - elapsed, time.monotonic(), step, 0.0
    while (elapsed := time.monotonic() - began) < minutes * 60:
        parts = []
        for pool, count in zip(pools, counts, strict=True):
            for _ in range(int(rng.binomial(count, 0.25))):
                pool.add(rng, pictures)
            parts.append(pool.draw(rng, count))
        scan = torch.cat([p[1] for p in parts]).to(memory_format=torch.channels_last)
        kind = torch.cat([p[2] for p in parts])
        rate_now = (
            rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * elapsed / (minutes * 60))))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate_now
        value, worst = loss_of(net(scan.float() / 127.5 - 1.0)[:, 0], kind)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        step += 1
        sums += float(value.detach())
        for place, score in zip(parts[1][0], worst[counts[0] :].tolist(), strict=True):
            pools[1].score[place] = score
        keep = min(0.996, 1 - 1 / (step + 1))
        with torch.no_grad():
            for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                kept.lerp_(new, 1 - keep) if kept.is_floating_point() else kept.copy_(new)
        if step % 100 == 0:
            hard = float(np.mean([s for s in pools[1].score if s < math.inf] or [0]))
            line = f"step {step} loss {sums / (step - reported):.4f} hard {hard:.3f} rate {rate_now:.5f}"
            print(time.strftime("%H:%M:%S"), line, flush=True)
            reported, sums = step, 0.0
        if time.monotonic() - saved > 180:
            saved = time.monotonic()
            _save(last, net, average, optimizer, step, elapsed)
    _save(last, net, average, optimizer, step, elapsed)


def _save(path: Path, net: Any, average: Any, optimizer: Any, step: int, elapsed: float) -> None:
    state = {
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "elapsed": elapsed,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def averaged(run: Path) -> DamageNet:
    """The averaged network of a run, in evaluation mode."""
    net = DamageNet()
    net.load_state_dict(torch.load(run / "last.pt", weights_only=True)["average"])
    return net.eval()
