"""Which of many words does the ignored part of their images point at?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_sing.controls import WordTests, word_tests
from captum_sing.study.design import ALONE, TIED, WITHIN, design_of
from captum_sing.study.statistics import levels, where, with_q
from captum_sing.study.table import codes, column, evidence, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["word_judgements"]


def word_judgements(table: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Which of many words the ignored part of their images points at, for the model.

    Returns:
        pandas.DataFrame: a row a word of the groups with labels, with ``n`` images that have it,
        the ``contrast`` with those that do not, ``t``, ``p``, ``q``, ``starred`` and ``note`` of
        :func:`captum_sing.controls.word_tests`: beside the other words, and the classes, by
        multiple regression.
    """
    import pandas as pd

    asked = {group: words for group, words in groups.items() if own_column(group) in table}
    columns = [column("ignored", "mean", word) for words in asked.values() for word in words]
    _, images = next(levels(table, [*columns, *map(own_column, asked)]))
    known = where(images, images[[own_column(group) for group in asked]].notna().all(axis=1))
    designs = {group: design_of(known, group) for group in asked}
    tests = {}
    for design in (ALONE, WITHIN):
        if design in designs.values():
            tests[design] = _tests(known, asked, design == WITHIN)
    rows: list[dict[str, Any]] = []
    for group, words in asked.items():
        for word in words:
            place, found = len(rows), tests.get(designs[group])
            row: dict[str, Any] = {"group": group, "word": word, "n": 0, "contrast": np.nan}
            row |= {"t": np.nan, "p": np.nan, "note": TIED}
            if found is not None:
                row |= {"n": int(found.n[place]), "contrast": float(found.value[place])}
                row |= {"t": float(found.t[place]), "p": float(found.p[place])}
                row["note"] = found.notes[place]
            rows.append(row)
    frame = pd.DataFrame(rows)
    return with_q(frame, [frame["p"].notna()]) if rows else frame


def _tests(known: pd.DataFrame, asked: Mapping[str, Sequence[str]], within: bool) -> WordTests:
    """Of all words; ``within`` classes, these are one more group of labels, without evidence."""
    known = where(known, known["label"].notna()) if within else known
    words = [word for of_group in asked.values() for word in of_group]
    sizes = [len(of_group) for of_group in asked.values()]
    labels = [codes(known, own_column(group)) for group in asked]
    ignored = evidence(known, "ignored", words).double()
    if within:
        classes = codes(known, "label").unique(return_inverse=True)[1]
        labels.append(classes)
        sizes.append(int(classes.max()) + 1 if len(classes) else 0)
        ignored = torch.cat([ignored, ignored.new_zeros(len(known), sizes[-1])], dim=1)
    has_word = [
        torch.nn.functional.one_hot(own, size).bool()
        for own, size in zip(labels, sizes, strict=True)
    ]
    places = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    nobody = torch.zeros(len(known), dtype=torch.bool)
    return word_tests(ignored, torch.cat(has_word, dim=1), in_sample=nobody, groups=places)
