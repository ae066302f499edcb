"""The image-level scores of a study: those of :meth:`captum_sing.SING.attribute`, from features.

What does not depend on the images is made once, and what a table has no column for is not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from captum_sing.angles import angle, angles_between, image_score
from captum_sing.baselines import conditional_map
from captum_sing.concepts import ConceptBank
from captum_sing.controls import name
from captum_sing.evidence import word_gains
from captum_sing.null_space import NullSpace
from captum_sing.translator import LinearTranslator

__all__ = ["SOURCES", "Scored", "Scorer", "Scores"]

SOURCES = ("all", "seen", "seen_conditional", "ignored", "encoder")
"""What images are named from, as in :func:`captum_sing.controls.naming_sources`; and, as
``"encoder"``, by the encoder itself, on the picture."""


class Scores(NamedTuple):
    """Of one baseline: the paper's, shape (B,), AS being that of the label; and evidence (B, V)."""

    image_score: Tensor
    attribute_score: Tensor
    null_energy: Tensor
    seen: Tensor | None
    ignored: Tensor | None


class Scored(NamedTuple):
    """A block of B images.

    Attributes:
        in_sample (Tensor): whether the translator was fitted on it, shape (B,), bool.
        scores (dict of str to Scores): by baseline; there is no evidence about zero.
        angle (Tensor): between T(f) and each word, shape (B, V), degrees.
        attribute_score (Tensor): the paper's AS of each word, shape (B, V), degrees.
        named (dict of str to dict of str to Tensor): by group and source, the column of the word
            that is named, shape (B,).
    """

    in_sample: Tensor
    scores: dict[str, Scores]
    angle: Tensor
    attribute_score: Tensor
    named: dict[str, dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Scorer:
    """What every block of features is scored with, on one device.

    Attributes:
        space (NullSpace): of the head.
        translator (LinearTranslator): from the head's input.
        concepts (ConceptBank): all words.
        words (sequence of str): the V words whose numbers are kept.
        donor (Tensor or None): a feature whose ignored part is swapped in, shape (1, D), float64.
    """

    space: NullSpace
    translator: LinearTranslator
    concepts: ConceptBank
    words: Sequence[str]
    donor: Tensor | None = None

    @property
    def baselines(self) -> tuple[str, ...]:
        """What is put in the ignored part's place, as far as the translator's statistics allow."""
        known = {
            "none": True,
            "mean": self.translator.has_statistics,
            "conditional": self.translator.covariance is not None,
            "swap": self.donor is not None,
        }
        return tuple(baseline for baseline, there in known.items() if there)

    @cached_property
    def gains(self) -> Tensor:
        """The evidence that a feature adds to each of the words, shape (D, V), float64."""
        return word_gains(self.translator, self.concepts)[:, self.concepts.indices(self.words)]

    def score(self, features: Tensor, embeddings: Tensor, labels: Tensor) -> Scored:
        """All scores of a block, and the words it is given.

        Args:
            features (Tensor): shape (B, D).
            embeddings (Tensor): of the encoder, shape (B, E).
            labels (Tensor): the place in the bank of the word that is the label, or -1, (B,).
        """
        features = features.to(self.translator.weight.device).double()
        original, texts = self.translator(features), self.concepts.embeddings
        texts = texts.to(original)
        of_label, nowhere = texts[labels], (labels < 0).to(texts.device)
        label_angle = angle(original, of_label)
        statistics = self.translator.has_statistics
        total = (features - self.translator.mean) @ self.gains if statistics else None
        sources = {"all": original, "encoder": embeddings.to(original)}
        scores: dict[str, Scores] = {}
        for baseline in self.baselines:
            about = features - self._baseline(baseline, features)
            part = self.space.project(about)
            equivalent = self.translator(features - part)
            ignored = part @ self.gains if statistics and baseline != "none" else None
            scores[baseline] = Scores(
                image_score(original, equivalent),
                (label_angle - angle(equivalent, of_label)).masked_fill(nowhere, torch.nan),
                part.square().sum(dim=1) / about.square().sum(dim=1),
                None if total is None or ignored is None else total - ignored,
                ignored,
            )
            if baseline == "none":
                bare = equivalent
            elif baseline == "mean":
                sources["seen"] = equivalent
                sources["ignored"] = self.translator(self.translator.mean + part)
            elif baseline == "conditional":
                sources["seen_conditional"] = equivalent
        columns = self.concepts.indices(self.words)
        between = angles_between(original, texts[columns])
        return Scored(
            self.translator.knows(features),
            scores,
            between,
            between - angles_between(bare, texts[columns]),
            {
                group: {
                    source: name(translated, texts[self.concepts.indices(words)])
                    for source, translated in sources.items()
                }
                for group, words in self.concepts.groups.items()
            },
        )

    @cached_property
    def _conditional(self) -> Tensor:
        return conditional_map(self.space, self.translator)

    def _baseline(self, baseline: str, features: Tensor) -> Tensor | float:
        """b of f~ = f - P_n (f - b)."""
        if baseline == "none":
            return 0.0
        if baseline == "swap" and self.donor is not None:
            return self.donor
        mean = self.translator.mean
        if baseline == "mean":
            return mean
        return mean + (features - mean) @ self.space.principal_basis @ self._conditional
