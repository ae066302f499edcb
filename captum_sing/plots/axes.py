"""Null axes in pictures: both ends of each direction that the head ignores, and its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGValueError, expected
from captum_sing.plots.style import AS_IT_IS, WIDTH, footnote, head, new_figure, short
from captum_sing.study import NullAxis
from captum_sing.visualization import Picture, pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["average_picture", "plot_null_axes"]

_WHERE = "plot_null_axes"
_WORDS = 5
_LINES, _NAME = 0.8, 0.7  # inches of their lines, and of the name of an axis
_TEXT = 1.9  # widths of a picture, for the words


def plot_null_axes(
    axes: Sequence[NullAxis], pictures: Mapping[str, Picture], *, images: int = 3
) -> Figure:
    """A row an axis: its extreme real images, their average at either end, and its words.

    Args:
        axes (sequence of NullAxis): see :func:`captum_sing.study.null_axes`.
        pictures (mapping of str to picture): by the paths that the axes name (see
            :data:`captum_sing.visualization.Picture`); a missing one leaves its place empty, and is
            in no average.
        images (int, optional): shown at each end, where more than three make a wider figure; the
            averages are of all that the axis names. Default: 3

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no axis, fewer than one image, or something that is no
            picture.
    """
    for name, count in (("axes", len(axes)), ("images", images)):
        if count < 1:
            raise SINGValueError(expected(_WHERE, name, "of one or more", count, "Ask for some"))
    columns = 2 * images + 3
    cells = columns - 1 + _TEXT
    cell = max((WIDTH - _NAME) / cells, _LINES)
    figure = new_figure(1.2 + (cell + 0.2) * len(axes), _NAME + cell * cells)
    head(figure, "Main directions of variation inside the null space, most extreme images first")
    grid = figure.subplots(
        len(axes), columns, squeeze=False, width_ratios=[1.0] * (columns - 1) + [_TEXT]
    )
    for number, (axis, line) in enumerate(zip(axes, grid, strict=True), 1):
        low, high = ([pictures.get(path) for path in end] for end in (axis.low, axis.high))
        shown = [*_padded(low, images), average_picture(low)]
        shown += [average_picture(high), *_padded(high, images)]
        for place, picture in zip(line, shown, strict=False):
            _show(place, picture)
        for place, mean in ((images, axis.low_mean), (images + 1, axis.high_mean)):
            line[place].set_xlabel(f"{mean:+.1f} sd", fontsize=8)
        title = f"axis {number}\n{axis.share:.0%} of\nvariance"
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
        words = "\n".join(
            f"{added:+.2f} {short(word, 14, 1)}" for word, added in axis.words[:_WORDS]
        )
        line[-1].set_axis_off()
        line[-1].set_box_aspect(1 / _TEXT)
        line[-1].text(0.0, 0.5, words, va="center", fontsize=9, **AS_IT_IS)
    titles = {0: "images at the low end", images: "averages"}
    titles |= {images + 2: "images at the high end", columns - 1: "words, low → high"}
    for place, title in titles.items():
        grid[0][place].set_title(title, loc="left", fontsize=9)
    missing = sorted({path for axis in axes for path in axis.low + axis.high} - set(pictures))
    notes = [f"Pictures that are missing: {len(missing):,}."] if missing else []
    notes.append(
        "Averages are of all named images of an end; sd: their mean place on the axis. Words: "
        "evidence that one sd towards the high end adds, a ranking and no test."
    )
    footnote(figure, notes)
    return figure


def average_picture(pictures: Sequence[Picture | None]) -> Any:
    """The mean of those that are there, in the size of the first, shape (H, W, 3) in [0, 1].

    Example::

        >>> import numpy as np
        >>> average_picture([np.zeros((2, 2, 3)), None, np.ones((4, 4, 3))]).mean().item()
        0.5
    """
    from PIL import Image

    there = [pixels(picture) for picture in pictures if picture is not None]
    if not there:
        return None
    height, width = there[0].shape[:2]
    resized = [
        part
        if part.shape == there[0].shape
        else np.asarray(
            Image.fromarray((255 * part).round().astype(np.uint8)).resize((width, height))
        )
        / 255
        for part in there
    ]
    return np.mean(resized, axis=0)


def _padded(pictures: Sequence[Picture | None], count: int) -> list[Picture | None]:
    """The first so many, and empty places."""
    return [*pictures[:count], *[None] * (count - len(pictures))]


def _show(axes: Axes, picture: Picture | None) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if picture is not None:
        axes.imshow(pixels(picture))
