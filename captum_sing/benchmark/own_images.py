"""Why a translator's own images are kept out: what they would say in worlds where nothing is."""

from __future__ import annotations

from dataclasses import dataclass

from captum_sing.benchmark.synthetic import SyntheticWorld
from captum_sing.benchmark.worlds import TRAIN, images_of_numbers
from captum_sing.fitter import TranslatorFitter
from captum_sing.study import study_of

__all__ = ["OwnImages", "judge_own_images"]


@dataclass(frozen=True)
class OwnImages:
    """Empty worlds, studied on the images that the translator was fitted on.

    Attributes:
        p (tuple of float): of each world and factor, by a translator that keeps no record of its
            images, so that the study cannot know them.
        tested (int): tests that the study makes where the translator has its record.
    """

    p: tuple[float, ...]
    tested: int


def judge_own_images(world: SyntheticWorld, train: int = TRAIN) -> OwnImages:
    """One world, which should be empty.

    Example::

        >>> found = judge_own_images(SyntheticWorld({"a": "absent", "b": "seen"}, 1), train=400)
        >>> found.p[0] < 0.001, found.tested
        (True, 0)
    """
    sample = world.sample(train, 1)
    images = images_of_numbers(world, sample)
    groups = []
    for remember in (False, True):
        fitter = TranslatorFitter(remember=remember)
        translator = fitter.update(sample.features, sample.embeddings).fit()
        study = study_of(
            images.extraction, world.concepts, translator, word_labels=images.words, draws=100
        )
        groups.append(study.groups)
    return OwnImages(tuple(map(float, groups[0]["p"])), int(groups[1]["p"].notna().sum()))
