"""What is ignored, in words: ranked by ignored evidence, one sentence an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from torch import Tensor

from captum_sing.concepts import ConceptBank
from captum_sing.decomposition import Decomposition, decompose
from captum_sing.errors import SINGRuntimeError, expected

__all__ = ["FAR", "Description", "Descriptions", "Evidence", "WordScore", "number"]

FAR = 10.0
"""Norms of the feature: a longer step leads to where no image is."""

_SHOWN = 0.05  # standard deviations; less would read 0.0


class Evidence(NamedTuple):
    """What needs the statistics of reference images; see :class:`Descriptions`."""

    seen: Tensor
    ignored: Tensor
    centred_image_score: Tensor
    centred_attribute_score: Tensor
    translation: Tensor
    translation_energy: Tensor
    unit: str = "sd"


class WordScore(NamedTuple):
    """One word for one image: evidence in standard deviations, the score in degrees.

    ``unit`` is "sd", those of the reference images along the word, or "common sd", one for all
    words (see :func:`captum_sing.evidence.split_evidence`).
    """

    word: str
    group: str
    ignored: float
    seen: float
    attribute_score: float
    unit: str = "sd"

    def __str__(self) -> str:
        return self.said(self.ignored)

    def said(self, part: float) -> str:
        """The word, and a part of its evidence beside the whole."""
        return f"{self.word} ({part:+.1f} of {self.ignored + self.seen:+.1f} {self.unit})"


@dataclass(frozen=True)
class Description:
    r"""One image: its numbers and words.

    Attributes:
        image_score (float): degrees by which removal turns the translated feature.
        null_energy (float): share of the squared feature (about the baseline) that is ignored.
        in_sample (bool): the translator was fitted on this image, so nothing is claimed.
        ignored, seen (tuple of WordScore or None): the words with the most ignored and the most
            seen evidence, falling, as far as it rounds to 0.1 standard deviations; None where the
            translator has no statistics.
        notes (tuple of str): what else a reader must know.
        change (str): what was done to the ignored part.
        step (float): :math:`\|\tilde f - f\| / \|f\|`, said where it was steered.
    """

    image_score: float
    null_energy: float
    in_sample: bool
    ignored: tuple[WordScore, ...] | None = None
    seen: tuple[WordScore, ...] | None = None
    notes: tuple[str, ...] = ()
    change: str = "without that part"
    step: float = math.nan

    def __str__(self) -> str:
        angle = f"{self._share()}; {self.change}, {self._turn()}"
        if self.in_sample:
            first = (
                "The translator was fitted on this very image, so nothing is claimed about what "
                f"is ignored in it; {angle}."
            )
        elif self.ignored is None or self.seen is None:
            first = f"No word is named, for want of reference statistics; {angle}."
        else:
            ignored = ", ".join(map(str, self.ignored)) or "no word"
            seen = ", ".join(word.said(word.seen) for word in self.seen)
            first = (
                f"What the head ignores points at {ignored}; "
                f"what it sees points at {seen or 'no word'}; {angle}."
            )
        return " ".join((first, *self.notes))

    def _share(self) -> str:
        if math.isnan(self.null_energy):
            return "the feature is its own baseline"
        return f"{self.null_energy:.0%} of the feature's energy is ignored"

    def _turn(self) -> str:
        if math.isnan(self.image_score):
            return "the angle asked for cannot be reached inside the null space"
        turn = f"its translation turns by {self.image_score:.1f} degrees"
        if not self.change.startswith("steered"):
            return turn
        far = ", where no image is" if self.step > FAR else ""
        return f"{turn}, in a step of {self.step:.2g} norms of the feature{far}"

    def to_dict(self) -> dict[str, Any]:
        """All of it in the types that JSON holds; None for a number that there is not."""
        return {
            "sentence": str(self),
            "image_score": number(self.image_score),
            "null_energy": number(self.null_energy),
            "step": number(self.step),
            "in_sample": self.in_sample,
            "ignored": _dicts(self.ignored),
            "seen": _dicts(self.seen),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class Descriptions(Sequence[Description]):
    r"""The scores of a batch, and one :class:`Description` an image.

    Attributes:
        concepts (ConceptBank): the V words.
        image_score (Tensor): IS (Eq. 8), shape (B,), degrees.
        attribute_score (Tensor): AS (Eq. 7), shape (B, V), degrees; positive means that the
            equivalent is closer to the word.
        null_energy (Tensor): :math:`\|P_n (f - b)\|^2 / \|f - b\|^2`, shape (B,).
        in_sample (Tensor): whether the translator was fitted on the image, shape (B,), bool.
        step (Tensor): :math:`\|\tilde f - f\| / \|f\|`, shape (B,); beyond :data:`FAR` there is no
            image.
        evidence (Evidence or None): see :attr:`seen`, :attr:`ignored`, the centred
            scores and :meth:`decompose`.
        notes (tuple of str): said after every sentence.
        change (str): what was done to the ignored part.
        top_k (int): how many words a description names.
    """

    concepts: ConceptBank
    image_score: Tensor
    attribute_score: Tensor
    null_energy: Tensor
    in_sample: Tensor
    step: Tensor
    evidence: Evidence | None = None
    notes: tuple[str, ...] = ()
    change: str = "without that part"
    top_k: int = 5

    @property
    def ignored(self) -> Tensor:
        """Evidence for each word in what the head ignores, <A P_n (f - b), u_t>, shape (B, V).

        In standard deviations of the reference images along the word, or in one unit for all words
        (:func:`captum_sing.evidence.split_evidence`).

        Raises:
            SINGRuntimeError: the translator has no statistics of reference images.
        """
        return self._need_evidence().ignored

    @property
    def seen(self) -> Tensor:
        """The rest of the evidence, <T(f) - T(mean), u_t> minus :attr:`ignored`; unit as there."""
        return self._need_evidence().seen

    @property
    def centred_image_score(self) -> Tensor:
        """IS about the mean translated feature, shape (B,), degrees."""
        return self._need_evidence().centred_image_score

    @property
    def centred_attribute_score(self) -> Tensor:
        """AS about the mean translated feature and the group's mean text, shape (B, V), degrees."""
        return self._need_evidence().centred_attribute_score

    @property
    def translation_energy(self) -> Tensor:
        r""":math:`\|A P_n (f - b)\|^2 / \|T(f) - T(\bar f)\|^2`, shape (B,).

        The ignored share of what the translation says, where :attr:`null_energy` is that of the
        feature. The seen part is not orthogonal to it: it may exceed one.
        """
        return self._need_evidence().translation_energy

    def decompose(self, max_words: int = 5, penalty: float = 0.1) -> list[Decomposition]:
        """Which few words together explain what is ignored, A P_n (f - b), one an image.

        Beside the ranking, which takes the words one by one; arguments as
        :func:`captum_sing.decomposition.decompose`.

        Raises:
            SINGRuntimeError: the translator has no statistics of reference images.
        """
        return decompose(
            self._need_evidence().translation, self.concepts, max_words=max_words, penalty=penalty
        )

    def __len__(self) -> int:
        return len(self.image_score)

    @overload
    def __getitem__(self, index: int) -> Description: ...
    @overload
    def __getitem__(self, index: slice) -> list[Description]: ...
    def __getitem__(self, index: int | slice) -> Description | list[Description]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"description {index} of {len(self)}")
        known = self.evidence is not None
        return Description(
            float(self.image_score[index]),
            float(self.null_energy[index]),
            bool(self.in_sample[index]),
            self._ranked(index, self.ignored) if known else None,
            self._ranked(index, self.seen) if known else None,
            self.notes,
            self.change,
            float(self.step[index]),
        )

    def __iter__(self) -> Iterator[Description]:
        return (self[i] for i in range(len(self)))

    def __str__(self) -> str:
        return "\n".join(f"[{i}] {description}" for i, description in enumerate(self))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Every number, an image each, in the types that JSON holds.

        Beside what :meth:`Description.to_dict` has: ``centred_image_score``,
        ``translation_energy``, and ``words`` with all scores of all words of the bank.
        """
        scores = {"attribute_score": self.attribute_score}
        further: dict[str, Tensor] = {}
        if self.evidence is not None:
            seen, ignored, angle, centred, _, energy, _ = self.evidence
            scores |= {"seen": seen, "ignored": ignored, "centred_attribute_score": centred}
            further = {"centred_image_score": angle, "translation_energy": energy}
        return [
            {
                **self[i].to_dict(),
                "centred_image_score": None,
                "translation_energy": None,
                **{kind: number(values[i]) for kind, values in further.items()},
                "words": {
                    word: {kind: number(values[i, t]) for kind, values in scores.items()}
                    for t, word in enumerate(self.concepts.names)
                },
            }
            for i in range(len(self))
        ]

    def _ranked(self, index: int, evidence: Tensor) -> tuple[WordScore, ...]:
        order = (
            evidence[index].nan_to_num(-math.inf).argsort(descending=True)[: self.top_k].tolist()
        )
        return tuple(
            WordScore(
                self.concepts.names[t],
                self.concepts.group_of(self.concepts.names[t]),
                float(self.ignored[index, t]),
                float(self.seen[index, t]),
                float(self.attribute_score[index, t]),
                self._need_evidence().unit,
            )
            for t in order
            if evidence[index, t] >= _SHOWN
        )

    def _need_evidence(self) -> Evidence:
        if self.evidence is None:
            raise SINGRuntimeError(
                expected(
                    "Descriptions",
                    "translator",
                    "with the statistics of reference images",
                    "one that has none",
                    "Give it some with translator.with_statistics(features)",
                )
            )
        return self.evidence


def number(value: float | Tensor) -> float | None:
    """A number as JSON holds it: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def _dicts(words: tuple[WordScore, ...] | None) -> list[dict[str, Any]] | None:
    if words is None:
        return None
    return [
        {k: number(v) if isinstance(v, float) else v for k, v in word._asdict().items()}
        for word in words
    ]
