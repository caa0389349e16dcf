from __future__ import annotations

import pytest
import torch
from torch import nn

from training.config import Config
from training.optimizer import Muon, optimizers_for, orthogonalized
from training.weights import Networks


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
