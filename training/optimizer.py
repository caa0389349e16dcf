"""Muon for the convolutions, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

#: Coefficients of the quintic Newton-Schulz iteration (Jordan et al., "Muon", 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalized(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: all singular values moved to between 0.7 and 1.2.

    ``(rows, columns)`` to the same shape, float32; computed in bfloat16, as published.
    """
    x = matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return (x.T if tall else x).float()


class Muon(optim.Optimizer):
    """Momentum whose update is orthogonalised: every direction of a layer learns at the same pace.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); scaled as by Liu et al., "Muon is
    scalable for LLM training" (2025), so that AdamW's learning rates fit. PyTorch's own takes matrices only; here a
    convolution is the matrix of its output channels.

    Args:
        parameters: weights of two or more dimensions.
        rate: the learning rate.
        momentum: of the gradient, with Nesterov's look ahead.
        weight_decay: decoupled, a share of the rate.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], rate: float, momentum: float = 0.95, weight_decay: float = 1e-4
    ) -> None:
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                average: Tensor = state["momentum"].lerp_(gradient, 1.0 - group["momentum"])
                update = orthogonalized(gradient.lerp(average, group["momentum"]).flatten(1))
                update *= 0.2 * math.sqrt(max(update.shape))
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-group["lr"])


def optimizers_for(network: nn.Module, rate: float) -> dict[str, optim.Optimizer]:
    """The optimisers of a generator, by name: Muon for its convolutions, AdamW for biases, scales and tiny filters."""
    parameters = [each for each in network.parameters() if each.requires_grad]
    wide = [each for each in parameters if each.dim() == 4 and each.size(0) >= 8 and each[0].numel() >= 8]
    chosen = {id(each) for each in wide}
    rest = [each for each in parameters if id(each) not in chosen]
    optimizers: dict[str, optim.Optimizer] = {}
    if wide:
        optimizers["muon"] = Muon(wide, rate)
    if rest:
        optimizers["adamw"] = optim.AdamW(rest, rate, (0.9, 0.99), weight_decay=1e-4)
    return optimizers
