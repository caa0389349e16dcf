"""The losses of both stages. Images are in -1..1, ``hole`` is 1 where pixels are missing, all ``(N, C, H, W)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def hole_l1(output: Tensor, target: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute error over the hole of each image, averaged over images: small holes count as much as wide ones."""
    error = (output - target).abs().mean(dim=1, keepdim=True) * hole
    return (error.sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3)).clamp(min=1.0)).mean()


def hole_log_mse(output: Tensor, target: Tensor, hole: Tensor, floor: float = 1e-4) -> Tensor:
    """Mean of ``log(MSE)`` over the hole of each image: PSNR as a loss, up to a factor.

    After HINet (Chen et al., CVPRW 2021). ``floor`` keeps holes that are already exact from dominating.
    """
    error = (output - target).square().mean(dim=1, keepdim=True) * hole
    return (error.sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3)).clamp(min=1.0) + floor).log().mean()


def pixel_grid(output: Tensor, target: Tensor, size: int = 4, blocks: int = 4) -> Tensor:
    """How much of a regular pattern of period ``size`` the output has, beyond what the target has.

    Each of the ``size`` x ``size`` places in a block, less the block's mean, is averaged over ``blocks`` x ``blocks``
    neighbouring blocks: a texture cancels out, what every block repeats stays. A pixel shuffle by ``size`` can leave
    that (Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016), and a discriminator hardly minds it.
    """

    def repeated(image: Tensor) -> Tensor:
        n, c, h, w = image.shape
        places = F.pixel_unshuffle(image, size).view(n, c, size * size, h // size, w // size)
        return F.avg_pool2d((places - places.mean(2, keepdim=True)).flatten(1, 2), blocks)

    return (repeated(output) - repeated(target)).abs().mean()


def edge_cross_entropy(logits: Tensor, target: Tensor, hole: Tensor, edge_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy over the hole of each image, averaged over images.

    Fewer than one pixel in ten is an edge, and in a hole none is sure: unweighted, the best answer is hardly ever above
    one half. ``edge_weight`` counts edge pixels that many times (after HED: Xie and Tu, ICCV 2015), which moves the
    threshold to a chance of ``1 / (1 + edge_weight)``.
    """
    weight = 1.0 + (edge_weight - 1.0) * target
    error = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="none") * hole
    return (error.sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3)).clamp(min=1.0)).mean()


def discriminator_hinge(real: Tensor, fake: Tensor, hole: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim and Ye, "Geometric GAN", 2017).

    A painted image is whole but for its hole: only patches that touch it are called fake (after SM-PatchGAN: Zeng et
    al., "Aggregated contextual transformations", TVCG 2022).
    """
    return F.relu(1.0 - real).mean() + _over_hole(F.relu(1.0 + fake), hole)


def generator_hinge(fake: Tensor, hole: Tensor) -> Tensor:
    """Hinge loss of the generator, over patches that touch the hole: only there has it painted anything."""
    return -_over_hole(fake, hole)


def _over_hole(verdicts: Tensor, hole: Tensor) -> Tensor:
    """Mean over the patches that touch the hole."""
    touched = F.adaptive_max_pool2d(hole, verdicts.shape[-2:])
    return (verdicts * touched).sum() / touched.sum().clamp(min=1.0)


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's features (pix2pixHD: Wang et al., CVPR 2018)."""
    return torch.stack([(f - r.detach()).abs().mean() for r, f in zip(real, fake, strict=True)]).mean()
