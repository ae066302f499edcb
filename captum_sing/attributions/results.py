"""What a comparison returns: maps, a table of one row an image and method, and its means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from captum_sing.visualization import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["ALIKE", "REGIONS", "AttributionComparison", "Maps"]

REGIONS = ("target", "concept", "runner_up", "target_moved", "concept_moved")
"""Whose pixels are removed: the class map's, the word's, the runner-up's, and the first two at a
random place."""

ALIKE = ("magnitude_correlation", "signed_correlation", "overlap")
"""How alike two maps are."""


class Maps(NamedTuple):
    """One method's maps of all images, signed, (B, H, W) each.

    Attributes:
        target (Tensor): of the class's logit.
        concept (Tensor): of the score of the image's word.
        runner_up (Tensor or None): of the class with the next highest logit, if there is one.
    """

    target: Tensor
    concept: Tensor
    runner_up: Tensor | None


@dataclass(frozen=True, eq=False)
class AttributionComparison:
    """Class maps beside maps of what is ignored.

    Attributes:
        maps (dict of str to Maps): by method, in the units of the model's output and of the score.
        table (pandas.DataFrame): one row an image and method:

            - ``method``, ``image``, ``target``, ``runner_up`` (classes), ``concept`` (its word),
              ``in_sample`` (the translator was fitted on it), ``logit`` and ``score`` of the image
            - ``magnitude_correlation``, ``signed_correlation``: Spearman's, class map against word
              map; ``overlap``: the share of the top pixels that both have
            - ``runner_up_magnitude_correlation`` and so on: class map against the runner-up's
            - for each of :data:`REGIONS`, ``..._logit_change``, ``..._score_change`` and
              ``..._rival_change`` (the runner-up's logit): after minus before those pixels were
              removed, in ``logit_unit`` and ``score_unit``; ``..._silence``: the score's share of
              its and the logit's changes' sizes, 1 where only the score moved and 0 where only the
              logit did; ``..._rival_silence``: the same with the runner-up's logit in the score's
              place; NaN where the units are not alike
        inputs (Tensor): the images.
        pictures (sequence or None): what is drawn in their place.
        spreads (Tensor): the standard deviation of each image's class logit over the reference
            images, shape (B,); ones where it is not known.
        kind (str), top (float), removal (str), seed (int): as they were asked for.
    """

    maps: dict[str, Maps]
    table: DataFrame
    inputs: Tensor
    pictures: Sequence[Picture] | Tensor | None
    spreads: Tensor
    kind: str
    top: float
    removal: str
    seed: int

    @cached_property
    def summary(self) -> DataFrame:
        """Means over images with 95 % bootstrap intervals; rows are (method, number).

        Numbers are the columns of ``table``; ``abs(...)``, the sizes of changes, since changes of
        both signs cancel; and differences within an image: ``... - runner_up``, how much more the
        class's map is like the word's than like the runner-up's, ``... - moved``, how much more
        removed pixels change than as many elsewhere, and how much more silent the logit is when the
        word's pixels go than when the class's do. The pixels of any output move that output most,
        so the last says nothing by itself: its yardstick is ``runner_up_rival_silence -
        target_rival_silence``, the same of the runner-up's logit. A silence is the ratio of mean
        sizes, so that images on which nothing moves have no say; that of moved pixels is one of
        small numbers, and all are larger where the translator fits better.

        Columns ``mean``, ``low``, ``high``, ``n``; ``chance``: of maps that have nothing to do with
        each other, NaN where that says nothing; ``note``: what an interval is not good for. There
        is none for fewer than five images. Images that the translator was fitted on are left out,
        and so is an image that has no such number.
        """
        from captum_sing.attributions.means import means_of

        pixels = self.inputs.shape[-2] * self.inputs.shape[-1]
        return means_of(self.table, max(1, round(self.top * pixels)) / pixels, self.seed)

    def figure(
        self,
        images: int | Sequence[int] | None = None,
        methods: str | Sequence[str] | None = None,
        *,
        class_names: Sequence[str] | None = None,
    ) -> Figure:
        """Picture, class map and word map side by side, one row an image and method.

        Where the spread of the logits is known, both maps of a row are in standard deviations of
        the reference images and share one scale; else each has its own, and its bar says so.

        Args:
            images (int or sequence of int, optional): which. Default: the first four
            methods (str or sequence of str, optional): which. Default: all
            class_names (sequence of str, optional): a name for each output of the model.

        Returns:
            matplotlib.figure.Figure: unknown to pyplot, so nothing has to be closed.

        Raises:
            SINGValueError, SINGNameError: there is no such image, method or class.
        """
        from captum_sing.attributions.drawing import draw

        return draw(self, images, methods, class_names)
