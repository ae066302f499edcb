"""The paper's Fig. 9: what null, random and principal perturbations of one norm do to logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.plots.style import (
    GREY,
    IGNORED,
    SEEN,
    beside,
    empty,
    footnote,
    head,
    new_figure,
    rows_in,
    short,
)
from captum_sing.verification import Verification

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_logit_drift"]

_WHERE = "plot_logit_drift"
_KINDS = {"null": IGNORED, "random": GREY, "principal": SEEN}
_POINTS = 1000  # of a kind


def plot_logit_drift(drifts: Mapping[str, Verification], *, seed: int = 0) -> Figure:
    """A point an image: its relative logit drift, on a logarithmic scale, and the median of each.

    Drifts of exactly zero stand on a strip of their own at the left. Images whose drift is
    undefined or infinite, all of whose logits are zero, are left out.

    Args:
        drifts (mapping of str to Verification): by model; see :meth:`captum_sing.SING.verify`.
        seed (int, optional): of the choice of 1,000 points of a kind, and of their scatter about
            their row. Default: 0

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no model, or something else than verifications.
    """
    if not drifts:
        raise SINGValueError(
            expected(_WHERE, "drifts", "of one model or more", 0, "Call SING.verify for some")
        )
    for name, drift in drifts.items():
        if not isinstance(drift, Verification):
            raise SINGTypeError(
                expected(
                    _WHERE,
                    f"drifts[{name!r}]",
                    "to be a Verification",
                    type(drift).__name__,
                    "Pass what SING.verify returns",
                )
            )
    samples = {
        (name, kind): getattr(drift, kind).detach().cpu().double().numpy()
        for name, drift in drifts.items()
        for kind in _KINDS
    }
    finite = {key: sample[np.isfinite(sample)] for key, sample in samples.items()}
    left = sum(len(sample) - len(finite[key]) for key, sample in samples.items())
    everything = np.concatenate(list(finite.values()))
    zero = _zero(everything)

    figure = new_figure(1.9 + 1.0 * len(drifts))
    title = "Relative logit drift under perturbations of one norm, through the real model"
    head(figure, title, _handles())
    axes = figure.subplots()
    random = np.random.default_rng(seed)
    rows_in(
        axes, [f"{short(name, 34, 1)}\n(n = {len(drift.null):,})" for name, drift in drifts.items()]
    )
    for (name, kind), sample in finite.items():
        y = list(drifts).index(name) + 0.27 * (list(_KINDS).index(kind) - 1)
        _strip(axes, y, sample, zero, kind, random)
    if len(everything):
        axes.set_xscale("log")
    else:
        empty(axes, "no image has a drift")
    if (everything == 0).any():
        axes.axvspan(zero / 3, zero * 3, color="0.92", zorder=0)
        axes.annotate(
            "exactly 0", (zero, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
            fontsize=8, color=GREY,
        )  # fmt: skip
        axes.set_xlim(left=zero / 3)
    axes.set_xlabel("largest change of a logit / largest logit")
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    notes, largest = ["A point an image."], max(map(len, finite.values()))
    if largest > _POINTS:
        notes.append(f"{_POINTS:,} at most of {largest:,} are drawn; medians are of all.")
    if left:
        notes.append(f"Drifts that are undefined or infinite are left out: {left:,}.")
    footnote(figure, notes)
    return figure


def _zero(values: Any) -> float:
    """Where zeros stand on a logarithmic axis: well below all that is larger."""
    positive = values[values > 0]
    return 10.0 ** (math.floor(math.log10(positive.min())) - 1) if len(positive) else 1e-16


def _strip(axes: Axes, y: float, sample: Any, zero: float, kind: str, random: Any) -> None:
    """The points of one kind, and their median in front."""
    if not len(sample):
        beside(axes, y, f"{kind}: none", GREY)
        return
    chosen = np.maximum(random.permutation(sample)[:_POINTS], zero)
    places = y + random.uniform(-0.09, 0.09, len(chosen))
    axes.scatter(chosen, places, s=8, color=_KINDS[kind], alpha=0.45, linewidths=0, rasterized=True)
    median = float(np.median(sample))
    drawn = max(median, zero)
    axes.plot([drawn, drawn], [y - 0.12, y + 0.12], color="black", linewidth=2.0, zorder=3)
    beside(axes, y, f"{kind} {median:.2g}")


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    median: dict[str, Any] = {
        "color": "black",
        "marker": "|",
        "markersize": 11,
        "markeredgewidth": 2,
    }
    return [
        *(
            Line2D([], [], color=color, marker="o", linestyle="", label=kind)
            for kind, color in _KINDS.items()
        ),
        Line2D([], [], linestyle="", label="median, on the right in numbers", **median),
    ]
