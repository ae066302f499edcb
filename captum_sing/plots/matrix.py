"""What was planted against what was found: a row a model, a column a factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.plots.style import AS_IT_IS, footnote, head, new_figure, short, written

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_planted_against_found"]

_WHERE = "plot_planted_against_found"
_NOTHING = "0.82"  # grey
_DARK = 0.45  # lightness below which letters are white


def plot_planted_against_found(
    found: pd.DataFrame,
    planted: pd.DataFrame,
    label: str = "share of the signal that is ignored",
    *,
    starred: pd.DataFrame | None = None,
) -> Figure:
    """A cell a model and factor: the number found, in a frame where the factor was planted.

    Cells whose truth is unknown are hatched; those without a number are grey.

    Args:
        found (pandas.DataFrame): rows models, columns factors: numbers, NaN for none.
        planted (pandas.DataFrame): of these rows and columns: True, False, or None (NaN) where
            nobody knows.
        label (str, optional): what the numbers are.
        starred (pandas.DataFrame, optional): of these rows and columns: which cells get a star.

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no frames, an empty one, names twice, or other rows and
            columns.
    """
    planted = _same(found, "planted", planted)
    stars = None if starred is None else _same(found, "starred", starred)
    numbers = found.to_numpy(np.float64, na_value=np.nan)
    rows, columns = numbers.shape
    figure = new_figure(2.1 + 0.36 * rows, max(5.0, 2.6 + 0.95 * columns))
    head(figure, f"Planted against found: {label}", _handles(planted, numbers))
    axes = figure.subplots()
    shades = _shades(axes, numbers)
    for y in range(rows):
        for x in range(columns):
            star = stars is not None and stars.iat[y, x] is not None and bool(stars.iat[y, x] == 1)
            _number(axes, x, y, numbers[y, x], star, shades)
            _truth(axes, x, y, planted.iat[y, x])
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks(range(columns), [short(str(name), 12) for name in found.columns], **AS_IT_IS)
    axes.set_yticks(range(rows), [short(str(name), 30) for name in found.index], **AS_IT_IS)
    axes.tick_params(length=0, labelsize=9)
    axes.tick_params(axis="x", labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    if np.isfinite(numbers).any():
        bar = figure.colorbar(shades, ax=axes, fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=8)
    if stars is not None:
        footnote(figure, ["* found, by the test."])
    return figure


def _same(found: Any, argument: str, other: Any) -> pd.DataFrame:
    """Another frame in the order of the first."""
    import pandas as pd

    for name, frame in (("found", found), (argument, other)):
        if not isinstance(frame, pd.DataFrame):
            raise SINGTypeError(
                expected(
                    _WHERE, name, "to be a pandas.DataFrame", type(frame).__name__,
                    "Rows are models, columns are factors",
                )
            )  # fmt: skip
    unique = found.index.is_unique and found.columns.is_unique
    if not found.size or not unique:
        actual = "names that come twice" if found.size else f"shape {found.shape}"
        raise SINGValueError(
            expected(_WHERE, "found", "with cells, and every name once", actual, "Rename them")
        )
    rows, columns = (set(one) ^ set(two) for one, two in zip(found.axes, other.axes, strict=True))
    if rows or columns or other.shape != found.shape:
        odd = sorted(map(str, rows | columns)) or f"shape {other.shape}"
        raise SINGValueError(
            expected(
                _WHERE,
                argument,
                "with the rows and columns of found",
                f"others: {odd}",
                "Leave unknown cells None",
            )
        )
    return other.loc[found.index, found.columns]


def _shades(axes: Axes, numbers: Any) -> Any:
    """Cells in colors: from white at zero, and in two directions if there are numbers below."""
    from matplotlib.colors import Normalize

    finite = numbers[np.isfinite(numbers)]
    most = max(float(np.abs(finite).max(initial=0.0)), 1e-9)
    below = bool((finite < 0).any()) and float(finite.min()) < -0.05 * most
    scale = Normalize(-most if below else 0.0, most, clip=True)
    cells = np.ma.masked_invalid(numbers)
    axes.set_facecolor(_NOTHING)
    drawn = axes.pcolormesh(
        np.arange(numbers.shape[1] + 1) - 0.5,
        np.arange(numbers.shape[0] + 1) - 0.5,
        cells,
        norm=scale,
        cmap="PuOr_r" if below else "Oranges",
        edgecolors="white",
        linewidth=1.5,
    )
    return drawn


def _number(axes: Axes, x: int, y: int, number: float, star: bool, shades: Any) -> None:
    if np.isnan(number):
        text, color = "no share", "0.3"
    else:
        text = written(number) if abs(number) < 10 else f"{number:.0f}"
        red, green, blue, _ = shades.to_rgba(number)
        color = "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < _DARK else "black"
    axes.text(
        x, y, text + (" *" if star else ""), ha="center", va="center", fontsize=9, color=color
    )


def _truth(axes: Axes, x: int, y: int, truth: Any) -> None:
    """A frame for what was planted, hatching for what nobody knows."""
    from matplotlib.patches import Rectangle

    if _unknown(truth):
        hatched = Rectangle(
            (x - 0.47, y - 0.45), 0.94, 0.9, fill=False, hatch="//", edgecolor="0.55", lw=0
        )
        axes.add_patch(hatched)
    elif bool(truth):
        frame = Rectangle((x - 0.46, y - 0.43), 0.92, 0.86, fill=False, edgecolor="black", lw=2.2)
        axes.add_patch(frame)


def _unknown(truth: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(truth))


def _handles(planted: pd.DataFrame, numbers: Any) -> list[Any]:
    from matplotlib.patches import Patch

    handles = [Patch(fill=False, edgecolor="black", lw=2.2, label="planted")]
    if planted.isna().to_numpy().any():
        handles.append(Patch(fill=False, hatch="//", edgecolor="0.55", label="truth unknown"))
    if np.isnan(numbers).any():
        handles.append(Patch(color=_NOTHING, label="no share: no clear signal"))
    return handles
