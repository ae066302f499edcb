"""Does the ignored part tell more than what is seen? The partialled test, in two passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import Partialled
from captum_sing.study.design import CONSTANT, WITHIN, design_of
from captum_sing.study.extraction import Extraction
from captum_sing.study.scoring import Scorer
from captum_sing.study.table import (
    beyond_column,
    codes,
    evidence,
    own_column,
    rows_of,
    tested_rows,
)
from captum_sing.sums import PairSums

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["partial_out"]


def partial_out(
    extraction: Extraction,
    scorer: Scorer,
    table: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The products of :class:`captum_sing.controls.Partialled`, whose mean is tested.

    Its regressions are fitted on one half of the labelled images, drawn at random, and the other
    half is tested. Where a word may go with the class, the class is regressed on too, as if it
    were seen; and words that the class tells are left out.

    Args:
        extraction (Extraction): N pictures; two passes read them.
        scorer (Scorer): what the table was filled with.
        table (pandas.DataFrame): of these pictures.
        groups (mapping): group -> its words, with evidence and labels.
        seed (int): of the draw.

    Returns:
        tuple: new columns of the table, see :func:`captum_sing.study.table.beyond_column`, NaN
        where an image is not tested; and of each group the ``rank``, of what is regressed on, and
        how many images its regressions were ``fitted`` on.
    """
    tested = tested_rows(table)
    first = np.random.default_rng(seed).permutation(len(table)) % 2 == 0
    halves = [torch.from_numpy(tested & half) for half in (first, ~first)]
    basis = scorer.space.principal_basis.cpu()
    samples = {}
    for group, words in groups.items():
        design = design_of(table[tested], group)
        if design != CONSTANT:
            samples[group] = _Sample.of(table, group, words, basis.shape[1], design == WITHIN)

    def parts(half: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Of each block and group: which rows of the table are in this half, and what is seen."""
        for rows, features in rows_of(extraction):
            seen = features @ basis
            for group, sample in samples.items():
                known = half[rows] & sample.known[rows]
                if known.any():
                    yield group, known.nonzero().flatten() + rows.start, seen[known]

    for group, places, seen in parts(halves[0]):
        samples[group].add(places, seen)
    fits = {g: Partialled.of_sums(s.scaled()) for g, s in samples.items() if s.sums.count > 1}
    columns = {group: np.full(len(table), np.nan) for group in fits}
    for group, places, seen in parts(halves[1]):
        if group in fits:
            sample = samples[group]
            given = sample.beside(places, seen), sample.ignored[places], sample.own[places]
            columns[group][places.numpy()] = fits[group].products(*given).numpy()
    facts = {g: {"rank": samples[g].rank, "fitted": fit.count} for g, fit in fits.items()}
    return {beyond_column(group): column for group, column in columns.items()}, facts


@dataclass
class _Sample:
    """What is known of a group of words in all rows of a table, and the sums of its regressions."""

    own: Tensor
    ignored: Tensor
    classes: Tensor | None
    known: Tensor
    sums: PairSums
    rank: int
    scale: float = 1.0

    @classmethod
    def of(
        cls, table: pd.DataFrame, group: str, words: Sequence[str], rank: int, within: bool
    ) -> _Sample:
        own, classes = codes(table, own_column(group)), None
        known, width = own >= 0, rank
        if within:
            label = codes(table, "label")
            known &= label >= 0
            classes = torch.nn.functional.one_hot(label.clamp_min(0)).double()
            width += classes.shape[1]
        sums = PairSums.empty(width, 2 * len(words), own.device)
        ignored = evidence(table, "ignored", words).double()
        return cls(own, ignored, classes, known, sums, max(rank, width - 1))

    def beside(self, places: Tensor, seen: Tensor) -> Tensor:
        """What is seen, and the classes beside it."""
        if self.classes is None:
            return seen
        return torch.cat([seen, self.scale * self.classes[places]], dim=1)

    def add(self, places: Tensor, seen: Tensor) -> None:
        """Some rows more, to fit on."""
        words = self.ignored.shape[1]
        present = torch.nn.functional.one_hot(self.own[places], words).double()
        outcomes = torch.cat([present, self.ignored[places]], dim=1)
        self.sums.add(PairSums.of(self.beside(places, seen), outcomes))

    def scaled(self) -> PairSums:
        """The sums with classes that vary as what is seen does: both are penalised alike."""
        if self.classes is None:
            return self.sums
        count, spread = self.classes.shape[1], self.sums.gram.diagonal().sqrt()
        varies = float(spread[-count:].mean())
        self.scale = float(spread[:-count].mean()) / varies if varies > 0 else 1.0  # one class
        by = torch.ones_like(spread)
        by[-count:] = self.scale
        return replace(
            self.sums,
            feature_mean=self.sums.feature_mean * by,
            gram=self.sums.gram * by * by[:, None],
            cross=self.sums.cross * by[:, None],
        )
