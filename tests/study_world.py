"""Scenes of the embedded world as a study, and a made-up table with known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from torchvision.transforms.functional import to_pil_image

from captum_sing.classifiers import load_classifier
from captum_sing.demo import load_concepts, load_encoder, load_translator, sample_scenes
from captum_sing.study import Study, extract, study_of

NAME = "resnet/neck_color"
FACTORS = ("shape", "color", "background")


def scenes_extraction(count: int = 120, seed: int = 5, name: str = NAME) -> Any:
    """An extraction of scenes labelled with their shape, and their words by factor."""
    scenes = sample_scenes(count, seed=seed)
    images = [
        (to_pil_image(image), int(label))
        for image, label in zip(scenes.images, scenes.labels["shape"], strict=True)
    ]
    extraction = extract(
        load_classifier(f"demo/{name}"), load_encoder(), images, shard_size=64, show_progress=False
    )
    words = {factor: [scenes.words(i)[factor] for i in range(count)] for factor in FACTORS[1:]}
    return extraction, words


def scenes_study(count: int = 120, name: str = NAME, **options: Any) -> Study:
    extraction, words = scenes_extraction(count, name=name)
    options = {"word_labels": words, "draws": 200, **options}
    return study_of(extraction, load_concepts(load_encoder()), load_translator(name), **options)


def made_up(
    n: int = 400,
    *,
    signal: float = 0.0,
    share: float = 1.0,
    labels: list[str | None] | None = None,
    seed: int = 0,
    in_sample: int = 0,
    facts: dict[str, Any] | None = None,
) -> Study:
    """A table of noise, in which the evidence of an image's own colour may be raised.

    Args:
        n: images.
        signal: by how much.
        share: how much of that is ignored.
        labels: of the classes. Default: "a" and "b" in turn.
        seed: of the noise.
        in_sample: the first so many images are the translator's own; their signal is huge.
        facts: other ones.
    """
    random = np.random.default_rng(seed)
    words = ["red", "green", "blue"]
    own = random.integers(3, size=n)
    columns: dict[str, Any] = {
        "path": [f"image {i}" for i in range(n)],
        "label": pd.Categorical(
            [("a", "b")[i % 2] for i in range(n)] if labels is None else labels
        ),
        "in_sample": np.arange(n) < in_sample,
        "repeated": np.zeros(n, dtype=bool),
        "own_color": pd.Categorical.from_codes(own, categories=words),
    }
    for start in ("", "mean_"):
        columns[f"{start}image_score"] = 30 + random.normal(size=n)
        columns[f"{start}attribute_score"] = random.normal(size=n)
        columns[f"{start}null_energy"] = random.uniform(size=n)
    for i, word in enumerate(words):
        raised = signal * (own == i) + 100.0 * (own == i) * columns["in_sample"]
        columns[f"seen_{word}"] = random.normal(size=n) + raised * (1 - share)
        columns[f"ignored_{word}"] = random.normal(size=n) + raised * share
    for source in ("all", "seen", "ignored"):
        columns[f"named_color_{source}"] = pd.Categorical.from_codes(own, categories=words)
    columns["named_color_seen"] = pd.Categorical.from_codes(
        random.integers(3, size=n), categories=words
    )
    told = {
        "model": "made up", "encoder": "toy", "nullity": 10, "rank": 30, "width": 40,
        "isotropic_image_score": 30.0, "words": words,
        "groups": {"color": words}, "draws": 200, "seed": 0, "notes": [], "unusable": [],
    }  # fmt: skip
    return Study(pd.DataFrame(columns), {**told, "baselines": ["none", "mean"], **(facts or {})})
