"""The paper's Fig. 5: from each word's angle to features, to its angle to their equivalents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGValueError, expected
from captum_sing.plots.asked import TAKEN, check_names, check_study, images_at
from captum_sing.plots.style import (
    COLORS,
    GREY,
    beside,
    empty,
    footnote,
    head,
    new_figure,
    rows_in,
    short,
)
from captum_sing.study import Study
from captum_sing.study.statistics import MODEL
from captum_sing.study.table import column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_concept_arrows"]

_WHERE = "plot_concept_arrows"
_NEARER, _FURTHER = COLORS[2], COLORS[1]
_MOST = 24  # words, unless some are asked for
_NEVER = (
    "Angles rank nothing and are never starred: taking anything away turns a feature towards all "
    "the rest."
)


def plot_concept_arrows(
    study: Study, words: Sequence[str] | None = None, level: str = MODEL
) -> Figure:
    """An arrow a word, from the mean angle to T(f) to the mean angle to T(f~), by falling AS.

    Bars at the heads are Student's 95 % intervals of the mean shift, the attribute score.

    Args:
        study (Study): see :func:`captum_sing.study.run_study`.
        words (sequence of str, optional): which. Default: the 24 that move most
        level (str, optional): a class, or all images. Default: "(model)"

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: no study, no angles in it, or no such level
            or word.
    """
    check_study(_WHERE, study)
    images = images_at(_WHERE, study, level)
    known = [word for word in study.facts["words"] if column("angle", word=word) in study.table]
    if not known:
        raise SINGValueError(
            expected(_WHERE, "study", "with angles of words", "one without", "Study words anew")
        )
    check_names(_WHERE, "words", words or [], known)
    asked = list(dict.fromkeys(known if words is None else words))
    start, shift, reach = _shifts(images, asked)
    there = [i for i in np.argsort(-shift, kind="stable") if np.isfinite(shift[i])]
    if words is None:
        most = set(sorted(there, key=lambda i: -abs(shift[i]))[:_MOST])
        there = [i for i in there if i in most]

    figure = new_figure(2.0 + 0.3 * max(len(there), 2))
    where = "all images" if level == MODEL else short(level, 40, 1)
    title = f"{study.facts['model']}, {where} (n = {len(images):,}): {TAKEN['none']}"
    head(figure, f"{title}. Mean angle to each word, before and after", _handles())
    axes = figure.subplots()
    for y, i in enumerate(there):
        color = _NEARER if shift[i] > 0 else _FURTHER
        end = start[i] - shift[i]
        axes.errorbar(end, y, xerr=reach[i], color="black", linewidth=1, capsize=3, zorder=5)
        axes.scatter(start[i], y, color="black", s=14, zorder=3)
        axes.annotate(
            "",
            (end, y),
            (start[i], y),
            arrowprops={
                "arrowstyle": "-|>", "color": color, "lw": 2.2, "shrinkA": 0, "shrinkB": 0,
            },
        )  # fmt: skip
        beside(axes, y, f"AS {shift[i]:+.1f}°", GREY)
    rows_in(axes, [short(asked[i], 30) for i in there])
    axes.set_xlabel("mean angle between translation and word, degrees")
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    if not there:
        empty(axes, "no held-out image has an angle")
    notes = [_NEVER, "Bars: 95 % intervals of the mean shift AS."]
    left = len(asked) - len(there)
    if left:
        which = "without an angle" if words is not None else "that move less, or have no angle,"
        notes.append(f"Words {which} are left out: {left:,}.")
    footnote(figure, notes)
    return figure


def _shifts(images: Any, words: Sequence[str]) -> tuple[Any, Any, Any]:
    """Mean angle and AS of each word, of the images that have both, and half an interval."""
    from scipy.stats import t

    angles, shifts = (
        images[[column(kind, word=word) for word in words]].to_numpy(np.float64)
        for kind in ("angle", "attribute_score")
    )
    there = np.isfinite(angles) & np.isfinite(shifts)
    counts = there.sum(axis=0)
    known = np.where(counts > 0, counts, np.nan)
    start, shift = (np.where(there, part, 0.0).sum(axis=0) / known for part in (angles, shifts))
    free = np.where(counts > 1, counts - 1, np.nan)
    squares = np.where(there, (shifts - shift) ** 2, 0.0).sum(axis=0)
    return start, shift, t.ppf(0.975, free) * np.sqrt(squares / free / known)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    rows = (
        ("black", "o", "original"),
        (_NEARER, ">", "nearer after removal"),
        (_FURTHER, "<", "further after removal"),
    )
    return [
        Line2D([], [], color=color, marker=marker, linestyle="", label=label)
        for color, marker, label in rows
    ]
