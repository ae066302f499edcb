"""One test a world and factor, by every measure, from the tables of the world's study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from captum_sing.benchmark.paper import PAPERS, paper_tests
from captum_sing.benchmark.worlds import Images, World
from captum_sing.controls import References, presence
from captum_sing.study import Study, study_of
from captum_sing.study.judging import UNSURE
from captum_sing.study.statistics import MODEL
from captum_sing.study.table import codes, evidence, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEASURES", "OURS", "STARRED", "Judgement", "judge", "study_images"]

STARRED = "group z"
OURS = {
    STARRED: "permutation z of a group of words, 200 images; what studies star",
    "word": "one word's evidence on all labels, multiple regression, 200 images",
    "image": "z of one image against 1,200 references without the word",
    "naming": "drop in naming without what only the ignored part has, exact McNemar, 200 images",
    "beyond": "the partialled test, 1,200 images",
    "share": "signal share against the other words', two-sided, 1,200 images",
}
"""Measures that studies star, or may."""

MEASURES = {
    **OURS,
    **PAPERS,
}
"""Every measure, and how it makes a p-value of one world and factor."""

_LEVEL = 0.05
_DRAWS = 100  # of bootstraps that nothing here depends on
_DRAWS_OF_SHARES = 400


@dataclass(frozen=True)
class Judgement:
    """What each measure says of one factor in one world.

    Attributes:
        world, kind (str): which, and of what kind.
        factor (str): a group of words.
        planted (bool or None): whether the ignored part carries it; None where nobody knows.
        p (dict of str to float): measure -> p; NaN where there is no test.
        starred (dict of str to bool): measure -> whether it holds at 5 % of false discoveries.
    """

    world: str
    kind: str
    factor: str
    planted: bool | None
    p: dict[str, float]
    starred: dict[str, bool]


def study_images(world: World, images: Images, **options: Any) -> Study:
    """The study of some images of a world."""
    return study_of(
        images.extraction, world.concepts, world.translator, word_labels=images.words, **options
    )


def judge(world: World) -> list[Judgement]:
    """Study a world and read its tables.

    Where the study stars, its own stars are taken; other measures are starred if the false
    discoveries over the world's factors are held at 0.05 (Benjamini and Hochberg).

    Args:
        world (World): which.

    Returns:
        list of Judgement: one a factor.

    Example::

        >>> from captum_sing.benchmark import SyntheticWorld, world_of_numbers
        >>> places = {"a": "ignored", "b": "seen"}
        >>> world = world_of_numbers(SyntheticWorld(places, 1), "numbers", train=500)
        >>> {found.factor: found.starred["group z"] for found in judge(world)}
        {'a': True, 'b': False}
    """
    if world.asked == "share":
        shares = study_images(world, world.references, draws=_DRAWS_OF_SHARES).shares
        found = {"share": _rows(shares[(shares["level"] == MODEL) & shares["word"].isna()])}
    else:
        study = study_images(world, world.tested, draws=_DRAWS)
        found = {STARRED: _rows(study.groups[study.groups["level"] == MODEL])}
        if world.asked != STARRED:
            found |= _further(world, study)
    return [
        Judgement(
            world.name,
            world.kind,
            factor,
            planted,
            {measure: of[factor][0] for measure, of in found.items() if factor in of},
            {measure: of[factor][1] for measure, of in found.items() if factor in of},
        )
        for factor, planted in world.truth.items()
    ]


_Found = dict[str, tuple[float, bool]]  # factor -> p and star


def _further(world: World, study: Study) -> dict[str, _Found]:
    """All measures but the first, and the share."""
    many = study_images(world, world.references, draws=_DRAWS)
    found = {
        "word": _of_words(study),
        "image": _with_stars(_of_images(world, study, many)),
        "naming": _of_names(study),
        "beyond": _of_beyond(many),
    }
    return found | {measure: _with_stars(p) for measure, p in paper_tests(world, study).items()}


def _rows(frame: pd.DataFrame) -> _Found:
    """p and star of each row; a p beside which the study says why it has no star is none."""
    p = frame["p"].mask(frame["note"].notna()).astype(float)
    return {
        group: (float(value), bool(star))
        for group, value, star in zip(frame["group"], p, frame["starred"], strict=True)
    }


def _of_words(study: Study) -> _Found:
    """Of each group the word that most images have."""
    frame = study.word_tests.sort_values("n", ascending=False, kind="stable")
    return _rows(frame.drop_duplicates("group"))


def _of_names(study: Study) -> _Found:
    frame = study.naming
    return _rows(frame[(frame["level"] == MODEL) & (frame["source"] == "seen_conditional")])


def _of_beyond(study: Study) -> _Found:
    """As if it were trusted with stars: whether it may be is what is asked here."""
    frame = study.beyond
    if not len(frame):
        return {}
    note = frame["note"].where(frame["note"] != UNSURE, None)
    return _rows(frame.assign(note=note, starred=(frame["q"] <= _LEVEL) & note.isna()))


def _of_images(world: World, study: Study, references: Study) -> dict[str, float]:
    """The own word of one image a factor."""
    found = {}
    for place, (group, words) in enumerate(world.concepts.groups.items()):
        tables = (references.table, study.table)
        about, tested = (evidence(table, "ignored", words) for table in tables)
        own, labels = (codes(table, own_column(group)) for table in tables)
        held_out = [torch.from_numpy(table["in_sample"].to_numpy(copy=True)) for table in tables]
        image = slice(place, place + 1)
        tests = References.of(about, presence(own, len(words)), in_sample=held_out[0]).test(
            tested[image], in_sample=held_out[1][image]
        )
        found[group] = float(tests.p[0, labels[place]])
    return found


def _with_stars(p: Mapping[str, float]) -> _Found:
    from scipy.stats import false_discovery_control

    known = {factor: value for factor, value in p.items() if math.isfinite(value)}
    adjusted = false_discovery_control(list(known.values())) if known else []
    stars = {factor: bool(q <= _LEVEL) for factor, q in zip(known, adjusted, strict=True)}
    return {factor: (value, stars.get(factor, False)) for factor, value in p.items()}
