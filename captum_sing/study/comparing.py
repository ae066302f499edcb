"""Does one model ignore more than another? Paired differences on identical images."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import (
    Result,
    bootstrap_mean,
    contrasts,
    paired_difference,
    permutation_z,
)
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.study.labels import check_classes
from captum_sing.study.statistics import by_class, interval
from captum_sing.study.study import Study
from captum_sing.study.table import codes, column, evidence, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare_models"]

_WHERE = "compare_models"
_NAMELESS = re.compile(r"image \d+")
_CLEAR = 5.0  # permutation z of a group's total contrast; a share of nothing is no number
_CANNOT = (
    "IS, |AS| and their ratio move with the number of ignored directions and with the translator's "
    "fit: a difference in them is one of model and translator together. Shares of the signal are "
    "what heads can be compared by."
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models on the images that all of them were studied on, and none was fitted on.

    Attributes:
        models (pandas.DataFrame): a row a model and measure: ``n`` images, ``value`` with its
            bootstrap interval ``low``, ``high``, and ``chance``, which the heads' sizes alone
            would give, for "image_score" and shares.
        pairs (pandas.DataFrame): a row a pair of models and measure: ``difference``, ``first``
            minus ``second``, with ``low`` and ``high``, and whether these ``exclude_zero``;
            ``note`` says why a pair is not ranked though they do.
        notes (tuple of str): what these numbers cannot say, and what was left out.
    """

    models: pd.DataFrame
    pairs: pd.DataFrame
    notes: tuple[str, ...]

    def ranking(self, measure: str) -> list[tuple[str, str]]:
        """The pairs that differ for sure, the larger first; all others are not ranked.

        Args:
            measure (str): as in :attr:`pairs`.

        Raises:
            SINGValueError: another one.
        """
        measures = sorted(set(self.pairs["measure"]))
        if measure not in measures:
            raise SINGValueError(
                expected(
                    "Comparison.ranking", "measure", f"in {measures}", repr(measure), "Choose one"
                )
            )
        sure = self.pairs[
            (self.pairs["measure"] == measure)
            & self.pairs["exclude_zero"]
            & self.pairs["note"].isna()
        ]
        return [
            (row["first"], row["second"])
            if row["difference"] > 0
            else (row["second"], row["first"])
            for row in sure.to_dict("records")
        ]

    def __str__(self) -> str:
        lines = []
        for measure in dict.fromkeys(self.pairs["measure"]):
            own = self.models[self.models["measure"] == measure]
            values = ", ".join(
                f"{row['model']} {row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
                for row in own.to_dict("records")
            )
            ranked = "; ".join(" > ".join(pair) for pair in self.ranking(measure)) or "no ranking"
            lines.append(f"{measure}: {values}: {ranked}")
        return "\n".join([*lines, *self.notes])


def compare_models(studies: Sequence[Study], *, draws: int = 1000, seed: int = 0) -> Comparison:
    r"""Models on identical images: each one's numbers, and the differences of every pair.

    The same images are drawn for both models of a pair, or the same whole classes where there are
    at least 30 of them, so that what makes an image hard for both cancels. Compared are the
    paper's null removal (``image_score``, ``abs_attribute_score`` for the label, the ratio of
    their means ``image_over_attribute``), ``null_energy``, and, for each group of words with
    labels, the share of its signal that is ignored (``share of color``).

    Args:
        studies (sequence of Study): of two models or more, through one encoder.
        draws, seed (int, optional): of the bootstraps. Default: 1000 and 0

    Returns:
        Comparison

    Raises:
        SINGTypeError: something else than studies.
        SINGValueError: fewer than two, one model twice, two encoders, no common image (they are
            known by their path), one that has two labels, or models of two lists of classes.
    """
    import pandas as pd

    names = _check(studies)
    tables, notes = _aligned(studies, names)
    models: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for measure in _measures(studies, tables):
        there = np.logical_and.reduce([measure.there(table) for table in tables])
        if not there.any():
            continue
        chosen = [table[there] for table in tables]
        options: dict[str, Any] = {"draws": draws, "seed": seed}
        if by_class(chosen[0]):
            options["clusters"] = codes(chosen[0], "label")
        taken = [measure.take(table) for table in chosen]
        unclear = [measure.unclear(table) for table in chosen]
        for study, own, reason in zip(studies, taken, unclear, strict=True):
            row = {"model": study.facts["model"], "measure": measure.name}
            row["chance"] = measure.chance(study)
            models.append(row | _told("value", bootstrap_mean(*own, **options), reason))
        for i, j in itertools.combinations(range(len(names)), 2):
            (first, first_per), (second, second_per) = taken[i], taken[j]
            found = paired_difference(first, second, first_per, second_per, **options)
            reason = unclear[i] or unclear[j]
            row = {"first": names[i], "second": names[j], "measure": measure.name}
            row["exclude_zero"] = reason is None and found.excludes(0.0)
            pairs.append(row | _told("difference", found, reason))
    return Comparison(pd.DataFrame(models), pd.DataFrame(pairs), (_CANNOT, *notes))


@dataclass(frozen=True)
class _Measure:
    """A mean, or the ratio of two, of what the columns of a table say.

    Attributes:
        name (str): of the measure.
        columns (tuple of str): of the numerator and perhaps the denominator; none for a share.
        group (str): of a share.
        words (tuple of str): its words.
    """

    name: str
    columns: tuple[str, ...] = ()
    group: str = ""
    words: tuple[str, ...] = ()

    def there(self, table: pd.DataFrame) -> Any:
        """Which rows have it."""
        if self.group:
            return table[own_column(self.group)].notna().to_numpy()
        return np.isfinite(table[list(self.columns)].to_numpy()).all(axis=1)

    def take(self, table: pd.DataFrame) -> tuple[Tensor, Tensor | None]:
        """Each image's share of the numerator, and of the denominator."""
        if self.group:
            labels, ignored, total = self._evidence(table)
            return contrasts(ignored, labels)[0], contrasts(total, labels)[0]
        values = [torch.from_numpy(table[name].to_numpy(copy=True)) for name in self.columns]
        values = [
            value.abs() if name == _LABEL else value
            for name, value in zip(self.columns, values, strict=True)
        ]
        return values[0], values[1] if len(values) > 1 else None

    def unclear(self, table: pd.DataFrame) -> str | None:
        """Why there is no share: a share of nothing is no number."""
        if not self.group:
            return None
        labels, _, total = self._evidence(table)
        nobody = torch.zeros(len(labels), dtype=torch.bool)
        z = permutation_z(total, labels, in_sample=nobody).z
        return None if z > _CLEAR else f"no share: the total contrast is not clear (z = {z:.1f})"

    def chance(self, study: Study) -> float:
        """What the size of the head alone would give."""
        facts = study.facts
        if self.group:
            return float(facts["nullity"] / facts["width"])
        return float(facts["isotropic_image_score"]) if self.name == "image_score" else math.nan

    def _evidence(self, table: pd.DataFrame) -> tuple[Tensor, Tensor, Tensor]:
        ignored, seen = (evidence(table, kind, self.words) for kind in ("ignored", "seen"))
        return codes(table, own_column(self.group)), ignored, ignored + seen


_IMAGE, _LABEL, _ENERGY = map(column, ("image_score", "attribute_score", "null_energy"))
_PLAIN = (
    _Measure("image_score", (_IMAGE,)),
    _Measure("abs_attribute_score", (_LABEL,)),
    _Measure("image_over_attribute", (_IMAGE, _LABEL)),
    _Measure("null_energy", (_ENERGY,)),
)


def _measures(studies: Sequence[Study], tables: Sequence[pd.DataFrame]) -> list[_Measure]:
    """Those of the paper, and shares of the groups that all studies have, word for word."""
    shares = []
    for group, words in studies[0].facts["groups"].items():
        columns = {column(kind, "mean", word) for kind in ("seen", "ignored") for word in words}
        columns.add(own_column(group))
        if all(columns <= set(table) for table in tables) and all(
            study.facts["groups"].get(group) == words for study in studies
        ):
            shares.append(_Measure(f"share of {group}", (), group, tuple(words)))
    return [*_PLAIN, *shares]


def _told(key: str, found: Result, reason: str | None) -> dict[str, Any]:
    return {
        "n": found.n,
        key: math.nan if reason else found.value,
        **interval(None if reason else found.interval),
        "note": reason or found.note,
    }


def _check(studies: Any) -> list[str]:
    """The names of the models."""
    studies = list(studies)
    if not all(isinstance(study, Study) for study in studies):
        kinds = sorted({type(study).__name__ for study in studies})
        raise SINGTypeError(
            expected(_WHERE, "studies", "to be a list of Study", kinds, "Call run_study for each")
        )
    names = [study.facts["model"] for study in studies]
    if len(set(names)) < max(2, len(names)):
        raise SINGValueError(
            expected(_WHERE, "studies", "of two or more different models", names, "Study others")
        )
    encoders = sorted({study.facts["encoder"] for study in studies})
    if len(encoders) > 1:
        raise SINGValueError(
            expected(_WHERE, "studies", "through one encoder", encoders, "Two encoders, two spaces")
        )
    for study in studies[1:]:
        check_classes(_WHERE, names[0], _classes(studies[0]), study.facts["model"], _classes(study))
    return names


def _classes(study: Study) -> Sequence[str] | int | None:
    return study.facts.get("class_names") or study.facts.get("classes")


def _aligned(
    studies: Sequence[Study], names: Sequence[str]
) -> tuple[list[pd.DataFrame], list[str]]:
    """The rows of the images that all have, in one order, but those a translator was fitted on."""
    tables = [study.table.set_index("path") for study in studies]
    for name, table in zip(names, tables, strict=True):
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise SINGValueError(
                expected(
                    _WHERE, "studies", "of images with one name each", f"{twice} twice in {name}",
                    "Study a collection in which each is once",
                )
            )  # fmt: skip
    unnamed = [table.index[0] for table in tables if _NAMELESS.fullmatch(str(table.index[0]))]
    collections = {study.facts.get("pictures") for study in studies} - {None}
    if unnamed and len(collections) > 1:
        raise SINGValueError(
            expected(
                _WHERE, "studies", "of the same pictures, where these have no names",
                f"two collections that both have {unnamed[0]!r}",
                "Give paths, or study one collection with every model",
            )
        )  # fmt: skip
    common = tables[0].index
    for table in tables[1:]:
        common = common.intersection(table.index, sort=False)
    tables = [table.loc[common] for table in tables]
    known = np.logical_or.reduce([table["in_sample"].to_numpy() for table in tables])
    again = np.logical_or.reduce([table["repeated"].to_numpy() for table in tables]) & ~known
    if not len(common) or known.all():
        raise SINGValueError(
            expected(
                _WHERE,
                "studies",
                "of common images that no translator was fitted on",
                f"{len(common)} common images, {int(known.sum())} of them fitted on",
                "Study one held-out collection with every model",
            )
        )
    truth = [name for name in tables[0] if name == "label" or name.startswith("own_")]
    for name, table in zip(names[1:], tables[1:], strict=True):
        for key in truth:
            one, other = (
                [None if value != value else value for value in t[key]] if key in t else None
                for t in (tables[0], table)
            )
            if other is not None and one != other:
                raise SINGValueError(
                    expected(
                        _WHERE,
                        "studies",
                        "that agree on what is in each image",
                        f"different values of {key} in {names[0]} and {name}",
                        "Name classes and words alike: labels that are names belong to the images",
                    )
                )
    notes = []
    left = max(len(study) for study in studies) - len(common)
    if left:
        notes.append(f"{left} images that not all models were studied on are left out.")
    if known.any():
        notes.append(f"{int(known.sum())} images that a translator was fitted on are left out.")
    if again.any():
        notes.append(f"{int(again.sum())} images that are the same as an earlier one are left out.")
    said: dict[str, list[str]] = {}
    for study, name in zip(studies, names, strict=True):
        for note in study.facts["notes"]:
            said.setdefault(note, []).append(name)
    notes += [
        note if len(of) == len(names) else f"{', '.join(of)}: {note}" for note, of in said.items()
    ]
    return [table[~(known | again)] for table in tables], notes
