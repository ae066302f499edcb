"""One's own pictures through one's own model, with its translator and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_sing.classifiers import LoadedClassifier
from captum_sing.cli.analysis import Analysis
from captum_sing.concepts import ConceptBank
from captum_sing.datasets import Pictures, read_batches
from captum_sing.errors import SINGError, SINGValueError, expected
from captum_sing.evidence import FEWEST_REFERENCES
from captum_sing.forward_pass import logits_of
from captum_sing.head import find_head, resolve_layer
from captum_sing.hooks import read_features
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.render.frame import Frame
from captum_sing.sing import SING
from captum_sing.translator import LinearTranslator
from captum_sing.visualization import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "analyze_pictures",
    "as_seen",
    "check_reference",
    "check_translator",
    "reference_statistics",
]

_WHERE = "captum-sing"
_BATCH = 32


def analyze_pictures(
    pictures: Mapping[str, Image.Image],
    classifier: LoadedClassifier,
    translator: LinearTranslator,
    concepts: ConceptBank,
    *,
    layers: Sequence[str] = (),
    baseline: str | None = None,
    target: int | None = None,
    energy: float | None = None,
    top_k: int = 5,
    reference: Path | None = None,
) -> Analysis:
    """Run :class:`~captum_sing.SING` and the model itself; arguments as there.

    Args:
        pictures (mapping of str to PIL.Image.Image): by name, B of them.
        classifier (LoadedClassifier): the model.
        translator (LinearTranslator): fitted to this model, with this preprocessing.
        concepts (ConceptBank): the words.
        layers (sequence of str): the head, or all that the model averages; none finds it.
        baseline, target, energy, top_k: as of :class:`captum_sing.SING`.
        reference (Path, optional): a folder of images, for the translator's statistics.
    """
    model = classifier.model
    device = next(model.parameters()).device
    batch = torch.stack([classifier.preprocess(p) for p in pictures.values()]).to(device)
    heads: list[nn.Module]
    if layers:
        heads = [resolve_layer(model, layer) for layer in layers]
    else:
        found = find_head(model, batch[:2])
        layers, heads = [found.name], [found.module]
    check_translator(translator, classifier, list(layers))
    width = read_features(model, heads, batch[:1]).flatten(1).shape[1]
    kept = None if target is None else [target]
    weight = LinearHead.of(heads).weight(width)
    space = NullSpace.from_weight(weight, energy=energy, classes=kept)
    layer = heads[0] if len(heads) == 1 else heads
    given = None if energy is None else space
    sing = SING(model, layer, translator, concepts, null_space=given)
    facts = None
    if reference is not None:
        check_reference(translator)
        translator, facts = reference_statistics(translator, classifier, heads, reference)
        sing = SING(model, layer, translator, concepts, null_space=given)
    descriptions = sing.attribute(
        batch, baseline, target, top_k=top_k, internal_batch_size=_BATCH
    ).descriptions
    drift = sing.verify(batch, baseline, target, internal_batch_size=_BATCH)
    with torch.no_grad():
        logits = torch.cat([logits_of(model(part)) for part in batch.split(_BATCH)])
    return Analysis(
        {
            name: as_seen(tensor, picture, classifier.preprocess)
            for tensor, (name, picture) in zip(batch.cpu(), pictures.items(), strict=True)
        },
        classifier,
        translator,
        layers,
        space,
        logits.double().softmax(dim=1).cpu(),
        descriptions,
        drift,
        {"baseline": baseline, "target": target, "top_k": top_k},
        facts,
    )


def check_reference(translator: LinearTranslator) -> None:
    """Reference images are for a translator without statistics.

    Raises:
        SINGValueError: it has its own, those of the images that it was fitted on.
    """
    if translator.has_statistics:
        raise SINGValueError(
            expected(
                _WHERE,
                "--reference",
                "only for a translator without statistics",
                "one that has its own",
                "Leave it out",
            )
        )


def as_seen(tensor: Tensor, picture: Image.Image, preprocess: Any) -> Picture:
    """What the model saw of a picture, without the normalisation; else the picture itself.

    Args:
        tensor (Tensor): the preprocessed picture, shape (3, H, W).
        picture (PIL.Image.Image): what it was made of.
        preprocess (callable): what made it.
    """
    try:
        return Frame.of(preprocess).pictures(tensor[None])[0]
    except SINGError:
        return picture


def reference_statistics(
    translator: LinearTranslator,
    classifier: LoadedClassifier,
    heads: Sequence[nn.Module],
    folder: Path,
) -> tuple[LinearTranslator, dict[str, Any]]:
    """The translator with the statistics of a folder's images, and which these were.

    Raises:
        SINGFileError: no folder, or no pictures in it.
        SINGValueError: fewer than fifty that can be used: these would rank words by noise.
    """
    device = next(classifier.model.parameters()).device
    features, left_out = [], []
    for batch in read_batches(
        Pictures.of(folder), {"preprocess": classifier.preprocess}, batch_size=_BATCH
    ):
        left_out += [f"{picture.name}: {picture.reason}" for picture in batch.unusable]
        if batch.tensors:
            images = batch.tensors["preprocess"].to(device)
            features.append(read_features(classifier.model, heads, images).flatten(1).cpu())
    count = sum(map(len, features))
    if count < FEWEST_REFERENCES:
        raise SINGValueError(
            expected(
                _WHERE,
                "--reference",
                f"with {FEWEST_REFERENCES} readable images or more",
                f"{count} in {folder}" + (f" ({left_out[0]})" if left_out else ""),
                "Give images such as those the model was trained on, some hundreds at best",
            )
        )
    facts = {"folder": str(folder), "images": count, "left_out": left_out}
    return translator.with_statistics(torch.cat(features)), facts


def check_translator(
    translator: LinearTranslator, classifier: LoadedClassifier, layers: list[str]
) -> None:
    """Fitted to this layer of this model, on images that were prepared in the same way."""
    read = translator.facts.get("layer")
    fitted = translator.facts.get("preprocessing")
    for recorded, own, constraint, actual, remedy in (
        (
            translator.model,
            classifier.name,
            f"of {classifier.name}",
            f"one that was fitted to {translator.model}",
            "Features of two models mean different things, also where their widths agree",
        ),
        (
            fitted,
            classifier.preprocessing,
            f"for images prepared as this classifier does, {classifier.preprocessing}",
            f"one for {fitted}",
            "Features of images that were prepared in another way are others: fit it again",
        ),
        (
            read,
            layers,
            f"for what {' and '.join(layers)} reads",
            f"one for {' and '.join(read or ())}",
            "Name the layer it was fitted to (--layer), or fit it again",
        ),
    ):
        if recorded not in (None, own):
            raise SINGValueError(expected(_WHERE, "--translator", constraint, actual, remedy))
