"""The losses of all stages. Images are in -1..1, ``hole`` is 1 where pixels are missing, all ``(N, C, H, W)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def hole_l1(output: Tensor, target: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute error over the hole of each image, averaged over images: small holes count as much as wide ones."""
    return _each_over(((output - target).abs().mean(dim=1, keepdim=True)), hole).mean()


def _each_over(error: Tensor, hole: Tensor) -> Tensor:
    return (error * hole).sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3)).clamp(min=1.0)


def colour(output: Tensor, target: Tensor, hole: Tensor, weight: Tensor | None = None, size: int = 4) -> Tensor:
    """Difference of the means of overlapping blocks: holds what colour a region has, and leaves its detail free.

    ``weight``, ``(N, 1, H, W)``, is how much each place counts: where a colour cannot be known, the best answer to a
    loss of its own is the middle of all, a skin tinted by what lies behind it. With it, twice the error in chroma is
    added, whatever the weight: a stain that nobody can know is worse than a dull colour.
    """
    error = F.avg_pool2d(output, size, size // 2) - F.avg_pool2d(target, size, size // 2)
    counted = error.abs()
    if weight is not None:
        chroma = (error - error.mean(1, keepdim=True)).abs()
        counted = counted * F.avg_pool2d(weight, size, size // 2) + 2.0 * chroma
    return counted.mean() / hole.mean().clamp(min=0.05)


def rim_l1(output: Tensor, target: Tensor, hole: Tensor, reach: int) -> Tensor:
    """Absolute error near the rim of the hole, where what is known leaves little to invent; it fades with the depth.

    ``reach`` is about how far the known pixels are heard, in pixels; odd.
    """
    weight = near_known(hole, reach) * hole
    return ((output - target).abs() * weight).sum() / weight.sum().clamp(min=1.0)


def near_known(hole: Tensor, reach: int) -> Tensor:
    """1 at known pixels and 0 farther than ``reach`` (odd) pixels from them; in between it falls."""
    near = 1.0 - hole
    for _ in range(2):
        near = F.avg_pool2d(F.pad(near, (reach // 2,) * 4, mode="replicate"), reach, 1)
    return (1.6 * near).clamp(max=1.0)


def perceptual(
    features: Sequence[Tensor], wanted: Sequence[Tensor], hole: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Squared difference of features, normalised over channels, at the places that see the hole; mean of the scales.

    After Zhang et al. ("The unreasonable effectiveness of deep features", CVPR 2018), without learned weights.
    ``weight``, ``(N, 1, H, W)`` or of any smaller size, is how much each place counts; without it all count alike.
    """
    total = torch.zeros((), device=hole.device)
    for ours, theirs in zip(features, wanted, strict=True):
        error = (_unit(ours) - _unit(theirs)).square().sum(1, keepdim=True)
        total = total + over(error, seen_by(hole, error, weight))
    return total / len(features)


def texture(features: Sequence[Tensor], wanted: Sequence[Tensor], hole: Tensor, weight: Tensor | None = None) -> Tensor:
    """Difference of the strength of ``features``, window by window: how much texture a place has and of which kind,
    wherever its lines run. The diagonal of a style loss (Gatys et al., CVPR 2016), kept local. ``weight`` as for
    :func:`perceptual`.
    """
    total = torch.zeros((), device=hole.device)
    for ours, theirs in zip(features, wanted, strict=True):
        restored, true = _strength(ours), _strength(theirs)
        scale = true.mean(dim=(1, 2, 3), keepdim=True) + 0.02
        total = total + over((restored - true).abs().mean(1, keepdim=True) / scale, seen_by(hole, true, weight))
    return total / len(features)


def _strength(x: Tensor, window: int = 8) -> Tensor:
    return (F.avg_pool2d(x.float().square(), window, window // 2) + 1e-5).sqrt()


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-6)


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


def edge_strength(logits: Tensor, target: Tensor, hole: Tensor) -> Tensor:
    """Cross-entropy of lines in 0..1, weighed by the squared error (quality focal loss: Li et al., NeurIPS 2020), so
    that the many pixels without a line do not decide."""
    error = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return over((target - torch.sigmoid(logits)).square() * error, hole)


def dice(output: Tensor, target: Tensor, hole: Tensor) -> Tensor:
    """One less the overlap of two maps in 0..1 (V-Net: Milletari et al., 3DV 2016): an empty map overlaps nothing."""
    both = (output * target * hole).sum(dim=(1, 2, 3))
    each = ((output.square() + target.square()) * hole).sum(dim=(1, 2, 3))
    return (1.0 - (2.0 * both + 1.0) / (each + 1.0)).mean()


def discriminator_hinge(
    real: Sequence[Tensor], fake: Sequence[Tensor], hole: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Hinge loss of a discriminator (Lim and Ye, "Geometric GAN", 2017), mean of its verdicts' sizes.

    A painted image is whole but for its hole: only patches that touch it are called fake, the others real (after
    SM-PatchGAN: Zeng et al., "Aggregated contextual transformations", TVCG 2022). ``weight`` as for :func:`perceptual`.
    """
    total = torch.zeros((), device=hole.device)
    for ours, theirs in zip(real, fake, strict=True):
        touched = seen_by(hole, theirs)
        counts = torch.ones_like(touched) if weight is None else F.adaptive_avg_pool2d(weight, theirs.shape[-2:])
        fooled = over(F.relu(1.0 + theirs.float()), touched * counts)
        known = over(F.relu(1.0 - theirs.float()), 1.0 - touched)
        true = over(F.relu(1.0 - ours.float()), counts)
        total = total + true + fooled + 0.5 * known
    return total / len(real)


def generator_hinge(fake: Sequence[Tensor], hole: Tensor, weight: Tensor | None = None) -> Tensor:
    """Hinge loss of the generator, over patches that touch the hole: only there has it painted anything. ``weight`` as
    for :func:`perceptual`."""
    return torch.stack([-over(each.float(), seen_by(hole, each, weight)) for each in fake]).mean()


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's features (pix2pixHD: Wang et al., CVPR 2018)."""
    return torch.stack([(f.float() - r.detach().float()).abs().mean() for r, f in zip(real, fake, strict=True)]).mean()


def over(values: Tensor, where: Tensor) -> Tensor:
    """Mean of ``values`` where ``where`` is 1."""
    return (values * where).sum() / where.expand_as(values).sum().clamp(min=1.0)


def seen_by(hole: Tensor, verdicts: Tensor, weight: Tensor | None = None) -> Tensor:
    """1, or the mean of ``weight``, at the places of a smaller map whose part of the picture touches the hole."""
    touched = (F.adaptive_max_pool2d(hole, verdicts.shape[-2:]) > 0.5).to(hole.dtype)
    return touched if weight is None else touched * F.adaptive_avg_pool2d(weight, verdicts.shape[-2:])
