"""Pairs of real pictures that a head sees as nearly the same, one above the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.render.natural import Pairs
from captum_sing.visualization import Picture, visualize_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_natural_equivalents"]

_WHERE = "plot_natural_equivalents"


def plot_natural_equivalents(
    pairs: Pairs, load: Sequence[Picture] | Callable[[int], Picture], most: int = 6
) -> Figure:
    """The first pairs in their order, a column each, with how far apart they are.

    Below each stand the distances of what the head sees and of what it ignores, in those of a
    typical random pair, the relative logit gap, and the image score where it is known.

    Args:
        pairs (Pairs): such as ``natural_equivalents(...).found``, or its controls.
        load (sequence of pictures, or callable): the pictures, or row -> picture.
        most (int, optional): columns. Default: 6

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no pairs, or none to draw.
    """
    if not isinstance(pairs, Pairs):
        raise SINGTypeError(
            expected(
                _WHERE,
                "pairs",
                "to be Pairs",
                type(pairs).__name__,
                "Pass natural_equivalents(...).found, .close or .random",
            )
        )
    if not len(pairs) or most < 1:
        remedy = "Ask natural_equivalents for more"
        raise SINGValueError(
            expected(_WHERE, "pairs", "with one or more to draw", f"{len(pairs)}, {most=}", remedy)
        )
    shown = pairs[:most]
    picture = load if callable(load) else load.__getitem__
    first, second = ([picture(row) for row in rows] for rows in shown.images.T.tolist())
    captions = []
    for place in range(len(shown)):
        seen, ignored = float(shown.seen[place]), float(shown.ignored[place])
        lines = [f"seen {seen:.2f}, ignored {ignored:.2f}"]
        lines.append(f"gap {float(shown.logit_gap[place]):.1%}")
        if shown.image_score is not None:
            lines[-1] += f", IS {float(shown.image_score[place]):.0f}°"
        captions.append("\n".join(lines))
    return visualize_pictures({"one": first, "other": second}, captions={"other": captions})
