"""The paper's scores as tests: as it defines them, and with the repairs that suggest themselves."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from captum_sing.benchmark.worlds import World
from captum_sing.descriptions import Descriptions
from captum_sing.evidence import describe
from captum_sing.null_space import NullSpace
from captum_sing.study import Study
from captum_sing.study.table import codes, column, own_column

__all__ = ["PAPERS", "paper_tests"]

PAPERS = {
    "AS": "t-test of the own word's mean AS against 0, two-sided",
    "AS < 0": "the same, one-sided: the ignored part pointed at the word",
    "AS, mean baseline": "two-sided, with the mean feature as baseline",
    "AS, own - others": "t-test of own minus mean of the other words' AS, one-sided below 0",
    "centred AS": "t-test of the own word's mean centred AS against 0, two-sided",
    "centred AS < 0": "the same, one-sided",
    "centred AS, own - others": "own minus mean of the others, one-sided below 0",
    "IS": "t-test of mean IS against the isotropic expectation, one-sided above",
    "IS, mean baseline": "the same with the mean feature as baseline",
    "centred IS": "the same of centred IS",
}
"""Measures from angles, none of which a study stars."""


def paper_tests(world: World, study: Study) -> dict[str, dict[str, float]]:
    """Student's t-tests of the scores of a world's images.

    Args:
        world (World): which.
        study (Study): of its tested images.

    Returns:
        dict: by measure and factor, p. IS knows no factor: its p is the same for all.
    """
    bank = world.concepts
    scores: dict[str, list[Tensor]] = defaultdict(list)
    plain, about_mean = _described(world)
    for group, words in bank.groups.items():
        labels, columns = codes(study.table, own_column(group)), bank.indices(words)
        turned = study.table[[column("attribute_score", word=word) for word in words]]
        for name, of_words in (
            ("AS", torch.from_numpy(turned.to_numpy(copy=True))),
            ("AS, mean baseline", about_mean.attribute_score[:, columns]),
            ("centred AS", plain.centred_attribute_score[:, columns]),
        ):
            own = of_words.gather(1, labels[:, None]).squeeze(1)
            others = (of_words.sum(dim=1) - own) / (len(words) - 1)
            scores[name].append(own)
            scores[f"{name}, own - others"].append(own - others)
    chance = study.facts["isotropic_image_score"]
    sizes = [study.table[column("image_score", baseline)] for baseline in ("none", "mean")]
    sizes += [plain.centred_image_score.numpy()]
    larger = _t_tests([torch.from_numpy(np.array(size)) - chance for size in sizes], "greater")
    found = {
        "AS": _t_tests(scores["AS"]),
        "AS < 0": _t_tests(scores["AS"], "less"),
        "AS, mean baseline": _t_tests(scores["AS, mean baseline"]),
        "AS, own - others": _t_tests(scores["AS, own - others"], "less"),
        "centred AS": _t_tests(scores["centred AS"]),
        "centred AS < 0": _t_tests(scores["centred AS"], "less"),
        "centred AS, own - others": _t_tests(scores["centred AS, own - others"], "less"),
    }
    for name, p in zip(("IS", "IS, mean baseline", "centred IS"), larger, strict=True):
        found[name] = [p] * len(bank.groups)
    return {name: dict(zip(bank.groups, p, strict=True)) for name, p in found.items()}


def _described(world: World) -> list[Descriptions]:
    """All scores of the tested images: of the paper's null removal, and about the mean feature."""
    extraction, translator = world.tested.extraction, world.translator
    features = torch.cat([block.features for block in extraction.blocks()]).double()
    space = NullSpace.from_weight(extraction.head.weight(features.shape[1]))
    part = space.project(features - translator.mean)
    facts = {
        "null_energy": part.square().sum(dim=1) / features.square().sum(dim=1),
        "in_sample": translator.knows(features),
    }
    return [
        describe(features, equivalent, part, translator, world.concepts, **facts)
        for equivalent in (space.remove(features), features - part)
    ]


def _t_tests(scores: list[Tensor], alternative: str = "two-sided") -> list[float]:
    """Of the mean of each against 0."""
    from scipy.stats import ttest_1samp

    p = ttest_1samp(torch.stack(scores).numpy(), 0.0, axis=1, alternative=alternative).pvalue
    return [float(one) for one in p]
