"""A CNN of the embedded world and a small vision transformer, each with a SING and images."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn
from toys import normal

from captum_sing import SING, ConceptBank, TranslatorFitter
from captum_sing.demo import load_demo
from captum_sing.hooks import read_features
from captum_sing.testing import ToyEncoder


class World(NamedTuple):
    sing: SING
    images: Tensor
    layer: nn.Module  # a convolution's map, for Grad-CAM
    words: tuple[str, ...]


def cnn() -> World:
    model, translator, concepts, images = load_demo("resnet/neck_color")
    sing = SING(model, "head", translator, concepts)
    return World(sing, images[:3], model.backbone.layer4, ("red", "blue"))


@cache
def vit_parts() -> tuple:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_vit", img_size=32, patch_size=8, num_classes=6).eval()
    encoder = ToyEncoder(image_size=32)
    images = normal(300, 3, 32, 32, seed=0)
    features = read_features(model, model.head, images)
    translator = TranslatorFitter(encoder=encoder.name)
    translator = translator.update(features, encoder.encode_image(images)).fit()
    return model, translator, ConceptBank.from_words(["red", "blue", "green"], encoder)


def vit() -> World:
    model, translator, concepts = vit_parts()
    sing = SING(model, "head", translator, concepts)
    return World(sing, normal(3, 3, 32, 32, seed=1), model.patch_embed.proj, ("red", "blue"))


WORLDS = {"cnn": cnn, "vit": vit}
