"""The demo's picture: what each classifier holds, what it can use, and what a swap changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from captum_sing.demo.decoder import SceneDecoder
from captum_sing.demo.scenes import FACTORS, Scenes, sample_scenes
from captum_sing.hooks import read_features
from captum_sing.render.nearest import Nearest
from captum_sing.sing import SING
from captum_sing.visualization import visualize_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURED", "demo_figure", "example_scenes"]

FIGURED = ("resnet/neck_none", "resnet/neck_color", "resnet/neck_color_size", "plain")
"""The classifiers that are shown, a row each."""

_SEED = 7
_EXAMPLES = (
    ("star", "red", "navy", "solid", "large", "center"),
    ("circle", "green", "gray", "solid", "small", "center"),
    ("heart", "yellow", "black", "striped", "large", "left"),
)


def example_scenes() -> Scenes:
    """A few images to describe; in the figure, the second is the donor of the first."""
    labels = {
        factor: torch.tensor([FACTORS[factor].index(word) for word in words])
        for factor, words in zip(FACTORS, zip(*_EXAMPLES, strict=True), strict=True)
    }
    return sample_scenes(len(_EXAMPLES), _SEED, labels=labels)


def demo_figure(
    models: Mapping[str, SING],
    examples: Scenes,
    decoder: SceneDecoder,
    gallery: Tensor,
    embeddings: Tensor,
) -> Figure:
    """One row a classifier: decoded feature, equivalent and swap, and the nearest real images.

    Args:
        models (mapping of str to SING): classifier -> its SING.
        examples (Scenes): an image, a donor, and perhaps more.
        decoder (SceneDecoder): draws embeddings.
        gallery (Tensor): real images, shape (N, 3, 64, 64).
        embeddings (Tensor): theirs, shape (N, E).
    """
    image, donor = examples.images[:1], examples.images[1:2]
    rows = {}
    for name, sing in models.items():
        head: nn.Module = sing.forward_func.head
        feature = read_features(sing.forward_func, head, image)
        removal, _ = sing.attribute(image, "mean")
        swap, _ = sing.attribute(image, donor)
        translated = sing.translator(torch.cat([feature, feature + removal, feature + swap]))
        drawn = decoder(translated)
        real = gallery[Nearest(embeddings, list(gallery)).nearest(translated).indices[:, 0]]
        rows[name] = [image[0], donor[0], *drawn, *real]
    titles = (
        "image",
        "donor",
        "decoded\nfeature",
        "decoded\nequivalent",
        "decoded swap\nwith donor",
        "nearest real\nto feature",
        "nearest real\nto equivalent",
        "nearest real\nto swap",
    )
    return visualize_pictures(rows, titles)
