"""Prints where maps of ignored evidence point: ``python tutorials/pointing_game.py``.

Mosaics of four scenes, alike in shape and different in colour or background. A map of one cell's
word should lie where that word is seen; a map of the class, which is in all cells, has no reason
to prefer one. Each number is the share of positive relevance inside the true mask over the mask's
share of the area (1 for a uniform map), with a 95 % interval over mosaics: of the word's own cell,
of the next one with the same map, which the word has no business in, and of a map of the class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import pandas as pd
import tabulate  # noqa: F401  prints tables; pip install 'captum-sing[quantus]'
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

CELLS = {"own cell": 0, "next cell": 1}


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


def concentrations(mosaics: Mosaics, maps: Tensor, shift: int = 0) -> Tensor:
    """Of each mosaic's map of each cell, on the mask of that cell or of another, (N, 4).

    Args:
        maps (Tensor): signed, shape (4, N, H, W).
        shift (int): whose mask, so many cells on.
    """
    masks = mosaics.masks.roll(-shift, dims=1)
    found = [mask_share(maps[cell], masks[:, cell]).concentration for cell in range(4)]
    return torch.stack(found, dim=1)


def point(name: str, factor: str, count: int, seed: int, methods: Sequence[str]) -> list[dict]:
    """One row a method: a tensor of mosaics for the word, for its map elsewhere, and the class."""
    model = load_classifier(name)
    sing = SING(model, "head", load_translator(name), load_concepts(load_encoder()))
    score: SINGScore = sing.score("ignored", FACTORS[factor])
    mosaics = sample_mosaics(count, seed, factor)
    images, values, planted = mosaics.images, mosaics.values.T, card(name).planted
    about = {
        "classifier": name,
        "word of": factor,
        "planted": "unknown" if planted is None else "yes" if factor in planted else "no",
        "at most": round(float((1.0 / mosaics.masks.mean(dim=(2, 3))).mean()), 1),
    }
    made = {"LayerEvidence": (LayerEvidence, {}), **methods_of(model)}
    rows = []
    for method in methods:
        factory, options = made[method]
        explain = factory(score).attribute
        words = [explain(images, target=value, **options) for value in values]
        maps = torch.stack([pixels(one, images) for one in words])
        columns = {key: concentrations(mosaics, maps, shift) for key, shift in CELLS.items()}
        if method != "LayerEvidence":  # which is of scores alone
            of_class = factory(model).attribute(images, target=mosaics.shapes, **options)
            every = pixels(of_class, images).expand(4, -1, -1, -1)
            columns["class"] = concentrations(mosaics, every)
        # a map without positive relevance points nowhere: such cells are in no column
        common = torch.stack(list(columns.values())).isfinite().all(dim=0)
        means = {key: one.where(common, torch.nan).nanmean(dim=1) for key, one in columns.items()}
        rows.append({**about, "method": method, **means, "cells": int(common.sum())})
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
    result = bootstrap_mean(value[value.isfinite()])
    low, high = result.interval
    return f"{result.value:.2f} [{low:.2f}, {high:.2f}]"


METHODS = ("LayerEvidence", "Grad-CAM", "Occlusion", "IntegratedGradients")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=64, help="mosaics")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args()
    if options.count < 2:
        parser.error("--count: an interval wants at least 2, a good one 30")
    with one_thread():
        table = table_of(CASES, options.count, options.seed, options.methods)
    print(table.to_markdown(index=False))


if __name__ == "__main__":
    main()
