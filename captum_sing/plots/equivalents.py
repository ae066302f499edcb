"""Photographs beside their drawn equivalents, and under each what the classifier says to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.plots.style import short
from captum_sing.render import Drawn, RenderedEquivalents
from captum_sing.visualization import visualize_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_equivalents"]

_WHERE = "plot_equivalents"
_LETTERS = 22  # of a line under a picture


def plot_equivalents(
    rendered: RenderedEquivalents,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    *,
    most: int | None = None,
) -> Figure:
    """The paper's Fig. 1, 6 and 13, with verdicts: a row a photograph, a column a kind of picture.

    Under each picture stand the class and its probability as the classifier sees it now, the
    verdict (see :func:`captum_sing.render.verdicts`) with the relative logit gap, how much of the
    wanted change the picture makes, and the angle by which the translation turned, IS, with the
    step in norms of the feature.

    Args:
        rendered (RenderedEquivalents): see :func:`captum_sing.render.render_equivalents`.
        class_names (sequence of str, optional): C of them. Default: numbers
        names (sequence of str, optional): of the photographs. Default: none
        most (int, optional): show the first so many photographs alone. Default: all

    Returns:
        matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

    Raises:
        SINGTypeError, SINGValueError: no such pictures, or another number of names.
    """
    if not isinstance(rendered, RenderedEquivalents):
        raise SINGTypeError(
            expected(
                _WHERE,
                "rendered",
                "to be RenderedEquivalents",
                type(rendered).__name__,
                "Make them with captum_sing.render.render_equivalents",
            )
        )
    count, classes = len(rendered.photographs), rendered.seen.logits.shape[1]
    for argument, given, wanted in (("class_names", class_names, classes), ("names", names, count)):
        if given is not None and len(given) != wanted:
            raise SINGValueError(
                expected(_WHERE, argument, f"{wanted} of them", len(given), "Give one for each")
            )
    if most is not None and most < 1:
        raise SINGValueError(expected(_WHERE, "most", "of at least 1", most, "Leave it out"))
    known = (
        list(class_names)
        if class_names is not None
        else [f"class {number}" for number in range(classes)]
    )
    probability, prediction = rendered.seen.logits.softmax(dim=1).max(dim=1)
    drawn = [rendered.original, *rendered.equivalents.values()]
    rows, captions = {}, {}
    for place, photograph in enumerate(rendered.photographs[:most]):
        title = short(names[place], 20, 2) if names else ""
        title += "\u200b" * place  # of no width: rows go by their titles
        rows[title] = [photograph, *(column.pictures[place] for column in drawn)]
        own = _said(known[int(prediction[place])], float(probability[place]))
        captions[title] = [own, *(_caption(column, place, known) for column in drawn)]
    titles = ["photograph", "rendered\noriginal", *(short(n, 18, 3) for n in rendered.equivalents)]
    return visualize_pictures(rows, titles, captions=captions)


def _said(name: str, probability: float) -> str:
    return f"{short(name, _LETTERS - 6, 1)} {probability:.0%}"


def _caption(column: Drawn, place: int, known: Sequence[str]) -> str:
    found = column.check
    lines = [_said(known[int(found.prediction[place])], float(found.probability[place]))]
    gap = f"gap {float(found.gap[place]):.1%}"
    lines.append(gap if column.verdicts is None else f"{column.verdicts[place]}, {gap}")
    if column.change is not None:
        lines.append(f"change made {float(column.change[place]):.0%}")
    if column.descriptions is not None:
        turn = float(column.descriptions.image_score[place])
        lines.append(f"IS {turn:.1f}°, step {float(column.descriptions.step[place]):.2g}")
    return "\n".join(lines)
