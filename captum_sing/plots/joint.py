"""The paper's Fig. 3: how far images move, and how far from or towards their own label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGValueError, expected
from captum_sing.plots.asked import MEASURES, TAKEN, check_study, held_out, scores
from captum_sing.plots.style import GREY, empty, footnote, head, look, new_figure, short
from captum_sing.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confidence_ellipse", "plot_joint_scores"]

_WHERE = "plot_joint_scores"
_BINS = 40
_CANNOT = (
    "Angles move with the number of ignored directions and with the translator's fit, and rank no "
    "models."
)


def plot_joint_scores(
    studies: Study | Sequence[Study], baseline: str = "none", *, points: int = 3000, seed: int = 0
) -> Figure:
    """IS against AS of the label, of every held-out image, with the density of each.

    The ellipses hold 95 % of a normal distribution with the images' covariance. The dashed lines
    are the IS that the head's size alone would give, if all directions were alike; they are about
    the paper's null removal, and not drawn for another baseline. Where no image's label is a word
    there is no AS, and IS stands alone.

    Args:
        studies (Study or sequence of Study): a color each.
        baseline (str, optional): what is put in the ignored part's place. Default: "none"
        points (int, optional): how many images are drawn at most; densities and ellipses are of
            all. Default: 3000
        seed (int, optional): of their choice. Default: 0

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: something else than studies, none, or a baseline that was
            not studied.
    """
    given = [studies] if isinstance(studies, Study) else list(studies)
    if not given:
        raise SINGValueError(expected(_WHERE, "studies", "of one or more", 0, "Pass some"))
    for study in given:
        check_study(_WHERE, study, baseline)
    clouds = [_cloud(study, baseline) for study in given]
    joint = any(cloud.y is not None for cloud in clouds)
    figure = new_figure(7.2 if joint else 4.2)
    if joint:
        grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
        middle = figure.add_subplot(grid[1, 0])
        top = figure.add_subplot(grid[0, 0], sharex=middle)
        right = figure.add_subplot(grid[1, 1], sharey=middle)
        top.tick_params(axis="x", labelbottom=False)
        right.tick_params(axis="y", labelleft=False)
        right.set(xticks=[])
        right.spines[["top", "right", "bottom"]].set_visible(False)
        _density(right, [cloud.y for cloud in clouds], upright=False)
        middle.set_ylabel(MEASURES["attribute_score"])
        middle.axhline(0.0, color=GREY, linewidth=0.6)
        drawn = _points(middle, clouds, points, seed)
    else:
        middle = top = figure.subplots()
        drawn = 0
    top.set(yticks=[])
    top.spines[["top", "right", "left"]].set_visible(False)
    middle.spines[["top", "right"]].set_visible(False)
    _density(top, [cloud.x for cloud in clouds], upright=True)
    middle.set_xlabel(MEASURES["image_score"])
    there = any(len(cloud.x) for cloud in clouds)
    if not there:
        empty(middle, "no held-out image has a score")
    sized = there and baseline == "none"
    if sized:
        for number, study in enumerate(given):
            for axes in {middle, top}:
                axes.axvline(
                    study.facts["isotropic_image_score"],
                    color=look(number)["color"],
                    linestyle=(
                        4 * number,
                        (4, max(4 * len(given) - 4, 3)),
                    ),  # equal ones take turns
                    linewidth=1.2,
                )
    _explain(figure, clouds, drawn, joint, sized, TAKEN[baseline])
    return figure


def confidence_ellipse(x: Any, y: Any, level: float = 0.95) -> tuple[float, float, float] | None:
    """Width, height and angle in degrees of what holds so much of a normal distribution.

    Args:
        x, y (array): shape (n,).
        level (float, optional): how much. Default: 0.95

    Returns:
        tuple or None: None for fewer than three points, or where they lie on a line.

    Example::

        >>> import numpy as np
        >>> [round(part, 2) for part in confidence_ellipse([0, 2, 4, 2], [0, 1, 0, -1])]
        [7.99, 4.0, 0.0]
    """
    from scipy.stats import chi2

    if len(x) < 3:
        return None
    variances, directions = np.linalg.eigh(np.cov(x, y))
    if not variances[0] > 1e-12 * variances[1]:
        return None
    height, width = 2 * np.sqrt(variances * chi2.ppf(level, 2))
    angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1]))
    return float(width), float(height), (angle + 90) % 180 - 90


@dataclass(frozen=True)
class _Cloud:
    """A study's finite IS, shape (n,), and AS, None where no image has one; ``rest`` have not."""

    name: str
    x: Any
    y: Any
    rest: int


def _cloud(study: Study, baseline: str) -> _Cloud:
    images = held_out(study)
    x, y = (scores(images, measure, baseline) for measure in ("image_score", "attribute_score"))
    both = np.isfinite(x) & np.isfinite(y)
    name = study.facts["model"]
    if not both.any():
        there = np.isfinite(x)
        return _Cloud(name, x[there], None, int((~there).sum()))
    return _Cloud(name, x[both], y[both], int((~both).sum()))


def _density(axes: Axes, values: Sequence[Any], *, upright: bool) -> None:
    """Histograms over common bins, each of area one."""
    there = [part for part in values if part is not None and len(part)]
    if not there:
        return
    edges = np.histogram_bin_edges(np.concatenate(there), _BINS)
    for number, part in enumerate(values):
        if part is None or not len(part):
            continue
        density, _ = np.histogram(part, edges, density=True)
        orientation: Any = "vertical" if upright else "horizontal"
        color = look(number)["color"]
        axes.stairs(density, edges, orientation=orientation, fill=True, color=color, alpha=0.25)
        axes.stairs(density, edges, orientation=orientation, **look(number))


def _points(axes: Axes, clouds: Sequence[_Cloud], points: int, seed: int) -> int:
    """The images, and their ellipses above them; returns how many are drawn."""
    from matplotlib.patches import Ellipse

    drawn, random = 0, np.random.default_rng(seed)
    each = max(points // len(clouds), 1)
    for number, cloud in enumerate(clouds):
        if cloud.y is None:
            continue
        chosen = random.permutation(len(cloud.x))[:each]
        drawn += len(chosen)
        style = look(number)
        x, y = cloud.x[chosen], cloud.y[chosen]
        axes.scatter(x, y, s=9, color=style["color"], alpha=0.35, linewidths=0, rasterized=True)
        shape = confidence_ellipse(cloud.x, cloud.y)
        if shape is not None:
            middle = (float(cloud.x.mean()), float(cloud.y.mean()))
            width, height, angle = shape
            axes.add_patch(
                Ellipse(middle, width, height, angle=angle, fill=False, lw=1.8, zorder=3, **style)
            )
    return drawn


def _explain(
    figure: Figure, clouds: Sequence[_Cloud], drawn: int, joint: bool, sized: bool, taken: str
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], lw=2.5, label=f"{short(cloud.name, 34, 1)} (n = {len(cloud.x):,})", **look(i)
        )
        for i, cloud in enumerate(clouds)
    ]
    notes = []
    if sized:
        label = "IS by the head's size alone"
        handles.append(Line2D([], [], color=GREY, linestyle=(0, (5, 4)), label=label))
    if joint:
        total = sum(len(cloud.x) for cloud in clouds if cloud.y is not None)
        notes.append(f"{drawn:,} of {total:,} images are drawn.")
        notes.append("Ellipses: 95 % of a normal distribution with their covariance.")
    without = [cloud.name for cloud in clouds if cloud.y is None]
    if without:
        names = "" if len(without) == len(clouds) else f" for {', '.join(without)}"
        notes.append(f"No AS{names}: no image's label is one of the words.")
    rest = sum(cloud.rest for cloud in clouds)
    if rest:
        notes.append(f"{rest:,} images without a score are left out.")
    what = "IS and AS of the label" if joint else "IS"
    head(figure, f"{what} of held-out images, {taken}", handles)
    footnote(figure, [*notes, _CANNOT])
