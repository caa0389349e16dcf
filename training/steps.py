"""One optimisation step of each stage: what goes into its generator, and what the losses say of what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from training import losses
from training.config import ConfigError, Losses
from training.data import Batch
from training.networks.edgemap import EdgeMap
from training.networks.prefill import pull_push
from training.networks.stages import grey_of, to_unit

#: Maps restored and true images (-1..1) to perceptual and style losses; see :mod:`training.perceptual`.
Perceptual = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Network = Callable[..., Any]
_known_edges = EdgeMap()


@dataclass(frozen=True)
class Sample:
    """A batch as float32: image and guess in -1..1, edge maps in 0..1, hole 0 or 1; all ``(N, C, S, S)``."""

    image: Tensor
    hole: Tensor
    guess: Tensor
    edges: Tensor
    given_edges: Tensor

    @staticmethod
    def of(batch: Batch) -> Sample:
        """Normalise a batch and make the first guess for its holes."""
        image = to_unit(batch.image.float())
        hole = (batch.mask > HOLE_ABOVE).float()
        guess = pull_push(image, hole)
        return Sample(image, hole, guess, batch.edges / 255.0, _known_edges(grey_of(guess), hole))


@dataclass(frozen=True)
class Outcome:
    """What a generator made of a sample, as its discriminator sees it (``fake``, ``real``), and its own losses."""

    fake: Tensor
    real: Tensor
    parts: dict[str, Tensor]


def complete_edges(generator: Network, sample: Sample) -> tuple[Tensor, Tensor]:
    """Logits of the edge generator, and the completed map: given edges where known, probabilities in the hole."""
    logits = generator(grey_of(sample.guess), sample.given_edges, sample.hole).float()
    return logits, sample.given_edges + sample.hole * torch.sigmoid(logits)


def edge_step(generator: Network, sample: Sample, weights: Losses) -> Outcome:
    """The edge stage. Its discriminator sees an edge map beside the whole grey image."""
    logits, completed = complete_edges(generator, sample)
    whole = torch.where(sample.hole > 0.5, sample.edges, sample.given_edges)
    grey = grey_of(sample.image)
    parts = {"cross_entropy": losses.edge_cross_entropy(logits, sample.edges, sample.hole, weights.edge_weight)}
    return Outcome(torch.cat((completed, grey), 1), torch.cat((whole, grey), 1), parts)


def coarse_step(generator: Network, sample: Sample) -> Outcome:
    """The coarse generator alone, before the repair stage. Its discriminator sees the composed image."""
    _, residual = generator(sample.guess, sample.hole)
    output = sample.guess + residual.float()
    return Outcome(_composed(output, sample), sample.image, _distances(output, sample))


def _composed(output: Tensor, sample: Sample) -> Tensor:
    return sample.image + sample.hole * (output - sample.image)


def _distances(output: Tensor, sample: Sample) -> dict[str, Tensor]:
    return {
        "l1": losses.hole_l1(output, sample.image, sample.hole),
        "log_mse": losses.hole_log_mse(output, sample.image, sample.hole),
    }


def repair_step(generator: Network, sample: Sample, completed: Tensor, perceptual: Perceptual | None) -> Outcome:
    """The repair stage. Its discriminator sees the composed image beside the edges that it was painted from."""
    output = sample.guess + generator(sample.guess, completed, sample.hole).float()
    parts = _distances(output, sample)
    composed = _composed(output, sample)
    parts["grid"] = losses.pixel_grid(composed, sample.image)
    if perceptual is not None:
        parts["perceptual"], parts["style"] = perceptual(composed, sample.image)
    return Outcome(torch.cat((composed, completed), 1), torch.cat((sample.image, completed), 1), parts)


def adversarial_parts(discriminator: nn.Module, outcome: Outcome, hole: Tensor) -> dict[str, Tensor]:
    """The generator's adversarial and feature-matching losses."""
    with torch.no_grad():
        _, real = discriminator(outcome.real)
    verdict, fake = discriminator(outcome.fake)
    return {
        "adversarial": losses.generator_hinge(verdict.float(), hole),
        "feature_matching": losses.feature_matching([each.float() for each in real], [each.float() for each in fake]),
    }


def discriminator_loss(discriminator: nn.Module, outcome: Outcome, hole: Tensor) -> Tensor:
    """The discriminator's own loss on real and (detached) painted samples."""
    real, _ = discriminator(outcome.real)
    fake, _ = discriminator(outcome.fake.detach())
    return losses.discriminator_hinge(real.float(), fake.float(), hole)


def weighted_sum(parts: dict[str, Tensor], weights: Losses) -> Tensor:
    """Sum of the parts by their weights; a weight of zero leaves its part out.

    Raises :class:`ConfigError` where all are left out.
    """
    terms = [getattr(weights, name) * value for name, value in parts.items() if getattr(weights, name)]
    if not terms:
        raise ConfigError(f"Nothing to learn from: none of {', '.join(parts)} has a weight above 0.")
    return torch.stack(terms).sum()
