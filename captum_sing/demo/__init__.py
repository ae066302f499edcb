"""The embedded world: images with known factors, a tiny CLIP and tiny classifiers of shape.

Small enough to be shipped, and known well enough to check what the method says: for each *neck*
the factors that its null space carries are fixed by construction.

Example::

    >>> from captum_sing.demo import CLASSIFIERS, load_classifier, sample_scenes
    >>> CLASSIFIERS["resnet/neck_color"].planted
    ('color',)
    >>> load_classifier("resnet/neck_color")(sample_scenes(2, seed=7).images).shape
    torch.Size([2, 8])
"""

from captum_sing.demo.decoder import SceneDecoder
from captum_sing.demo.mosaics import Mosaics, sample_mosaics
from captum_sing.demo.scenes import FACTORS, Scenes, render_expected, sample_masks, sample_scenes
from captum_sing.demo.world import (
    CLASSIFIERS,
    encode_scenes,
    load_classifier,
    load_concepts,
    load_decoder,
    load_demo,
    load_encoder,
    load_translator,
)

__all__ = [
    "CLASSIFIERS",
    "FACTORS",
    "Mosaics",
    "SceneDecoder",
    "Scenes",
    "encode_scenes",
    "load_classifier",
    "load_concepts",
    "load_decoder",
    "load_demo",
    "load_encoder",
    "load_translator",
    "render_expected",
    "sample_masks",
    "sample_mosaics",
    "sample_scenes",
]
