"""Eight heads and sixty-four prompts: the angle that was asked for, and no logit moved."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from captum_sing import SING, ConceptBank, LinearTranslator
from captum_sing.demo import load_demo, load_encoder, sample_scenes
from captum_sing.demo.scenes import FACTORS
from captum_sing.descriptions import FAR
from captum_sing.hooks import read_features, replace_features

DEMO = ("plain", "resnet/neck_none", "resnet/neck_color", "convnext/neck_color_size")
RANDOM = {"1000 x 2048": 2048, "1000 x 1280": 1280, "1000 x 1024": 1024, "100 x 384": 384}
DEGREES = (1.0, 10.0, 30.0, 60.0, 85.0)
IMAGES, PROMPTS, E = 4, 64, 64


def random_sing(name: str) -> tuple[SING, Tensor, Tensor]:
    """A head of some size, features as they come out of a rectifier, and random texts."""
    width, classes = RANDOM[name], int(name.split()[0])
    generator = torch.Generator().manual_seed(width)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    head = nn.Linear(width, classes)
    with torch.no_grad():
        head.weight.copy_(normal(classes, width) / width**0.5)
        head.bias.copy_(normal(classes) / width**0.5)
    translator = LinearTranslator(normal(E, width) / width**0.5, torch.zeros(width), normal(E))
    bank = ConceptBank(("up", "down"), torch.eye(2, E), {"way": ("up", "down")})
    model = nn.Sequential(nn.Identity(), head)
    return SING(model, "1", translator, bank), normal(IMAGES, width).relu(), normal(PROMPTS, E)


def demo_sing(name: str) -> tuple[SING, Tensor, Tensor]:
    """A classifier of the demo, with a prompt for every shape in every color."""
    model, translator, concepts, _ = load_demo(name)
    texts = [f"a {color} {shape}" for color in FACTORS["color"] for shape in FACTORS["shape"]]
    images = sample_scenes(IMAGES, seed=3).images
    return SING(model, "head", translator, concepts), images, load_encoder().encode_text(texts)


QUICKEST, *OTHERS = ["100 x 384", *DEMO, *list(RANDOM)[:-1]]


@pytest.mark.parametrize(
    "name", [QUICKEST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_angle_is_met_and_no_logit_moves(name: str) -> None:
    sing, inputs, texts = demo_sing(name) if name in DEMO else random_sing(name)
    assert len(texts) == PROMPTS
    model, head = sing.forward_func, sing.layer
    inputs, texts = torch.cat([inputs] * PROMPTS), texts.repeat_interleave(IMAGES, 0)
    features, before = read_features(model, head, inputs), model(inputs).detach()
    reached, worst = [], 0.0
    for degrees in DEGREES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # some cannot be reached; counted below
            moved, said = sing.attribute(inputs, prompt=texts, image_score=degrees)
        there = said.image_score.isfinite()
        assert ((said.image_score - degrees).abs()[there] < 0.01).all()
        near = there & (said.step <= FAR)
        after = replace_features(model, head, inputs, features + moved.nan_to_num())
        drift = (after - before).abs().amax(dim=1) / before.abs().amax(dim=1)
        worst = max([worst, *drift[near].tolist()])
        reached.append(int(there.sum()))
        step = float(said.step.nanmedian())
        print(f"{name}: {degrees:g} degrees: {reached[-1]} of {len(there)}, median step {step:.3g}")
    print(f"{name}: largest drift of steps up to {FAR:g} norms: {worst:.1e}")
    assert reached[0] == len(texts)
    assert 0 < worst < 1e-5
