"""The figure of a comparison: picture, class map and word map, side by side on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.attributions.results import ALIKE, AttributionComparison
from captum_sing.attributions.units import SPREADS
from captum_sing.errors import SINGNameError, SINGValueError, expected
from captum_sing.visualization import AS_IT_IS, pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_WHERE = "AttributionComparison.figure"
_SHOWN = 4  # images, unless some are named
_CELL = 2.5  # inches of a map
_NAME = 20  # letters of a class or word
_LETTERS = 38  # of a line below it
_CLIPPED = 0.99  # of the pixels are within the scale
_COLORS = "RdBu_r"
_PRINT = 135  # letters of a line of small print
_SHORT = {"sd": " sd", "common sd": " sd", "degrees": "°", "share": "", "logits": ""}
_LONG = {"degrees": "degrees", "sd": "sd of the reference images"}
_SAID = ("rank correlation", "signed", "top pixels in common")


def draw(
    comparison: AttributionComparison,
    images: int | Sequence[int] | None,
    methods: str | Sequence[str] | None,
    class_names: Sequence[str] | None,
) -> Figure:
    """See :meth:`AttributionComparison.figure`."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = _rows(comparison, images, methods, class_names)
    size = 3 * _CELL + 1.4, (_CELL + 1.0) * len(rows) + 0.6
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08))
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        _row(figure, axes, comparison, row, class_names)
    small = fill(_legend(comparison), _PRINT)
    figure.supxlabel(small, x=0.01, ha="left", fontsize=8, color="#767676", **AS_IT_IS)
    return figure


def _rows(
    comparison: AttributionComparison,
    images: int | Sequence[int] | None,
    methods: str | Sequence[str] | None,
    class_names: Sequence[str] | None,
) -> list[Any]:
    """The rows of the table that are drawn."""
    count, table = len(comparison.inputs), comparison.table
    chosen = range(min(count, _SHOWN)) if images is None else images
    chosen = np.atleast_1d(np.asarray(chosen)).tolist()
    if not chosen or not all(isinstance(i, int) and -count <= i < count for i in chosen):
        raise SINGValueError(
            expected(_WHERE, "images", f"from 0 to {count - 1}", chosen, "Name one or more")
        )
    names = list(comparison.maps) if methods is None else methods
    names = [names] if isinstance(names, str) else list(names)
    if not names or not set(names) <= set(comparison.maps):
        raise SINGNameError(
            expected(_WHERE, "methods", f"in {list(comparison.maps)}", names, "Name one or more")
        )
    named = len(class_names) if class_names is not None else np.inf
    if table["target"].max() >= named:
        raise SINGValueError(
            expected(
                _WHERE,
                "class_names",
                f"for class {table['target'].max()}",
                f"{named} names",
                "Name every output of the model",
            )
        )
    by_key = table.set_index(["image", "method"], drop=False)
    return [by_key.loc[(i % count, name)] for i in chosen for name in names]


def _row(
    figure: Figure,
    axes: Sequence[Axes],
    comparison: AttributionComparison,
    row: Any,
    class_names: Sequence[str] | None,
) -> None:
    """Picture, class map and word map, with their numbers."""
    image, maps = int(row["image"]), comparison.maps[row["method"]]
    picture = _picture(comparison, image)
    _shown(figure, axes[0], picture, "original_image")
    of_class, of_word = maps.target[image], maps.concept[image]
    spread = float(comparison.spreads[image])
    if {row["logit_unit"], row["score_unit"]} <= set(SPREADS) and np.isfinite(spread):
        both = [of_class / spread, of_word]
        _maps(figure, axes[1:], both, "sd of the reference images")
    else:
        _maps(figure, axes[1:2], [of_class], "of the logit")
        _maps(figure, axes[2:], [of_word], _LONG.get(row["score_unit"], "of the score"))
    word = row["concept"] or ""
    name = row["target"] if class_names is None else class_names[row["target"]]
    name = _short(str(name))
    score = f"{written(row['score'])}{_SHORT[row['score_unit']]}"
    titles = (
        f"{row['method']}, image {image}",
        f"class {name}: logit {written(row['logit'], 1)}",
        f"{comparison.kind.replace('_', ' ')} {_short(word)}".strip() + f": {score}",
    )
    below = (
        _alike(row),
        _removed(row, "target", comparison),
        _removed(row, "concept", comparison),
    )
    for place, title, numbers in zip(axes, titles, below, strict=True):
        place.set_title(fill(title, _LETTERS), fontsize=9, **AS_IT_IS)
        place.set_xlabel(numbers, fontsize=8, **AS_IT_IS)


def _maps(figure: Figure, axes: Sequence[Axes], maps: Sequence[Tensor], unit: str) -> None:
    """Heat maps on one symmetric scale, with its bar."""
    sizes = torch.cat([one.flatten().abs().double() for one in maps]).numpy()
    largest = float(sizes.max())
    reach = float(np.quantile(sizes, _CLIPPED, method="higher")) or largest or 1.0
    for place, one in zip(axes, maps, strict=True):
        # Captum would scale each map by itself, and refuses zeros: what it drew is put right
        _shown(figure, place, np.ones((*one.shape, 1)), "heat_map")
        place.images[-1].set_data(one.numpy())
        place.images[-1].set_clim(-reach, reach)
    bar = figure.colorbar(
        axes[0].images[-1],
        ax=list(axes),
        ticks=[-reach, 0.0, reach],
        extend="both" if largest > reach else "neither",
        shrink=0.8,
        pad=0.02,
    )
    bar.ax.set_yticklabels([f"−{reach:.2g}", "0", f"{reach:.2g}"], fontsize=8)
    bar.set_label(unit, fontsize=8)


def _shown(figure: Figure, axes: Axes, values: Any, method: str) -> None:
    """One picture or map (H, W, channels), through Captum."""
    from captum.attr import visualization

    visualization.visualize_image_attr(
        np.ones((*values.shape[:2], 1)),  # zeros would be refused
        values,
        method=method,
        sign="all",
        cmap=_COLORS,
        plt_fig_axis=(figure, axes),
        use_pyplot=False,
    )
    axes.spines[:].set_color("0.8")


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _alike(row: Any) -> str:
    """How alike the two maps are, and class and runner-up; or that nothing is claimed."""
    if row["in_sample"]:
        return "the translator was fitted on\nthis image: nothing is claimed"
    return "\n".join(
        f"{said}: {written(row[name])} ({written(row[f'runner_up_{name}'])})"
        for name, said in zip(ALIKE, _SAID, strict=True)
    )


def _removed(row: Any, region: str, comparison: AttributionComparison) -> str:
    """What became of logit and score."""
    logit, score = (row[f"{region}_{change}"] for change in ("logit_change", "score_change"))
    if not np.isfinite(score):
        return "it has no top pixels"
    of_score = f"{_short(row['concept'] or 'score')} {written(score, sign='+')}"
    return (
        f"without its top {comparison.top:.0%}:\n"
        f"logit {written(logit, sign='+')}{_SHORT[row['logit_unit']]}\n"
        f"{of_score}{_SHORT[row['score_unit']]}"
    )


def written(value: float, digits: int = 2, sign: str = "") -> str:
    """A number of so many digits behind the point; a dash where there is none.

    Example::

        >>> written(-0.126), written(0.126, sign="+"), written(-0.001), written(float("nan"))
        ('−0.13', '+0.13', '0.00', '–')
    """
    if not np.isfinite(value):
        return "–"
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def _legend(comparison: AttributionComparison) -> str:
    return (
        "Left: Spearman's correlation of the class map and the word map over all pixels, of "
        "magnitudes and signed, and the share of their top pixels that both have; in brackets the "
        "same of the class and the runner-up class. Below a map: what changes when the "
        f"{comparison.top:.0%} of pixels where it is largest are replaced ({comparison.removal})."
    )


def _picture(comparison: AttributionComparison, image: int) -> Any:
    """As Captum draws it: inputs are brought to [0, 1], gray unless of three channels."""
    if comparison.pictures is not None:
        return pixels(comparison.pictures[image])
    values = comparison.inputs[image].cpu().float()
    if len(values) != 3:
        values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        values = (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
    return pixels(values)
