"""What the finished networks reach on fresh images, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from captum_sing.demo.scenes import FACTORS, sample_scenes
from captum_sing.demo.training.common import image_seed
from captum_sing.demo.training.families import collect, load_sharing
from captum_sing.demo.world import (
    encode_scenes,
    load_concepts,
    load_decoder,
    load_encoder,
)
from captum_sing.null_space import NullSpace

Row = tuple[str, str, dict[str, float]]
"""A model, where it was read from, and the share of right answers for each factor."""


def probe(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """Names (M,) by least squares on one-hot labels: the linear information in features (N, D)."""
    mean = train.double().mean(0)
    inputs = torch.cat([train.double() - mean, torch.ones(len(train), 1)], 1)
    fresh = torch.cat([test.double() - mean, torch.ones(len(test), 1)], 1)
    gram = inputs.T @ inputs
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram))
    return (fresh @ torch.linalg.solve(gram + ridge, inputs.T @ one_hot(labels).double())).argmax(1)


def _rates(named: dict[str, Tensor], labels: dict[str, Tensor]) -> dict[str, float]:
    return {name: (named[name] == labels[name]).double().mean().item() for name in named}


def classifier_rows(names: Sequence[str], folder: Path, stream: int, count: int) -> list[Row]:
    """Accuracy, and what linear probes find in the row space and in the null space of each head."""
    models = load_sharing(names, folder)
    embeds = {name: model.features for name, model in models.items()}
    train, train_labels = collect(embeds, stream, 2 * count)
    test, labels = collect(embeds, stream + 1, count)
    rows: list[Row] = []
    with torch.no_grad():
        for name, model in models.items():
            null_space = NullSpace.from_layer(model.head)
            right = {"shape": model.head(test[name]).argmax(1)}
            rows.append((name, "head", _rates(right, labels)))
            nulls = [null_space.project(features[name]) for features in (train, test)]
            principals = [f[name] - n for f, n in zip((train, test), nulls, strict=True)]
            for where, (fit, fresh) in {"row space": principals, "null space": nulls}.items():
                named = {f: probe(fit, train_labels[f], fresh) for f in FACTORS}
                rows.append((name, where, _rates(named, labels)))
    return rows


def clip_rows(folder: Path, stream: int, count: int) -> list[Row]:
    """Zero-shot naming by the tiny CLIP, and naming of the pictures that the decoder draws."""
    encoder, decoder = load_encoder(folder=folder), load_decoder(folder=folder)
    bank = load_concepts(encoder)
    scenes = sample_scenes(count, image_seed(stream, 0))
    with torch.no_grad():
        embeddings = encode_scenes(encoder, scenes.images)
        again = encode_scenes(encoder, decoder(embeddings))
    rows: list[Row] = []
    for where, read in {"image": embeddings, "decoded": again}.items():
        named = {
            name: (read @ bank.embeddings[bank.indices(words)].T).argmax(1)
            for name, words in FACTORS.items()
        }
        rows.append(("clip", where, _rates(named, scenes.labels)))
    return rows
