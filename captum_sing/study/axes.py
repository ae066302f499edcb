"""Null axes: the main directions in which images vary *inside* the null space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.concepts import ConceptBank
from captum_sing.errors import SINGValueError, expected
from captum_sing.evidence import split_evidence
from captum_sing.null_space import NullSpace
from captum_sing.study.extraction import Extraction
from captum_sing.sums import PairSums
from captum_sing.translator import LinearTranslator

__all__ = ["NullAxis", "null_axes"]

_WHERE = "null_axes"


@dataclass(frozen=True, eq=False)
class NullAxis:
    """One direction that the head ignores, and along which images differ.

    Attributes:
        direction (Tensor): a unit vector of the null space, shape (D,), float64. Its sign is such
            that the coordinate of the largest size is positive.
        spread (float): standard deviation of the images along it.
        share (float): of the variance of the ignored parts.
        low, high (tuple of str): the images at its two ends, by path, the most extreme first.
        low_mean, high_mean (float): their mean place, in standard deviations from the middle.
        words (tuple): pairs of a word and the evidence that one standard deviation towards
            ``high`` adds for it, in standard deviations of the reference images, the largest size
            first. A ranking, and no test: neighbours of a word carry its evidence.
    """

    direction: Tensor
    spread: float
    share: float
    low: tuple[str, ...]
    high: tuple[str, ...]
    low_mean: float
    high_mean: float
    words: tuple[tuple[str, float], ...]


def null_axes(
    extraction: Extraction,
    translator: LinearTranslator,
    concepts: ConceptBank,
    *,
    null_space: NullSpace | None = None,
    axes: int = 5,
    images: int = 9,
    words: int = 5,
) -> list[NullAxis]:
    r"""Principal components of the null parts of a collection, with images and words.

    Of all usable images, those that the translator was fitted on and repeated ones too: a
    description, and no test. The axes are the eigenvectors of :math:`P_n S P_n`, S being the
    covariance of the features, from sums over one pass; a second finds the images.

    Args:
        extraction (Extraction): see :func:`captum_sing.study.extract`.
        translator (LinearTranslator): with the statistics of its images.
        concepts (ConceptBank): the words.
        null_space (NullSpace, optional): Default: the exact one of the head
        axes (int, optional): how many, the widest first; fewer if the images span fewer.
            Default: 5
        images (int, optional): at each end. Default: 9
        words (int, optional): of each axis. Default: 5

    Returns:
        list of NullAxis

    Raises:
        SINGValueError: a number below 1, or fewer than two images.
        SINGRuntimeError: the translator has no statistics.
    """
    for name, number in (("axes", axes), ("images", images), ("words", words)):
        if number < 1:
            raise SINGValueError(expected(_WHERE, name, "of at least 1", number, "Ask for some"))
    usable = int(extraction.valid.sum())
    if usable < 2:
        raise SINGValueError(
            expected(_WHERE, "extraction", "of two images or more", usable, "Read more")
        )
    width = extraction.sizes[0]
    space = null_space or NullSpace.from_weight(extraction.head.weight(width))
    space = space.to(torch.device("cpu"))
    sums = PairSums.empty(width, 0, torch.device("cpu"))
    for block in extraction.blocks():
        part = space.project(block.features.double())
        sums.add(PairSums.of(part, part[:, :0]))
    variances, directions = torch.linalg.eigh(sums.gram / (sums.count - 1))
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1).T
    total, floor = float(variances.sum()), float(variances[0]) * width * 1e-12
    floor = max(floor, 1e-24 * float(sums.feature_mean.square().sum()))  # rounding of equal images
    count = min(axes, space.nullity, sums.count - 1, int((variances > floor).sum()))
    directions, spreads = directions[:count], variances[:count].sqrt()
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    directions = directions * largest.sign()
    rows, places = _ends(extraction, (directions / spreads[:, None]).T, sums.feature_mean, images)

    device = translator.weight.device
    steps = (directions * spreads[:, None]).to(device)
    _, added = split_evidence(translator.mean + steps, steps, translator, concepts)
    order = added.abs().argsort(dim=1, descending=True)[:, :words].tolist()
    return [
        NullAxis(
            directions[i],
            float(spreads[i]),
            float(variances[i]) / total,
            tuple(extraction.names[row] for row in rows[0][i]),
            tuple(extraction.names[row] for row in rows[1][i]),
            float(places[0][i].mean()),
            float(places[1][i].mean()),
            tuple((concepts.names[t], float(added[i, t])) for t in order[i]),
        )
        for i in range(count)
    ]


def _ends(
    extraction: Extraction, directions: Tensor, middle: Tensor, images: int
) -> tuple[list[Tensor], list[Tensor]]:
    """The images at the low and at the high end of each axis, and their places on it."""
    rows = [torch.empty(directions.shape[1], 0, dtype=torch.int64)] * 2
    places = [torch.empty(directions.shape[1], 0, dtype=torch.float64)] * 2
    for block in extraction.blocks():
        found = ((block.features.double() - middle) @ directions).T
        for end in (0, 1):
            all_places = torch.cat([places[end], found], dim=1)
            all_rows = torch.cat([rows[end], block.rows.expand(len(found), -1)], dim=1)
            size = min(images, all_places.shape[1])
            chosen = all_places.topk(size, dim=1, largest=bool(end)).indices
            rows[end], places[end] = all_rows.gather(1, chosen), all_places.gather(1, chosen)
    return rows, places
