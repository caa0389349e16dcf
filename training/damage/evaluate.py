"""How well damage is found: on prints from photographs and seeds that training never saw, and on whole photographs.

A found pixel is right within two pixels of damage; damage is found within two pixels of a found one. What the renderer
laid on but hardly shows is not judged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.imaging.quality import psnr
from restore_sdk.runtime.onnxruntime import open_extra
from restore_sdk.tiling.damage import find_damage
from training.damage.pictures import Array, Pictures, files_of
from training.damage.render import DAMAGE, render
from training.data import find_images

NEAR = np.ones((5, 5), np.uint8)
SIZE, SEED = 256, 2026


def classical(image: Array, low: float = 18, high: float = 40) -> Array:
    """The baseline: thin bright or dark lines by oriented top-hats and black-hats, with hysteresis. RGB to bool."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 0.7)
    strength = np.zeros_like(grey)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        thin = cv2.morphologyEx(grey, kind, disc)
        for angle in np.arange(8) * np.pi / 8:
            line = np.zeros((15, 15), np.uint8)
            reach = np.round(7 * np.array([np.cos(angle), np.sin(angle)])).astype(int)
            cv2.line(line, (7 - reach).tolist(), (7 + reach).tolist(), 1)
            np.maximum(strength, cv2.morphologyEx(thin, cv2.MORPH_OPEN, line), out=strength)
    count, labels = cv2.connectedComponents((strength >= low).astype(np.uint8))
    strong = np.bincount(labels[strength >= high], minlength=count) > 0
    strong[0] = False
    return strong[labels]


class Score:
    """Pixels found and right, damaged and found, added up over pictures."""

    def __init__(self) -> None:
        self.right = self.found = self.hit = self.damaged = 0

    def add(self, found: Array, kind: Array) -> None:
        """``found`` bool, ``kind`` as the renderer gives it, both ``(H, W)``."""
        truth, judged = (kind > 0) & (kind < 255), kind < 255
        near_truth = cv2.dilate(truth.astype(np.uint8), NEAR) > 0
        near_found = cv2.dilate(found.astype(np.uint8), NEAR) > 0
        self.found += int((found & judged).sum())
        self.right += int((found & judged & near_truth).sum())
        self.damaged += int(truth.sum())
        self.hit += int((truth & near_found).sum())

    def to_json(self) -> dict[str, float]:
        """Precision, recall and F1."""
        precision, recall = self.right / max(1, self.found), self.hit / max(1, self.damaged)
        both = 2 * precision * recall / max(1e-9, precision + recall)
        return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(both, 3)}


def evaluate(
    bundle: Bundle, faces: Path, others: Path | None = None, count: int = 200, restored: int = 24
) -> dict[str, Any]:
    """All figures, of JSON types.

    Args:
        bundle: one with a damage stage.
        faces: a folder of whole photographs, ``index.csv`` beside it, that training did not see.
        others: a folder of whole photographs of anything, judged apart.
        count: mixed prints, whole photographs; and a sixth of it of each kind alone.
        restored: prints that are also restored, with the proposed and with the true mask.
    """
    stage = open_extra(bundle, bundle.damage)
    finders: dict[str, Callable[[Array], Array]] = {
        "network": lambda image: find_damage(stage, image).mask > 0,
        "classical": classical,
    }
    pictures = Pictures(files_of(faces, sharp=0))
    report: dict[str, Any] = {"pixels_near": 2, "kinds": {}, "whole": {}}
    kinds: list[tuple[str, Any]] = [("mixed", ())]
    kinds += [(layer.__name__, (layer,)) for layer, _ in DAMAGE]
    for number, (name, layers) in enumerate(kinds):
        scores = {finder: Score() for finder in finders}
        for index in range(count if name == "mixed" else -(-count // 6)):
            rng = np.random.default_rng([SEED, number, index])
            image, kind, _ = render(rng, pictures, SIZE, kinds=layers)
            for finder, find in finders.items():
                scores[finder].add(find(np.ascontiguousarray(image)), kind)
        report["kinds"][name] = {finder: score.to_json() for finder, score in scores.items()}
    for finder, find in finders.items():
        report["whole"][finder] = _on_whole(find, pictures.files[:count])
        if others:
            report["whole"][f"{finder}, other photographs"] = _on_whole(find, find_images(others)[:count])
    report["restoring"] = _restoring(bundle, pictures, restored)
    report["seconds_12_megapixels"] = _seconds(stage, pictures)
    return report


def _on_whole(find: Callable[[Array], Array], files: list[Path]) -> dict[str, float]:
    """What is marked where nothing is damaged."""
    shares = np.array([find(np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])).mean() for path in files])
    return {
        "photographs": len(shares),
        "at most 0.1 % marked": round(float((shares <= 0.001).mean()), 3),
        "nothing marked": round(float((shares == 0).mean()), 3),
        "mean share": round(float(shares.mean()), 6),
        "largest share": round(float(shares.max()), 4),
    }


def _restoring(bundle: Bundle, pictures: Pictures, count: int) -> dict[str, float]:
    """Mean PSNR in dB of the whole picture to the scan without damage."""
    sums = {"damaged": 0.0, "proposed mask": 0.0, "true mask": 0.0}
    done = 0
    with RestoreEngine(bundle) as engine:
        for index in range(count):
            rng = np.random.default_rng([SEED, 99, index])
            image, kind, clean = render(rng, pictures, 256, pair=True)
            image, clean = np.ascontiguousarray(image), np.ascontiguousarray(clean)
            truth = cv2.dilate((kind > 0).astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
            found = engine.find_damage(image).mask
            if not 0 < np.count_nonzero(truth) < truth.size or np.count_nonzero(found) == found.size:
                continue
            done += 1
            sums["damaged"] += psnr(image, clean)
            sums["proposed mask"] += psnr(engine(image, found), clean)
            sums["true mask"] += psnr(engine(image, truth), clean)
    return {"prints": done, **{name: round(total / max(1, done), 2) for name, total in sums.items()}}


def _seconds(stage: Any, pictures: Pictures) -> float:
    """Of finding damage in 4000 x 3000 pixels, the second time."""
    image = cv2.resize(cv2.imread(str(pictures.files[0])), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    find_damage(stage, image)
    started = time.perf_counter()
    find_damage(stage, image)
    return round(time.perf_counter() - started, 2)


def markdown(report: dict[str, Any]) -> str:
    """The tables."""
    lines = ["| damage | precision | recall | F1 | baseline F1 |", "|---|---|---|---|---|"]
    for kind, by in report["kinds"].items():
        net = by["network"]
        lines.append(f"| {kind} | {net['precision']} | {net['recall']} | {net['f1']} | {by['classical']['f1']} |")
    return "\n".join([*lines, "", *(f"- {key}: {json.dumps(report[key])}" for key in report if key != "kinds")])
