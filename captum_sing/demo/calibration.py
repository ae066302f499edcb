"""Which measure can be starred? Recall, false alarms and p-values of each, in synthetic worlds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.controls import DEFAULT_IMAGES, isotropic_image_score, permutation_z
from captum_sing.demo.synthetic import SyntheticWorld
from captum_sing.errors import SINGValueError, expected
from captum_sing.evidence import describe
from captum_sing.fitter import TranslatorFitter

__all__ = ["MEASURES", "STARRED", "Calibration", "Judgement", "calibrate", "judge"]

STARRED = "ignored evidence"
MEASURES = {
    STARRED: "permutation z of the own word, mean baseline",
    "AS": "t-test of the own word's mean AS against 0, two-sided",
    "AS < 0": "the same, one-sided: the ignored part pointed at the word",
    "centred AS": "t-test of the own word's mean centred AS against 0, two-sided",
    "centred AS < 0": "the same, one-sided",
    "centred AS, own - others": "t-test of own minus mean of the others, one-sided below 0",
    "IS": "t-test of mean IS against the isotropic expectation, one-sided above",
    "centred IS": "the same of centred IS",
}

_LEVELS = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Judgement:
    """What each measure says of one factor in one world.

    Attributes:
        seed (int): of the world.
        factor (str): its name there.
        planted (bool): whether the ignored part carries it.
        p (dict of str to float): measure -> p.
    """

    seed: int
    factor: str
    planted: bool
    p: dict[str, float]


@dataclass(frozen=True)
class Calibration:
    """How far a measure can be trusted.

    Attributes:
        measure (str): a key of ``MEASURES``.
        planted, others (int): tests in worlds where something is planted: of those factors, and of
            the others.
        recall, false_alarms (float): their shares starred, the false discoveries of each world
            held at 0.05 (Benjamini and Hochberg over its factors).
        false_discoveries (float): the share of false stars among a world's stars, on average.
        empty (int): tests in worlds where nothing is planted.
        empty_below (tuple of float): the shares of these with p at or below 0.01, 0.05 and 0.1.
        empty_uniform (float): p of the Kolmogorov-Smirnov test that these are uniform.
    """

    measure: str
    planted: int
    others: int
    recall: float
    false_alarms: float
    false_discoveries: float
    empty: int
    empty_below: tuple[float, ...]
    empty_uniform: float


def judge(
    world: SyntheticWorld, *, train: int = 2000, images: int = DEFAULT_IMAGES
) -> list[Judgement]:
    """Fit a translator on images of a world and judge its factors on others, by every measure.

    Args:
        world (SyntheticWorld): with factors that are seen, absent, ignored or both.
        train (int, optional): images for the translator. Default: 2000
        images (int, optional): to judge by. Default: 200

    Returns:
        list of Judgement: one a factor.

    Example::

        >>> judgements = judge(SyntheticWorld({"a": "ignored", "b": "seen"}, seed=1), train=500)
        >>> [judgement.p["ignored evidence"] < 0.01 for judgement in judgements]
        [True, False]
    """
    fitted, sample = world.sample(train, 1), world.sample(images, 2)
    translator = TranslatorFitter().update(fitted.features, fitted.embeddings).fit()
    features, space, bank = sample.features.double(), world.null_space, world.concepts
    in_sample = translator.knows(sample.features)
    null_part = space.project(features - translator.mean)
    scores = describe(
        features,
        space.remove(features),
        null_part,
        translator,
        bank,
        null_energy=null_part.square().sum(dim=1) / features.square().sum(dim=1),
        in_sample=in_sample,
    )
    chance = isotropic_image_score(space.nullity, space.width)
    judgements = []
    for factor, words in bank.groups.items():
        columns, labels = bank.indices(words), sample.labels[factor]
        evidence = permutation_z(scores.ignored[:, columns], labels, in_sample=in_sample)
        plain, _ = _own_and_others(scores.attribute_score[:, columns], labels)
        centred, others = _own_and_others(scores.centred_attribute_score[:, columns], labels)
        p = (
            math.nan if evidence.p is None else evidence.p,
            _t_test(plain),
            _t_test(plain, "less"),
            _t_test(centred),
            _t_test(centred, "less"),
            _t_test(centred - others, "less"),
            _t_test(scores.image_score - chance, "greater"),
            _t_test(scores.centred_image_score - chance, "greater"),
        )
        planted = world.places[factor] in ("ignored", "both", "anywhere")
        judgements.append(
            Judgement(world.seed, factor, planted, dict(zip(MEASURES, p, strict=True)))
        )
    return judgements


def calibrate(worlds: Iterable[Sequence[Judgement]]) -> list[Calibration]:
    """Judgements of worlds with and without planted factors, measure by measure.

    Args:
        worlds (iterable): of each world its judgements, as :func:`judge` makes them.

    Raises:
        SINGValueError: no world with a planted factor, or none without.
    """
    from scipy.stats import false_discovery_control, kstest

    worlds = list(worlds)
    full = [world for world in worlds if any(found.planted for found in world)]
    empty = [world for world in worlds if not any(found.planted for found in world)]
    if not full or not empty:
        raise SINGValueError(
            expected(
                "calibrate",
                "worlds",
                "with planted factors, and without",
                f"{len(full)} and {len(empty)}",
                "Judge random_world(seed, planted=1) and random_world(seed)",
            )
        )
    rows = []
    for measure in MEASURES:
        starred: dict[bool, list[bool]] = {True: [], False: []}
        false_shares = []
        for world in full:
            adjusted = false_discovery_control([found.p[measure] for found in world])
            stars = [bool(q <= 0.05) for q in adjusted]
            for found, star in zip(world, stars, strict=True):
                starred[found.planted].append(star)
            false = sum(star > found.planted for found, star in zip(world, stars, strict=True))
            false_shares.append(false / max(1, sum(stars)))
        p = torch.tensor(
            [found.p[measure] for world in empty for found in world], dtype=torch.float64
        )
        rows.append(
            Calibration(
                measure,
                len(starred[True]),
                len(starred[False]),
                _share(starred[True]),
                _share(starred[False]),
                sum(false_shares) / len(false_shares),
                len(p),
                tuple(float((p <= level).double().mean()) for level in _LEVELS),
                float(kstest(p.numpy(), "uniform").pvalue),
            )
        )
    return rows


def _own_and_others(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The own word's score of each image, and the mean of the others'; shape (n,) each."""
    own = scores.gather(1, labels[:, None]).squeeze(1)
    return own, (scores.sum(dim=1) - own) / (scores.shape[1] - 1)


def _t_test(values: Tensor, alternative: str = "two-sided") -> float:
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(values.numpy(), 0.0, alternative=alternative).pvalue)


def _share(stars: Sequence[bool]) -> float:
    return sum(stars) / len(stars) if stars else math.nan
