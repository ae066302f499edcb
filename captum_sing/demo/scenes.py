"""Images with known, independent factors, drawn by a seeded generator.

Shape is the class; colour, background, texture, size and position are what a classifier of shape
may ignore. Rotation, jitter and pixel noise are in no caption.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.demo.shapes import SHAPES, TEXTURES, Distance, coverage
from captum_sing.errors import SINGNameError, SINGValueError, expected

IMAGE_SIZE = 64
_BATCH = 256  # larger batches fall out of the processor's cache
_DARK = 0.5  # brightness of the dark parts of a texture

_COLORS = {
    "red": (0.90, 0.10, 0.12),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (0.96, 0.92, 0.15),
    "green": (0.10, 0.72, 0.20),
    "blue": (0.18, 0.42, 1.00),
    "purple": (0.58, 0.18, 0.85),
    "pink": (1.00, 0.55, 0.78),
    "white": (0.97, 0.97, 0.97),
}
_BACKGROUNDS = {
    "black": (0.02, 0.02, 0.02),
    "gray": (0.45, 0.45, 0.45),
    "brown": (0.36, 0.21, 0.08),
    "navy": (0.04, 0.06, 0.32),
}
_RADII = {"small": 12.0, "large": 19.0}
_CENTERS = {
    "center": (0.0, 0.0),
    "left": (-13.0, 0.0),
    "right": (13.0, 0.0),
    "top": (0.0, 13.0),
    "bottom": (0.0, -13.0),
}

_NUMBERS: dict[str, Mapping[str, float | tuple[float, ...]]] = {
    "color": _COLORS,
    "background": _BACKGROUNDS,
    "size": _RADII,
    "position": _CENTERS,
}

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": tuple(SHAPES),
    "color": tuple(_COLORS),
    "background": tuple(_BACKGROUNDS),
    "texture": tuple(TEXTURES),
    "size": tuple(_RADII),
    "position": tuple(_CENTERS),
}
"""What varies, and the words for it. No word belongs to two factors."""


@dataclass(frozen=True)
class Scenes:
    """Images and the truth about them.

    Attributes:
        images (Tensor): (N, 3, 64, 64), float32 in [0, 1].
        labels (dict): factor name -> (N,) int64, indices into :data:`FACTORS`.
    """

    images: Tensor
    labels: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def words(self, index: int) -> dict[str, str]:
        """The true words of one image, one for each factor."""
        return {name: FACTORS[name][int(self.labels[name][index])] for name in FACTORS}


def sample_scenes(
    count: int, seed: int, *, labels: Mapping[str, Tensor | int] | None = None
) -> Scenes:
    """Draws scenes with independent, uniform factors.

    Args:
        count (int): number of images N.
        seed (int): the same seed gives the same images, to the bit.
        labels (Mapping, optional): factor name -> (N,) indices, or one index for all images, in
            place of drawn ones. Everything else stays as drawn, nuisances included, so two calls
            that differ here alone are counterfactual pairs.

    Returns:
        Scenes: images (N, 3, 64, 64) and labels.

    Raises:
        SINGValueError: for a count below one, or labels out of range or of another length.
        SINGNameError: for a factor that does not exist.

    Example::

        >>> scenes = sample_scenes(4, seed=0, labels={"color": 0})
        >>> scenes.images.shape, scenes.words(0)["color"]
        (torch.Size([4, 3, 64, 64]), 'red')
    """
    drawn, generator = _draw_labels(count, seed, labels)
    return Scenes(render_scenes(drawn, generator), drawn)


def sample_masks(
    count: int, seed: int, *, labels: Mapping[str, Tensor | int] | None = None
) -> Tensor:
    """Where the objects are in the scenes of :func:`sample_scenes` with the same arguments.

    Returns:
        Tensor: share of each pixel that the object covers, shape (N, 64, 64), in [0, 1].

    Example::

        >>> masks = sample_masks(4, seed=0)
        >>> masks.shape, bool((masks.mean(dim=(1, 2)) < 0.3).all())
        (torch.Size([4, 64, 64]), True)
    """
    drawn, generator = _draw_labels(count, seed, labels)
    return torch.cat([alpha for _, alpha in _in_batches(drawn, generator)])


def _draw_labels(
    count: int, seed: int, labels: Mapping[str, Tensor | int] | None
) -> tuple[dict[str, Tensor], torch.Generator]:
    if count < 1:
        raise SINGValueError(
            expected(
                "sample_scenes", "count", "to be at least 1", count, "Ask for one image or more"
            )
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: torch.randint(len(values), (count,), generator=generator)
        for name, values in FACTORS.items()
    }
    for name, given in (labels or {}).items():
        drawn[name] = _checked_labels(name, given, count)
    return drawn, generator


def _checked_labels(name: str, given: Tensor | int, count: int) -> Tensor:
    if name not in FACTORS:
        raise SINGNameError(
            expected(
                "sample_scenes",
                "labels",
                f"for factors in {list(FACTORS)}",
                repr(name),
                "Name one of them",
            )
        )
    label = torch.as_tensor(given, dtype=torch.long).cpu()
    if label.ndim == 0:
        label = label.expand(count)
    limit = len(FACTORS[name])
    if label.shape != (count,) or bool(((label < 0) | (label >= limit)).any()):
        raise SINGValueError(
            expected(
                "sample_scenes",
                f"labels[{name!r}]",
                f"of shape ({count},) with values below {limit}",
                f"shape {tuple(label.shape)} and values {sorted(set(label.tolist()))}",
                "Pass one index for each image",
            )
        )
    return label.clone()


def render_scenes(labels: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
    """Draws one image for each row of labels, with nuisances from the generator.

    Args:
        labels (Mapping): every factor's name -> (N,) indices.
        generator (torch.Generator): source of rotation, jitter and noise.

    Returns:
        Tensor: (N, 3, 64, 64), float32 in [0, 1].
    """
    images = torch.empty(len(labels["shape"]), 3, IMAGE_SIZE, IMAGE_SIZE)
    for start, (batch, _) in enumerate(_in_batches(labels, generator)):
        images[start * _BATCH : (start + 1) * _BATCH] = batch
    return images


def _in_batches(
    labels: Mapping[str, Tensor], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and the shares of their pixels that objects cover."""
    for start in range(0, len(labels["shape"]), _BATCH):
        part = {name: label[start : start + _BATCH] for name, label in labels.items()}
        yield _render_batch(part, generator)


def _render_batch(
    labels: Mapping[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    count = len(labels["shape"])

    def jitter(spread: float, *shape: int) -> Tensor:
        return spread * (2 * torch.rand(count, *shape, generator=generator) - 1)

    center = _table(_CENTERS)[labels["position"]] + jitter(1.5, 2)
    radius = _table(_RADII)[labels["size"]] * (1 + jitter(0.06))
    u, v = _coordinates(center, jitter(math.radians(25)))
    alpha = _by_kind(
        tuple(SHAPES.values()),
        labels["shape"],
        u / radius.view(-1, 1, 1),
        v / radius.view(-1, 1, 1),
    ) * radius.view(-1, 1, 1)
    alpha = coverage(alpha)
    shade = 1 - (1 - _DARK) * coverage(-_by_kind(tuple(TEXTURES.values()), labels["texture"], u, v))
    color = (_table(_COLORS)[labels["color"]] + jitter(0.06, 3)).view(-1, 3, 1, 1)
    background = (_table(_BACKGROUNDS)[labels["background"]] + jitter(0.04, 3)).view(-1, 3, 1, 1)
    images = background + alpha.unsqueeze(1) * (shade.unsqueeze(1) * color - background)
    noise = torch.randn(images.shape, generator=generator)
    return images.add_(noise, alpha=0.02).clamp_(0.0, 1.0), alpha


def render_expected(posteriors: Mapping[str, Tensor]) -> Tensor:
    """One picture of what is known about a scene, and of how surely, without nuisances.

    Size and place are drawn at their means, so that a shape whose place is unknown stands in the
    middle, sharp; shapes, textures and colours are mixed in proportion, so that an unknown shape
    is a blur and an unknown colour the mean of all.

    Args:
        posteriors (Mapping): every factor's name -> (N, number of values), rows summing to one.

    Returns:
        Tensor: (N, 3, 64, 64) in [0, 1]; differentiable.
    """
    mean = {
        factor: posteriors[factor] @ _table(values).to(posteriors[factor])
        for factor, values in _NUMBERS.items()
    }
    radius = mean["size"].view(-1, 1, 1)
    u, v = _coordinates(mean["position"], torch.zeros_like(mean["size"]))
    silhouettes = [coverage(shape(u / radius, v / radius) * radius) for shape in SHAPES.values()]
    shades = [1 - (1 - _DARK) * coverage(-texture(u, v)) for texture in TEXTURES.values()]
    alpha, shade = (
        torch.einsum("nk,nkhw->nhw", posteriors[factor], torch.stack(drawn, 1)).unsqueeze(1)
        for factor, drawn in (("shape", silhouettes), ("texture", shades))
    )
    color, background = (mean[factor][:, :, None, None] for factor in ("color", "background"))
    return (background + alpha * (shade * color - background)).clamp(0.0, 1.0)


def _coordinates(center: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates (N, H, W) seen from shapes at ``center`` (N, 2), turned by ``angle``."""
    axis = torch.arange(IMAGE_SIZE, device=center.device) - (IMAGE_SIZE - 1) / 2
    x = axis.view(1, 1, -1) - center[:, 0].view(-1, 1, 1)
    y = -axis.view(1, -1, 1) - center[:, 1].view(-1, 1, 1)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return cos * x + sin * y, cos * y - sin * x


def _by_kind(functions: Sequence[Distance], kinds: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Evaluates for each image the function of its kind alone."""
    values = torch.empty_like(u)
    for kind, function in enumerate(functions):
        rows = (kinds == kind).nonzero().squeeze(1)
        values[rows] = function(u[rows], v[rows])
    return values


def _table(values: Mapping[str, float | tuple[float, ...]]) -> Tensor:
    return torch.tensor(list(values.values()))
