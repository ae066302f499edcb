"""The pictures of a study, and what is known of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captum_sing.cli.labels import read_labels
from captum_sing.cli.request import Request
from captum_sing.datasets import Pictures
from captum_sing.errors import SINGNameError, expected

__all__ = ["SCENES", "Collection", "collect"]

SCENES = 2000
"""Scenes of the embedded world, where no number is asked for."""

_SEED = 20_270_000  # no stream of training draws from here, and no other test
_CHUNK = 500


@dataclass(frozen=True)
class Collection:
    """Pictures, their words by group where these are known, and the donor among them.

    Attributes:
        pictures (Pictures): N of them.
        names (tuple of str): theirs.
        word_labels (dict of str to list): group -> N words, None where it is unknown.
        donor (str or None): a name.
        place (str): where they come from.
    """

    pictures: Pictures
    names: tuple[str, ...]
    word_labels: dict[str, list[str | None]]
    donor: str | None
    place: str


def collect(request: Request, groups: Mapping[str, Sequence[str]]) -> Collection:
    """The pictures of a folder, or scenes of the embedded world.

    Args:
        request (Request): which.
        groups (mapping of str to sequence of str): group -> its words.

    Raises:
        SINGFileError: no folder, no pictures in it, or labels that are none.
        SINGNameError: a donor that is not among the pictures.
    """
    if request.images is None:
        pictures, words = _scenes(SCENES if request.limit is None else request.limit)
        word_labels = {group: words[group] for group in words if _alike(groups, group, words)}
        place = "fresh scenes of the embedded world"
    else:
        every = Pictures.of(request.images)
        pictures = Pictures.of(every, limit=request.limit, seed=request.seed)
        place, word_labels = str(request.images), {}
        if request.labels is not None:
            known = read_labels(request.labels, request.images, _names(every), groups)
            word_labels = {
                group: [of_group.get(name) for name in _names(pictures)]
                for group, of_group in known.items()
            }
    names = _names(pictures)
    donor = request.donor and _donor(request.donor, request.images, names)
    return Collection(pictures, names, word_labels, donor, place)


def _names(pictures: Pictures) -> tuple[str, ...]:
    return tuple(pictures.name(place) for place in range(pictures.count or 0))


def _donor(donor: str, folder: Path | None, names: Sequence[str]) -> str:
    known = {os.path.abspath(name): name for name in names}
    ways = [donor, *([] if folder is None else [str(folder / donor)])]
    for way in map(os.path.abspath, ways):
        if way in known:
            return known[way]
    raise SINGNameError(
        expected(
            "captum-sing",
            "--donor",
            f"to be one of the {len(names)} pictures",
            donor,
            f"Name one, such as {names[0]}",
        )
    )


def _alike(
    groups: Mapping[str, Sequence[str]], group: str, words: Mapping[str, Sequence[str | None]]
) -> bool:
    """Whether the words of a factor are those of the group of its name."""
    return set(groups.get(group, ())) >= set(words[group])


def _scenes(count: int) -> tuple[Pictures, dict[str, list[str | None]]]:
    """Scenes, labelled by their shape, and the words of all other factors."""
    from torchvision.transforms.functional import to_pil_image

    from captum_sing.demo.scenes import FACTORS, sample_scenes

    items = []
    words: dict[str, list[str | None]] = {factor: [] for factor in FACTORS if factor != "shape"}
    for start in range(0, count, _CHUNK):
        scenes = sample_scenes(min(_CHUNK, count - start), _SEED + start)
        for i, image in enumerate(scenes.images):
            own = scenes.words(i)
            items.append((to_pil_image(image), own.pop("shape")))
            for factor, word in own.items():
                words[factor].append(word)
    return Pictures.of(items), words
