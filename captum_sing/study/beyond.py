"""Does the ignored part tell more than what is seen? The partialled test, in two passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import Partialled
from captum_sing.study.extraction import Extraction
from captum_sing.study.scoring import Scorer
from captum_sing.study.table import beyond_column, codes, evidence, own_column, rows_of
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
    half is tested; images that the translator was fitted on are in neither.

    Args:
        extraction (Extraction): N pictures; two passes read them.
        scorer (Scorer): what the table was filled with.
        table (pandas.DataFrame): of these pictures.
        groups (mapping): group -> its words, with evidence and labels.
        seed (int): of the draw.

    Returns:
        tuple: new columns of the table, see :func:`captum_sing.study.table.beyond_column`, NaN
        where an image is not tested; and the ``rank`` R and how many images each group's
        regressions were ``fitted`` on.
    """
    held_out = ~table["in_sample"].to_numpy()
    first = np.random.default_rng(seed).permutation(len(table)) % 2 == 0
    halves = [torch.from_numpy(held_out & half) for half in (first, ~first)]
    own = {group: codes(table, own_column(group)) for group in groups}
    ignored = {group: evidence(table, "ignored", words) for group, words in groups.items()}
    basis = scorer.space.principal_basis.cpu()

    def parts(half: Tensor) -> Any:
        """Of each block and group: which rows of the table are in this half, and what is there."""
        for rows, features in rows_of(extraction):
            seen = features @ basis
            for group in groups:
                known = half[rows] & (own[group][rows] >= 0)
                if known.any():
                    places = known.nonzero().flatten() + rows.start
                    yield group, places, seen[known], ignored[group][places]

    sums = {
        group: PairSums.empty(basis.shape[1], 2 * len(words), basis.device)
        for group, words in groups.items()
    }
    for group, places, seen, of_words in parts(halves[0]):
        present = torch.nn.functional.one_hot(own[group][places], len(groups[group])).double()
        sums[group].add(PairSums.of(seen, torch.cat([present, of_words], dim=1)))
    fits = {group: Partialled.of_sums(of) for group, of in sums.items() if of.count > 1}
    columns = {group: np.full(len(table), np.nan) for group in fits}
    for group, places, seen, of_words in parts(halves[1]):
        if group in fits:
            products = fits[group].products(seen, of_words, own[group][places])
            columns[group][places.numpy()] = products.numpy()
    facts = {"rank": basis.shape[1], "fitted": {group: fit.count for group, fit in fits.items()}}
    return {beyond_column(group): column for group, column in columns.items()}, facts
