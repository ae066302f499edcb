"""Figures: pictures side by side, and what is seen and ignored in each, as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from captum_sing.descriptions import Description, WordScore
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.prompts import UNGROUPED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

__all__ = [
    "AS_IT_IS",
    "IGNORED",
    "SEEN",
    "Picture",
    "pixels",
    "visualize_descriptions",
    "visualize_pictures",
]

Picture: TypeAlias = "Image.Image | Tensor | np.ndarray[Any, Any]"
"""PIL, a tensor (3, H, W) in [0, 1], or an array (H, W, 3), 8-bit or in [0, 1]."""

# Okabe and Ito's colors: every eye tells them apart, and so does black-and-white print
IGNORED, SEEN = "#E69F00", "#0072B2"
_CELL = 1.5  # inches of a picture in a grid
_LINE = 0.24  # inches of a word's bar
_TITLE = 30  # letters of a title's line
_LARGEST = 512  # pixels of a side that is drawn
AS_IT_IS: dict[str, Any] = {"parse_math": False}  # a $ in a name is no formula
_UNITS = {"sd": "standard deviations", "common sd": "one standard deviation for all words,"}


def visualize_pictures(
    rows: Mapping[str, Sequence[Picture | None]],
    columns: Sequence[str] | None = None,
    *,
    captions: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """A grid of pictures, through :func:`captum.attr.visualization.visualize_image_attr`.

    Args:
        rows (mapping of str to sequence): title -> pictures (see :data:`Picture`), as many in each
            row; None leaves a place empty.
        columns (sequence of str, optional): titles of the columns.
        captions (mapping of str to sequence of str, optional): row title -> a line below each
            picture.

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no rows, rows or titles of different lengths, or something
            that is no picture.
    """
    from matplotlib.figure import Figure

    captions = captions or {}
    widths = {len(row) for row in (*rows.values(), *captions.values())}
    widths |= {len(columns)} if columns is not None else set()
    if len(widths) != 1 or 0 in widths or not set(captions) <= set(rows):
        raise SINGValueError(
            expected(
                "visualize_pictures",
                "rows, columns and captions",
                "of one length, with a caption row only for a row of pictures",
                f"lengths {sorted(widths)}",
                "Use None for a picture that is missing",
            )
        )
    width = widths.pop()
    figure = Figure(figsize=(_CELL * width + 1.2, _CELL * len(rows) + 0.6), layout="constrained")
    grid = figure.subplots(len(rows), width, squeeze=False)
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for number, (axes, picture) in enumerate(zip(line, pictures, strict=True)):
            _show(figure, axes, picture)
            if title in captions:
                axes.set_xlabel(captions[title][number], fontsize=8, **AS_IT_IS)
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9, **AS_IT_IS)
    for axes, column in zip(grid[0], columns or (), strict=False):
        axes.set_title(column, fontsize=9, **AS_IT_IS)
    return figure


def visualize_descriptions(
    descriptions: Sequence[Description],
    images: Sequence[Picture] | Tensor | None = None,
    titles: Sequence[str] | None = None,
) -> Figure:
    """One row an image: the picture, and its words' evidence, ignored and seen, as stacked bars.

    The words are those that the description names; the mark is their sum, the word's whole
    evidence. All rows share one scale.

    Args:
        descriptions (sequence of Description): such as
            :attr:`captum_sing.SINGAttribution.descriptions`.
        images (sequence of pictures or Tensor, optional): B pictures (see :data:`Picture`).
        titles (sequence of str, optional): B titles.

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no descriptions, another number of pictures or titles, or
            something that is no picture.
    """
    from matplotlib.figure import Figure

    count = len(descriptions)
    for name, given in (("images", images), ("titles", titles)):
        if not count or (given is not None and len(given) != count):
            raise SINGValueError(
                expected(
                    "visualize_descriptions",
                    name,
                    f"one for each of {count or 'at least one'} descriptions",
                    0 if given is None else len(given),
                    "Pass as many",
                )
            )
    words = [_words(description) for description in descriptions]
    heights = [max(1.9, 0.75 + _LINE * len(of_image)) for of_image in words]
    figure = Figure(
        figsize=(9.0 if images is not None else 5.8, sum(heights) + 0.8), layout="constrained"
    )
    grid = figure.subplots(
        count,
        1 if images is None else 2,
        squeeze=False,
        width_ratios=None if images is None else (1.0, 2.2),
        height_ratios=heights,
    )
    reach = _reach([word for of_image in words for word in of_image])
    for number, (description, line) in enumerate(zip(descriptions, grid, strict=True)):
        if images is not None:
            _show(figure, line[0], images[number])
        _bars(line[-1], description, words[number], reach)
        if titles is not None:
            title = "\n".join(fill(part, _TITLE) for part in titles[number].splitlines())
            above = f"\n{line[-1].get_title()}" if images is None else ""
            line[0].set_title(title + above, fontsize=9, **AS_IT_IS)
    if any(words):
        last = max(number for number, of_image in enumerate(words) if of_image)
        unit = next(word.unit for of_image in words for word in of_image)
        label = f"evidence, in {_UNITS.get(unit, unit)} of the reference images"
        grid[last][-1].set_xlabel(label, fontsize=9)
        figure.legend(
            handles=_legend(), loc="outside upper right", ncols=3, frameon=False, fontsize=9
        )
    return figure


def _show(figure: Figure, axes: Axes, picture: Picture | None) -> None:
    """One picture, or an empty place."""
    from captum.attr import visualization

    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if picture is None:
        return
    shown = pixels(picture)
    visualization.visualize_image_attr(
        np.ones(shown.shape),  # not shown; zeros would be refused
        shown,
        method="original_image",
        plt_fig_axis=(figure, axes),
        use_pyplot=False,
    )


def pixels(picture: Picture) -> np.ndarray[Any, Any]:
    """A picture as Captum draws it.

    Returns:
        numpy.ndarray: shape (H, W, 3), in [0, 1]; large pictures are made smaller.

    Raises:
        SINGTypeError, SINGValueError: it is no picture.
    """
    from PIL import Image

    if isinstance(picture, Image.Image):
        picture = picture.convert("RGB")
        picture.thumbnail((_LARGEST, _LARGEST))
        picture = np.asarray(picture)
    elif isinstance(picture, Tensor):
        picture = picture.detach().cpu().float().movedim(0, -1).numpy()
    if not isinstance(picture, np.ndarray):
        raise SINGTypeError(
            expected(
                "visualize",
                "picture",
                "to be a PIL image, a tensor or an array",
                type(picture).__name__,
                "Load it with captum_sing.classifiers.load_image",
            )
        )
    shown = picture / 255 if picture.dtype == np.uint8 else picture
    if shown.ndim != 3 or shown.shape[2] != 3 or not (0 <= shown.min() <= shown.max() <= 1):
        raise SINGValueError(
            expected(
                "visualize",
                "picture",
                "with three channels and values in [0, 1]",
                f"{picture.dtype} of shape {picture.shape} in [{shown.min():g}, {shown.max():g}]",
                "Pass the image as it was before normalisation",
            )
        )
    return shown


def _words(description: Description) -> list[WordScore]:
    """The words named as ignored or as seen, by falling ignored evidence."""
    both = (description.ignored or ()) + (description.seen or ())
    named = {word.word: word for word in both}
    return sorted(named.values(), key=lambda word: word.ignored, reverse=True)


def _reach(words: Sequence[WordScore]) -> tuple[float, float]:
    """How far bars go to the left and to the right, with some air."""
    left = [min(w.ignored, 0.0) + min(w.seen, 0.0) for w in words]
    right = [max(w.ignored, 0.0) + max(w.seen, 0.0) for w in words]
    air = 0.05 * ((max(right, default=0.0) - min(left, default=0.0)) or 1.0)
    return min(left, default=0.0) - air, max(right, default=1.0) + air


def _bars(
    axes: Axes,
    description: Description,
    words: Sequence[WordScore],
    reach: tuple[float, float],
) -> None:
    """One image's words: what the head ignores starts at zero, what it sees goes on from there."""
    axes.set_title(_caption(description), fontsize=9)
    axes.set_xlim(*reach)
    if not words:
        axes.set_yticks([])
        axes.set_axis_off()
        return
    strength = 0.3 if description.in_sample else 1.0
    for y, word in enumerate(words):
        start = word.ignored if word.ignored * word.seen > 0 else 0.0
        axes.barh(y, word.ignored, color=IGNORED, height=0.7, alpha=strength)
        axes.barh(y, word.seen, left=start, color=SEEN, height=0.7, alpha=strength)
        total = word.ignored + word.seen
        axes.plot([total, total], [y - 0.45, y + 0.45], color="black", linewidth=1.6)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_ylim(len(words) - 0.4, -0.6)
    labels = [_label(word) for word in words]
    axes.set_yticks(range(len(words)), labels, fontsize=9, **AS_IT_IS)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "left", "right"]].set_visible(False)


def _label(word: WordScore) -> str:
    """A word with its group, where that says something."""
    return word.word if word.group == UNGROUPED else f"{word.word} ({word.group})"


def _caption(description: Description) -> str:
    energy, degrees = description.null_energy, description.image_score
    caption = (
        "the feature is its own baseline"
        if math.isnan(energy)
        else (f"{energy:.0%} of the energy ignored")
    )
    caption += "" if math.isnan(degrees) else f", IS {degrees:.1f}°"
    if description.in_sample:
        caption += "\nthe translator was fitted on this image: nothing is claimed"
    elif description.ignored is None:
        caption += "\nno word is named, for want of reference statistics"
    elif not _words(description):
        caption += "\nno word is named"
    return caption


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(color=IGNORED, label="ignored"),
        Patch(color=SEEN, label="seen"),
        Line2D([], [], color="black", linestyle="", marker="|", markersize=11, label="total"),
    ]
