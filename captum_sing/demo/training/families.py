"""What is computed rather than trained, once the networks exist: necks, translators, decoder.

Every set of images has a stream of its own: the anatomy of a backbone, its translators, and the
figures that are reported never share an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from captum_sing.demo.models import SceneClassifier
from captum_sing.demo.scenes import sample_scenes
from captum_sing.demo.training.common import image_seed
from captum_sing.demo.training.decoder import fit_decoder
from captum_sing.demo.training.necks import Anatomy, make_neck
from captum_sing.demo.world import (
    CLASSIFIERS,
    backbone_file,
    encode_scenes,
    file_of,
    load_classifier,
    load_encoder,
    load_state,
    load_translator,
    save_state,
)
from captum_sing.fitter import TranslatorFitter
from captum_sing.null_space import NullSpace
from captum_sing.translator import LinearTranslator

Embed = Callable[[Tensor], Tensor]
_CHUNK = 512


class _Once(nn.Module):
    """A backbone that several functions share: the same pixels run through it once."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixels, self.features = torch.empty(0), torch.empty(0)

    def forward(self, pixels: Tensor) -> Tensor:
        """The features of the pixels."""
        if not torch.equal(pixels, self.pixels):
            self.pixels, self.features = pixels, self.backbone(pixels)
        return self.features


def load_sharing(names: Sequence[str], folder: Path) -> dict[str, SceneClassifier]:
    """Loads classifiers; necks of one architecture share one backbone, and each is run once."""
    models = {name: load_classifier(name, folder=folder) for name in names}
    shared: dict[str, _Once] = {}
    for name, model in models.items():
        owner = CLASSIFIERS[name].architecture if CLASSIFIERS[name].necked else name
        model.backbone = shared.setdefault(owner, _Once(model.backbone))
    return models


@torch.no_grad()
def collect(
    embeds: Mapping[str, Embed], stream: int, count: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Renders fresh images in chunks and keeps only what each function makes of them.

    Returns:
        tuple: name -> (count, width), and factor -> (count,) labels.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in embeds}
    labels: list[dict[str, Tensor]] = []
    for chunk in range(0, count, _CHUNK):
        scenes = sample_scenes(min(_CHUNK, count - chunk), image_seed(stream, chunk))
        labels.append(scenes.labels)
        for name, embed in embeds.items():
            found[name].append(embed(scenes.images))
    return (
        {name: torch.cat(parts) for name, parts in found.items()},
        {factor: torch.cat([part[factor] for part in labels]) for factor in labels[0]},
    )


def build_necks(architecture: str, folder: Path, stream: int, count: int, seed: int) -> None:
    """Dissects a trained backbone and writes all of its necks.

    They stay in float32: the zeros of what was not planted are worth their few bytes.
    """
    model = SceneClassifier.build(architecture)
    load_state(model.backbone, backbone_file(architecture, folder))
    model.eval()
    features, labels = collect({"features": model.features}, stream, count)
    anatomy = Anatomy.of(features["features"], labels)
    for index, (name, about) in enumerate(CLASSIFIERS.items()):
        if about.planted is not None and about.architecture == architecture:
            neck, head = make_neck(anatomy, about.planted, seed + index)
            save_state(
                nn.ModuleDict({"neck": neck, "head": head}), file_of(name, folder), half=False
            )


def fit_translators(names: Sequence[str], folder: Path, stream: int, count: int) -> None:
    """Fits and writes the translators of some classifiers, on the same images."""
    encoder = load_encoder(folder=folder)
    embeds: dict[str, Embed] = {
        name: model.features for name, model in load_sharing(names, folder).items()
    }
    embeds["image"] = lambda images: encode_scenes(encoder, images)
    found, _ = collect(embeds, stream, count)
    for name in names:
        fitter = TranslatorFitter(encoder=encoder.name, model=f"demo/{name}")
        path = folder / "translators" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        fitter.update(found[name], found["image"]).fit().save(path)


def _translate(model: SceneClassifier, translator: LinearTranslator, images: Tensor) -> Tensor:
    translated: Tensor = translator(model.features(images))
    return translated


def _translate_equivalent(
    model: SceneClassifier, translator: LinearTranslator, images: Tensor
) -> Tensor:
    features = model.features(images)
    equivalents = NullSpace.from_layer(model.head).remove(features, translator.mean.to(features))
    translated: Tensor = translator(equivalents)
    return translated


def build_decoder(folder: Path, stream: int, count: int) -> None:
    """Fits and writes the decoder.

    It reads true embeddings, translated features and their translated equivalents of every
    classifier alike, so that it is as sure of each as it can be and no surer.
    """
    encoder = load_encoder(folder=folder)
    embeds: dict[str, Embed] = {"image": lambda images: encode_scenes(encoder, images)}
    for name, model in load_sharing(list(CLASSIFIERS), folder).items():
        translator = load_translator(name, folder=folder)
        embeds[name] = partial(_translate, model, translator)
        embeds[f"{name}, equivalent"] = partial(_translate_equivalent, model, translator)
    found, labels = collect(embeds, stream, count)
    everywhere = {factor: label.repeat(len(found)) for factor, label in labels.items()}
    decoder = fit_decoder(torch.cat(list(found.values())), everywhere)
    save_state(decoder, folder / "decoder.safetensors")
