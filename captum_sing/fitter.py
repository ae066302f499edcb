"""Fitting a translator by ridge regression from sums that stream past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from captum_sing.errors import SINGRuntimeError, SINGTypeError, SINGValueError, expected
from captum_sing.membership import FeatureRecord, PackedSketches
from captum_sing.ridge import cross_validate, mean_variance, ridge, rounding
from captum_sing.sums import PairSums
from captum_sing.translator import LinearTranslator

__all__ = ["TranslatorFitter"]

_RELATIVE_ALPHA = 1e-2
_RELATIVE_GRID = tuple(10 ** (half / 2) for half in range(-12, 5))
_WHERE = "TranslatorFitter"


class TranslatorFitter:
    r"""Ridge regression of image embeddings on features (Eq. 4), block by block.

    .. math:: \min_{A, a} \sum_i \|A f_i + a - z_i\|^2 + \alpha \|A\|^2

    with the intercept unpenalised. Only centred sums are kept, in float64, so the memory does not
    depend on the number of images, apart from eight bytes an image that let the translator know
    its own images again.

    With ``alpha="cv"`` the sums are kept fold by fold, and the penalty with the best held-out
    :math:`R^2` is chosen from them, without a second pass: the one that scikit-learn's
    ``GridSearchCV(Ridge(), {"alpha": alphas}, cv=KFold(folds))`` chooses on the same folds. The
    i-th image, counted from 0, belongs to fold ``i % folds``; near-duplicates, such as frames of
    one film, belong into one fold: say so with ``update(..., folds=)``.

    Args:
        alpha (float or "cv", optional): the penalty, as scikit-learn's ``Ridge(alpha)`` has it, or
            ``"cv"`` to choose it by cross-validation. Default: 0.01 of the mean variance of a
            feature, times the number of images.
        folds (int, optional): of the cross-validation. Default: 5
        alphas (sequence of float, optional): the penalties to choose from. Default: 17 from
            :math:`10^{-6}` to 100 times the mean variance of a feature, times the number of images.
        encoder (str, optional): the name of the encoder that made the embeddings.
        model (str, optional): the name of the classifier that made the features.
        remember (bool, optional): keep these eight bytes an image. Default: True

    Example::

        >>> import torch
        >>> features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
        >>> fitter = TranslatorFitter(alpha=1e-6)
        >>> for block in features.split(20):
        ...     fitter = fitter.update(block, block[:, :3] * 2)
        >>> translator = fitter.fit()
        >>> torch.allclose(translator(features), features[:, :3] * 2, atol=1e-4)
        True
        >>> noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
        >>> fitter = TranslatorFitter("cv", alphas=[1.0, 1e4])  # there is nothing to learn
        >>> fitter.update(features, noise).fit().facts["alpha"]
        10000.0
    """

    def __init__(
        self,
        alpha: float | Literal["cv"] | None = None,
        *,
        folds: int = 5,
        alphas: Sequence[float] | None = None,
        encoder: str | None = None,
        model: str | None = None,
        remember: bool = True,
    ) -> None:
        _check_penalty(alpha, folds, alphas)
        self.alpha = alpha
        self.folds = int(folds) if alpha == "cv" else 1
        self.alphas = None if alphas is None else [float(value) for value in alphas]
        self.encoder = encoder
        self.model = model
        self.remember = remember
        self._sums: list[PairSums] = []  # one a fold
        self._sketches: list[PackedSketches] = []

    @property
    def count(self) -> int:
        """The number of pairs so far."""
        return sum(sums.count for sums in self._sums)

    def update(
        self, features: Tensor, embeddings: Tensor, folds: Tensor | None = None
    ) -> TranslatorFitter:
        """Add a block of pairs.

        Args:
            features (Tensor): shape (N, D), any floating-point precision.
            embeddings (Tensor): shape (N, E), of the same images.
            folds (Tensor, optional): the fold of each image, integers below ``folds``, shape (N,);
                only for ``alpha="cv"``. Default: the images take turns

        Returns:
            TranslatorFitter: itself.

        Raises:
            SINGTypeError, SINGValueError: a block that cannot be used; the sums stay as they were.
        """
        self._check(features, embeddings)
        if folds is None:
            folds = torch.arange(self.count, self.count + len(features)) % self.folds
        self._check_folds(folds, len(features))
        features, embeddings = features.detach(), embeddings.detach().to(features.device)
        if not self._sums:
            widths = features.shape[1], embeddings.shape[1]
            self._sums = [PairSums.empty(*widths, features.device) for _ in range(self.folds)]
        for fold, sums in enumerate(self._sums):
            rows = (folds == fold).to(features.device)
            if rows.any():
                sums.add(PairSums.of(features[rows], embeddings[rows]))
        if self.remember:
            self._sketches.append(PackedSketches.of(features))
        return self

    def fit(self) -> LinearTranslator:
        """The translator of all pairs so far; more may be added afterwards.

        Returns:
            LinearTranslator: with the statistics of the images it was fitted on. Its ``facts``
            hold the penalty, ``facts["alpha"]``, and for ``alpha="cv"`` the whole curve,
            ``facts["cross_validation"]``: the penalties, their mean held-out R^2, that of each
            fold, and whether the best one stands ``at_the_end`` of the grid, so that a wider one
            may hold a better.

        Raises:
            SINGRuntimeError: fewer than two pairs so far, or fewer than two in a fold.
            SINGValueError: features that do not vary, or so much or so little that float32 does
                not hold their variance; ``alpha=0`` and features that do not determine the map.
        """
        self._check_counts()
        sums = PairSums.merged(self._sums)
        _check_spread("features", sums.gram.diagonal(), sums.feature_mean, sums.count)
        _check_spread("embeddings", sums.embedding_gram.diagonal(), None, sums.count)
        alpha, curve = self._choose(sums)
        return LinearTranslator(
            ridge(sums, alpha),
            sums.feature_mean,
            sums.embedding_mean,
            covariance=sums.gram / (sums.count - 1),
            embedding_covariance=sums.embedding_gram / (sums.count - 1),
            record=FeatureRecord.from_blocks(self._sketches) if self._sketches else None,
            facts={
                "encoder": self.encoder,
                "model": self.model,
                "alpha": alpha,
                "count": sums.count,
                **curve,
            },
        )

    def _choose(self, sums: PairSums) -> tuple[float, dict[str, Any]]:
        """The penalty, and how it was found."""
        unit = mean_variance(sums)
        if self.alpha is None:
            return _RELATIVE_ALPHA * unit, {}
        if self.alpha != "cv":
            return float(self.alpha), {}
        alphas = self.alphas or [share * unit for share in _RELATIVE_GRID]
        scores = cross_validate(self._sums, alphas)
        mean = scores.mean(dim=0)
        best = int(mean.argmax())  # of equal ones the first, as in scikit-learn
        curve = {
            "folds": self.folds,
            "alphas": alphas,
            "scores": mean.tolist(),
            "fold_scores": scores.tolist(),
            "at_the_end": best in (0, len(alphas) - 1),
        }
        return alphas[best], {"cross_validation": curve}

    def _check_counts(self) -> None:
        where, remedy = f"{_WHERE}.fit", "Call update(features, embeddings) first"
        if self.count < 2:
            raise SINGRuntimeError(
                expected(where, "pairs", "of two images or more", self.count, remedy)
            )
        counts = [sums.count for sums in self._sums]
        if self.alpha == "cv" and min(counts) < 2:
            raise SINGRuntimeError(
                expected(
                    where,
                    "folds",
                    "of two images or more each",
                    counts,
                    "Give more images, or fix the penalty, as with alpha=1.0",
                )
            )

    def _check_folds(self, folds: Tensor, count: int) -> None:
        whole = isinstance(folds, Tensor) and not (
            folds.is_floating_point() or folds.is_complex() or folds.dtype == torch.bool
        )
        if not whole or folds.shape != (count,) or not ((folds >= 0) & (folds < self.folds)).all():
            actual: object = type(folds).__name__
            if isinstance(folds, Tensor):
                actual = f"shape {tuple(folds.shape)} of {folds.dtype}"
            if whole and folds.shape == (count,):
                actual = f"{int(folds.min())} to {int(folds.max())}"
            raise SINGValueError(
                expected(
                    f"{_WHERE}.update",
                    "folds",
                    f"of shape ({count},), integers from 0 to {self.folds - 1}",
                    actual,
                    "Give each image the number of its fold",
                )
            )

    def _check(self, features: Tensor, embeddings: Tensor) -> None:
        where = f"{_WHERE}.update"
        for name, tensor in (("features", features), ("embeddings", embeddings)):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                raise SINGTypeError(
                    expected(where, name, "to be a floating-point tensor", type(tensor), "Convert")
                )
            if tensor.dim() != 2 or 0 in tensor.shape:
                shape = tuple(tensor.shape)
                raise SINGValueError(
                    expected(where, name, "of shape (N, width)", shape, "Flatten, or drop it")
                )
            if not tensor.sum().isfinite() and not tensor.isfinite().all():  # the first is quick
                raise SINGValueError(
                    expected(where, name, "finite", "NaN or infinity", "Leave these images out")
                )
        widths = (features.shape[1], embeddings.shape[1])
        own = tuple(self._sums[0].cross.shape) if self._sums else widths
        if len(features) != len(embeddings) or widths != own:
            raise SINGValueError(
                expected(
                    where,
                    "features and embeddings",
                    f"paired, and of widths {own}",
                    f"{tuple(features.shape)} and {tuple(embeddings.shape)}",
                    "Give the same images of the same model and encoder",
                )
            )


def _check_spread(name: str, squares: Tensor, mean: Tensor | None, count: int) -> None:
    """What comes of sums that say nothing, or that the translator's float32 would not hold."""
    variance = (squares / (count - 1)).float()
    if mean is not None and bool((squares <= rounding(mean, count)).all()):
        constraint, actual = "that vary", "constant ones"
    elif not variance.sum().isfinite() or (mean is not None and not variance.any()):
        constraint, actual = "with a spread between 1e-19 and 1e19", f"{squares.sum():.0e} squared"
    else:
        return
    remedy = "Give those of different images, and rescale them if need be"
    raise SINGValueError(expected(f"{_WHERE}.fit", name, constraint, actual, remedy))


def _check_penalty(alpha: Any, folds: Any, alphas: Sequence[float] | None) -> None:
    number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
    number = number and 0.0 <= alpha < math.inf
    if not (alpha is None or number or (isinstance(alpha, str) and alpha == "cv")):
        raise SINGValueError(
            expected(_WHERE, "alpha", 'finite and not negative, or "cv"', repr(alpha), "Use 1.0")
        )
    if not isinstance(folds, (int, np.integer)) or folds < 2:
        raise SINGValueError(
            expected(_WHERE, "folds", "of at least 2, an integer", repr(folds), "Use 5")
        )
    if alphas is None:
        return
    values = [float(value) for value in alphas]
    if alpha != "cv" or not values or not all(0.0 < value < math.inf for value in values):
        raise SINGValueError(
            expected(
                _WHERE,
                "alphas",
                'finite and above 0, one or more, with alpha="cv"',
                f"{values} with alpha={alpha!r}",
                "Name the penalties to choose from",
            )
        )
