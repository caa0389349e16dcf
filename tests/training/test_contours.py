from __future__ import annotations

import numpy as np
import pytest
import torch

from training.label import contour_points
from training.networks.contours import CONTOURS, MIRROR, POINTS, ContourRaster, ShapeNetwork, mean_face


def test_every_point_stands_once_and_a_mirror_undoes_itself() -> None:
    assert len(set(POINTS)) == len(POINTS) == sum(len(points) for points, _ in CONTOURS.values())
    assert all(MIRROR[MIRROR[i]] == i for i in range(len(POINTS)))
    assert sum(MIRROR[i] == i for i in range(len(POINTS))) < 20  # those of the middle of the face


def test_the_labels_are_of_the_same_points() -> None:
    assert tuple(contour_points()) == POINTS


def _face() -> torch.Tensor:
    """Every contour a circle of its own, so that no line lies on another."""
    points = []
    for i, (members, _) in enumerate(CONTOURS.values()):
        turn = np.linspace(0, 2 * np.pi, len(members), endpoint=False)
        middle = np.array([0.2 + 0.3 * (i % 3), 0.15 + 0.23 * (i // 3)])
        points.append(middle + 0.08 * np.stack([np.cos(turn), np.sin(turn)], axis=1))
    return torch.from_numpy(np.concatenate(points)).float()[None]


@pytest.mark.parametrize(("size", "sigma"), [(256, 1.2), (128, 0.8)])
def test_lines_are_drawn_where_the_points_are(size: int, sigma: float) -> None:
    points = _face()
    drawn = ContourRaster(size, sigma)(points - mean_face())
    assert drawn.shape == (1, 1, size, size)
    at = torch.nn.functional.grid_sample(drawn, points.unsqueeze(2) * 2 - 1, align_corners=False)
    assert at.median() > 0.6
    assert drawn.mean() < 0.3
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0


def test_points_outside_draw_nothing() -> None:
    assert ContourRaster(128, 0.8)(_face() + 3.0).max() == 0.0


def test_the_drawing_is_the_same_in_half_precision() -> None:
    offsets = 0.05 * torch.randn(1, len(POINTS), 2, generator=torch.Generator().manual_seed(1))
    raster = ContourRaster(256, 1.2)
    exact, half = raster(offsets), raster.half()(offsets.half()).float()
    assert (exact - half).square().mean().sqrt() < 0.003


def test_the_shape_network_takes_any_size() -> None:
    network = ShapeNetwork(16, 16, 1, 8)
    for size in (64, 256):
        points, presence = network(torch.zeros(2, 3, size, size), torch.zeros(2, 1, size, size))
        assert points.shape == (2, len(POINTS), 2)
        assert presence.shape == (2, 1)
