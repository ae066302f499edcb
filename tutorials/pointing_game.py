"""Prints where maps of ignored evidence point: ``python tutorials/pointing_game.py``.

Mosaics of four scenes, alike in shape and different in colour or background. A map of one cell's
word should lie where that word is seen; a map of the class, which is in all cells, has no reason
to prefer one. Each number is the share of positive relevance inside the true mask over the mask's
share of the area (1 for a uniform map), with a 95 % interval over the mosaics that have any.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import torch
from captum.attr import Attribution, IntegratedGradients, LayerGradCam, Occlusion
from torch import Tensor, nn

from captum_sing import SING, LayerEvidence, SINGScore
from captum_sing.attributions import mask_share
from captum_sing.controls import bootstrap_mean
from captum_sing.demo import (
    FACTORS,
    Mosaics,
    load_classifier,
    load_concepts,
    load_encoder,
    load_translator,
    sample_mosaics,
)
from captum_sing.demo.world import card
from captum_sing.devices import one_thread

CASES = (
    ("resnet/neck_color", "color"),
    ("convnext/neck_color", "color"),
    ("resnet/neck_background", "background"),
    ("convnext/neck_background", "background"),
    ("resnet/neck_none", "color"),
    ("resnet/neck_none", "background"),
    ("plain", "color"),
    ("plain", "background"),
)
"""Classifiers and factors: planted in the null space, not there by construction, and unknown."""


def last_map(model: nn.Module) -> nn.Module:
    """The layer whose map is pooled."""
    backbone = model.backbone
    return backbone.stages[-1] if hasattr(backbone, "stages") else backbone.layer4


def pixels(attributions: Tensor, images: Tensor) -> Tensor:
    """One signed number a pixel, shape (B, H, W)."""
    summed = attributions.detach().sum(dim=1, keepdim=True)
    return LayerEvidence.interpolate(summed, tuple(images.shape[-2:]), "bilinear").squeeze(1)


def methods_of(model: nn.Module) -> dict[str, tuple[Callable[[nn.Module], Attribution], dict]]:
    patch = {"sliding_window_shapes": (3, 16, 16), "strides": (3, 8, 8), "baselines": 0.5}
    steps = {"baselines": 0.5, "n_steps": 16, "internal_batch_size": 128}
    return {
        "Grad-CAM": (lambda module: LayerGradCam(module, last_map(model)), {}),
        "Occlusion": (Occlusion, patch),
        "IntegratedGradients": (IntegratedGradients, steps),
    }


def concentrations(mosaics: Mosaics, maps: Callable[[Tensor], Tensor]) -> Tensor:
    """Of each mosaic, the mean over its cells; ``maps`` takes the value of one cell in each."""
    found = []
    for cell in range(4):
        relevance = pixels(maps(mosaics.values[:, cell]), mosaics.images)
        found.append(mask_share(relevance, mosaics.masks[:, cell]).concentration)
    return torch.stack(found, dim=1).nanmean(dim=1)


def attributed(method: Attribution, arguments: dict, target: Tensor) -> Tensor:
    return method.attribute(target=target, **arguments)


def point(name: str, factor: str, count: int, seed: int, methods: Sequence[str]) -> list[dict]:
    """One row a method, for the maps of ignored evidence and of the class."""
    model = load_classifier(name)
    sing = SING(model, "head", load_translator(name), load_concepts(load_encoder()))
    score: SINGScore = sing.score("ignored", FACTORS[factor])
    mosaics = sample_mosaics(count, seed, factor)
    planted = card(name).planted
    about = {
        "classifier": name,
        "word of": factor,
        "planted": "unknown" if planted is None else "yes" if factor in planted else "no",
        "at most": round(float(1.0 / mosaics.masks.mean()), 1),
    }
    rows = []
    localized = LayerEvidence(score).attribute(mosaics.images)
    every = torch.arange(count)
    exact = concentrations(mosaics, lambda value: localized[every, value][:, None])
    if "LayerEvidence" in methods:
        rows.append({**about, "method": "LayerEvidence", "ignored": exact})
    for method, (factory, options) in methods_of(model).items():
        if method not in methods:
            continue

        of_score, of_class = factory(score), factory(model)
        images = {"inputs": mosaics.images, **options}
        class_maps = of_class.attribute(target=mosaics.shapes, **images)
        ignored = concentrations(mosaics, partial(attributed, of_score, images))
        class_ = concentrations(mosaics, lambda _, maps=class_maps: maps)
        rows.append({**about, "method": method, "ignored": ignored, "class": class_})
    return rows


def table_of(
    cases: Sequence[tuple[str, str]], count: int, seed: int, methods: Sequence[str]
) -> pd.DataFrame:
    """Every case and method, with intervals over mosaics."""
    rows = []
    for name, factor in cases:
        for row in point(name, factor, count, seed, methods):
            rows.append({key: _written(value) for key, value in row.items()})
    return pd.DataFrame(rows).fillna("")


def _written(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    pointing = value[value.isfinite()]  # a map without positive relevance points nowhere
    result = bootstrap_mean(pointing)
    low, high = result.interval
    left_out = f", {len(pointing)} of {len(value)}" * (len(pointing) < len(value))
    return f"{result.value:.2f} [{low:.2f}, {high:.2f}{left_out}]"


METHODS = ("LayerEvidence", "Grad-CAM", "Occlusion", "IntegratedGradients")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=64, help="mosaics")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args()
    with one_thread():
        table = table_of(CASES, options.count, options.seed, options.methods)
    print(table.to_markdown(index=False))


if __name__ == "__main__":
    main()
