"""Draws where a class comes from, where what is ignored does, and its words, in one figure.

``python tutorials/ignored_pixels.py`` explains an image of the embedded world. With a photograph,

    python tutorials/ignored_pixels.py photo.jpg --model timm/resnet50.a1_in1k \
        --translator translator.safetensors --encoder ViT-L-14:openai --concepts colors textures

and a translator of that model (``captum-sing fit-translator`` fits one).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients, visualization
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_sing import (
    SING,
    ConceptBank,
    Description,
    LinearTranslator,
    load_classifier,
    load_encoder,
)
from captum_sing.attributions.maps import Logits
from captum_sing.classifiers.images import load_image
from captum_sing.demo import FACTORS, load_demo, sample_scenes
from captum_sing.visualization import IGNORED, SEEN

MIDDLE, SEED = 0.5, 10_000_021  # of the image's range: one level as the baseline of the path


class Asked(NamedTuple):
    """An image as the model takes it, (1, C, H, W), and what explains it."""

    sing: SING
    image: Tensor
    classes: Sequence[str] | None


def of_the_demo() -> Asked:
    model, translator, concepts, _ = load_demo("resnet/neck_color")
    image = sample_scenes(2, SEED).images[1:]
    return Asked(SING(model, "head", translator, concepts), image, FACTORS["shape"])


def of_a_photograph(options: argparse.Namespace) -> Asked:
    classifier = load_classifier(options.model)
    concepts = ConceptBank.from_vocabulary(options.concepts, load_encoder(options.encoder))
    translator = LinearTranslator.load(options.translator)
    image = classifier.preprocess(load_image(options.image))[None]
    return Asked(SING(classifier.model, None, translator, concepts), image, classifier.class_names)


def explain(asked: Asked, steps: int = 50) -> Figure:
    """Class saliency, ignored saliency and words of one image."""
    sing, image, classes = asked
    descriptions = sing.attribute(image).descriptions
    print(descriptions)
    word = sing.concepts.names[int(descriptions.ignored[0].argmax())]
    score, logits = sing.score("ignored", word), Logits(sing.forward_func)
    with torch.no_grad():
        target = int(logits(image).argmax())
    flat = torch.full_like(image, float(image.min() + MIDDLE * (image.max() - image.min())))
    further = {"n_steps": steps, "internal_batch_size": 16}
    maps = {
        f"why {classes[target] if classes else f'class {target}'}": IntegratedGradients(
            logits
        ).attribute(image, flat, target, **further),
        f"where {word} is ignored": IntegratedGradients(score).attribute(
            image, flat, score.target(word), **further
        ),
    }
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.1))
    picture = ((image - image.min()) / (image.max() - image.min()))[0].permute(1, 2, 0).numpy()
    shown = [("the image", np.ones_like(picture), "original_image")]
    shown += [(title, one[0].permute(1, 2, 0).numpy(), "heat_map") for title, one in maps.items()]
    for place, (title, attributions, method) in zip(axes, shown, strict=False):
        if not attributions.any():  # Captum cannot scale a map of zeros
            place.set_axis_off()
            continue
        visualization.visualize_image_attr(
            attributions,
            picture,
            method=method,
            sign="all",
            cmap="RdBu_r",
            plt_fig_axis=(figure, place),
            use_pyplot=False,
        )
        place.set_title(title, fontsize=10)
    axes[2].set_xlabel(
        "red: for, blue: against; each map on its own scale", fontsize=8, loc="right"
    )
    bars(axes[3], descriptions[0])
    return figure


def bars(axes: Axes, description: Description) -> None:
    """The words that are ignored most, with what the head sees of each."""
    words = description.ignored or ()
    for row, word in enumerate(words):
        axes.barh(row - 0.2, word.ignored, height=0.38, color=IGNORED)
        axes.barh(row + 0.2, word.seen, height=0.38, color=SEEN)
    axes.set_yticks(range(len(words)), [word.word for word in words])
    axes.invert_yaxis()
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_title("words: ignored (orange) and seen (blue)", fontsize=10)
    axes.set_xlabel("evidence, standard deviations of the reference images", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", type=Path, help="leave out for the embedded world")
    parser.add_argument("--model", help="such as timm/resnet50.a1_in1k")
    parser.add_argument("--translator", type=Path)
    parser.add_argument("--encoder", help="the translator's, such as ViT-L-14:openai")
    parser.add_argument("--concepts", nargs="+", default=["colors", "textures"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--output", type=Path, default=Path("ignored_pixels.png"))
    options = parser.parse_args()
    if options.image and not (options.model and options.translator and options.encoder):
        parser.error("a photograph wants --model, --translator and --encoder")
    figure = explain(of_a_photograph(options) if options.image else of_the_demo(), options.steps)
    figure.savefig(options.output, dpi=150)
    print(f"Written {options.output}")


if __name__ == "__main__":
    main()
