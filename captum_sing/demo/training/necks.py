r"""Necks: linear maps after which the truth about the null space is known by construction.

In whitened features, each factor lives in the span :math:`Q` of its class means. The head reads
directions :math:`S`, fitted to tell shapes apart and orthogonal to all spans but that of shape; a
planted factor keeps the part of its span that is orthogonal to all other spans; the rest of the
neck is filled with directions orthogonal to everything, and of these with the ones that know least
of pairs of factors. What was not planted has equal class means everywhere in the neck, so no
linear map of its output can tell its values apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from captum_sing.demo.models import NECK
from captum_sing.demo.scenes import FACTORS

_OFFSET = 5.0  # norm of the constant added to every feature, of about the size of its spread


@dataclass(frozen=True)
class Anatomy:
    """Where a backbone keeps each factor, in whitened coordinates.

    Attributes:
        mean (Tensor): (D,) mean feature.
        whiten (Tensor): (D, D), symmetric; rows of a neck are directions times this matrix.
        spans (dict): factor -> (D, values - 1) orthonormal span of its class means.
        readout (Tensor): (8, D) weights of a classifier of shape, orthogonal to every other span.
        bias (Tensor): (8,) its bias.
        pairs (Tensor): (D, D) covariance of the means over every pair of two factors' values.
    """

    mean: Tensor
    whiten: Tensor
    spans: dict[str, Tensor]
    readout: Tensor
    bias: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: dict[str, Tensor]) -> Anatomy:
        """Dissects features (N, D) of images with known labels, in float64."""
        features = features.double()
        mean = features.mean(0)
        values, vectors = torch.linalg.eigh((features - mean).T.cov())
        whiten = (vectors * values.clamp_min(values[-1] * 1e-8).rsqrt()) @ vectors.T
        white = (features - mean) @ whiten
        spans = {
            name: torch.linalg.svd(_class_means(white, labels[name]).T, full_matrices=False).U[
                :, : len(words) - 1
            ]
            for name, words in FACTORS.items()
        }
        others = _basis([span for name, span in spans.items() if name != "shape"])
        erased = white - white @ others @ others.T
        readout, bias = _logistic(erased, labels["shape"])
        pairs = torch.zeros_like(whiten)
        for one, other in combinations(FACTORS, 2):
            means = _class_means(white, labels[one] * len(FACTORS[other]) + labels[other])
            pairs += means.T @ means / len(means)
        return cls(mean, whiten, spans, readout - readout.mean(0), bias, pairs)


def _class_means(white: Tensor, label: Tensor) -> Tensor:
    means = torch.stack([white[label == value].mean(0) for value in label.unique()])
    return means - means.mean(0)


def _basis(blocks: Sequence[Tensor]) -> Tensor:
    """An orthonormal basis of the sum of some spans, (D, rank)."""
    u, s, _ = torch.linalg.svd(torch.cat(list(blocks), 1), full_matrices=False)
    return u[:, s > 1e-8 * s[0]]


def _logistic(features: Tensor, label: Tensor, penalty: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression by L-BFGS: weights (C, D) and biases (C,)."""
    layer = nn.Linear(features.shape[1], int(label.max()) + 1, dtype=features.dtype)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=100, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(layer(features), label) + penalty * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer.weight.detach(), layer.bias.detach()


def make_neck(anatomy: Anatomy, planted: Sequence[str], seed: int) -> tuple[nn.Linear, nn.Linear]:
    """A neck whose null space carries the planted factors and no other.

    Args:
        anatomy (Anatomy): of the backbone.
        planted (Sequence): factors other than shape.
        seed (int): of the rotation that mixes all blocks, and of the constant offset.

    Returns:
        tuple: the neck, 128 -> 64, and the head, 64 -> 8, of rank 7 without bias in its null space.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = _basis([anatomy.readout.T])
    blocks = [seen]
    for name in planted:
        rest = _basis([span for other, span in anatomy.spans.items() if other != name])
        blocks.append(_basis([anatomy.spans[name] - rest @ rest.T @ anatomy.spans[name]]))
    known = _basis([seen, *anatomy.spans.values()])
    width = len(known)
    random = torch.randn(width, width, generator=generator, dtype=known.dtype)
    free = torch.linalg.qr(random - known @ known.T @ random).Q[:, : width - known.shape[1]]
    least = torch.linalg.eigh(free.T @ anatomy.pairs @ free).eigenvectors
    blocks.append(free @ least[:, : NECK - sum(block.shape[1] for block in blocks)])
    rotation = torch.linalg.qr(torch.randn(NECK, NECK, generator=generator, dtype=known.dtype)).Q
    offset = torch.randn(NECK, generator=generator, dtype=known.dtype)
    offset *= _OFFSET / offset.norm()

    neck, head = nn.Linear(width, NECK), nn.Linear(NECK, len(anatomy.bias))
    with torch.no_grad():
        weight = rotation @ torch.cat(blocks, 1).T @ anatomy.whiten
        neck.weight.copy_(weight)
        neck.bias.copy_(offset - weight @ anatomy.mean)
        read = anatomy.readout @ seen @ rotation[:, : seen.shape[1]].T
        head.weight.copy_(read)
        head.bias.copy_(anatomy.bias - read @ offset)
    return neck, head
