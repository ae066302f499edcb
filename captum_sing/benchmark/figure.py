"""p-values of empty worlds against uniform ones, a panel each measure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from captum_sing.benchmark.judging import MEASURES, STARRED, Judgement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration_figure"]

_EMPTY = ("empty numbers", "empty neutral")
_ACROSS = 4


def calibration_figure(judgements: Iterable[Judgement]) -> Figure:
    """The share of p-values below each level, where nothing is planted.

    A calibrated measure stays in the gray band, in which 95 % of such shares lie at each level.

    Args:
        judgements (iterable of Judgement): of a benchmark; other worlds than empty ones are left
            out.

    Returns:
        matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from scipy.stats import binom

    of_measure = {
        name: np.sort([
            one.p[name] for one in judgements
            if one.kind in _EMPTY and np.isfinite(one.p.get(name, np.nan))
        ])
        for name in MEASURES
    }  # fmt: skip
    shown = {name: p for name, p in of_measure.items() if len(p)}
    down = -(-len(shown) // _ACROSS)
    figure = Figure(figsize=(2.6 * _ACROSS, 2.7 * down), layout="constrained")
    panels = figure.subplots(down, _ACROSS, squeeze=False, sharex=True, sharey=True).ravel()
    levels = np.linspace(0, 1, 201)
    for panel, (name, p) in zip(panels, shown.items(), strict=False):
        ends = [binom.ppf(q, len(p), levels) / len(p) for q in (0.025, 0.975)]
        panel.fill_between(levels, *ends, color="0.8", linewidth=0)
        panel.plot([0, 1], [0, 1], color="0.5", linewidth=0.8)
        share = np.searchsorted(p, levels, side="right") / len(p)
        panel.plot(levels, share, color="C0" if name == STARRED else "C1")
        panel.set_title(f"{name} ({len(p)} tests)", fontsize=9)
        panel.set_aspect("equal")
    for panel in panels[len(shown) :]:
        panel.remove()
    figure.supxlabel("p")
    figure.supylabel("share of tests with a smaller one")
    return figure
