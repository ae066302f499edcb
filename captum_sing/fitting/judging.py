"""Judging a new translator by the pictures that were held out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_sing.errors import NoNullSpaceError, SINGValueError
from captum_sing.fitting.accuracy import Accuracy, accuracies
from captum_sing.fitting.report import FitReport
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.quality import TranslatorReport
from captum_sing.translator import LinearTranslator

__all__ = ["HeldOut", "judge"]

_WEAK = 0.1  # an R^2 below it says that little was translated
_CONSTANT = 1e-12  # a variance below this share of the squared mean is rounding
_FEW = 40  # images for the classifiers


@dataclass
class HeldOut:
    """Pairs that the translator is not fitted to, and what the pictures show."""

    features: list[Tensor] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)
    labels: list[int | str | None] = field(default_factory=list)

    def add(self, features: Tensor, embeddings: Tensor, labels: list[int | str | None]) -> None:
        """Some more, in the memory of the CPU."""
        self.features.append(features.cpu())
        self.embeddings.append(embeddings.cpu())
        self.labels += labels

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.labels)


def judge(
    translator: LinearTranslator, head: LinearHead, held_out: HeldOut, seed: int = 0
) -> FitReport:
    """The report on a translator.

    Args:
        translator (LinearTranslator): fitted, with its statistics.
        head (LinearHead): what reads the features.
        held_out (HeldOut): other pictures.
        seed (int, optional): of the halves that the accuracy is trained on and judged on.

    Returns:
        FitReport: with notes on what was found wanting.
    """
    space, notes = None, _notes_on_fit(translator)
    try:
        space = NullSpace.from_weight(head.weight(translator.feature_dim))
    except NoNullSpaceError:
        notes.append("The head has no exact null space: all of the feature is its principal part.")
    except SINGValueError as error:
        notes.append(f"The head cannot be judged: {error}")
    if not held_out.count:
        notes.append("No images were held out: how well this translates is not known.")
        return FitReport(None, {}, "labels", tuple(notes))
    features, embeddings = torch.cat(held_out.features), torch.cat(held_out.embeddings)
    translation = translator.evaluate(features, embeddings, space)
    accuracy, truth = _accuracy(translator, head, space, features.double(), held_out.labels, seed)
    notes += _notes_on_quality(translation)
    if not accuracy:
        notes.append(
            f"What a classifier can name from translations was not judged: it takes {_FEW} "
            "held-out images or more, of two classes or more."
        )
    return FitReport(translation, accuracy, truth, tuple(notes))


@torch.no_grad()
def _accuracy(
    translator: LinearTranslator,
    head: LinearHead,
    space: NullSpace | None,
    features: Tensor,
    labels: list[int | str | None],
    seed: int,
) -> tuple[dict[str, Accuracy], str]:
    """The paper's check, and what had to be named."""
    known = [label for label in labels if label is not None]
    truth = "labels" if len(known) == len(labels) and len(set(known)) > 1 else "model's predictions"
    if truth != "labels":
        known = list(head.logits(features).argmax(dim=1).tolist())
    features = features.to(translator.weight.device)
    inputs = {"features": features, "translated features": translator(features)}
    if space is not None:
        space = space.to(features.device)
        seen = features - space.project(features - translator.mean)
        inputs = {
            "principal features": seen,
            "translated principal features": translator(seen),
            "translated features": inputs["translated features"],
        }
    return (accuracies(inputs, known, seed) if len(known) >= _FEW else {}), truth


def _notes_on_fit(translator: LinearTranslator) -> list[str]:
    count, width, notes = translator.facts["count"], translator.feature_dim, []
    if count < width:
        notes.append(
            f"Fitted to {count:,} images, fewer than the {width:,} features: along the rest the "
            "penalty alone decides, and more images would help."
        )
    if translator.facts.get("cross_validation", {}).get("at_the_end"):
        notes.append(
            f"The penalty {translator.facts['alpha']:.3g} stands at the end of those that were "
            "tried: one beyond may be better."
        )
    variance = translator.feature_covariance.diagonal()
    constant = int((variance <= _CONSTANT * translator.mean.square()).sum())
    if constant:
        notes.append(
            f"{constant:,} of {width:,} features are constant on these images: what they would "
            "say elsewhere is not translated."
        )
    return notes


def _notes_on_quality(translation: TranslatorReport) -> list[str]:
    notes = []
    if not translation.whole.r2 >= _WEAK:
        notes.append(
            f"R² is {translation.whole.r2:.3f}: translations say hardly more than the mean "
            "embedding does, so words and angles carry little."
        )
    if translation.in_sample:
        notes.append(
            f"{translation.in_sample:,} held-out images look like ones that were fitted: the "
            "collection holds duplicates, and the figures flatter."
        )
    return notes
