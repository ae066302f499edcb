"""Draws three figures of the pictures page: ``python docs/picture_figures.py``, some minutes.

The other two are those of ``python tutorials/decode_features.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torchvision.transforms.functional import to_pil_image

from captum_sing import SING, NullSpace, load_classifier
from captum_sing.demo import FACTORS, load_demo, load_encoder, sample_scenes
from captum_sing.demo.renderer import SceneRenderer
from captum_sing.plots import plot_equivalents, plot_natural_equivalents
from captum_sing.render import Inversion, Renderer, natural_equivalents, render_equivalents
from captum_sing.render.frame import Frame

STATIC = Path(__file__).parent / "_static"
NAME, SEED = "resnet/neck_color", 10_000_033
SCENES = (
    ("star", "red", "navy"),
    ("circle", "green", "gray"),
    ("heart", "yellow", "black"),
    ("crescent", "blue", "brown"),
)
CHANGES = {
    "swap with the\nnext photograph": {"baselines": None},
    "towards red": {"prompt": "red", "image_score": 30.0},
    "towards green": {"prompt": "green", "image_score": 30.0},
    "from green\ntowards red": {"prompt": "red", "away_from": "green", "image_score": 30.0},
}


def rendered(by_gradient: bool) -> Figure:
    """Photographs, their swaps and their steered equivalents."""
    loaded = load_classifier(f"demo/{NAME}")
    _, translator, concepts, _ = load_demo(NAME)
    sing = SING(loaded.model, "head", translator, concepts, encoder=load_encoder())
    labels = {
        factor: torch.tensor([FACTORS[factor].index(scene[place]) for scene in SCENES])
        for place, factor in enumerate(("shape", "color", "background"))
    }
    scenes = sample_scenes(len(SCENES), SEED, labels=labels)
    photographs = [to_pil_image(image) for image in scenes.images]
    frame = Frame.of(loaded.preprocess)
    inputs = torch.stack([loaded.preprocess(photograph) for photograph in photographs])
    renderer: Renderer = SceneRenderer()
    if by_gradient:
        renderer = Inversion(
            loaded.model,
            "head",
            frame.normalize,
            frame.size,
            start=photographs,
            translator=translator,
        )
    changes = {
        name: {"baselines": inputs.roll(-1, 0)} if "prompt" not in asked else asked
        for name, asked in CHANGES.items()
    }
    done = render_equivalents(sing, renderer, photographs, changes, preprocess=loaded.preprocess)
    return plot_equivalents(done, FACTORS["shape"])


def natural() -> Figure:
    """Pairs of scenes that a classifier of shape sees as nearly the same."""
    model, translator, _, _ = load_demo(NAME)
    scenes = sample_scenes(4000, SEED).images
    with torch.no_grad():
        features = torch.cat([model.features(part) for part in scenes.split(250)])
        logits = model.head(features)
    space = NullSpace.from_layer(model.head)
    found = natural_equivalents(features, space, logits=logits, translator=translator)
    return plot_natural_equivalents(found.found, list(scenes))


if __name__ == "__main__":
    for file, figure in (
        ("pictures-embeddings", rendered(by_gradient=False)),
        ("pictures-inverted", rendered(by_gradient=True)),
        ("pictures-natural", natural()),
    ):
        figure.savefig(STATIC / f"{file}.png", dpi=100)
