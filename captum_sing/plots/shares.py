"""What is seen and what is ignored: of a class's words, or of the model's signals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from captum_sing.errors import SINGValueError, expected
from captum_sing.plots.asked import check_names, check_study, images_at
from captum_sing.plots.style import (
    GREY,
    IGNORED,
    SEEN,
    beside,
    footnote,
    head,
    new_figure,
    rows_in,
    short,
    written,
)
from captum_sing.prompts import UNGROUPED
from captum_sing.study import Study
from captum_sing.study.statistics import MODEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_seen_and_ignored"]

_WHERE = "plot_seen_and_ignored"
_HEIGHT = 0.36  # of a bar, in rows


def plot_seen_and_ignored(
    study: Study, level: str = MODEL, groups: Sequence[str] | None = None, top_k: int = 10
) -> Figure:
    """Two bars a word of a class, or two a group of the model: what is ignored, what is seen.

    Of a class it is the mean evidence about the mean feature, of the words with the most ignored
    one. Of the model that would be zero by construction: shown is which share of the signal of
    each group with labels is ignored, beside K/D, the share by chance.

    Args:
        study (Study): see :func:`captum_sing.study.run_study`.
        level (str, optional): a class, or all images. Default: "(model)"
        groups (sequence of str, optional): whose words, or which. Default: all
        top_k (int, optional): words of a class. Default: 10

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: no study, no evidence in it, no such level or
            group, or fewer than one word.
    """
    check_study(_WHERE, study)
    images = images_at(_WHERE, study, level)
    check_names(_WHERE, "groups", groups or [], list(study.facts["groups"]))
    if top_k < 1:
        raise SINGValueError(expected(_WHERE, "top_k", "of at least 1", top_k, "Ask for some"))
    whole = level == MODEL
    frame = study.groups if whole else study.words
    if len(frame):
        frame = frame[frame["level"] == level]
    if len(frame) and groups is not None:
        frame = frame[frame["group"].isin(groups)]
    rows = frame.to_dict("records")
    if whole:
        rows = [row for row in rows if "share" in row and len(images)]
    else:
        rows = [row for row in rows if row["ignored"] == row["ignored"]]
        rows = sorted(rows, key=lambda row: -row["ignored"])[:top_k]
    if not rows:
        raise SINGValueError(
            expected(
                _WHERE,
                "study",
                f"with {'shares of groups' if whole else 'evidence of words'} at level {level!r}",
                f"none among {len(images)} held-out images",
                "Give word_labels, or choose a class"
                if whole
                else "Study words, with a "
                "translator that has statistics, or choose a level with images",
            )
        )
    figure = new_figure(2.0 + 0.44 * max(len(rows), 2))
    axes = figure.subplots()
    if whole:
        _model(figure, axes, study, rows, len(images))
    else:
        _class(figure, axes, study, rows, len(images))
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    return figure


def _bars(axes: Axes, y: int, ignored: float, seen: float, ends: tuple[float, float]) -> None:
    """What is ignored with its interval, and below it what is seen."""
    axes.barh(y - _HEIGHT / 2, ignored, color=IGNORED, height=_HEIGHT)
    axes.barh(y + _HEIGHT / 2, seen, color=SEEN, height=_HEIGHT)
    axes.plot(ends, [y - _HEIGHT / 2] * 2, color="black", linewidth=1.6)


def _class(figure: Figure, axes: Axes, study: Study, rows: Sequence[Any], n: int) -> None:
    for y, row in enumerate(rows):
        _bars(axes, y, row["ignored"], row["seen"], (row["low"], row["high"]))
    level = short(rows[0]["level"], 40, 1)
    title = f"{study.facts['model']}, class {level} (n = {n:,}): evidence for words"
    head(figure, title, _handles("95 % interval of what is ignored"))
    names = [
        row["word"] if row["group"] == UNGROUPED else f"{row['word']} ({row['group']})"
        for row in rows
    ]
    rows_in(axes, [short(name, 30) for name in names])
    axes.set_xlabel("mean evidence, in standard deviations of the reference images", fontsize=9)
    footnote(
        figure,
        [
            "Words are ranked by what is ignored, and none is starred: neighbours of a word carry "
            "its evidence."
        ],
    )


def _model(figure: Figure, axes: Axes, study: Study, rows: Sequence[Any], n: int) -> None:
    from matplotlib.lines import Line2D

    stars = daggers = False
    for y, row in enumerate(rows):
        share, chance = row["share"], row.get("chance", math.nan)
        axes.plot([chance] * 2, [y - 0.44, y + 0.44], color="black", linewidth=1.4, linestyle=":")
        if share != share:
            note = row.get("share_note")
            beside(axes, y, short(note if isinstance(note, str) else "no share", 34), GREY)
            continue
        _bars(axes, y, share, 1 - share, (row["share_low"], row["share_high"]))
        star, dagger = row["starred"] is True, row.get("share_starred", False) is True
        stars, daggers = stars or star, daggers or dagger
        beside(axes, y, f"ignored: {written(share)}{' *' if star else ''}{' †' if dagger else ''}")
    chance_mark = Line2D([], [], color="black", linestyle=":", label="ignored by chance, K/D")
    title = f"{study.facts['model']} (n = {n:,}): the signal of each group of words"
    head(figure, title, [*_handles("95 % interval"), chance_mark])
    rows_in(axes, [f"{short(row['group'], 26)} (n = {row['n']:,})" for row in rows])
    axes.set_xlabel("share of the signal", fontsize=9)
    notes = ["The signal: evidence of the images' own words against the others."]
    if stars:
        notes.append("* What is ignored points at the images' own words (q ≤ 0.05).")
    if daggers:
        notes.append("† The share differs from that of other words (q ≤ 0.05).")
    footnote(figure, notes)


def _handles(interval: str) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(color=IGNORED, label="ignored"),
        Patch(color=SEEN, label="seen"),
        Line2D([], [], color="black", linewidth=1.6, label=interval),
    ]
