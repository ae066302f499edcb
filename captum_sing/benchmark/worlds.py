"""A world to be judged: held-out images, a translator fitted on others, and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from captum_sing.benchmark.synthetic import SyntheticSample, SyntheticWorld, random_world
from captum_sing.concepts import ConceptBank
from captum_sing.controls import DEFAULT_IMAGES
from captum_sing.fitter import TranslatorFitter
from captum_sing.study import Extraction
from captum_sing.translator import LinearTranslator

__all__ = [
    "REFERENCES",
    "TRAIN",
    "Images",
    "World",
    "confounded",
    "images_of_numbers",
    "neutral",
    "world_of_numbers",
]

TRAIN = 2000
"""Images that the translator of a world of numbers is fitted on."""

REFERENCES = 1200
"""Further held-out images: at least 500 without any word, also where a factor has two values."""

_TRAINED, _TESTED, _REFERRED = 1, 2, 3  # seeds of a world's images
_PLANTED = ("ignored", "both", "anywhere")


@dataclass(frozen=True)
class Images:
    """What was read from images, and their true words.

    Attributes:
        extraction (Extraction): features, logits and embeddings.
        words (mapping of str to list of str): group -> the word of each image.
    """

    extraction: Extraction
    words: Mapping[str, list[str | None]]


@dataclass(frozen=True)
class World:
    """One head, its translator, and images that the translator has never seen.

    Attributes:
        name, kind (str): which, and of what kind.
        truth (mapping of str to bool or None): group of words -> whether the ignored part carries
            it; None where nobody knows.
        concepts (ConceptBank): the words.
        translator (LinearTranslator): from the head's input.
        tested (Images): 200 by default, what a test takes.
        references (Images): others, for measures that need many.
        asked (str): "all" measures; one of them, by name. For "share", ``truth`` says whether the
            share of the signal that is ignored differs from the other words'.
    """

    name: str
    kind: str
    truth: Mapping[str, bool | None]
    concepts: ConceptBank
    translator: LinearTranslator
    tested: Images
    references: Images
    asked: str = "all"


def world_of_numbers(
    world: SyntheticWorld,
    kind: str,
    *,
    classes: str | None = None,
    truth: Mapping[str, bool | None] | None = None,
    asked: str = "all",
    train: int = TRAIN,
    tested: int = DEFAULT_IMAGES,
    references: int = REFERENCES,
) -> World:
    """A synthetic world, its translator fitted.

    Args:
        world (SyntheticWorld): which.
        kind (str): for the table.
        classes (str, optional): a factor whose values are the classes of the images.
        truth (mapping, optional): Default: what is "ignored", "both" or "anywhere" is ignored
        asked (str, optional): "all" measures, or one. Default: "all"
        train, tested, references (int, optional): numbers of images.

    Example::

        >>> world = world_of_numbers(SyntheticWorld({"a": "ignored", "b": "seen"}, 1), "numbers")
        >>> world.truth, len(world.tested.extraction)
        ({'a': True, 'b': False}, 200)
    """
    fitted = world.sample(train, _TRAINED)
    return World(
        f"{kind} {world.seed}",
        kind,
        truth or {factor: place in _PLANTED for factor, place in world.places.items()},
        world.concepts,
        TranslatorFitter().update(fitted.features, fitted.embeddings).fit(),
        images_of_numbers(world, world.sample(tested, _TESTED), classes),
        images_of_numbers(world, world.sample(references, _REFERRED), classes),
        asked,
    )


def images_of_numbers(
    world: SyntheticWorld, sample: SyntheticSample, classes: str | None = None
) -> Images:
    """A sample as a study wants it."""
    groups = world.concepts.groups
    words = {
        factor: [groups[factor][value] for value in sample.labels[factor].tolist()]
        for factor in world.places
    }
    extraction = Extraction.from_tensors(
        sample.features,
        sample.embeddings,
        world.weight,
        labels=words[classes] if classes else None,
    )
    return Images(extraction, words)


def confounded(seed: int) -> SyntheticWorld:
    """A factor goes with the class, which head and ignored part both carry; another one does not.

    Example::

        >>> confounded(1).places
        {'class': 'both', 'tied': 'seen', 'free': 'seen'}
    """
    places = {"class": "both", "tied": "seen", "free": "seen"}
    like = random_world(seed)
    return SyntheticWorld(
        places,
        seed,
        decay=like.decay,
        follow=like.follow,
        busy=like.busy,
        mean=like.mean,
        relu=like.relu,
        tied=("class", "tied"),
    )


def neutral(seed: int, *, planted: bool) -> SyntheticWorld:
    """Eighteen factors that lie anywhere, so that their signal is ignored in the share of chance.

    Args:
        seed (int): of the world.
        planted (bool): one of them is ignored instead, and one is seen.
    """
    generator = torch.Generator().manual_seed(seed)
    ignored = (0.25, 0.5, 0.75)[int(torch.randint(3, (), generator=generator))]
    decay = (0.0, 1.0)[int(torch.randint(2, (), generator=generator))]
    places = {f"factor{i}": "anywhere" for i in range(18)}
    if planted:
        places |= {"factor0": "ignored", "factor1": "seen"}
    return SyntheticWorld(
        places, seed, width=256, nullity=int(256 * ignored), values=4, decay=decay, busy=False
    )
