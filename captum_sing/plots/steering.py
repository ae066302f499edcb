"""The paper's Table 1 as lines: how near a text the same logits come, and at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.plots.style import (
    GREY,
    footnote,
    head,
    look,
    new_figure,
    short,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_steered"]

_WHERE = "plot_steered"
_COLUMNS = (
    "prompt", "image_score", "n", "unreachable", "attribute_score", "low", "high", "step",
    "step_high",
)  # fmt: skip
_MARKERS = "osD^vPX"


def plot_steered(steered: pd.DataFrame) -> Figure:
    """AS towards each prompt over the IS that was asked for, the step below it, and who fails.

    No move of an angle brings a feature nearer to a text than by that angle: the grey line. Steps
    are in norms of the feature, the median with a line up to the 95th percentile.

    Args:
        steered (pandas.DataFrame): see :func:`captum_sing.study.steered`.

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no frame, one without rows, or without a column.
    """
    from matplotlib.ticker import LogLocator

    _check(steered)
    prompts = list(dict.fromkeys(steered["prompt"]))
    failed = bool((steered["unreachable"] > 0).any())
    figure = new_figure(7.4 if failed else 6.2)
    title = "Steered towards a text inside the null space: no logit moves"
    head(figure, title, _handles(prompts))
    ratios = (3.0, 2.0, 1.2) if failed else (3.0, 2.0)
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    upper, middle = panels[:2]
    scores = steered["image_score"].to_numpy(np.float64)
    span = np.array([0.0, float(scores.max())])
    upper.plot(span, span, color=GREY, linewidth=1.0)
    gap = min(0.006, 0.04 / len(prompts)) * span[1]
    for number, prompt in enumerate(prompts):
        rows = steered[steered["prompt"] == prompt].sort_values("image_score")
        shift = gap * (number - (len(prompts) - 1) / 2)
        style = look(number) | {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 5}
        x = rows["image_score"].to_numpy(np.float64)
        _line(upper, x, x + shift, rows, "attribute_score", ("low", "high"), style)
        _line(middle, x, x + shift, rows, "step", ("step", "step_high"), style)
        if failed:
            lost = rows["unreachable"] / np.maximum(rows["n"] + rows["unreachable"], 1)
            panels[2].plot(x, 100 * lost.to_numpy(np.float64), **style)
    upper.set_ylabel("mean AS of the prompt,\ndegrees", fontsize=9)
    middle.set_ylabel("step / norm of\nthe feature", fontsize=9)
    if (steered["step"] > 0).any():
        middle.set_yscale("log")
        middle.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        middle.yaxis.set_major_formatter("{x:g}")
        middle.yaxis.set_minor_formatter("")
    ends = steered[["attribute_score", "low", "high"]].to_numpy(np.float64)
    ends = np.append(ends[np.isfinite(ends)], (0.0, 1.0))
    air = 0.08 * np.ptp(ends)
    upper.set_ylim(ends.min() - air, ends.max() + air)  # whatever the line of straight moves does
    if failed:
        panels[2].set_ylabel("unreachable,\n% of images", fontsize=9)
        panels[2].set_ylim(-5, 105)
    panels[-1].set_xlabel("image score IS that is asked for, degrees")
    for axes in panels:
        axes.grid(linewidth=0.4)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    counts = (steered["n"] + steered["unreachable"]).to_numpy()
    footnote(
        figure,
        [
            f"n = {int(counts.max()):,} held-out images; AS with 95 % intervals, steps as median "
            "and 95th percentile, of those that reach the angle. That any head with a null space "
            "can be steered far is geometry; the step says at what price."
        ],
    )
    return figure


def _check(steered: Any) -> None:
    import pandas as pd

    if not isinstance(steered, pd.DataFrame):
        raise SINGTypeError(
            expected(
                _WHERE, "steered", "to be a pandas.DataFrame", type(steered).__name__,
                "Make one with captum_sing.study.steered",
            )
        )  # fmt: skip
    missing = [name for name in _COLUMNS if name not in steered]
    if missing or not len(steered):
        raise SINGValueError(
            expected(
                _WHERE,
                "steered",
                f"with rows, and columns {list(_COLUMNS)}",
                f"{len(steered)} rows, and no {missing}" if missing else "no rows",
                "Make it with captum_sing.study.steered",
            )
        )


def _line(
    axes: Axes, x: Any, beside: Any, rows: Any, key: str, ends: tuple[str, str], style: Any
) -> None:
    """A line through the numbers, and their intervals a little beside each other."""
    axes.plot(x, rows[key].to_numpy(np.float64), **style)
    low, high = (rows[end].to_numpy(np.float64) for end in ends)
    axes.vlines(beside, low, high, color=style["color"], linewidth=1.4)


def _handles(prompts: list[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    for number, prompt in enumerate(prompts):
        marker = _MARKERS[number % len(_MARKERS)]
        label = short(str(prompt), 34, 1)
        handles.append(Line2D([], [], label=label, marker=marker, **look(number)))
    return [*handles, Line2D([], [], color=GREY, label="AS = IS, straight towards the text")]
