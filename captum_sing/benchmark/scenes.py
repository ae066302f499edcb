"""Worlds of pictures: necks with planted factors on the shipped backbones, and trained models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor, nn

from captum_sing.benchmark.worlds import REFERENCES, Images, World
from captum_sing.concepts import ConceptBank
from captum_sing.controls import DEFAULT_IMAGES
from captum_sing.demo import (
    FACTORS,
    encode_scenes,
    load_classifier,
    load_concepts,
    load_encoder,
    sample_scenes,
)
from captum_sing.demo.models import SceneClassifier
from captum_sing.demo.tail import backbone_features
from captum_sing.demo.training.necks import Anatomy, make_neck
from captum_sing.fitter import TranslatorFitter
from captum_sing.study import Extraction

__all__ = ["BACKBONES", "SEEDS", "TRAIN", "TRAINED", "Gallery", "Neck", "necks"]

BACKBONES = {"resnet": "resnet/neck_none", "convnext": "convnext/neck_none"}
"""Backbones from whose features every factor can be read, by a classifier that has them. Those of
trained classifiers have forgotten some: what is not there cannot be planted."""

TRAIN = 1000
"""Scenes that a translator is fitted on."""

TRAINED: dict[str, dict[str, bool]] = {
    "color_hidden": {"color": True},
    "spurious": {},
    "plain": {},
    "plain_convnext": {},
}
"""Trained classifiers, and what is known of what they ignore."""

SEEDS = range(30_000)
"""Benchmarks of other seeds share no image, with each other or with any training."""

_FIRST, _STREAMS = 30_000_000, 1000  # seeds of images
_ANATOMY, _POOL, _REFERRED, _TESTED = 0, 300, 400, 500  # each benchmark's streams
_PART = 1000  # images that are drawn at once


@dataclass(frozen=True)
class Shots:
    """What networks make of some scenes.

    Attributes:
        features (dict of str to Tensor): classifier -> of its backbone, shape (N, 128).
        embeddings (Tensor): shape (N, 64); (N, 0) where nobody asked.
        labels (dict of str to Tensor): factor -> shape (N,).
    """

    features: dict[str, Tensor]
    embeddings: Tensor
    labels: dict[str, Tensor]


@dataclass(frozen=True)
class Neck:
    """A neck to be made: on which backbone, with what, and turned how.

    Attributes:
        backbone (str): a key of ``BACKBONES``.
        planted (tuple of str): factors.
        number (int): of the world; its rotation and its test images have seeds of their own.
    """

    backbone: str
    planted: tuple[str, ...]
    number: int

    @property
    def name(self) -> str:
        """Unique in a benchmark."""
        return f"{self.backbone} {'+'.join(self.planted) or 'none'} {self.number}"


def necks(count: int, empty: int) -> list[Neck]:
    """Planted necks, one after the other on each backbone, and empty ones.

    Fifteen sets of one, two and three factors take turns on each backbone, and then start again,
    turned otherwise.

    Example::

        >>> [neck.name for neck in necks(3, 1)]
        ['resnet color 0', 'convnext color 1', 'resnet background 2', 'resnet none 3']
    """
    factors = [factor for factor in FACTORS if factor != "shape"]
    circle = factors + factors
    sets = [
        tuple(factor for factor in factors if factor in circle[start : start + size])
        for size in (1, 2, 3)
        for start in range(len(factors))
    ]
    combinations = [(backbone, chosen) for chosen in sets for backbone in BACKBONES]
    planted = [Neck(*combinations[i % len(combinations)], i) for i in range(count)]
    backbones = list(BACKBONES)
    return planted + [Neck(backbones[i % len(backbones)], (), count + i) for i in range(empty)]


class Gallery:
    """All scenes of a benchmark: read once by each network that needs them.

    Anatomy, translators, references and tests have different scenes, and every world its own test
    scenes; worlds of one backbone share the rest.

    Args:
        seed (int): one of ``SEEDS``.
        anatomy (int): scenes that necks are made from: the 10,240 combinations of factors in a
            random order, again and again. With all of them equally often, what a neck still lets
            through is due to rotation, jitter and noise alone.
        pool (int): scenes that translators are fitted on, 1,000 each.
        progress (callable): is told how many scenes were read.
    """

    def __init__(
        self,
        seed: int,
        anatomy: int,
        pool: int,
        progress: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.seed = seed
        self.progress = progress
        self.encoder = load_encoder()
        self.concepts: ConceptBank = load_concepts(self.encoder)
        self.models: dict[str, SceneClassifier] = {
            **{name: load_classifier(shipped) for name, shipped in BACKBONES.items()},
            **{name: load_classifier(name) for name in TRAINED},
        }
        values = [range(len(words)) for words in FACTORS.values()]
        combinations = torch.tensor(list(product(*values)))
        order = torch.randperm(len(combinations), generator=torch.Generator().manual_seed(seed))
        chosen = combinations[order][torch.arange(anatomy) % len(combinations)]
        self._combinations = dict(zip(FACTORS, chosen.T, strict=True))
        self.counts = {_ANATOMY: anatomy, _POOL: pool, _REFERRED: REFERENCES}

    @property
    def scenes(self) -> int:
        """How many :attr:`progress` will be told of."""
        return sum(self.counts.values())

    def read(self) -> None:
        """Read what all worlds share, now rather than when it is first needed."""
        _ = self.anatomies, self.pool, self.references

    @cached_property
    def anatomies(self) -> dict[str, Anatomy]:
        """Where each backbone keeps each factor."""
        shots = self._read(_ANATOMY, tuple(BACKBONES), self._combinations)
        return {name: Anatomy.of(shots.features[name], shots.labels) for name in BACKBONES}

    @cached_property
    def pool(self) -> Shots:
        """What translators are fitted on."""
        return self._read(_POOL, tuple(self.models))

    @cached_property
    def references(self) -> Shots:
        """What single images are compared with."""
        return self._read(_REFERRED, tuple(self.models))

    def neck(self, neck: Neck) -> World:
        """A world of a neck: shape is its class."""
        seed = self.seed * _STREAMS + neck.number
        layer, head = make_neck(self.anatomies[neck.backbone], neck.planted, seed)
        return self._world(
            neck.name,
            "necks" if neck.planted else "empty necks",
            {factor: factor in neck.planted for factor in FACTORS},
            neck.backbone,
            layer,
            head,
            neck.number,
        )

    def trained(self, name: str, number: int) -> World:
        """A world of a trained classifier."""
        truth = {factor: TRAINED[name].get(factor) for factor in FACTORS}
        head = self.models[name].head
        return self._world(f"{name} {number}", "trained", truth, name, nn.Identity(), head, number)

    def _world(
        self,
        name: str,
        kind: str,
        truth: Mapping[str, bool | None],
        backbone: str,
        neck: nn.Module,
        head: nn.Linear,
        number: int,
    ) -> World:
        generator = torch.Generator().manual_seed(self.seed * _STREAMS + number)
        pool = self.pool
        rows = torch.randperm(len(pool.embeddings), generator=generator)[:TRAIN]
        with torch.no_grad():
            fitted = neck(pool.features[backbone][rows])
        translator = TranslatorFitter().update(fitted, pool.embeddings[rows]).fit()
        tested = self._shots(_TESTED + number, DEFAULT_IMAGES, (backbone,))
        images, references = (
            images_of_scenes(shots, backbone, neck, head) for shots in (tested, self.references)
        )
        return World(name, kind, truth, self.concepts, translator, images, references)

    def _read(
        self, stream: int, names: tuple[str, ...], labels: Mapping[str, Tensor] | None = None
    ) -> Shots:
        count, parts = self.counts[stream], []
        for part, start in enumerate(range(0, count, _PART)):
            own = slice(start, min(start + _PART, count))
            given = {factor: of_factor[own] for factor, of_factor in (labels or {}).items()}
            parts.append(self._shots(stream + part, own.stop - start, names, given))
            self.progress(own.stop - start)
        return _joined(parts)

    def _shots(
        self, stream: int, count: int, names: tuple[str, ...], labels: Mapping[str, Tensor] = {}
    ) -> Shots:
        """Scenes of a stream; where their labels are given, nobody asks what they embed to."""
        scenes = sample_scenes(count, _FIRST + self.seed * _STREAMS + stream, labels=labels)
        return Shots(
            {name: backbone_features(self.models[name], scenes.images) for name in names},
            torch.empty(count, 0) if labels else encode_scenes(self.encoder, scenes.images),
            scenes.labels,
        )


def images_of_scenes(shots: Shots, backbone: str, neck: nn.Module, head: nn.Linear) -> Images:
    """Scenes as a study wants them, labelled with their shape."""
    with torch.no_grad():
        features = neck(shots.features[backbone])
        logits = head(features)
    words = {
        factor: [of_factor[value] for value in shots.labels[factor].tolist()]
        for factor, of_factor in FACTORS.items()
    }
    extraction = Extraction.from_tensors(
        features,
        shots.embeddings,
        head,
        logits=logits,
        labels=shots.labels["shape"],
        class_names=FACTORS["shape"],
    )
    return Images(extraction, words)


def _joined(parts: Sequence[Shots]) -> Shots:
    return Shots(
        {name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features},
        torch.cat([part.embeddings for part in parts]),
        {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels},
    )
