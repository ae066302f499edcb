"""Worlds of numbers with planted truths: features, embeddings and a head that ignores a part.

No image and no training: factors are written into seen or ignored coordinates of a feature, an
imagined encoder sees the factors, and everything else is noise. Thousands can be made in minutes,
empty ones too, which is what a p-value has to be judged by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from captum_sing.concepts import ConceptBank
from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace

__all__ = ["PLACES", "SyntheticSample", "SyntheticWorld", "random_world"]

PLACES = ("absent", "seen", "ignored", "both", "anywhere")

_EMBEDDING_DIM = 64
_GAP = 60.0  # degrees between the cones of images and texts
_FACTOR, _NUISANCE, _NOISE, _WORD = 0.35, 0.35, 0.3, 0.5  # in an embedding of about unit length
_TEXT_NOISE = 0.1
_NUISANCES = 8
_NUISANCE_NORM = 2.0
_ALIKE = 0.6  # of the images, where a factor is tied to another


@dataclass(frozen=True)
class SyntheticSample:
    """Images of a synthetic world.

    Attributes:
        features (Tensor): shape (n, D), float32.
        embeddings (Tensor): what the encoder makes of the same images, shape (n, E), unit rows.
        labels (dict of str to Tensor): factor -> value of each image, shape (n,).
    """

    features: Tensor
    embeddings: Tensor
    labels: dict[str, Tensor]


@dataclass(frozen=True)
class SyntheticWorld:
    r"""A head, an encoder and images whose factors stand where ``places`` says.

    A feature is mean + codes + noise. The head reads R = D - K coordinates; a factor's values have
    random codes in the coordinates of its place: "seen", "ignored", "both" (independent codes),
    "anywhere" (with no regard to the head), or "absent" from the feature. The encoder sees all
    factors.

    Attributes:
        places (dict of str to str): factor -> one of ``PLACES``.
        seed (int): of the world; its images have seeds of their own.
        width, nullity (int): D and K.
        values (int): words of each factor.
        amplitude (float): norm of a code, where the noise of one coordinate is 1.
        decay (float): the noise variance of the i-th coordinate falls as :math:`i^{-a}`.
        follow (float): the head takes coordinates of much variance, as variance to this power.
        busy (bool): eight further things vary in the ignored part, which the encoder sees and no
            word names.
        mean (float): norm of the ignored part's mean, in norms of its noise.
        relu (bool): features end in a rectifier: not Gaussian, never below 0, half of them 0.
        tied (tuple of two str or None): in six of ten images the second factor has the value of
            the first.

    Example::

        >>> world = SyntheticWorld({"color": "ignored", "size": "seen"}, seed=1)
        >>> world.null_space.nullity, len(world.concepts)
        (64, 16)
        >>> sample = world.sample(100, seed=2)
        >>> sample.features.shape, sample.labels["size"].shape
        (torch.Size([100, 128]), torch.Size([100]))
    """

    places: Mapping[str, str]
    seed: int
    width: int = 128
    nullity: int = 64
    values: int = 8
    amplitude: float = 2.0
    decay: float = 1.0
    follow: float = 0.0
    busy: bool = True
    mean: float = 1.6
    relu: bool = False
    tied: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        wrong = set(self.places.values()) - set(PLACES)
        if wrong or not self.places:
            raise SINGValueError(
                expected(
                    "SyntheticWorld",
                    "places",
                    f"of one factor or more, each in {PLACES}",
                    sorted(wrong),
                    "Choose one of them for each factor",
                )
            )
        order = list(self.places)
        known = self.tied is None or set(self.tied) <= set(order)
        if not known or (self.tied and order.index(self.tied[0]) >= order.index(self.tied[1])):
            raise SINGValueError(
                expected(
                    "SyntheticWorld",
                    "tied",
                    f"two of {order}, in their order",
                    self.tied,
                    "Name first the factor that the other one follows",
                )
            )
        if not 0 < self.nullity < self.width:
            raise SINGValueError(
                expected(
                    "SyntheticWorld",
                    "nullity",
                    f"from 1 to {self.width - 1}",
                    self.nullity,
                    "Let the head see something and ignore something",
                )
            )

    @cached_property
    def weight(self) -> Tensor:
        """The head's, shape (R, D), float64."""
        seen = torch.eye(self.width, dtype=torch.float64)[self._parts.seen]
        return torch.linalg.qr(self._gaussian("head", len(seen), len(seen))).Q @ seen

    @cached_property
    def null_space(self) -> NullSpace:
        """The head's, exactly."""
        return NullSpace.from_weight(self.weight)

    @cached_property
    def concepts(self) -> ConceptBank:
        """A word for every value of every factor, one exclusive group a factor."""
        groups = {
            factor: tuple(f"{factor} {value}" for value in range(self.values))
            for factor in self.places
        }
        clean = self._text_mean + _WORD * torch.cat([self._words(f) for f in self.places])
        noise = _TEXT_NOISE * _scaled(self._gaussian("texts", *clean.shape))
        names = tuple(word for words in groups.values() for word in words)
        return ConceptBank(names, _unit(clean + noise).float(), groups)

    def sample(self, count: int, seed: int) -> SyntheticSample:
        """Images of this world, each factor with equally many of every value.

        Args:
            count (int): n.
            seed (int): equal seeds give equal images.
        """
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        parts = self._parts
        features = parts.mean + normal(count, self.width) * parts.spread
        embeddings = self._image_mean + _NOISE * _scaled(normal(count, _EMBEDDING_DIM))
        labels: dict[str, Tensor] = {}
        for factor in self.places:
            own = torch.randperm(count, generator=generator) % self.values
            if self.tied and factor == self.tied[1]:
                alike = torch.rand(count, generator=generator) < _ALIKE
                own = torch.where(alike, labels[self.tied[0]], own)
            labels[factor] = own
            features += self._codes[factor][own]
            embeddings += _FACTOR * self._words(factor)[own]
        if self.busy:
            nuisances = normal(count, _NUISANCES)
            features += nuisances @ self._codes[""]
            embeddings += _NUISANCE * _scaled(nuisances) @ self._words("", _NUISANCES)
        if self.relu:
            features = features.relu()
        return SyntheticSample(features.float(), _unit(embeddings).float(), labels)

    @cached_property
    def _parts(self) -> _Parts:
        variance = torch.arange(1, self.width + 1).double() ** -self.decay
        generator = self._generator("coordinates")
        # a draw without replacement, with chances as variance to a power
        chance = -torch.rand(self.width, generator=generator, dtype=torch.float64).log()
        order = (chance / variance**self.follow).argsort()
        seen, ignored = order[: -self.nullity], order[-self.nullity :]
        spread = (variance / variance.mean()).sqrt()
        norm = self.mean * float(spread[ignored].norm())
        mean = torch.zeros(self.width, dtype=torch.float64)
        mean[ignored] = norm * _unit(self._gaussian("mean", 1, self.nullity))[0]
        return _Parts(seen, ignored, spread, mean)

    @cached_property
    def _codes(self) -> dict[str, Tensor]:
        """Factor -> what each value adds to a feature, shape (values, D); "" for nuisances."""
        ignored, seen = self._parts.ignored, self._parts.seen
        every = torch.arange(self.width)
        where = {"absent": [], "seen": [seen], "ignored": [ignored], "both": [seen, ignored],
                 "anywhere": [every]}  # fmt: skip
        codes = {}
        for factor, place in self.places.items():
            codes[factor] = torch.zeros(self.values, self.width, dtype=torch.float64)
            for part in where[place]:
                shape = self.values, len(part)
                code = _unit(self._gaussian(f"code {factor} {len(part)}", *shape))
                codes[factor][:, part] += self.amplitude * code
        codes[""] = torch.zeros(_NUISANCES, self.width, dtype=torch.float64)
        nuisances = _unit(self._gaussian("nuisances", _NUISANCES, self.nullity))
        codes[""][:, ignored] = _NUISANCE_NORM * nuisances
        return codes

    @cached_property
    def _image_mean(self) -> Tensor:
        return _unit(self._gaussian("images", 1, _EMBEDDING_DIM))[0]

    @cached_property
    def _text_mean(self) -> Tensor:
        across = self._gaussian("gap", _EMBEDDING_DIM)
        across -= (across @ self._image_mean) * self._image_mean
        turn = torch.deg2rad(torch.tensor(_GAP, dtype=torch.float64))
        return turn.cos() * self._image_mean + turn.sin() * across / across.norm()

    def _words(self, factor: str, count: int | None = None) -> Tensor:
        """The encoder's direction for each value, shape (values, E), unit rows."""
        return _unit(self._gaussian(f"words {factor}", count or self.values, _EMBEDDING_DIM))

    def _gaussian(self, name: str, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator(name), dtype=torch.float64)

    def _generator(self, name: str) -> torch.Generator:
        """Random numbers that hang on the seed and on what they are for."""
        state = self.seed
        for byte in name.encode():
            state = (state * 1_000_003 + byte + 1) % 2**61
        return torch.Generator().manual_seed(state)


@dataclass(frozen=True)
class _Parts:
    seen: Tensor
    ignored: Tensor
    spread: Tensor
    mean: Tensor


def random_world(seed: int, planted: int = 0, factors: int = 4) -> SyntheticWorld:
    """A world of random width, nullity, spectrum, head and kind of feature.

    Args:
        seed (int): of everything.
        planted (int, optional): how many factors are ignored; with 0 the world is empty: all are
            seen, or absent. Default: 0
        factors (int, optional): Default: 4

    Example::

        >>> sorted(random_world(3, planted=1).places.values()).count("ignored")
        1
    """
    generator = torch.Generator().manual_seed(seed)

    def choose(*options: float) -> float:
        return options[int(torch.randint(len(options), (), generator=generator))]

    width = int(choose(64, 128, 256))
    order = torch.randperm(factors, generator=generator).tolist()
    places = {
        f"factor{i}": "ignored" if rank < planted else PLACES[int(choose(0, 1))]
        for i, rank in enumerate(order)
    }
    return SyntheticWorld(
        places,
        seed,
        width=width,
        nullity=int(width * choose(0.25, 0.5, 0.75)),
        decay=choose(0.0, 1.0, 2.0),
        follow=choose(0.0, 1.0),
        busy=bool(choose(0, 1)),
        mean=choose(0.0, 1.6),
        relu=bool(choose(0, 1)),
    )


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def _scaled(rows: Tensor) -> Tensor:
    """Gaussian rows of about unit length."""
    return rows / rows.shape[-1] ** 0.5
