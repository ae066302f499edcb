"""How well a translator does: cosine, degrees and R^2 on pairs of features and embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.angles import angle

__all__ = ["Fit", "TranslatorReport", "fit_of"]


@dataclass(frozen=True)
class Fit:
    """How well translated features meet the true embeddings of the same images.

    Attributes:
        cosine (float): mean cosine. It flatters: a constant prediction has a high one.
        degrees (float): mean angle.
        r2 (float): 1 - sum of squared errors / sum of squares about the mean embedding; NaN where
            the embeddings are all alike.
    """

    cosine: float
    degrees: float
    r2: float


@dataclass(frozen=True)
class TranslatorReport:
    """The quality of a translator on pairs of features and embeddings.

    Attributes:
        count (int): number of pairs.
        in_sample (int): how many of them the translator was fitted on; only 0 is a fair test.
        whole, principal, null (Fit): T of the whole feature, and with only its principal or null
            part about the mean feature (None without a null space).
    """

    count: int
    in_sample: int
    whole: Fit
    principal: Fit | None = None
    null: Fit | None = None


def fit_of(predicted: Tensor, truth: Tensor) -> Fit:
    """Compare translated features with the true embeddings.

    Args:
        predicted, truth (Tensor): shape (N, E) each.

    Example::

        >>> import torch
        >>> truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> fit_of(truth.flip(0), truth)  # every prediction is the other image's
        Fit(cosine=0.0, degrees=90.0, r2=-3.0)
    """
    degrees = angle(predicted, truth)
    errors = (predicted - truth).square().sum()
    mean = truth.mean(dim=0)
    squares = (truth - mean).square().sum()
    alike = squares <= len(truth) * mean.square().sum() * 1e-26  # rounding of float64
    r2 = torch.where(alike, torch.nan, 1.0 - errors / squares)
    cosine = torch.nn.functional.cosine_similarity(predicted, truth, dim=1)
    return Fit(float(cosine.mean()), float(degrees.mean()), float(r2))
