"""Ridge regression from sums, and the choice of its penalty by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_sing.errors import SINGValueError, expected
from captum_sing.sums import PairSums

__all__ = ["cross_validate", "mean_variance", "ridge", "rounding"]

_ROUNDING = 100 * torch.finfo(torch.float64).eps


def mean_variance(sums: PairSums) -> float:
    """The mean variance of a feature times the number of pairs: the natural unit of a penalty."""
    return float(sums.gram.diagonal().mean())


def rounding(mean: Tensor, count: int) -> Tensor:
    """The sum of squares that so many equal numbers, of this mean, may have by rounding alone."""
    return count * (_ROUNDING * mean).square()


def ridge(sums: PairSums, alpha: float) -> Tensor:
    r"""The map of Eq. 4, :math:`A = C^\top (G + \alpha I)^{-1}`, shape (E, D), float64.

    Eigenvalues below 0 are rounding, and count as 0, as they do in :func:`cross_validate`.

    Raises:
        SINGValueError: ``alpha=0`` and features that do not determine the map.
    """
    eye = torch.eye(len(sums.gram), dtype=sums.gram.dtype, device=sums.gram.device)
    factor, failed = torch.linalg.cholesky_ex(sums.gram + alpha * eye)
    own = factor.diagonal().square() <= _ROUNDING * sums.gram.diagonal()
    copies = bool(int(failed)) or bool(own.any())
    if alpha == 0.0 and copies:
        raise SINGValueError(
            expected(
                "TranslatorFitter.fit",
                "alpha",
                "above 0 for features that are constant or depend on each other",
                alpha,
                "Penalise, for example with alpha=1.0",
            )
        )
    if not copies:
        return torch.cholesky_solve(sums.cross, factor).T
    values, vectors = _spectrum(sums)
    return (vectors @ (vectors.T @ sums.cross / (values + alpha)[:, None])).T


def cross_validate(folds: Sequence[PairSums], alphas: Sequence[float]) -> Tensor:
    r"""Held-out R^2 of every penalty on every fold, as scikit-learn's ``GridSearchCV`` has it.

    Each fold is predicted by the ridge regression of all others. :math:`R^2` is averaged over the
    outputs, with equal weights.

    Args:
        folds (sequence of PairSums): at least two, of two pairs or more each.
        alphas (sequence of float): the penalties, above 0.

    Returns:
        Tensor: shape (folds, alphas), float64.

    Example::

        >>> import torch
        >>> f = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> folds = [PairSums.merged([PairSums.of(part, 2 * part)]) for part in f.split(20)]
        >>> cross_validate(folds, [1e-6, 1e6]).round(decimals=2).tolist()
        [[1.0, -0.02], [1.0, -0.08], [1.0, -0.05]]
    """
    return torch.stack(
        [
            _scores(PairSums.merged([*folds[:k], *folds[k + 1 :]]), fold, alphas)
            for k, fold in enumerate(folds)
        ]
    )


def _spectrum(sums: PairSums) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(sums.gram)
    return values.clamp_min(0.0), vectors


def _scores(train: PairSums, test: PairSums, alphas: Sequence[float]) -> Tensor:
    """One eigendecomposition serves every penalty."""
    values, vectors = _spectrum(train)
    learnt, cross = vectors.T @ train.cross, vectors.T @ test.cross
    gram = vectors.T @ test.gram @ vectors
    f = vectors.T @ (test.feature_mean - train.feature_mean)
    z = test.embedding_mean - train.embedding_mean
    squares = test.embedding_gram.diagonal()
    limit = rounding(test.embedding_mean, test.count)
    scores = []
    for alpha in alphas:
        weight = learnt / (values + alpha)[:, None]
        errors = squares + (weight * (gram @ weight - 2 * cross)).sum(dim=0)
        errors = errors + test.count * (z - f @ weight).square()
        varies = squares > limit
        constant = (errors <= limit).double()  # R^2 of an output that never varies
        scores.append(torch.where(varies, 1 - errors / squares.clamp_min(1e-300), constant).mean())
    return torch.stack(scores)
