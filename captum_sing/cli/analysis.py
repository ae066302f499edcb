"""What was found in one's own pictures: all numbers, in words, as JSON and as a figure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from torch import Tensor

from captum_sing import __version__
from captum_sing.classifiers import LoadedClassifier
from captum_sing.decomposition import Decomposition
from captum_sing.descriptions import Descriptions, number
from captum_sing.files import write_whole
from captum_sing.null_space import NullSpace
from captum_sing.translator import LinearTranslator
from captum_sing.verification import Verification
from captum_sing.visualization import Picture, visualize_descriptions

__all__ = ["Analysis", "shortest"]

_FIGURED = 12  # images in the figure
_ENOUGH = 200  # reference images
_UNRECORDED = "not recorded"


@dataclass(frozen=True)
class Analysis:
    """What was found in each picture, and with what.

    Attributes:
        pictures (mapping of str to picture): by file name, B of them, as the model saw them where
            its preprocessing tells how to show that.
        classifier (LoadedClassifier): the model.
        translator (LinearTranslator): its translator.
        layers (sequence of str): the names of its head, or of the heads that it averages.
        null_space (NullSpace): what was removed.
        probabilities (Tensor): of the model, shape (B, C).
        descriptions (Descriptions): scores and words.
        drift (Verification): how far the logits moved.
        settings (dict): baseline, target and top_k.
        reference (dict, optional): the images that gave the translator its statistics.
    """

    pictures: Mapping[str, Picture]
    classifier: LoadedClassifier
    translator: LinearTranslator
    layers: Sequence[str]
    null_space: NullSpace
    probabilities: Tensor
    descriptions: Descriptions
    drift: Verification
    settings: dict[str, Any]
    reference: dict[str, Any] | None = None

    @cached_property
    def together(self) -> list[Decomposition | None]:
        """Few words that together explain what is ignored; None where nothing is claimed."""
        found = self.descriptions
        if found.evidence is None:
            return [None] * len(found)
        few = found.decompose()
        return [None if known else one for one, known in zip(few, found.in_sample, strict=True)]

    def prediction(self, index: int) -> str:
        """The most probable class of one picture, by name where it is known."""
        share, number = self.probabilities[index].max(dim=0)
        names = self.classifier.class_names
        name = f"class {int(number)}" if names is None else names[int(number)].split(",")[0]
        return f"{name}, {'>99.9%' if share > 0.999 else f'{float(share):.1%}'}"

    @cached_property
    def names(self) -> list[str]:
        """What tells the pictures apart."""
        return shortest(self.pictures)

    def to_dict(self) -> dict[str, Any]:
        """Every number, in the types that JSON holds; None where there is no finite number."""
        space, concepts, translator = self.null_space, self.descriptions.concepts, self.translator
        return {
            "captum_sing": __version__,
            "model": {
                "name": self.classifier.name,
                "preprocessing": self.classifier.preprocessing,
                "head": " and ".join(self.layers),
                "features": space.width,
                "rank": space.rank,
                "nullity": space.nullity,
                "rtol": space.rtol,
                "gap": number(space.gap),
                "energy": space.energy,
                "classes": space.classes,
            },
            "translator": {
                "model": translator.model or _UNRECORDED,
                "encoder": translator.encoder or _UNRECORDED,
                "statistics": translator.has_statistics,
                "reference": self.reference,
                "facts": translator.facts,
            },
            "settings": self.settings,
            "concepts": {"groups": concepts.groups, "encoder": concepts.encoder or _UNRECORDED},
            "images": [
                {"file": name, **self._of_model(i), **found, "together": self._together(i)}
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

    def _together(self, index: int) -> dict[str, Any] | None:
        found = self.together[index]
        if found is None:
            return None
        words = zip(found.words, found.coefficients, strict=True)
        return {
            "words": [{"word": word, "coefficient": value} for word, value in words],
            "explained": number(found.explained),
            "length": found.length,
        }

    def show(self, console: Console) -> None:
        """Print with what was analysed, a table of the pictures, and their descriptions."""
        for line in self._with_what():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        table = Table(Column("image", overflow="fold"), Column("prediction", overflow="fold"))
        for column in ("IS", "energy ignored", "drift: null", "random"):
            table.add_column(column, justify="right")
        for i, name in enumerate(self.names):
            table.add_row(
                Text(name),
                Text(self.prediction(i)),
                f"{float(self.descriptions.image_score[i]):.1f}°",
                f"{float(self.descriptions.null_energy[i]):.0%}",
                f"{float(self.drift.null[i]):.1e}",
                f"{float(self.drift.random[i]):.1e}",
            )
        console.print(table)
        for i, (name, description) in enumerate(zip(self.names, self.descriptions, strict=True)):
            said = f"{description}{self._said_together(i)}"
            text = Text.assemble((f"{name}: ", "bold"), said)
            console.print(text, soft_wrap=True)
        if len(self.pictures) > _FIGURED:
            console.print(f"The figure shows the first {_FIGURED} images.")

    def _with_what(self) -> list[str]:
        space, translator = self.null_space, self.translator
        heads = "head" if len(self.layers) == 1 else "the mean of the heads"
        lines = [
            f"Model: {self.classifier.name}, {heads} {' and '.join(self.layers)}",
            f"Rank {space.rank} of {space.width} features: {space.nullity} directions are ignored.",
            f"Translator: fitted to {translator.model or f'a model that is {_UNRECORDED}'}, in the "
            f"space of {translator.encoder or f'an encoder that is {_UNRECORDED}'}",
            f"Words: {len(self.descriptions.concepts)}, embedded by "
            f"{self.descriptions.concepts.encoder or f'an encoder that is {_UNRECORDED}'}",
        ]
        if self.reference is not None:
            count, out = self.reference["images"], len(self.reference["left_out"])
            lines.append(
                f"Statistics: of {count} images in {self.reference['folder']}"
                + (f", where {out} more could not be used" if out else "")
                + ("; so few make standard deviations rough" if count < _ENOUGH else "")
            )
        elif not translator.has_statistics:
            lines.append(
                "Statistics: none, so there is no evidence, no centred score and no word. Give a "
                "folder of images as --reference DIR, such as those the model was trained on."
            )
        return lines

    def _said_together(self, index: int) -> str:
        found = self.together[index]
        if found is None or not found.words:
            return ""
        return f" Of what is ignored in its translation, {found}."

    def save(self, folder: Path) -> list[Path]:
        """Write ``analysis.json`` and ``analysis.png``, each whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        figure = visualize_descriptions(
            self.descriptions[:_FIGURED],
            list(self.pictures.values())[:_FIGURED],
            [f"{name}\n{self.prediction(i)}" for i, name in enumerate(self.names[:_FIGURED])],
        )
        drawn = BytesIO()  # before anything is written: both files are new, or none
        figure.savefig(drawn, format="png", dpi=130)
        return [
            write_whole(folder / "analysis.json", lambda p: p.write_text(text, encoding="utf-8")),
            write_whole(folder / "analysis.png", lambda p: p.write_bytes(drawn.getvalue())),
        ]


def shortest(paths: Iterable[str]) -> list[str]:
    """The last parts of each path, as many as no other path ends with.

    Example::

        >>> shortest(["a/cat/1.png", "a/dog/1.png", "a/2.png"])
        ['cat/1.png', 'dog/1.png', '2.png']
    """
    parts = [Path(path).parts for path in paths]
    return [
        next(
            (
                str(Path(*own[-n:]))
                for n in range(1, len(own))
                if sum(other[-n:] == own[-n:] for other in parts) == 1
            ),
            str(Path(*own)),
        )
        for own in parts
    ]
