from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.training.conftest import TINY
from training.config import Config, from_json
from training.label import contour_points
from training.networks.coarse import CoarseGenerator, of_one_length
from training.networks.contours import CONTOURS, MIRROR, POINTS, ContourRaster, mean_face
from training.networks.edgeconnect import MACS, PARAMETERS, EdgeConnect
from training.networks.edgemap import EdgeMap
from training.networks.repair import RepairGenerator
from training.networks.stages import pull_push
from training.optimizer import Muon, optimizers_for, orthogonalized
from training.weights import Networks


def test_the_hole_is_painted_with_the_help_of_edges() -> None:
    """That known pixels stay, and that nothing under the hole counts, is gated on every export."""
    torch.manual_seed(0)
    networks = Networks(from_json(TINY)).requires_grad_(False)
    for parameter in networks.repair.parameters():
        parameter.mul_(1.5)  # so that what it paints is far from the first guess
    _, repair = networks.stages()
    image, mask = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8), torch.zeros(2, 256, 256).byte()
    mask[:, 60:160, 60:160] = 255
    edges = (torch.rand(2, 256, 256) < 0.1).byte() * 255
    restored, other = (repair(image, mask, each) for each in (edges, 255 - edges))
    assert not torch.equal(restored, other)
    guess = pull_push(image.permute(0, 3, 1, 2).float(), (mask > 127).float()[:, None]).permute(0, 2, 3, 1)
    assert (restored.float() - guess)[mask > 127].abs().mean() > 2.0


def test_the_peer_costs_what_was_published() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        peer = EdgeConnect()
        peer(*(torch.zeros(1, 256, 256, *more, dtype=torch.uint8) for more in ((3,), ())))
    assert sum(each.numel() for each in peer.parameters()) == pytest.approx(PARAMETERS, rel=0.005)
    assert counter.get_total_flops() / 2 == pytest.approx(MACS, rel=0.005)


def _coarse() -> CoarseGenerator:
    return CoarseGenerator((8, 16, 16, 16), (1, 1, 1), 1).requires_grad_(False)


def test_the_coarse_generator_sees_any_size_alike_and_edges_of_the_hole_alone() -> None:
    torch.manual_seed(0)
    network, image, hole = _coarse(), torch.rand(1, 3, 128, 128), torch.zeros(1, 1, 128, 128)
    hole[..., 64:] = 1.0
    edges = torch.rand(1, 1, 128, 128)
    large = [F.interpolate(each, scale_factor=2.0) for each in (image, edges, hole)]
    features, residual = network(image, edges, hole)
    assert (features.shape, residual.shape) == ((1, 16, 32, 32), (1, 3, 64, 64))
    for found, wanted in zip(network(*large), (features, residual), strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.equal(network(image, edges * hole, hole)[1], residual)
    assert not torch.equal(network(image, 0.0 * edges, hole)[1], residual)


def test_a_told_look_takes_the_place_of_the_guessed_one_and_reaches_every_pixel() -> None:
    torch.manual_seed(0)
    network = CoarseGenerator((8, 16, 16, 16), (1, 1, 1), 1, look=4).requires_grad_(False)
    image, hole = torch.rand(2, 3, 128, 128), torch.ones(2, 1, 128, 128)
    _, guessed_picture, guessed = network.decide(image, 0.0 * hole, hole)
    own, told = of_one_length(guessed), torch.tensor([[True], [False]])
    _, same, _ = network.decide(image, 0.0 * hole, hole, own, told)
    torch.testing.assert_close(same, guessed_picture)
    _, other, _ = network.decide(image, 0.0 * hole, hole, -own, told)
    changed = (other - guessed_picture).abs().amax(1) > 0
    assert changed[0].all()
    assert not changed[1].any()


def test_a_square_is_repaired_as_the_whole_is() -> None:
    """Which is how it is trained; away from the square's rim, convolutions see the same."""
    torch.manual_seed(0)
    network = RepairGenerator(16, 16, 8, coarse=_coarse()).requires_grad_(False)
    nn.init.normal_(network.from_coarse.weight, std=0.1)  # begins at zero
    given = (torch.rand(1, 3, 256, 256), torch.rand(1, 1, 256, 256), torch.ones(1, 1, 256, 256))
    maps = (*given, *network.coarse_guess(*given), network.noise)
    cut = [each[..., : each.shape[-1] * 3 // 4, : each.shape[-1] * 3 // 4] for each in maps]
    torch.testing.assert_close(network.refine(*cut)[..., :64, :64], network.refine(*maps)[..., :64, :64])


class TestEdgeMap:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    off = ((x - 47.5).square() + (y - 47.5).square()).sqrt() - 30
    disc = ((off < 0).float() * 1.2 - 0.6)[None, None]

    def test_a_disc_has_one_thin_ring(self) -> None:
        lines = EdgeMap()(self.disc)[0, 0]
        assert lines[self.off.abs() < 0.5].min() > 0.4
        assert lines[self.off.abs() > 4].max() == 0.0
        assert EdgeMap()(self.disc, torch.ones_like(self.disc)).max() == 0.0, "a hole has none"

    def test_it_turns_with_the_picture_and_does_not_mind_its_negative_nor_half_precision(self) -> None:
        picture, lines = self.disc + 0.5 * self.disc.roll((7, -11), (2, 3)), EdgeMap()
        found = lines(picture)
        assert torch.allclose(found.rot90(1, (2, 3)), lines(picture.rot90(1, (2, 3))), atol=1e-4)
        assert torch.allclose(found, lines(-picture), atol=1e-4)
        assert (found - lines.half()(picture.half()).float()).abs().max() < 0.1


class TestContours:
    def test_every_point_stands_once_a_mirror_undoes_itself_and_labels_are_of_the_same(self) -> None:
        assert len(set(POINTS)) == len(POINTS) == sum(len(points) for points, _ in CONTOURS.values())
        assert all(MIRROR[MIRROR[i]] == i for i in range(len(POINTS)))
        assert sum(MIRROR[i] == i for i in range(len(POINTS))) < 20  # those of the middle of the face
        assert tuple(contour_points()) == POINTS

    @pytest.mark.parametrize(("size", "sigma"), [(256, 1.2), (128, 0.8)])
    def test_lines_are_drawn_where_the_points_are(self, size: int, sigma: float) -> None:
        places = []
        for i, (members, _) in enumerate(CONTOURS.values()):  # every contour a circle of its own
            turn = np.linspace(0, 2 * np.pi, len(members), endpoint=False)
            middle = np.array([0.2 + 0.3 * (i % 3), 0.15 + 0.23 * (i // 3)])
            places.append(middle + 0.08 * np.stack([np.cos(turn), np.sin(turn)], axis=1))
        points = torch.from_numpy(np.concatenate(places)).float()[None]
        raster = ContourRaster(size, sigma)
        drawn = raster(points - mean_face())
        at = F.grid_sample(drawn, points.unsqueeze(2) * 2 - 1, align_corners=False)
        assert at.median() > 0.6
        assert drawn.mean() < 0.3
        assert (drawn.min() >= 0.0, drawn.max() <= 1.0) == (True, True)
        assert raster(points + 3.0).max() < 1e-6
        half = raster.half()((points - mean_face()).half()).float()
        assert (drawn - half).square().mean().sqrt() < 0.01


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32)])
def test_every_direction_is_given_about_the_same_weight(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
    before, after = (torch.linalg.svdvals(each) for each in (matrix, orthogonalized(matrix)))
    assert after[0] / after[-1] < 0.5 * before[0] / before[-1]
    assert 0.1 < after.min() <= after.max() < 1.4


def test_steps_are_of_the_size_of_the_rate_whatever_the_gradient() -> None:
    sizes = []
    for scale in (1e-4, 1e4):
        torch.manual_seed(0)
        layer = nn.Conv2d(32, 16, 3)
        before = layer.weight.detach().clone()
        optimizer = Muon([layer.weight], 0.01, weight_decay=0.0)
        (scale * layer(torch.randn(4, 32, 8, 8)).square().sum()).backward()
        optimizer.step()
        sizes.append(float((layer.weight.detach() - before).square().mean().sqrt()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    assert 0.1 * 0.01 < sizes[0] < 0.3 * 0.01, "as AdamW's: about 0.2 of the rate"


def test_every_parameter_has_one_optimizer() -> None:
    network = Networks(Config())
    groups = [group for each in optimizers_for(network, 1e-3).values() for group in each.param_groups]
    held = sorted(id(each) for group in groups for each in group["params"])
    assert held == sorted(id(each) for each in network.parameters())
