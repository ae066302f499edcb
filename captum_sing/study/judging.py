"""What is said of groups of words, with tests: of the model, and of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import (
    GroupTest,
    naming,
    naming_drop,
    partialled_test,
    permutation_z,
    word_tests,
)
from captum_sing.study.scoring import SOURCES
from captum_sing.study.statistics import MODEL, interval, levels, with_q
from captum_sing.study.table import beyond_column, codes, evidence, named_column, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["beyond_judgements", "group_judgements", "name_judgements", "word_judgements"]

_CONSTANT = (
    "not tested: the word is the same in all images of a class, and several classes share it; "
    "that needs a translator fitted on other classes"
)
_DROP_OF_NOTHING = "no star: the whole feature names no better than chance"
_UNNAMED = "not tested: no image has a label"


def group_judgements(table: pd.DataFrame, groups: dict[str, Sequence[str]]) -> pd.DataFrame:
    """Whether what is ignored points at the images' own words.

    A word that varies within classes is tested within them. Where the words are the classes, the
    model's images are compared with each other, and a class has no test of its own; see
    :func:`word_judgements` for it.

    Args:
        table (pandas.DataFrame): of a study.
        groups (dict): group -> its words.

    Returns:
        pandas.DataFrame: a row a level and group with labels, with ``n``, the mean ``contrast``
        with ``low`` and ``high``, ``z``, ``p``, ``q`` and ``starred`` of
        :func:`captum_sing.controls.permutation_z`, its ``effect``, the images ``needed`` and a
        ``note``. q is over the groups of the model, or over all groups and classes.
    """
    import pandas as pd

    rows = []
    for level, images in levels(table):
        for group, words in groups.items():
            if own_column(group) not in table:
                continue
            known = images[images[own_column(group)].notna()]
            if level != MODEL and known[own_column(group)].nunique() < 2 and len(known):
                continue  # nothing to compare with inside the class
            ignored = evidence(known, "ignored", words)
            labels = codes(known, own_column(group))
            nobody = torch.zeros(len(known), dtype=torch.bool)
            strata, constant = _strata(known, group)
            if constant:
                test = GroupTest(np.nan, len(known), note=_CONSTANT)
            elif not len(known):
                test = GroupTest(np.nan, 0, note=_UNNAMED)
            else:
                test = permutation_z(ignored, labels, in_sample=nobody, strata=strata)
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
    return _with_q(pd.DataFrame(rows))


def beyond_judgements(
    table: pd.DataFrame, groups: dict[str, Sequence[str]], facts: Mapping[str, Any]
) -> pd.DataFrame:
    """Whether the ignored part tells more of the words than what is seen, for the model.

    Args:
        table (pandas.DataFrame): of a study.
        groups (dict): group -> its words.
        facts (mapping): of the study.

    Returns:
        pandas.DataFrame: a row a group with labels, with ``n`` images, the ``mean`` with ``low``
        and ``high``, ``p``, ``q``, ``starred`` and ``note`` of
        :func:`captum_sing.controls.partialled_test`.
    """
    import pandas as pd

    known, rows = facts.get("beyond") or {"fitted": {}}, []
    for group, count in known["fitted"].items():
        if group not in groups:
            continue
        products = torch.from_numpy(table[beyond_column(group)].dropna().to_numpy(copy=True))
        found = partialled_test(products, known["rank"], count)
        row = {"level": MODEL, "group": group, "n": found.n, "mean": found.value}
        row |= {**interval(found.interval), "p": np.nan if found.p is None else found.p}
        rows.append(row | {"note": found.note})
    return _with_q(pd.DataFrame(rows))


def word_judgements(table: pd.DataFrame, groups: dict[str, Sequence[str]]) -> pd.DataFrame:
    """Which of many words the ignored part of their images points at, for the model.

    Returns:
        pandas.DataFrame: a row a word of the groups with labels, with ``n`` images that have it,
        the ``contrast`` with those that do not, ``t``, ``p``, ``q``, ``starred`` and ``note`` of
        :func:`captum_sing.controls.word_tests`: beside the other words, by multiple regression.
    """
    import pandas as pd

    asked = {group: words for group, words in groups.items() if own_column(group) in table}
    known = table[~table["in_sample"]]
    known = known[known[[own_column(group) for group in asked]].notna().all(axis=1)]
    words = [word for of_group in asked.values() for word in of_group]
    if not words or not len(known):
        return pd.DataFrame()
    has_word = [_own(known, group, of_group) for group, of_group in asked.items()]
    places = [index for index, of_group in enumerate(asked.values()) for _ in of_group]
    found = word_tests(
        evidence(known, "ignored", words),
        torch.cat(has_word, dim=1),
        in_sample=torch.zeros(len(known), dtype=torch.bool),
        groups=torch.tensor(places),
    )
    return pd.DataFrame(
        {
            "group": [group for group, of_group in asked.items() for _ in of_group],
            "word": words,
            "n": found.n.numpy(),
            "contrast": found.value.numpy(),
            "t": found.t.numpy(),
            "p": found.p.numpy(),
            "q": found.q.numpy(),
            "starred": found.starred().numpy(),
            "note": list(found.notes),
        }
    )


def name_judgements(table: pd.DataFrame, groups: dict[str, Sequence[str]]) -> pd.DataFrame:
    """How often the words of a group are named rightly, from the whole feature and its parts.

    What the ignored part names and the seen part no longer does is ignored; a word that both name
    is merely also there.

    Returns:
        pandas.DataFrame: a row a level, group with labels, and source, with ``n``, the share
        ``right`` with its exact interval ``low``, ``high``, and ``chance``; and, for what is seen,
        the ``drop`` from the whole feature with the exact McNemar ``p``, ``q`` and ``starred``.
    """
    import pandas as pd

    rows = []
    for level, images in levels(table):
        for group in groups:
            if own_column(group) not in table:
                continue
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
                    row["note"] = lost.note or (None if named_at_all else _DROP_OF_NOTHING)
                rows.append(row)
    return _with_q(pd.DataFrame(rows))


def _own(images: pd.DataFrame, group: str, words: Sequence[str]) -> Tensor:
    return torch.nn.functional.one_hot(codes(images, own_column(group)), len(words)).bool()


def _strata(known: pd.DataFrame, group: str) -> tuple[Tensor | None, bool]:
    """Within what to permute a group's words, and whether they are constant in shared classes."""
    if known["label"].isna().all():
        return None, False
    pairs = known[["label", own_column(group)]].dropna().drop_duplicates()
    if pairs["label"].duplicated().any():
        return codes(known, "label"), False
    return None, bool(pairs[own_column(group)].duplicated().any())


def _with_q(rows: pd.DataFrame) -> pd.DataFrame:
    """The tests of the model are one family, those of all classes another."""
    if not len(rows):
        return rows
    return with_q(rows, [rows["level"] == MODEL, rows["level"] != MODEL])
