"""What is said of groups of words, with tests: of the model, and of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import (
    GroupTest,
    naming,
    naming_drop,
    permutation_z,
    signal_share,
    word_tests,
)
from captum_sing.study.scoring import SOURCES
from captum_sing.study.statistics import MODEL, by_class, interval, levels
from captum_sing.study.table import column, named_column, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["codes", "evidence", "group_judgements", "name_judgements", "word_judgements"]

_CONSTANT = (
    "not tested: the word is the same in all images of a class, and several classes share it; "
    "that needs a translator fitted on other classes"
)
_DROP_OF_NOTHING = "no star: the whole feature names no better than chance"
_UNNAMED = "not tested: no image has a label"


def group_judgements(
    table: pd.DataFrame,
    groups: dict[str, Sequence[str]],
    nullity: int,
    width: int,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Whether what is ignored points at the images' own words, and which share of them it is.

    A word that varies within classes is tested within them. Where the words are the classes, the
    model's images are compared with each other, and a class has no test of its own; see
    :func:`word_judgements` for it.

    Args:
        table (pandas.DataFrame): of a study.
        groups (dict): group -> its words.
        nullity, width (int): K and D.
        draws, seed (int): of the bootstrap.

    Returns:
        pandas.DataFrame: a row a level and group with labels, with ``n``, the mean ``contrast``
        with ``low`` and ``high``, ``z``, ``p``, ``q`` and ``starred`` of
        :func:`captum_sing.controls.permutation_z`, its ``effect``, the images ``needed`` and a
        ``note``; the signal ``share`` with ``share_low``, ``share_high``, beside ``chance``, K/D,
        and a ``share_note``. q is over the groups of the model, or over all groups and classes.
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
            ignored, seen = (evidence(known, kind, words) for kind in ("ignored", "seen"))
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
            share = None
            if len(known):
                share = signal_share(
                    ignored,
                    ignored + seen,
                    labels,
                    nullity=nullity,
                    width=width,
                    in_sample=nobody,
                    clusters=codes(known, "label") if by_class(known) else None,
                    draws=draws,
                    seed=seed,
                )
            ends = interval(share.interval if share else None)
            row |= {
                "share": share.value if share else np.nan,
                **{f"share_{end}": value for end, value in ends.items()},
                "chance": nullity / width,
                "share_note": share.note if share else _UNNAMED,
            }
            rows.append(row)
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


def evidence(images: pd.DataFrame, kind: str, words: Sequence[str]) -> Tensor:
    """What is "seen" or "ignored" of words, about the mean, shape (n, V)."""
    columns = [column(kind, "mean", word) for word in words]
    return torch.from_numpy(images[columns].to_numpy(copy=True))


def codes(images: pd.DataFrame, name: str) -> Tensor:
    """Whole numbers for what a column says; -1 for nothing."""
    return torch.from_numpy(images[name].cat.codes.to_numpy().astype(np.int64))


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
    """False discoveries among the model's tests, and among those of all classes, held at q."""
    from scipy.stats import false_discovery_control

    if not len(rows):
        return rows
    tested = rows["p"].notna() & rows["note"].isna()
    rows["q"] = np.nan
    for family in (tested & (rows["level"] == MODEL), tested & (rows["level"] != MODEL)):
        if family.any():
            rows.loc[family, "q"] = false_discovery_control(rows.loc[family, "p"].to_numpy())
    rows["starred"] = rows["q"] <= 0.05
    return rows
