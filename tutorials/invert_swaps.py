"""Finds pictures of swaps by gradient, and asks others what is in them.

``python tutorials/invert_swaps.py`` swaps the ignored part of scenes with that of others, whose
planted factor has another value, and searches for pictures with these features, from the scenes,
blurred: once with the ignored part measured by its translation, once by its own length. A row each:

- photographs: the scenes themselves, and *start*: blurred, with noise, as the search begins.
- original: drawn from the scene's own features, from the same start and noise as the swap.
- swap: drawn from the features with the other scene's ignored part.

Of each, the relative logit gap to the wanted features (median, and the share of at most 2 %), the
distance of the ignored part over its length about the mean, and how often a tiny CLIP names the
other scene's factor, the scene's own, and its shape, with 95 % intervals. CLIP is never run in the
search; the translation that measures in the first kind was fitted to it. So the translation of
*another network*, which had no part in either, names the factor too. In ``neck_none`` no factor is
in the null space: its swap is the control, which may lose the own colour and must not bring the
other scene's.

On one core a classifier takes ten minutes, five with ``--by translation``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import tabulate  # noqa: F401  prints tables; pip install 'captum-sing[quantus]'
import torch
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from captum_sing import SING, NullSpace
from captum_sing.controls.names import exact_interval, name
from captum_sing.demo import (
    FACTORS,
    encode_scenes,
    load_classifier,
    load_concepts,
    load_encoder,
    load_translator,
    sample_scenes,
)
from captum_sing.demo.scenes import IMAGE_SIZE
from captum_sing.demo.world import card
from captum_sing.devices import one_thread
from captum_sing.hooks import read_features
from captum_sing.render.inversion import Inversion
from captum_sing.render.priors import degraded
from captum_sing.visualization import visualize_pictures

MODELS = (
    "resnet/neck_color",
    "convnext/neck_color",
    "resnet/neck_size",
    "resnet/neck_background",
    "resnet/neck_none",
)
MEASURES = ("translation", "length")

_SEED, _SHOWN, _TOLERANCE = 81_000_000, 10, 0.02


class Swaps(NamedTuple):
    """Scenes, the scenes that lend them their ignored part, and what is wanted of a picture.

    Attributes:
        sing (SING): of the classifier.
        factor (str): planted in its null space; color where none is.
        images, donors (Tensor): shape (B, 3, 64, 64).
        labels, others (dict of str to Tensor): the truth about each.
        features, equivalents (Tensor): f and f~, shape (B, D).
    """

    sing: SING
    factor: str
    images: Tensor
    donors: Tensor
    labels: dict[str, Tensor]
    others: dict[str, Tensor]
    features: Tensor
    equivalents: Tensor


def swaps_of(model: str, count: int, seed: int = _SEED) -> Swaps:
    """Donors are drawn like the scenes, and their planted factor anew until it differs."""
    factor = (*(card(model).planted or ()), "color")[0]
    scenes = sample_scenes(count, seed)
    own, values = scenes.labels[factor], len(FACTORS[factor])
    generator = torch.Generator().manual_seed(seed)
    another = (own + torch.randint(1, values, (count,), generator=generator)) % values
    donors = sample_scenes(count, seed + 1, labels={factor: another})
    classifier = load_classifier(model)
    sing = SING(classifier, "head", load_translator(model), load_concepts(load_encoder()))
    perturbations, _ = sing.attribute(scenes.images, donors.images)
    features = read_features(classifier, classifier.head, scenes.images)
    wanted = features + perturbations
    return Swaps(
        sing, factor, scenes.images, donors.images, scenes.labels, donors.labels, features, wanted
    )


def renderer(swaps: Swaps, by: str, steps: int) -> Inversion:
    """One for originals and swaps."""
    return Inversion(
        swaps.sing.forward_func,
        "head",
        lambda pictures: pictures,  # these classifiers take them as they are
        IMAGE_SIZE,
        start=swaps.images,
        translator=swaps.sing.translator if by == "translation" else None,
        steps=steps,
    )


def draw(inversion: Inversion, wanted: Tensor) -> Tensor:
    """Pictures as their files hold them."""
    return torch.stack([to_tensor(picture) for picture in inversion.render(wanted)])


def judge(swaps: Swaps, pictures: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """What is true of each picture, shape (B,)."""
    model, translator, bank = swaps.sing.forward_func, swaps.sing.translator, swaps.sing.concepts
    space = NullSpace.from_layer(model.head)
    found = read_features(model, model.head, pictures)
    with torch.no_grad():
        logits = model.head(wanted)
        gap = (model.head(found) - logits).abs().amax(dim=1) / logits.abs().amax(dim=1)
    missed = space.project(found - wanted).norm(dim=1)
    embeddings = encode_scenes(load_encoder(), pictures)

    def named(rows: Tensor, group: str) -> Tensor:
        return name(rows, bank.embeddings[[bank.names.index(word) for word in FACTORS[group]]])

    own, other = swaps.labels[swaps.factor], swaps.others[swaps.factor]
    named_by_clip = named(embeddings, swaps.factor)
    return {
        "gap": gap,
        "close": gap <= _TOLERANCE,
        "ignored part": missed / space.project(wanted - translator.mean).norm(dim=1),
        "donor's factor": named_by_clip == other,
        "own factor": named_by_clip == own,
        "own shape": named(embeddings, "shape") == swaps.labels["shape"],
        "donor's, by another network": named(_elsewhere(swaps, pictures), swaps.factor) == other,
    }


def _elsewhere(swaps: Swaps, pictures: Tensor) -> Tensor:
    """Translated features of a classifier of the other architecture that holds the factor."""
    here = swaps.sing.translator.model or ""
    there = "resnet" if "convnext" in here else "convnext"
    model = load_classifier(f"{there}/neck_{swaps.factor}")
    translator = load_translator(f"{there}/neck_{swaps.factor}")
    return translator(read_features(model, model.head, pictures))


def invert(
    model: str, count: int, steps: int, measures: tuple[str, ...] = MEASURES
) -> tuple[list[dict[str, object]], dict[str, Tensor]]:
    """The rows of a classifier's table, and its pictures."""
    swaps = swaps_of(model, count)
    side = swaps.images.shape[1:]
    noise = 0.02 * torch.randn(side, generator=torch.Generator().manual_seed(0))  # as of seed 0
    drawn = {"photographs": swaps.images, "start": degraded(swaps.images, 1.0, noise)}
    rows = [_row(model, swaps, kind, "", pictures) for kind, pictures in drawn.items()]
    drawn = {"photographs": swaps.images, "donors": swaps.donors}
    for by in measures:
        inversion = renderer(swaps, by, steps)
        for kind, wanted in (("original", swaps.features), ("swap", swaps.equivalents)):
            pictures = draw(inversion, wanted)
            rows.append(_row(model, swaps, kind, by, pictures))
            drawn[f"{kind},\nby {by}"] = pictures
    return rows, drawn


def _row(model: str, swaps: Swaps, kind: str, by: str, pictures: Tensor) -> dict[str, object]:
    wanted = swaps.equivalents if kind == "swap" else swaps.features
    found = judge(swaps, pictures, wanted)
    row: dict[str, object] = {"classifier": model, "factor": swaps.factor, "pictures": kind}
    row |= {"measured by": by, "gap": f"{found.pop('gap').median():.4f}"}
    row["ignored part"] = f"{found.pop('ignored part').median():.2f}"
    for title, share in found.items():
        right = int(share.sum())
        low, high = exact_interval(right, len(share))
        row[title] = f"{right / len(share):.2f} [{low:.2f}, {high:.2f}]"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="swaps")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--by", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--output", type=Path, help="a figure of the first ones, such as swaps.png")
    options = parser.parse_args()
    rows, shown = [], {}
    with one_thread():
        for model in options.model:
            found, drawn = invert(model, options.count, options.steps, tuple(options.by))
            rows += found
            shown |= {f"{model}\n{kind}": list(one[:_SHOWN]) for kind, one in drawn.items()}
    print(pd.DataFrame(rows).rename(columns={"close": "at most 2 %"}).to_markdown(index=False))
    if options.output is not None:
        visualize_pictures(shown).savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
