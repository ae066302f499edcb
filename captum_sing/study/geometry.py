"""What random subspaces would make of a collection's words: the spreads of their shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from captum_sing.controls import haar_spread
from captum_sing.study.extraction import Extraction
from captum_sing.study.scoring import Scorer
from captum_sing.study.table import codes, own_column, rows_of, tested_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["haar_spreads"]


def haar_spreads(
    extraction: Extraction,
    scorer: Scorer,
    table: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, float]]:
    """The spread of each share over random subspaces, :func:`captum_sing.controls.haar_spread`.

    Args:
        extraction (Extraction): N pictures; one pass reads them.
        scorer (Scorer): what the table was filled with.
        table (pandas.DataFrame): of these pictures.
        groups (mapping): group -> its words, with evidence and labels.

    Returns:
        dict: spreads by group under "groups", and of single words under "words"; none of a share
        that is 0 / 0.
    """
    tested = torch.from_numpy(tested_rows(table))
    own = {group: codes(table, own_column(group)).where(tested, -1) for group in groups}
    sums = {
        group: torch.zeros(scorer.space.width, len(words), dtype=torch.float64)
        for group, words in groups.items()
    }
    mean = scorer.translator.mean.cpu().double()
    for rows, features in rows_of(extraction):
        for group, of_group in own.items():
            known = of_group[rows] >= 0
            present = torch.nn.functional.one_hot(of_group[rows][known], sums[group].shape[1])
            sums[group] += (features[known] - mean).T @ present.double()
    gains, nullity = scorer.gains.cpu(), scorer.space.nullity
    places = {word: place for place, word in enumerate(scorer.words)}
    found: dict[str, dict[str, float]] = {"groups": {}, "words": {}}
    for group, words in groups.items():
        counts = (own[group] + 1).bincount(minlength=len(words) + 1)[1:]
        if not counts.any():
            continue
        means = sums[group] / counts.sum()
        deviations = means - means.sum(dim=1, keepdim=True) * (counts / counts.sum())
        pulled = gains[:, [places[word] for word in words]]
        found["groups"][group] = haar_spread(pulled, deviations, nullity)
        for t, word in enumerate(words):
            alone = slice(t, t + 1)
            found["words"][word] = haar_spread(pulled[:, alone], deviations[:, alone], nullity)
    return {
        kind: {name: spread for name, spread in spreads.items() if math.isfinite(spread)}
        for kind, spreads in found.items()
    }
