"""Small networks and synthetic pictures: everything here trains in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.config import Config, from_json


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # small networks gain nothing from more, and wait for them on a busy host


TINY = {
    "edge": {
        "batch": 2,
        "generator": {"width": 16, "body": 16, "growth": 8},
        "schedule": {"images": 8, "warmup": 2, "decay": 0.25},
        "losses": {"adversarial_from": 4, "adversarial_ramp": 2},
    },
    "coarse": {
        "batch": 2,
        "generator": {"width": 16, "body": 16, "blocks": [1, 1], "global_blocks": 1, "structure": 16},
        "schedule": {"images": 6, "warmup": 2, "decay": 0.5},
    },
    "repair": {
        "batch": 2,
        "generator": {"width": 16, "body": 16, "growth": 8, "blocks": 1, "passes16": 1},
        "schedule": {"images": 10, "warmup": 2, "decay": 0.5},
        "losses": {"adversarial_from": 4, "adversarial_ramp": 2},
    },
}


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
