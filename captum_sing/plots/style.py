"""What all figures of studies share: colors, titles, footnotes, and names that fit."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.visualization import AS_IT_IS, IGNORED, SEEN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "AS_IT_IS",
    "COLORS",
    "GREY",
    "IGNORED",
    "SEEN",
    "WIDTH",
    "beside",
    "empty",
    "footnote",
    "head",
    "look",
    "new_figure",
    "rows_in",
    "short",
    "written",
]

COLORS = (SEEN, "#D55E00", "#009E73", "#CC79A7", IGNORED, "#56B4E9", "#000000")
"""Okabe and Ito's, those that show on white."""

GREY = "#767676"
"""Of what is not claimed, and of small print."""

WIDTH = 9.0
"""Inches: 900 pixels of a screen, at which no letter is too small."""

_STYLES = ("-", "--", ":")
_PRINT, _LABEL, _TITLE = 16.5, 13.5, 11.0  # small, plain and large letters in an inch
_KEY = 8  # letters that a legend's mark takes


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure in which nothing overlaps, unknown to pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def look(number: int) -> dict[str, Any]:
    """Color and line of the model or prompt of a number: 21 different ones."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": _STYLES[number // len(COLORS) % len(_STYLES)],
    }


def short(text: str, width: int = 26, lines: int = 2) -> str:
    r"""A name of any length in so many lines of so many letters, cut with an ellipsis.

    Example::

        >>> short("a very long name of a class", 10)
        'a very\nlong name…'
    """
    parts = wrap(text, width, break_long_words=True) or [text]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], f"{parts[lines - 1][: width - 1]}…"]
    return "\n".join(parts)


def written(value: float, digits: int = 2) -> str:
    """A number of so many digits behind the point; nothing is less than nothing.

    Example::

        >>> written(-0.001), written(-0.5), written(12.346)
        ('0.00', '-0.50', '12.35')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}"


def head(figure: Figure, title: str, handles: Sequence[Any] = ()) -> None:
    """What the figure is of, and below that what its marks mean, above the axes."""
    drawn = figure.legend(
        handles=list(handles),
        title=fill(title, int(figure.get_figwidth() * _TITLE)),
        loc="outside upper left",
        alignment="left",
        ncols=_columns([handle.get_label() for handle in handles], figure.get_figwidth()),
        title_fontsize=11,
        fontsize=9,
        frameon=False,
        borderpad=0.1,
    )
    for text in (drawn.get_title(), *drawn.get_texts()):
        text.set_parse_math(False)


def _columns(labels: Sequence[str], inches: float) -> int:
    """As many columns of a legend as there is room for."""
    for count in range(len(labels), 1, -1):
        columns = np.array_split([len(label) + _KEY for label in labels], count)
        if sum(int(column.max()) for column in columns) <= inches * _LABEL:
            return count
    return 1


def footnote(figure: Figure, sentences: Sequence[str]) -> None:
    """Small print below a figure: how many images are drawn, what is left out, what it is not."""
    text = fill(" ".join(sentences), int(figure.get_figwidth() * _PRINT))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=GREY, **AS_IT_IS)


def rows_in(axes: Axes, names: Sequence[str], size: float = 9) -> None:
    """One row a name, from the top, with room above and below."""
    axes.set_yticks(range(len(names)), names, fontsize=size, **AS_IT_IS)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9)
    axes.spines[["top", "left", "right"]].set_visible(False)


def beside(axes: Axes, y: float, text: str, color: str = "black") -> None:
    """A remark to the right of a row."""
    axes.annotate(
        text,
        (1.01, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        color=color,
        annotation_clip=False,
        **AS_IT_IS,
    )


def empty(axes: Axes, text: str) -> None:
    """Axes of nothing, which say why."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes, **AS_IT_IS
    )
