"""Scores of a batch: angles, and each word's evidence split into seen and ignored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_sing.angles import attribute_score, image_score
from captum_sing.concepts import ConceptBank
from captum_sing.descriptions import Descriptions, Evidence
from captum_sing.translator import LinearTranslator

__all__ = ["FEWEST_REFERENCES", "describe", "split_evidence", "word_directions", "word_gains"]

_VARIES = 1e-3  # of the largest spread; below is the rounding of the covariance
FEWEST_REFERENCES = 50
"""Images that statistics are worth something of: fewer rank words by noise."""


def split_evidence(
    features: Tensor, null_part: Tensor, translator: LinearTranslator, concepts: ConceptBank
) -> tuple[Tensor, Tensor]:
    r"""Evidence for each word, in what the head sees and in what it ignores.

    With u_t the word's embedding centred in its group, the total is
    :math:`e_t(f) = \langle T(f) - T(\bar f), u_t \rangle`, of which
    :math:`\langle A P_n (f - b), u_t \rangle` is ignored and the rest seen. Linear, so it adds up
    exactly; angles do not.

    Args:
        features (Tensor): f, shape (B, D), float64.
        null_part (Tensor): P_n (f - b), shape (B, D), float64.
        translator (LinearTranslator): A and the statistics of the reference images.
        concepts (ConceptBank): the V words.

    Returns:
        tuple of Tensor: seen and ignored, shape (B, V) each, in standard deviations of the
        reference images' embeddings along the word; 0 for a word along which they do not vary.
        Where these embeddings are not known (:attr:`LinearTranslator.knows_embeddings`), one unit
        serves all words, the root mean square of their translations' spreads: a regularised
        translator shrinks most what it translates worst, and in units of what is left of it,
        noise would be evidence.

    Raises:
        SINGRuntimeError: the translator has no statistics.

    Example::

        >>> import torch
        >>> from captum_sing import ConceptBank, LinearTranslator
        >>> bank = ConceptBank(("up", "down"), torch.tensor([[0.0, 1.0], [0.0, -1.0]]),
        ...                    {"way": ("up", "down")})
        >>> f = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
        >>> translator = LinearTranslator(torch.eye(2), torch.zeros(2), torch.zeros(2))
        >>> null_part = torch.tensor([[0.0, 2.0], [0.0, -2.0]])  # the head reads the first only
        >>> seen, ignored = split_evidence(f, null_part, translator.with_statistics(f), bank)
        >>> seen.abs().max().item(), ignored[:, 0].sign().tolist()
        (0.0, [1.0, -1.0])
    """
    pulled = word_gains(translator, concepts)
    total = (features - translator.mean) @ pulled
    ignored = null_part.to(pulled.dtype) @ pulled
    return total - ignored, ignored


def word_gains(translator: LinearTranslator, concepts: ConceptBank) -> Tensor:
    r"""How much evidence a feature adds to each word: :math:`A^\top u_t`, in the word's unit.

    Args:
        translator (LinearTranslator): A and the statistics of the reference images.
        concepts (ConceptBank): the V words.

    Returns:
        Tensor: shape (D, V), float64; the unit is that of :func:`split_evidence`.
    """
    return translator.pull_back(word_directions(translator, concepts))


def word_directions(translator: LinearTranslator, concepts: ConceptBank) -> Tensor:
    """Each word's direction u_t over its unit: what a translation is read along.

    Args, unit: as :func:`word_gains`.

    Returns:
        Tensor: shape (V, E), float64.
    """
    spread = translator.spread(concepts.directions)
    if not translator.knows_embeddings:
        spread = spread.square().mean().sqrt().expand_as(spread)
    unit = torch.where(spread > _VARIES * spread.max(), 1.0 / spread, 0.0)
    return concepts.directions.to(unit) * unit[:, None]


def describe(
    features: Tensor,
    equivalents: Tensor,
    ignored: Tensor,
    translator: LinearTranslator,
    concepts: ConceptBank,
    **facts: Any,
) -> Descriptions:
    """All scores of a batch of features and their equivalents.

    Args:
        features, equivalents (Tensor): f and f~, shape (B, D), float64.
        ignored (Tensor): P_n (f - b), shape (B, D), float64: what the evidence is split by.
        translator (LinearTranslator): T; without statistics there is no evidence and no centring.
        concepts (ConceptBank): the V words.
        **facts: what else :class:`Descriptions` says of the batch, such as ``null_energy``.

    Returns:
        Descriptions
    """
    original, equivalent = translator(features), translator(equivalents)
    texts = concepts.embeddings.to(original)
    evidence = None
    if translator.has_statistics:
        whole, after = original - translator.image, equivalent - translator.image
        centred = texts - concepts.group_means.to(original)
        part = ignored @ translator.weight.to(ignored).T
        evidence = Evidence(
            *split_evidence(features, ignored, translator, concepts),
            image_score(whole, after),
            attribute_score(whole, after, centred),
            part,
            part.square().sum(dim=1) / whole.square().sum(dim=1),
            "sd" if translator.knows_embeddings else "common sd",
        )
        images = translator.facts.get("reference_images", FEWEST_REFERENCES)
        if images < FEWEST_REFERENCES:
            few = f"The statistics are of {images} images: so few rank words by noise."
            facts["notes"] = (*facts.get("notes", ()), few)
    return Descriptions(
        concepts,
        image_score(original, equivalent),
        attribute_score(original, equivalent, texts),
        step=(equivalents - features).norm(dim=1) / features.norm(dim=1),
        evidence=evidence,
        **facts,
    )
