"""What of each factor is in the two parts of a feature, by a linear probe with true labels."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_sing.null_space import NullSpace
from captum_sing.ridge import mean_variance, ridge
from captum_sing.sums import PairSums

__all__ = ["probe", "probe_parts"]

_RELATIVE_RIDGE = 1e-3


def probe(fitted: Tensor, labels: Tensor, tested: Tensor, truth: Tensor) -> float:
    """The share of images that a ridge regression of labels on features names rightly.

    Args:
        fitted (Tensor): shape (N, D).
        labels (Tensor): shape (N,).
        tested (Tensor): of other images, shape (n, D).
        truth (Tensor): theirs, shape (n,).

    Example::

        >>> labels = torch.arange(100) % 4
        >>> features = torch.nn.functional.one_hot(labels).double()
        >>> probe(features, labels, features, labels)
        1.0
    """
    own = torch.nn.functional.one_hot(labels).double()
    sums = PairSums.of(fitted.double(), own)
    weight = ridge(sums, _RELATIVE_RIDGE * mean_variance(sums))
    named = ((tested.double() - sums.feature_mean) @ weight.T + sums.embedding_mean).argmax(dim=1)
    return float((named == truth).double().mean())


def probe_parts(
    space: NullSpace,
    fitted: Tensor,
    labels: dict[str, Tensor],
    tested: Tensor,
    truth: dict[str, Tensor],
) -> dict[str, tuple[float, float]]:
    """Of each factor, what a probe names from the principal part, and from the null part.

    Args:
        space (NullSpace): of the head.
        fitted, labels, tested, truth: as :func:`probe`, labels by factor.
    """
    null = [space.project(part.double()) for part in (fitted, tested)]
    principal = [part - gone for part, gone in zip((fitted, tested), null, strict=True)]
    return {
        factor: (
            probe(principal[0], own, principal[1], truth[factor]),
            probe(null[0], own, null[1], truth[factor]),
        )
        for factor, own in labels.items()
    }
