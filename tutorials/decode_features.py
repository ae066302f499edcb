"""Draws what classifiers hold and what their heads use: ``python tutorials/decode_features.py``.

Trains decoders of the whole feature and of its principal part on scenes, then draws others: from
their features, and from features with the ignored part of another scene. Each number is a share of
held-out scenes with a 95 % interval; one in eight is chance.

- same class: the classifier says what it said of the original.
- shape, color: a tiny CLIP, which had no part in the training, names it rightly in what was drawn.
- shape, stretched: likewise, with the contrast of each picture stretched to that of a real one. The
  head knows no place, so its part of the feature is drawn as pale objects in several at once.
- from pixels: a linear classifier reads it from 16 x 16 pixels, trained on half of the pictures and
  judged on the other half. It knows no object that moves, so it may do worse on real pictures.

On two cores it takes ten minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import tabulate  # noqa: F401  prints tables; pip install 'captum-sing[quantus]'
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchvision.transforms.functional import to_pil_image, to_tensor
from torchvision.utils import make_grid

from captum_sing import NullSpace
from captum_sing.classifiers import LoadedClassifier, load_classifier
from captum_sing.controls import bootstrap_mean
from captum_sing.demo import FACTORS, encode_scenes, load_concepts, load_encoder, sample_scenes
from captum_sing.demo.world import CLASSIFIERS
from captum_sing.fitting.accuracy import accuracies
from captum_sing.fitting.decoder import fit_decoder
from captum_sing.hooks import read_features
from captum_sing.render.decoder import FeatureDecoder

MODELS = ("resnet/neck_color", "plain")
"""Color is planted in the null space of the first; the second was trained as one does."""

NAMED = ("shape", "color")

_TRAINING, _TESTED, _SHOWN = 71_000_000, 72_000_000, 10


def train(name: str, count: int, epochs: int) -> tuple[LoadedClassifier, dict[str, FeatureDecoder]]:
    """The classifier, and a decoder of each part."""
    model = load_classifier(f"demo/{name}")
    pictures = [to_pil_image(image) for image in sample_scenes(count, _TRAINING).images]
    return model, fit_decoder(model, pictures, epochs=epochs, held_out=0.02)


def draw(
    model: LoadedClassifier, decoders: dict[str, FeatureDecoder], images: Tensor
) -> dict[str, list[Image.Image]]:
    """Pictures of each kind, the real ones first; a scene's donor is the one before it."""
    features = read_features(model.model, model.model.head, images, internal_batch_size=128)
    space = NullSpace.from_layer(model.model.head)
    swapped = features + space.project(features.roll(1, dims=0) - features)
    return {
        "real": [to_pil_image(image) for image in images],
        "whole": decoders["whole"].render(features),
        "principal": decoders["principal"].render(features),
        "whole, swapped": decoders["whole"].render(swapped),
    }


def table_of(
    model: LoadedClassifier, drawn: dict[str, list[Image.Image]], labels: dict[str, Tensor]
) -> pd.DataFrame:
    """What the classifier and the tiny CLIP make of each kind of picture."""
    encoder = load_encoder()
    concepts = load_concepts(encoder)
    words = {factor: concepts.embeddings[concepts.indices(FACTORS[factor])] for factor in NAMED}

    def named(factor: str, pictures: Tensor) -> Tensor:
        return (encode_scenes(encoder, pictures) @ words[factor].T).argmax(dim=1)

    classes, rows = None, {}
    for kind, pictures in drawn.items():
        inputs = torch.stack([to_tensor(picture) for picture in pictures])
        with torch.no_grad():
            found = model.model(inputs).argmax(dim=1)
        classes = found if classes is None else classes
        color = named("color", inputs)
        shares = {
            "same class": found == classes,
            "shape": named("shape", inputs) == labels["shape"],
            "shape, stretched": named("shape", stretched(inputs)) == labels["shape"],
            "color": color == labels["color"],
            "donor's color": color == labels["color"].roll(1),
        }
        rows[kind] = {name: _written(right) for name, right in shares.items()}
        pixels = {kind: avg_pool2d(inputs, 4).flatten(1)}
        for factor in NAMED:
            read = accuracies(pixels, labels[factor].tolist())[kind]
            rows[kind][f"{factor}, from pixels"] = _told(read.share, read.low, read.high)
    return pd.DataFrame.from_dict(rows, orient="index")


def stretched(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), each with the spread that real scenes have."""
    centred = pictures - pictures.mean(dim=(2, 3), keepdim=True)
    return (0.4 + 0.22 * centred / centred.std(dim=(1, 2, 3), keepdim=True)).clamp(0.0, 1.0)


def _written(right: Tensor) -> str:
    result = bootstrap_mean(right.double())
    return _told(result.value, *result.interval)


def _told(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def figure_of(drawn: dict[str, list[Image.Image]]) -> Image.Image:
    """The first scenes: one row a kind of picture, in the table's order."""
    rows = [to_tensor(one) for pictures in drawn.values() for one in pictures[:_SHOWN]]
    count = len(rows) // len(drawn)
    return to_pil_image(make_grid(torch.stack(rows), nrow=count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=list(CLASSIFIERS), default=MODELS)
    parser.add_argument("--images", type=int, default=10_000, help="scenes to train on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--tested", type=int, default=512, help="other scenes, which are judged")
    parser.add_argument("--output", type=Path, default=Path("decoded"), help="a folder")
    options = parser.parse_args()
    if options.images < 200 or options.tested < 30:
        parser.error("--images wants 200 or more, --tested 30")
    options.output.mkdir(parents=True, exist_ok=True)
    scenes = sample_scenes(options.tested, _TESTED)
    for name in options.model:
        model, decoders = train(name, options.images, options.epochs)
        drawn = draw(model, decoders, scenes.images)
        print(f"\n{name}\n")
        print(table_of(model, drawn, scenes.labels).to_markdown())
        path = options.output / f"{name.replace('/', '_')}.png"
        figure_of(drawn).save(path)
        for part, decoder in decoders.items():
            decoder.save(path.with_suffix(f".{part}.safetensors"))
        print(f"\nWritten: {path}, rows as in the table")


if __name__ == "__main__":
    main()
