from __future__ import annotations

import torch

from training.networks.edgemap import EdgeMap


def _disc() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    inside = ((x - 47.5).square() + (y - 47.5).square()).sqrt() < 30
    return (inside.float() * 1.2 - 0.6)[None, None]


def test_a_disc_has_one_thin_ring() -> None:
    lines = EdgeMap()(_disc())[0, 0]
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    off = ((x - 47.5).square() + (y - 47.5).square()).sqrt() - 30
    assert lines[off.abs() < 0.5].min() > 0.4
    assert lines[off.abs() > 4].max() == 0.0


def test_it_turns_with_the_picture_and_does_not_mind_its_negative() -> None:
    picture = _disc() + 0.5 * _disc().roll((7, -11), (2, 3))
    lines = EdgeMap()
    assert torch.allclose(lines(picture).rot90(1, (2, 3)), lines(picture.rot90(1, (2, 3))), atol=1e-4)
    assert torch.allclose(lines(picture), lines(-picture), atol=1e-4)


def test_a_flat_picture_and_the_rim_of_a_hole_have_no_line() -> None:
    lines = EdgeMap()
    assert lines(torch.full((1, 1, 64, 64), 0.3)).max() == 0.0
    hole = torch.zeros(1, 1, 64, 64)
    hole[..., 20:44, 20:44] = 1.0
    filled = torch.full((1, 1, 64, 64), 0.3) - 0.8 * hole
    assert lines(filled).max() > 0.5
    inside = torch.nn.functional.max_pool2d(hole, 3, 1, 1) > 0
    assert lines(filled, torch.ones_like(hole)).max() == 0.0
    assert (lines(filled, hole) * inside).max() < lines(filled).max()


def test_rounding_to_half_precision_moves_no_line() -> None:
    picture = _disc() + 0.1 * torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    lines = EdgeMap()
    exact = lines(picture)
    assert (exact - lines.half()(picture.half()).float()).abs().max() < 0.1
