"""Models with intervals, and which of them differ for sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.plots.style import (
    COLORS,
    GREY,
    beside,
    footnote,
    head,
    new_figure,
    rows_in,
    short,
)
from captum_sing.study import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_forest"]

_WHERE = "plot_forest"
_SHARE = "share of "
_SURE, _CHANCE = COLORS[0], COLORS[1]
_UNITS = {
    "image_score": "mean image score IS, degrees",
    "abs_attribute_score": "mean |AS| of the label, degrees",
    "image_over_attribute": "mean IS / mean |AS|",
    "null_energy": "mean null energy, share of the feature's energy",
}


def plot_forest(comparison: Comparison, measure: str) -> Figure:
    """A row a model, by falling value, with its interval; below them the pairs' differences.

    Pairs that :meth:`captum_sing.study.Comparison.ranking` names are in color; the others are grey,
    and not ranked.

    Args:
        comparison (Comparison): see :func:`captum_sing.study.compare_models`.
        measure (str): one of it.

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no comparison, an empty one, or no such measure.
    """
    if not isinstance(comparison, Comparison):
        raise SINGTypeError(
            expected(
                _WHERE, "comparison", "to be a Comparison", type(comparison).__name__,
                "Make one with compare_models",
            )
        )  # fmt: skip
    if not len(comparison.pairs):
        raise SINGValueError(
            expected(_WHERE, "comparison", "of one pair or more", 0, "Compare other models")
        )
    ranked = set(comparison.ranking(measure))
    models = _of(comparison.models, measure)
    pairs = [_larger_first(row) for row in _of(comparison.pairs, measure)]
    models.sort(key=lambda row: -row["value"] if row["value"] == row["value"] else math.inf)
    for pair in pairs:
        pair["sure"] = (pair["first"], pair["second"]) in ranked
    pairs.sort(key=lambda row: (not row["sure"], math.isnan(row["difference"]), -row["difference"]))

    heights = [max(len(rows), 2) + 2.0 for rows in (models, pairs)]
    figure = new_figure(1.5 + 0.32 * sum(heights))
    title = _title(measure)
    title = f"{title[0].upper()}{title[1:]}: models and their differences on identical images"
    head(figure, title, _handles(models, pairs))
    upper, lower = figure.subplots(2, 1, height_ratios=heights)
    for y, row in enumerate(models):
        _interval(upper, y, row, "value", "black")
        if row["chance"] == row["chance"]:
            line = [row["chance"]] * 2
            upper.plot(line, [y - 0.36, y + 0.36], color=_CHANCE, linewidth=2.4, zorder=2)
    rows_in(upper, [short(row["model"], 40, 1) for row in models])
    upper.set_xlabel(_title(measure), fontsize=9)
    for y, row in enumerate(pairs):
        _interval(lower, y, row, "difference", _SURE if row["sure"] else GREY)
    lower.axvline(0.0, color="black", linewidth=0.8)
    rows_in(lower, [f"{short(r['first'], 40, 1)}\n− {short(r['second'], 40, 1)}" for r in pairs])
    lower.set_xlabel(f"difference, larger minus smaller{_of_unit(measure)}", fontsize=9)
    for axes in (upper, lower):
        axes.grid(axis="x", linewidth=0.4)
        axes.set_axisbelow(True)
    counts = sorted({f"{row['n']:,}" for row in models})
    plain = not measure.startswith(_SHARE)  # whose first note is about angles
    notes = comparison.notes[0 if plain else 1 :]
    footnote(figure, [f"95 % intervals, n = {' or '.join(counts)} images.", *notes])
    return figure


def _of(frame: Any, measure: str) -> list[dict[str, Any]]:
    return list(frame[frame["measure"] == measure].to_dict("records"))


def _title(measure: str) -> str:
    group = measure.removeprefix(_SHARE)
    ignored = f"share of the signal of {group} that is ignored"
    return _UNITS.get(measure, measure if group == measure else ignored)


def _of_unit(measure: str) -> str:
    return ", degrees" if _title(measure).endswith("degrees") else ""


def _larger_first(row: dict[str, Any]) -> dict[str, Any]:
    """The same pair, turned so that its difference is not negative."""
    if not row["difference"] < 0:
        return dict(row)
    turned = {"first": row["second"], "second": row["first"], "difference": -row["difference"]}
    return row | turned | {"low": -row["high"], "high": -row["low"]}


def _interval(axes: Axes, y: float, row: dict[str, Any], key: str, color: str) -> None:
    """A point, a bar, and both in numbers; or why there is none."""
    value, low, high = row[key], row["low"], row["high"]
    reason = row["note"] if isinstance(row["note"], str) else ""
    if math.isnan(value):
        beside(axes, y, short(reason or "no number", 30), GREY)
        return
    axes.plot([low, high], [y, y], color=color, linewidth=2.0, zorder=3)
    axes.scatter([value], [y], color=color, s=30, zorder=4)
    text = f"{value:.3g} [{low:.3g}, {high:.3g}]" if low == low else f"{value:.3g}"
    if key == "difference" and not row["sure"]:
        text += ", not ranked"
    beside(axes, y, text if not reason else f"{text}\n{short(reason, 30, 1)}", color)


def _handles(models: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    if any(row["chance"] == row["chance"] for row in models):
        mark: dict[str, Any] = {"color": _CHANCE, "marker": "|", "markersize": 12}
        label = "by the head's size alone"
        handles.append(Line2D([], [], linestyle="", markeredgewidth=2.4, label=label, **mark))
    for sure, color, label in ((True, _SURE, "pair, ranked"), (False, GREY, "pair, not ranked")):
        if any(row["sure"] == sure for row in pairs):
            handles.append(Line2D([], [], color=color, marker="o", label=label))
    return handles
