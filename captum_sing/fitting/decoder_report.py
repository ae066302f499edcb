"""How well new decoders draw pictures that were held out, beside drawing always the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_sing.controls import bootstrap_mean, paired_difference
from captum_sing.fitting.accuracy import Accuracy
from captum_sing.render.decoder import FeatureDecoder

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["DecoderReport", "Drawing", "judge_decoders"]

MEAN, REDUCED = "mean picture", "real, reduced"
_AT_ONCE = 64
_FEW = 30

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Drawing:
    """The pictures of one way of drawing, as files hold them (8 bits), against the real ones.

    Attributes:
        l1 (tuple of float): the mean difference of a pixel's value in [0, 1], and its 95 % interval
            over pictures.
        psnr (tuple of float or None): the mean peak signal-to-noise ratio in dB, likewise; None
            where pictures are exact.
        gain (tuple of float or None): by how much the difference is smaller than that of the mean
            picture, paired, likewise.
        agreement (Accuracy): how often the classifier's class is that of the original.
    """

    l1: Interval
    psnr: Interval | None
    gain: Interval | None
    agreement: Accuracy


@dataclass(frozen=True)
class DecoderReport:
    """The quality of new decoders, on the pictures that were held out.

    Agreement has two controls: the mean of the training pictures, always the same, agrees as often
    as its class comes; and the real pictures at the size that is drawn lose what size alone costs.
    The classifier had no part in the training but for its features, and yet is not used to blurs:
    that it disagrees does not say that a person would see nothing.

    Attributes:
        count (int): pictures judged.
        drawings (dict of str to Drawing): a decoder's part, ``"mean picture"``, or ``"real,
            reduced"`` -> how it did. Empty where nothing was held out.
        notes (tuple of str): what there is to know before a decoder is used, in sentences.
    """

    count: int
    drawings: Mapping[str, Drawing]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it in the types that JSON holds."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> DecoderReport:
        """What :meth:`to_dict` made, as ``decoder.facts["report"]`` keeps it."""
        drawings = {}
        for name, found in facts["drawings"].items():
            l1, psnr, gain = (found[key] and tuple(found[key]) for key in ("l1", "psnr", "gain"))
            drawings[name] = Drawing(l1, psnr, gain, Accuracy(**found["agreement"]))
        return cls(facts["count"], drawings, tuple(facts["notes"]))

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=110)
        with console.capture() as printed:
            console.print(self)
        return printed.get().rstrip()

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        parts: list[RenderableType] = []
        if self.drawings:
            title = f"{self.count:,} held-out pictures (95 % intervals over pictures)"
            table = Table("drawn from", title=title, show_lines=True)
            for column in ("L1", "below the mean's", "PSNR, dB", "same class"):
                table.add_column(column, justify="right")
            for name, one in self.drawings.items():
                own = one.agreement
                agreement = f"{own.share:.1%}\n{own.low:.1%} to {own.high:.1%}"
                table.add_row(
                    name, _told(one.l1, 4), _told(one.gain, 4), _told(one.psnr, 1), agreement
                )
            parts.append(table)
        return Group(*parts, *(Text(f"* {note}") for note in self.notes))


def judge_decoders(
    decoders: Mapping[str, FeatureDecoder],
    features: Tensor,
    pictures: Tensor,
    mean_picture: Tensor,
    classes_of: Callable[[Tensor], Tensor],
    classes: Tensor,
    notes: tuple[str, ...] = (),
) -> DecoderReport:
    """Compare what is drawn of held-out pictures with them.

    Args:
        decoders (mapping of str to FeatureDecoder): part -> decoder.
        features (Tensor): shape (N, D).
        pictures (Tensor): the same, as decoders would draw them, (N, 3, h, w) in [0, 1].
        mean_picture (Tensor): of the training pictures, (3, h, w).
        classes_of (callable): pictures (B, 3, h, w) in [0, 1] -> the classifier's classes (B,).
        classes (Tensor): of the original pictures, (N,).
        notes (tuple of str, optional): to be told with it.
    """
    always = mean_picture.expand_as(pictures)
    base = _eight_bits(always).sub(pictures).abs().flatten(1).mean(dim=1)
    drawings = {}
    for name, decoder in decoders.items():
        drawn = torch.cat([draw(decoder, rows) for rows in features.split(_AT_ONCE)])
        drawings[name] = _drawing(drawn, pictures, classes_of, classes, base)
    drawings[MEAN] = _drawing(_eight_bits(always), pictures, classes_of, classes, None)
    drawings[REDUCED] = _drawing(pictures, pictures, classes_of, classes, base)
    weak = [name for name in decoders if not _above_zero(drawings[name].gain)]
    if weak:
        told = (
            f"From the {' and the '.join(weak)} feature pictures come no nearer than the mean "
            "picture: they say little. More pictures, or more epochs, may help."
        )
        notes = (*notes, told)
    if len(features) < _FEW:
        notes = (*notes, f"Intervals over {len(features)} pictures are too narrow; {_FEW} needed.")
    return DecoderReport(len(features), drawings, notes)


def _above_zero(gain: Interval | None) -> bool:
    return gain is not None and gain[1] > 0.0


@torch.no_grad()
def draw(decoder: FeatureDecoder, features: Tensor) -> Tensor:
    """Pictures (B, 3, h, w) in [0, 1] with the values that 8 bits hold, on the CPU."""
    return _eight_bits(decoder(features.to(decoder.mean.device)).cpu())


def _eight_bits(pictures: Tensor) -> Tensor:
    return (pictures * 255).round() / 255


def _drawing(
    drawn: Tensor,
    pictures: Tensor,
    classes_of: Callable[[Tensor], Tensor],
    classes: Tensor,
    base: Tensor | None,
) -> Drawing:
    from scipy.stats import binomtest

    error = (drawn - pictures).flatten(1).double()
    l1, squares = error.abs().mean(dim=1), error.square().mean(dim=1)
    found = torch.cat([classes_of(some) for some in drawn.split(_AT_ONCE)])
    agreed = int((found.cpu() == classes.cpu()).sum())
    share = binomtest(agreed, len(classes)).proportion_ci(0.95, method="exact")
    return Drawing(
        _interval(bootstrap_mean(l1)),
        _interval(bootstrap_mean(-10 * squares.log10())) if squares.all() else None,
        None if base is None else _interval(paired_difference(base.double(), l1)),
        Accuracy(agreed / len(classes), float(share.low), float(share.high), len(classes)),
    )


def _interval(result: Any) -> Interval:
    return (result.value, *(result.interval or (result.value, result.value)))


def _told(numbers: Interval | None, digits: int) -> str:
    if numbers is None:
        return ""
    value, low, high = (f"{number:.{digits}f}" for number in numbers)
    return f"{value}\n{low} to {high}"
