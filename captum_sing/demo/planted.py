"""What was planted in a null space, against what the method finds there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_sing.concepts import ConceptBank
from captum_sing.demo.scenes import FACTORS
from captum_sing.hooks import read_features
from captum_sing.sing import SING

__all__ = ["PLANTED_AUC", "UNPLANTED_AUC", "Finding", "find_planted", "own_against_others"]

PLANTED_AUC = 0.97
UNPLANTED_AUC = (0.45, 0.55)

_DONORS = (1, 2, 3, 4)  # whose ignored part an image gets: so many places before it


@dataclass(frozen=True)
class Finding:
    """What is found about one factor in one classifier, on one set of test images.

    An AUC is the chance that an image's own word scores above another word of the same factor; 0.5
    is chance. Naming is the share of images whose own word is the nearest of its factor.

    Attributes:
        classifier, factor (str): which.
        seed (int): of the test images.
        planted (bool or None): the truth by construction; None where the classifier was trained.
        ignored_auc (float): AUC of the evidence that the head ignores.
        as_auc (float): AUC of -AS, the paper's score as it stands (zero baseline, no centring).
        as_own (float): mean AS of the own word, degrees.
        named (float): naming by T(f).
        named_from_seen, named_from_ignored (float): naming from the principal and the null part
            alone, about the mean feature.
        swap_own (float): naming by T(f~) after the ignored part was swapped for another image's,
            with four donors for each image.
        swap_donor (float): share named as the donor's word, among donors whose word differs.
        chance (float): of naming.
    """

    classifier: str
    factor: str
    seed: int
    planted: bool | None
    ignored_auc: float
    as_auc: float
    as_own: float
    named: float
    named_from_seen: float
    named_from_ignored: float
    swap_own: float
    swap_donor: float
    chance: float

    @property
    def agrees(self) -> bool | None:
        """Whether evidence and truth agree; None where the truth is not known."""
        if self.planted is None:
            return None
        if self.planted:
            return self.ignored_auc >= PLANTED_AUC
        return UNPLANTED_AUC[0] <= self.ignored_auc <= UNPLANTED_AUC[1]


def find_planted(
    sing: SING,
    inputs: Tensor,
    labels: dict[str, Tensor],
    *,
    classifier: str,
    planted: tuple[str, ...] | None,
    seed: int,
) -> list[Finding]:
    """Run the method and compare, factor by factor.

    Args:
        sing (SING): of the classifier; its concepts are grouped by factor.
        inputs (Tensor): what its model takes, N rows.
        labels (dict of str to Tensor): factor -> true index of each image, shape (N,).
        classifier (str), planted (tuple of str or None), seed (int): see :class:`Finding`.

    Returns:
        list of Finding: one a factor.
    """
    translator, concepts = sing.translator, sing.concepts
    head: nn.Module = sing.forward_func.head
    features = read_features(sing.forward_func, head, inputs)
    _, scores = sing.attribute(inputs)
    centred_removal, _ = sing.attribute(inputs, "mean")
    swaps = [sing.attribute(inputs, features.roll(k, dims=0)).perturbations for k in _DONORS]
    translated = {
        "named": features,
        "named_from_seen": features + centred_removal,
        "named_from_ignored": translator.mean - centred_removal,
    }
    names = {key: _names(translator(value), concepts) for key, value in translated.items()}
    swapped = _names(translator(torch.cat([features + swap for swap in swaps])), concepts)

    findings = []
    for factor, words in FACTORS.items():
        own, columns = labels[factor], concepts.indices(words)
        share = {key: _share(named[factor], own) for key, named in names.items()}
        again = own.repeat(len(_DONORS))
        donor = torch.cat([own.roll(k) for k in _DONORS])
        differs = donor != again
        findings.append(
            Finding(
                classifier,
                factor,
                seed,
                None if planted is None else factor in planted,
                own_against_others(scores.ignored[:, columns], own),
                own_against_others(-scores.attribute_score[:, columns], own),
                float(scores.attribute_score[:, columns].gather(1, own[:, None]).mean()),
                **share,
                swap_own=_share(swapped[factor], again),
                swap_donor=_share(swapped[factor][differs], donor[differs]),
                chance=1.0 / len(words),
            )
        )
    return findings


def own_against_others(scores: Tensor, own: Tensor) -> float:
    """The chance that an own word's score exceeds another word's (area under the ROC curve).

    Args:
        scores (Tensor): shape (N, words).
        own (Tensor): column of the own word, shape (N,).

    Example::

        >>> import torch
        >>> own_against_others(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 1]))
        1.0
    """
    from scipy.stats import mannwhitneyu

    is_own = nn.functional.one_hot(own, scores.shape[1]).bool()
    scores = scores.double().cpu()
    ours, others = scores[is_own], scores[~is_own]
    wins = mannwhitneyu(ours.numpy(), others.numpy()).statistic
    return float(wins / (len(ours) * len(others)))


def _names(translated: Tensor, concepts: ConceptBank) -> dict[str, Tensor]:
    """The nearest word of each factor, as its index there."""
    cosines = translated @ concepts.embeddings.to(translated).T
    return {
        factor: cosines[:, concepts.indices(words)].argmax(dim=1)
        for factor, words in FACTORS.items()
    }


def _share(named: Tensor, truth: Tensor) -> float:
    return float((named == truth).double().mean())
