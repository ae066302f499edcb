"""Is what is ignored more than geometry? Shares of groups and words against the other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_sing.controls import Share, against_other_words, signal_share, word_shares
from captum_sing.study.design import goes_with_class
from captum_sing.study.statistics import MODEL, by_class, interval, levels, where, with_q
from captum_sing.study.table import codes, column, evidence, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["share_judgements"]

_UNNAMED = "no share: no image has a label"
_TIED = "no star: the words go with the classes, and so does their signal"


def share_judgements(
    table: pd.DataFrame, groups: Mapping[str, Sequence[str]], facts: Mapping[str, Any]
) -> pd.DataFrame:
    """Which share of each signal is ignored, and whether that differs from the other words'.

    Args:
        table (pandas.DataFrame): of a study.
        groups (mapping): group -> its words, with evidence.
        facts (mapping): of the study.

    Returns:
        pandas.DataFrame: a row a level and group with labels (``word`` is None) and, for the
        model, a row each of its words, with ``n`` images; the ``share`` with ``low``, ``high``;
        ``chance``, K/D; the ``centre``, which is the median share of the other groups, and the
        ``spread`` over random subspaces; ``p``, two-sided, ``q`` over groups or over words,
        ``starred``, and a ``note`` that says why there is no share, or no star. Only the model's
        are tested. See :func:`captum_sing.controls.against_other_words`.
    """
    import pandas as pd

    found: dict[tuple[str, str, str | None], Share] = {}
    asked = {group: words for group, words in groups.items() if own_column(group) in table}
    words_of = [word for words in asked.values() for word in words]
    columns = [column(kind, "mean", word) for kind in ("seen", "ignored") for word in words_of]
    for level, images in levels(table, [*columns, *map(own_column, asked)]):
        for group, words in asked.items():
            found |= _shares(images, level, group, words, facts)
    _, tested = next(levels(table, [own_column(group) for group in asked]))
    tied = {group for group in asked if goes_with_class(tested, own_column(group))}
    spreads = facts.get("haar_spreads") or {"groups": {}, "words": {}}
    rows = []
    for (level, group, word), share in found.items():
        spread = spreads["groups"].get(group) if word is None else spreads["words"].get(word)
        if level == MODEL and spread is not None:
            others = [
                one
                for (of_level, of, name), one in found.items()
                if of_level == MODEL and of != group and name is None
            ]
            share = against_other_words(share, others, spread)
            if share.note is None and group in tied:
                share = replace(share, note=_TIED)
        row = {"level": level, "group": group, "word": word, "n": share.n, "share": share.value}
        row |= {**interval(share.interval), "chance": share.chance, "centre": share.centre}
        row |= {"spread": share.spread, "p": np.nan if share.p is None else share.p}
        rows.append(row | {"note": share.note})
    frame = pd.DataFrame(rows)
    return with_q(frame, [frame["word"].isna(), frame["word"].notna()]) if rows else frame


def _shares(
    images: pd.DataFrame, level: str, group: str, words: Sequence[str], facts: Mapping[str, Any]
) -> dict[tuple[str, str, str | None], Share]:
    """Of a group in the images of a level; and of its words, in those of the model."""
    known = where(images, images[own_column(group)].notna())
    if not len(known):
        nothing = Share(np.nan, 0, note=_UNNAMED, nullity=facts["nullity"], width=facts["width"])
        return {(level, group, None): nothing}
    ignored, seen = (evidence(known, kind, words) for kind in ("ignored", "seen"))
    given: dict[str, Any] = {
        "labels": codes(known, own_column(group)),
        "in_sample": torch.zeros(len(known), dtype=torch.bool),
        "clusters": codes(known, "label") if by_class(known) else None,
        **{name: facts[name] for name in ("nullity", "width", "draws", "seed")},
    }
    names: list[str | None] = [None]
    shares = [signal_share(ignored, ignored + seen, **given)]
    if level == MODEL:
        names += words
        shares += word_shares(ignored, ignored + seen, **given)
    return {(level, group, name): share for name, share in zip(names, shares, strict=True)}
