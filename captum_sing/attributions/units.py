"""What a class logit and a score are measured in, so that both can be compared."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_sing.linear_head import LinearHead
from captum_sing.score import SINGScore
from captum_sing.translator import LinearTranslator

__all__ = ["SPREADS", "logit_unit", "score_unit"]

SPREADS = ("sd", "common sd")
"""Units that are standard deviations of the reference images."""

_ROUNDING = 1e-2  # of the largest logit; bfloat16 has eight bits


def score_unit(score: SINGScore) -> str:
    """Of a score's outputs: a spread for evidence, else degrees or a share."""
    if score.kind in ("ignored", "seen"):
        return SPREADS[0] if score.translator.knows_embeddings else SPREADS[1]
    return "share" if score.kind == "null_energy" else "degrees"


def logit_unit(
    score: SINGScore, features: Tensor, logits: Tensor, targets: Tensor
) -> tuple[Tensor, str]:
    r"""The spread of each image's class logit over the reference images, :math:`\sqrt{w^\top S w}`.

    Args:
        score (SINGScore): has the head and the translator, whose reference images these are.
        features (Tensor): of the images, shape (B, D).
        logits (Tensor): of the images, by the whole model, shape (B, C).
        targets (Tensor): shape (B,).

    Returns:
        tuple of Tensor and str: shape (B,), float64, and ``"sd"``, NaN for a logit that does not
        vary; ones and ``"logits"`` where the
        translator has no covariance of features, or the logits are not what the head makes.
    """
    ones = torch.ones(len(targets), dtype=torch.float64)
    head, translator = score.head, score.translator
    if head is None or translator.covariance is None or not _made_by(head, features, logits):
        return ones, "logits"
    return _spreads(head, translator)[targets.cpu()], SPREADS[0]


def _spreads(head: LinearHead, translator: LinearTranslator) -> Tensor:
    """Of every class's logit, shape (C,)."""
    covariance = translator.feature_covariance
    weight = head.weight(translator.feature_dim).to(covariance)
    variance = ((weight @ covariance) * weight).sum(dim=1).cpu()
    return variance.where(variance > 0, torch.nan).sqrt()


def _made_by(head: LinearHead, features: Tensor, logits: Tensor) -> bool:
    """Whether the head's outputs are the model's: a softmax after it has other spreads."""
    own = head.logits(features)
    given = logits.to(own)
    same = own.shape == given.shape
    return same and bool((own - given).abs().max() <= _ROUNDING * given.abs().max())
