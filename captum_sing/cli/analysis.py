"""One's own pictures through one's own model: all numbers, in words, as JSON and as a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from captum_sing import __version__
from captum_sing.classifiers import LoadedClassifier
from captum_sing.concepts import ConceptBank
from captum_sing.descriptions import Descriptions, number
from captum_sing.errors import SINGValueError, expected
from captum_sing.files import write_whole
from captum_sing.head import Head, find_head, resolve_layer
from captum_sing.hooks import logits_of
from captum_sing.null_space import NullSpace
from captum_sing.sing import SING
from captum_sing.translator import LinearTranslator
from captum_sing.verification import Verification
from captum_sing.visualization import visualize_descriptions

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Analysis", "analyze_pictures", "device_of"]

_BATCH = 32
_FIGURED = 12  # images in the figure


@dataclass(frozen=True)
class Analysis:
    """What was found in each picture, and with what.

    Attributes:
        pictures (dict of str to PIL.Image.Image): by file name, B of them.
        classifier (LoadedClassifier): the model.
        head (Head): its last layer.
        null_space (NullSpace): what was removed.
        probabilities (Tensor): of the model, shape (B, C).
        descriptions (Descriptions): scores and words.
        drift (Verification): how far the logits moved.
        settings (dict): baseline, target, and the translator's facts.
    """

    pictures: dict[str, Image.Image]
    classifier: LoadedClassifier
    head: Head
    null_space: NullSpace
    probabilities: Tensor
    descriptions: Descriptions
    drift: Verification
    settings: dict[str, Any]

    def prediction(self, index: int) -> str:
        """The most probable class of one picture, by name where it is known."""
        share, number = self.probabilities[index].max(dim=0)
        names = self.classifier.class_names
        name = f"class {int(number)}" if names is None else names[int(number)].split(",")[0]
        return f"{name}, {float(share):.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Every number, in the types that JSON holds; None where there is no finite number."""
        space, concepts = self.null_space, self.descriptions.concepts
        return {
            "captum_sing": __version__,
            "model": {
                "name": self.classifier.name,
                "head": self.head.name,
                "features": space.width,
                "rank": space.rank,
                "nullity": space.nullity,
                "rtol": space.rtol,
                "gap": number(space.gap),
                "energy": space.energy,
                "classes": space.classes,
            },
            "settings": self.settings,
            "concepts": {"groups": concepts.groups, "encoder": concepts.encoder},
            "images": [
                {"file": name, **self._of_model(i), **found}
                for i, (name, found) in enumerate(
                    zip(self.pictures, self.descriptions.to_dicts(), strict=True)
                )
            ],
        }

    def _of_model(self, index: int) -> dict[str, Any]:
        names = self.classifier.class_names
        share, kind = self.probabilities[index].max(dim=0)
        return {
            "prediction": {
                "class": int(kind),
                "name": None if names is None else names[int(kind)],
                "probability": number(share),
            },
            "logit_drift": {
                kind: number(getattr(self.drift, kind)[index])
                for kind in ("null", "random", "principal")
            },
        }

    def show(self, console: Console) -> None:
        """Print the head, a table of the pictures, and their descriptions."""
        space = self.null_space
        lines = [
            f"Model: {self.classifier.name}, head {self.head.name}",
            f"Rank {space.rank} of {space.width} features: {space.nullity} directions are ignored.",
        ]
        console.print("\n".join(lines), markup=False, soft_wrap=True)
        table = Table("image", "prediction")
        for column in ("IS", "energy ignored", "drift: null", "random"):
            table.add_column(column, justify="right")
        for i, name in enumerate(self.pictures):
            table.add_row(
                Text(Path(name).name),
                Text(self.prediction(i)),
                f"{float(self.descriptions.image_score[i]):.1f}°",
                f"{float(self.descriptions.null_energy[i]):.0%}",
                f"{float(self.drift.null[i]):.1e}",
                f"{float(self.drift.random[i]):.1e}",
            )
        console.print(table)
        for name, description in zip(self.pictures, self.descriptions, strict=True):
            text = Text.assemble((f"{Path(name).name}: ", "bold"), str(description))
            console.print(text, soft_wrap=True)
        if len(self.pictures) > _FIGURED:
            console.print(f"The figure shows the first {_FIGURED} images.")

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write ``analysis.json`` and ``analysis.png``, each whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        names = list(self.pictures)[:_FIGURED]
        figure = visualize_descriptions(
            self.descriptions[:_FIGURED],
            [self.pictures[name] for name in names],
            [f"{Path(name).name}\n{self.prediction(i)}" for i, name in enumerate(names)],
        )
        return (
            write_whole(folder / "analysis.json", lambda p: p.write_text(text, encoding="utf-8")),
            write_whole(
                folder / "analysis.png", lambda p: figure.savefig(p, format="png", dpi=130)
            ),
        )


def analyze_pictures(
    pictures: Mapping[str, Image.Image],
    classifier: LoadedClassifier,
    translator: LinearTranslator,
    concepts: ConceptBank,
    *,
    layer: str | None = None,
    baseline: str | None = None,
    target: int | None = None,
    energy: float | None = None,
    top_k: int = 5,
) -> Analysis:
    """Run :class:`~captum_sing.SING` and the model itself; arguments as there."""
    if translator.model not in (None, classifier.name):
        raise SINGValueError(
            expected(
                "captum-sing analyze",
                "--translator",
                f"of {classifier.name}",
                f"one that was fitted to {translator.model}",
                "Features of two models mean different things, also where their widths agree",
            )
        )
    model = classifier.model
    device = next(model.parameters()).device
    batch = torch.stack([classifier.preprocess(p) for p in pictures.values()]).to(device)
    if layer is None:
        head = find_head(model, batch[:2])
    else:
        head = Head(layer, resolve_layer(model, layer))
    kept = None if target is None else [target]
    space = NullSpace.from_layer(head.module, energy=energy, classes=kept)
    sing = SING(
        model, head.module, translator, concepts, null_space=None if energy is None else space
    )
    descriptions = sing.attribute(
        batch, baseline, target, top_k=top_k, internal_batch_size=_BATCH
    ).descriptions
    drift = sing.verify(batch, baseline, target, internal_batch_size=_BATCH)
    with torch.no_grad():
        logits = torch.cat([logits_of(model(part)) for part in batch.split(_BATCH)])
    return Analysis(
        dict(pictures),
        classifier,
        head,
        space,
        logits.double().softmax(dim=1).cpu(),
        descriptions,
        drift,
        {"baseline": baseline, "target": target, "translator": translator.facts},
    )


def device_of(name: str) -> torch.device:
    """A device that this machine has.

    Raises:
        SINGValueError: it has none of that name.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SINGValueError(
            expected(
                "captum-sing analyze",
                "--device",
                "to be a device of this machine",
                f"{name} ({reason})",
                "Leave it out for the CPU",
            )
        ) from error
