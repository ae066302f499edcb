"""What is put in the ignored part's place: zero, the mean, a prediction, another image's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_sing.null_space import NullSpace
from captum_sing.targets import ImageSpaces
from captum_sing.translator import LinearTranslator

__all__ = ["NAMED_BASELINES", "conditional_baseline", "conditional_map", "deviation"]

NAMED_BASELINES = ("mean", "conditional")

_RELATIVE_RIDGE = 1e-4


def conditional_baseline(
    features: Tensor,
    null_space: NullSpace,
    translator: LinearTranslator,
    predictor: Tensor | None = None,
) -> Tensor:
    r"""The feature that the head's own view predicts, by linear regression.

    With p = V_p^T (f - mean) what the head sees and S the covariance of the reference features,

    .. math:: b(f) = \bar f + P_n S V_p (V_p^\top S V_p + \lambda I)^{-1} p,

    lambda being 1e-4 of the mean variance of p. What is left of the null part is what the head
    could *not* have known. The regression wants some 8 R reference images.

    Args:
        features (Tensor): shape (B, D).
        null_space (NullSpace): of the head, width D and rank R.
        translator (LinearTranslator): its statistics are the reference.
        predictor (Tensor, optional): :func:`conditional_map` of the two, where it was kept.

    Returns:
        Tensor: shape (B, D), float64.

    Raises:
        SINGRuntimeError: the translator has no statistics.

    Example::

        >>> import torch
        >>> from captum_sing import LinearTranslator, NullSpace
        >>> f = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # the ignored number copies the seen one
        >>> space = NullSpace.from_weight(torch.tensor([[1.0, 0.0]]))
        >>> translator = LinearTranslator(torch.eye(2), torch.zeros(2), torch.zeros(2))
        >>> b = conditional_baseline(f, space, translator.with_statistics(f))
        >>> space.project(f - b).abs().max() < 1e-3
        tensor(True)
    """
    if predictor is None:
        predictor = conditional_map(null_space, translator)
    basis = null_space.principal_basis
    mean = translator.mean.to(basis.device)
    return mean + (features.to(basis.dtype) - mean) @ basis @ predictor


def conditional_map(null_space: NullSpace, translator: LinearTranslator) -> Tensor:
    """The regression of :func:`conditional_baseline`: from what is seen to the null part.

    Args:
        null_space (NullSpace): of the head, width D and rank R.
        translator (LinearTranslator): its statistics are the reference.

    Returns:
        Tensor: shape (R, D), float64.
    """
    basis = null_space.principal_basis
    joint = translator.feature_covariance.to(basis.device) @ basis  # (D, R)
    seen = basis.T @ joint
    ridge = _RELATIVE_RIDGE * seen.diagonal().mean() + torch.finfo(seen.dtype).tiny
    penalised = seen + ridge * torch.eye(len(seen), dtype=seen.dtype, device=seen.device)
    return null_space.project(torch.linalg.solve(penalised, joint.T))


def deviation(
    features: Tensor, baselines: Any, spaces: ImageSpaces, translator: LinearTranslator
) -> Tensor:
    """f - b, for each kind of baseline.

    Args:
        features (Tensor): f, shape (B, D).
        baselines: None for zero, one of ``NAMED_BASELINES``, or a tensor, shape (B or 1, D).
        spaces (ImageSpaces): the null space of each image.
        translator (LinearTranslator): its statistics are the reference.

    Returns:
        Tensor: shape (B, D).
    """
    if baselines is None:
        return features
    if isinstance(baselines, Tensor):
        return features - baselines
    if baselines == "mean":
        return features - translator.mean
    return features - spaces.each(
        lambda space, rows: conditional_baseline(rows, space, translator), features
    )
