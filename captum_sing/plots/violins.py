"""The paper's Fig. 4: how a score is spread within each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGValueError, expected
from captum_sing.plots.asked import MEASURES, TAKEN, check_names, check_study, held_out, scores
from captum_sing.plots.style import SEEN, empty, footnote, head, new_figure, rows_in, short
from captum_sing.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_class_violins"]

_WHERE = "plot_class_violins"
_MOST = 20  # classes, unless some are asked for
_FEW = 2  # images of which no density is drawn
_HALF = 0.42  # of a row's height, of the widest place of a violin
_ALL = "all images"


def plot_class_violins(
    study: Study,
    measure: str = "image_score",
    baseline: str = "none",
    classes: Sequence[str] | None = None,
) -> Figure:
    """A violin a class, with its median: the density of a score of its held-out images.

    Classes of one or two images, or of equal ones, are drawn as points. A study without labels has
    one violin, of all images.

    Args:
        study (Study): see :func:`captum_sing.study.run_study`.
        measure (str, optional): see :data:`captum_sing.plots.asked.MEASURES`.
            Default: "image_score"
        baseline (str, optional): what is put in the ignored part's place. Default: "none"
        classes (sequence of str, optional): which, in this order. Default: the 20 largest

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: no study, or no such measure, baseline or
            class.
    """
    check_study(_WHERE, study, baseline)
    if measure not in MEASURES:
        raise SINGValueError(
            expected(_WHERE, "measure", f"in {list(MEASURES)}", repr(measure), "Choose one")
        )
    images = held_out(study)
    values = scores(images, measure, baseline)
    there = np.isfinite(values)
    codes = images["label"].cat.codes.to_numpy()
    known = list(study.table["label"].cat.categories)
    samples = {name: values[there & (codes == i)] for i, name in enumerate(known)}
    if classes is not None:
        check_names(_WHERE, "classes", classes, known)
        shown = list(dict.fromkeys(classes))
    elif known:
        by_size = sorted(known, key=lambda name: -len(samples[name]))
        shown = [name for name in by_size[:_MOST] if len(samples[name])]
    else:
        samples, shown = {_ALL: values[there]}, [_ALL] if there.any() else []

    figure = new_figure(1.7 + 0.36 * max(len(shown), 2))
    head(figure, f"{study.facts['model']}, by class: {TAKEN[baseline]}")
    axes = figure.subplots()
    for y, name in enumerate(shown):
        _violin(axes, y, samples[name])
    rows_in(axes, [f"{short(name)} (n = {len(samples[name]):,})" for name in shown])
    axes.set_xlabel(MEASURES[measure])
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    if not shown:
        empty(axes, "no held-out image has this score")
    notes = ["White dots: medians; black bars: the middle half. n: held-out images."]
    if len(shown) < len(samples):
        largest = ", the largest" if classes is None else ""
        notes.append(f"{len(shown):,} of {len(samples):,} classes{largest}.")
    rest = int((~there).sum())
    if rest:
        notes.append(f"{rest:,} images without the score are left out.")
    unlabelled = int(images["label"].isna().sum()) if known else 0
    if unlabelled:
        notes.append(f"{unlabelled:,} images have no label.")
    footnote(figure, notes)
    return figure


def _violin(axes: Axes, y: float, sample: Any) -> None:
    """One row: a density with its median, or points."""
    from scipy.stats import gaussian_kde

    if len(sample) <= _FEW or np.ptp(sample) <= 1e-9 * np.abs(sample).max():
        axes.scatter(sample, np.full(len(sample), y), color=SEEN, s=16, zorder=3)
        return
    grid = np.linspace(sample.min(), sample.max(), 128)
    density = gaussian_kde(sample)(grid)
    half = _HALF * density / density.max()
    axes.fill_between(grid, y - half, y + half, color=SEEN, alpha=0.55, linewidth=0.8)
    low, middle, high = np.quantile(sample, (0.25, 0.5, 0.75))
    axes.plot([low, high], [y, y], color="black", linewidth=2.2, solid_capstyle="butt")
    axes.scatter([middle], [y], color="white", edgecolor="black", s=26, zorder=3)
