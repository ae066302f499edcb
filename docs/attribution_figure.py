"""Draws the two figures of the attributions page: ``python docs/attribution_figure.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from captum.attr import IntegratedGradients, LayerGradCam, visualization
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_sing import SING, LayerEvidence, compare_attributions
from captum_sing.demo import FACTORS, load_demo, sample_mosaics, sample_scenes

STATIC = Path(__file__).parent / "_static"
SEED = 10_000_021


def compared() -> Figure:
    """One image, its class map and the map of its own ignored word, by two methods."""
    model, translator, concepts, _ = load_demo("resnet/neck_color")
    images = sample_scenes(1, SEED).images
    comparison = compare_attributions(
        SING(model, "head", translator, concepts),
        images,
        methods={
            "IntegratedGradients": IntegratedGradients,
            "Grad-CAM": lambda module: LayerGradCam(module, model.backbone.layer3),
        },
        options={"IntegratedGradients": {"baselines": 0.5, "n_steps": 64}},
    )
    return comparison.figure(class_names=FACTORS["shape"])


def heat(figure: Figure, axes: Axes, values: np.ndarray, reach: float, title: str) -> None:
    """A map on a given scale, through Captum."""
    visualization.visualize_image_attr(
        np.ones((*values.shape, 1)),
        method="heat_map",
        sign="all",
        cmap="RdBu_r",
        plt_fig_axis=(figure, axes),
        use_pyplot=False,
    )
    axes.images[-1].set_data(values)
    axes.images[-1].set_clim(-reach, reach)
    axes.set_title(title, fontsize=9)


def localized() -> Figure:
    """Where in a mosaic each of its four words is ignored, and where the class comes from."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    grid = figure.subplots(2, 6)
    for row, factor in zip(grid, ("color", "background"), strict=True):
        model, translator, concepts, _ = load_demo(f"resnet/neck_{factor}")
        mosaics = sample_mosaics(1, SEED, factor)
        words = [mosaics.word(0, cell) for cell in range(4)]
        score = SING(model, "head", translator, concepts).score("ignored", words)
        maps = LayerEvidence(score).attribute(mosaics.images)[0].numpy()
        gradients = LayerGradCam(model, model.backbone.layer4)
        of_class = gradients.attribute(mosaics.images, target=mosaics.shapes)[0, 0]
        picture = mosaics.images[0].permute(1, 2, 0).numpy()
        visualization.visualize_image_attr(
            np.ones_like(picture),
            picture,
            method="original_image",
            plt_fig_axis=(figure, row[0]),
            use_pyplot=False,
        )
        row[0].set_title(f"neck_{factor}", fontsize=9)
        for axes, word, values in zip(row[1:5], words, maps, strict=True):
            heat(figure, axes, values, float(np.abs(maps).max()), f"ignored {word}")
        values = of_class.detach().numpy()
        shape = FACTORS["shape"][int(mosaics.shapes[0])]
        heat(figure, row[5], values, float(np.abs(values).max()), f"class {shape} (Grad-CAM)")
    return figure


def main() -> None:
    compared().savefig(STATIC / "attributions.png", dpi=120)
    localized().savefig(STATIC / "localized.png", dpi=120)


if __name__ == "__main__":
    main()
