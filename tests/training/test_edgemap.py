"""The edges of the known part as the graph computes them: near Canny's, none of the hole, steady in half precision."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.docs.pages import ROOT
from training.edges import canny_edges
from training.networks.edgemap import EdgeMap
from training.networks.prefill import pull_push

PORTRAIT = cv2.cvtColor(cv2.imread(str(ROOT / "examples" / "portrait.png")), cv2.COLOR_BGR2RGB)


def grey_of(image: np.ndarray) -> Tensor:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return torch.from_numpy(grey / 127.5 - 1.0)[None, None]


@pytest.fixture
def hole() -> Tensor:
    hole = torch.zeros(1, 1, 256, 256)
    hole[..., 90:150, 60:190] = 1.0
    return hole


def test_lines_are_where_canny_has_them(hole: Tensor) -> None:
    found = EdgeMap()(grey_of(PORTRAIT), torch.zeros_like(hole))[0, 0].numpy()
    wanted = canny_edges(PORTRAIT) > 0
    near = cv2.dilate(wanted.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert found[near].sum() > 0.85 * found.sum()
    assert cv2.dilate(found, np.ones((3, 3), np.uint8))[wanted].mean() > 0.7
    assert found.sum() == pytest.approx(wanted.sum(), rel=0.3), "about as wide: a pixel"


def test_a_step_is_one_line_and_a_slope_none(hole: Tensor) -> None:
    picture = torch.full((1, 1, 256, 256), -0.5)
    picture[..., 128:] = 0.5
    lines = EdgeMap()(picture, torch.zeros_like(hole))
    assert torch.allclose(lines.sum(dim=-1), torch.ones(1, 1, 256), atol=0.1)
    slope = (torch.linspace(-8, 8, 256).clamp(-1, 1) * 0.999).expand(1, 1, 256, 256)  # steep: 50 Sobel steps a pixel
    assert EdgeMap()(slope, torch.zeros_like(hole))[..., 120:136].max() == 0


def test_neither_the_hole_nor_its_rim_is_seen(hole: Tensor) -> None:
    flat = torch.full((1, 1, 256, 256), 0.3)
    assert EdgeMap()(pull_push(torch.where(hole > 0, -1.0, flat), hole), hole).max() == 0
    lines = EdgeMap()(pull_push(grey_of(PORTRAIT), hole), hole)
    assert lines[hole > 0].max() == 0
    assert lines.max() > 0.9


def test_half_precision_moves_no_line(hole: Tensor) -> None:
    grey = pull_push(grey_of(PORTRAIT), hole)
    single, half = EdgeMap()(grey, hole), EdgeMap().half()(grey.half(), hole.half()).float()
    assert -10 * torch.log10((single - half).square().mean()) > 58
    noise = torch.rand(1, 1, 256, 256) * 2 - 1
    assert EdgeMap().half()(noise.half(), torch.zeros_like(hole).half()).isfinite().all()
