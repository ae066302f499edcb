"""What is ignored of groups of words, with tests: of the model, and of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_sing.controls import GroupTest, partialled_test, permutation_z
from captum_sing.study.design import CONSTANT, TIED, WITHIN, design_of
from captum_sing.study.statistics import MODEL, interval, levels, where, with_q
from captum_sing.study.table import beyond_column, codes, column, evidence, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["UNSURE", "beyond_judgements", "group_judgements"]

UNSURE = "no star: in the benchmark more than 5 % of what is not there was found"
"""The note of a test that is made, and not trusted with stars."""

_UNNAMED = "not tested: no image has a label"


def group_judgements(table: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Whether what is ignored points at the images' own words.

    A word that varies within classes is tested within them. Where the words are the classes, the
    model's images are compared with each other, and a class has no test of its own; see
    :func:`captum_sing.study.words.word_judgements` for it.

    Args:
        table (pandas.DataFrame): of a study.
        groups (mapping): group -> its words.

    Returns:
        pandas.DataFrame: a row a level and group with labels, with ``n``, the mean ``contrast``
        with ``low`` and ``high``, ``z``, ``p``, ``q`` and ``starred`` of
        :func:`captum_sing.controls.permutation_z`, its ``effect``, the images ``needed`` and a
        ``note``. q is over the groups of the model, or over all groups and classes.
    """
    import pandas as pd

    asked = {group: words for group, words in groups.items() if own_column(group) in table}
    columns = [column("ignored", "mean", word) for words in asked.values() for word in words]
    rows = []
    for level, images in levels(table, [*columns, *map(own_column, asked)]):
        for group, words in asked.items():
            known = where(images, images[own_column(group)].notna())
            if level != MODEL and known[own_column(group)].nunique() < 2 and len(known):
                continue  # nothing to compare with inside the class
            test = _group_test(known, group, words)
            row = {
                "level": level,
                "group": group,
                "n": test.n,
                "contrast": test.value,
                **interval(test.interval),
                "z": test.z,
                "p": np.nan if test.p is None else test.p,
                "effect": test.effect,
                "needed": test.needed or np.nan,
                "note": test.note,
            }
            rows.append(row)
    return with_q(pd.DataFrame(rows))


def _group_test(known: pd.DataFrame, group: str, words: Sequence[str]) -> GroupTest:
    """Of images with a label of the group; within classes, where these may explain it."""
    design, strata = design_of(known, group), None
    if design == CONSTANT:
        return GroupTest(np.nan, len(known), note=TIED)
    if design == WITHIN:
        known = where(known, known["label"].notna())
        strata = codes(known, "label")
    if not len(known):
        return GroupTest(np.nan, 0, note=_UNNAMED)
    nobody = torch.zeros(len(known), dtype=torch.bool)
    own, ignored = codes(known, own_column(group)), evidence(known, "ignored", words)
    return permutation_z(ignored, own, in_sample=nobody, strata=strata)


def beyond_judgements(
    table: pd.DataFrame, groups: Mapping[str, Sequence[str]], facts: Mapping[str, Any]
) -> pd.DataFrame:
    """Whether the ignored part tells more of the words than what is seen, for the model.

    Args:
        table (pandas.DataFrame): of a study.
        groups (mapping): group -> its words.
        facts (mapping): of the study.

    Returns:
        pandas.DataFrame: a row a group with labels, with ``n`` images, the ``mean`` with ``low``
        and ``high``, ``p``, ``q``, ``starred`` and ``note`` of
        :func:`captum_sing.controls.partialled_test`. None is starred: q is a description.
    """
    import pandas as pd

    rows = []
    for group, fit in (facts.get("beyond") or {}).items():
        if group not in groups:
            continue
        products = torch.from_numpy(table[beyond_column(group)].dropna().to_numpy(copy=True))
        found = partialled_test(products, fit["rank"], fit["fitted"])
        row = {"level": MODEL, "group": group, "n": found.n, "mean": found.value}
        row |= {**interval(found.interval), "p": np.nan if found.p is None else found.p}
        rows.append(row | {"note": found.note or UNSURE})
    return with_q(pd.DataFrame(rows))
