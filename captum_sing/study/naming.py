"""Ignored, or merely also there? How often words are named rightly, from which part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_sing.controls import naming, naming_drop
from captum_sing.study.design import goes_with_class
from captum_sing.study.scoring import SOURCES
from captum_sing.study.statistics import MODEL, interval, levels, with_q
from captum_sing.study.table import codes, named_column, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["name_judgements"]

_DROP_OF_NOTHING = "no star: the whole feature names no better than chance"
_NOT_THE_BEST = "no star: what is seen foretells some of the rest; see seen_conditional"
_TIED = "no star: the words go with the classes, and so does what is lost"


def name_judgements(table: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """How often the words of a group are named rightly, from the whole feature and its parts.

    What the ignored part names and the seen part no longer does is ignored; a word that both name
    is merely also there.

    Returns:
        pandas.DataFrame: a row a level, group with labels, and source, with ``n``, the share
        ``right`` with its exact interval ``low``, ``high``, and ``chance``; and, for what is seen,
        the ``drop`` from the whole feature with the exact McNemar ``p``, ``q`` and ``starred``.
        The drop of ``seen`` has no star where that of ``seen_conditional`` is known: under
        redundancy too little is named from it.
    """
    import pandas as pd

    asked = [group for group in groups if own_column(group) in table]
    given = [own_column(group) for group in asked]
    named_columns = [named_column(group, source) for group in asked for source in SOURCES]
    rows = []
    for level, images in levels(table, given + [name for name in named_columns if name in table]):
        for group in asked:
            best = named_column(group, "seen_conditional") not in table
            tied = level == MODEL and goes_with_class(images, own_column(group))
            labels = codes(images, own_column(group))
            nobody, named_at_all = torch.zeros(len(images), dtype=torch.bool), False
            for source in SOURCES:
                if named_column(group, source) not in table:
                    continue
                named = codes(images, named_column(group, source))
                found = naming(named, labels, in_sample=nobody)
                if source == "all":
                    named_at_all = found.interval is not None and found.interval[0] > found.chance
                row: dict[str, Any] = {
                    "level": level,
                    "group": group,
                    "source": source,
                    "n": found.n,
                    "right": found.value,
                    **interval(found.interval),
                    "chance": found.chance,
                    "drop": np.nan,
                    "p": np.nan,
                    "note": found.note,
                }
                if source.startswith("seen"):
                    whole = codes(images, named_column(group, "all"))
                    lost = naming_drop(whole, named, labels, in_sample=nobody)
                    row |= {"drop": lost.value, "p": np.nan if lost.p is None else lost.p}
                    row["note"] = lost.note or _doubt(source, best, named_at_all, tied)
                rows.append(row)
    return with_q(pd.DataFrame(rows))


def _doubt(source: str, best: bool, named_at_all: bool, tied: bool) -> str | None:
    """Why a drop gets no star, whatever its p is."""
    if source == "seen" and not best:
        return _NOT_THE_BEST
    if not named_at_all:
        return _DROP_OF_NOTHING
    return _TIED if tied else None
