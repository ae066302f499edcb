"""The image-level scores of a study: those of :meth:`captum_sing.SING.attribute`, from features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captum_sing.angles import angles_between
from captum_sing.baselines import deviation
from captum_sing.concepts import ConceptBank
from captum_sing.controls import name
from captum_sing.descriptions import Descriptions
from captum_sing.evidence import describe
from captum_sing.null_space import NullSpace
from captum_sing.targets import ImageSpaces
from captum_sing.translator import LinearTranslator

__all__ = ["SOURCES", "Scorer"]

SOURCES = ("all", "seen", "seen_conditional", "ignored", "encoder")
"""What images are named from, as in :func:`captum_sing.controls.naming_sources`; and, as
``"encoder"``, by the encoder itself, on the picture."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """What every block of features is scored with, on one device.

    Attributes:
        space (NullSpace): of the head.
        translator (LinearTranslator): from the head's input.
        concepts (ConceptBank): the V words.
        donor (Tensor or None): a feature whose ignored part is swapped in, shape (1, D), float64.
    """

    space: NullSpace
    translator: LinearTranslator
    concepts: ConceptBank
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

    def score(
        self, features: Tensor, embeddings: Tensor
    ) -> tuple[dict[str, Descriptions], dict[str, dict[str, Tensor]], Tensor]:
        """All scores of a block, and the words it is given.

        Args:
            features (Tensor): shape (B, D).
            embeddings (Tensor): of the encoder, shape (B, E).

        Returns:
            tuple: the scores, by baseline (but evidence about zero is nothing to use); of each
            group of words, by source, the column of the word that is named, shape (B,); and the
            angle between each translation and word, shape (B, V), degrees.
        """
        features = features.to(self.translator.weight.device).double()
        in_sample = self.translator.knows(features)
        spaces = ImageSpaces.same(self.space, len(features))
        scores, removed = {}, {}
        for baseline in self.baselines:
            given = {"none": None, "swap": self.donor}.get(baseline, baseline)
            about = deviation(features, given, spaces, self.translator)
            part = removed[baseline] = self.space.project(about)
            scores[baseline] = describe(
                features,
                features - part,
                part,
                self.translator,
                self.concepts,
                null_energy=part.square().sum(dim=1) / about.square().sum(dim=1),
                in_sample=in_sample,
            )
        sources = {"all": self.translator(features), "encoder": embeddings.to(features)}
        if "mean" in removed:
            sources["seen"] = self.translator(features - removed["mean"])
            sources["ignored"] = self.translator(self.translator.mean + removed["mean"])
        if "conditional" in removed:
            sources["seen_conditional"] = self.translator(features - removed["conditional"])
        texts = self.concepts.embeddings
        named = {
            group: {
                source: name(translated, texts[self.concepts.indices(words)])
                for source, translated in sources.items()
            }
            for group, words in self.concepts.groups.items()
        }
        return scores, named, angles_between(sources["all"], texts.to(sources["all"]))
