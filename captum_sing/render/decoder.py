"""A small network that draws features: what a classifier holds, and what its head can use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGFileError, SINGValueError, expected
from captum_sing.files import load_tensors, save_tensors
from captum_sing.render.frame import Frame, resized
from captum_sing.render.protocol import check_wanted, seeds_of
from captum_sing.translator_base import Translator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PARTS", "SIZES", "FeatureDecoder"]

PARTS = ("whole", "principal")
"""What a decoder reads: all of the feature, or what the head sees of it."""
SIZES = (32, 64, 128)
"""Pixels of the longer side of its pictures."""

_KIND = "FeatureDecoder"
_HIDDEN, _START, _CHANNELS = 512, 8, (64, 48)


class FeatureDecoder(nn.Module):
    r"""Draws features (B, D) as pictures of the classifier's input: a way of rendering.

    A multilayer perceptron and a few convolutions draw a code :math:`c = A^\top (f - \bar f)`,
    f's coordinates along the main directions of the training features, each of unit spread. For
    the **principal** part, :math:`A = V_p A'` with the head's principal basis: the null part is no
    argument of it. Two decoders that are trained alike, one of each part, show what the classifier
    **holds** and what its head **can use**.

    Training compares pixels alone, and neither the classifier nor an encoder is asked about what
    is drawn; so that both can be asked about it afterwards. What a picture does not show: what its
    feature leaves open is drawn as the middle of all that it may be, gray for an unknown colour
    and a blur for an unknown place, but a blur may also be what so small a network could not
    learn. Nor are equivalents like any feature that it was trained on: where both parts tell of one
    thing, such as a place, a swap contradicts itself, and is drawn worse than a real feature.

    Made by :func:`captum_sing.fitting.decoder.fit_decoder`, and read by :meth:`load`.

    Args:
        mean (Tensor): the mean training feature, shape (D,).
        reading (Tensor): A, shape (D, N), N of at least 1.
        frame (Frame): the classifier's input.
        part (str, optional): one of ``PARTS``, the part that A reads. Default: ``"whole"``
        size (int, optional): one of ``SIZES``, the longer side of a picture; the shorter follows
            from the frame. Default: 64
        facts (dict, optional): how it was trained, in types that JSON holds.

    Example::

        >>> import torch
        >>> frame = Frame((64, 64), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        >>> decoder = FeatureDecoder(torch.zeros(12), torch.eye(12), frame, size=32)
        >>> decoder.part, decoder.render(torch.randn(2, 12))[1].size
        ('whole', (32, 32))
    """

    takes = "features"
    restores_norm = False
    mean: Tensor
    reading: Tensor

    def __init__(
        self,
        mean: Tensor,
        reading: Tensor,
        frame: Frame,
        *,
        part: str = PARTS[0],
        size: int = 64,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check(mean, reading, part, size)
        self.frame, self.part, self.size = frame, part, size
        self.normalize: Callable[[Tensor], Tensor] | None = frame.normalize
        self.register_buffer("mean", mean.detach().double().clone())
        self.register_buffer("reading", reading.detach().double().clone())
        self.network = _network(reading.shape[1], size)
        about = {"renderer": _KIND, "part": part, "size": size, "frame": [*frame.size]}
        self.facts: dict[str, Any] = {**(facts or {}), **about}

    @property
    def feature_dim(self) -> int:
        """D, the width of the features."""
        return len(self.mean)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures, in the proportions of the frame."""
        return picture_size(self.frame, self.size)

    def code(self, features: Tensor) -> Tensor:
        """What the network is told of features (B, D): shape (B, N), float32.

        In float64 inside, so that a null direction changes nothing of a principal part.
        """
        return ((features.to(self.mean) - self.mean) @ self.reading).float()

    def forward(self, features: Tensor) -> Tensor:
        """Pictures (B, 3, h, w) in [0, 1] of features (B, D)."""
        return self.draw(self.code(features))

    def draw(self, code: Tensor) -> Tensor:
        """Pictures (B, 3, h, w) in [0, 1] of what :meth:`code` returns."""
        return resized(self.network(code), self.picture_size)

    def check(self, translator: Translator) -> None:
        """Refuse a translator of another classifier.

        Raises:
            SINGValueError: another width, or another model's name, where both are known.
        """
        if translator.feature_dim != self.feature_dim:
            raise SINGValueError(
                expected(
                    f"{_KIND}.check",
                    "translator",
                    f"of features of width {self.feature_dim}, as this draws",
                    translator.feature_dim,
                    "Train a decoder for this classifier with captum-sing fit-decoder",
                )
            )
        ours, theirs = self.facts.get("model"), translator.model
        if ours and theirs and ours != theirs:
            raise SINGValueError(
                expected(
                    f"{_KIND}.check",
                    "translator",
                    f"of {ours}, whose features this draws",
                    f"one of {theirs}",
                    "Train a decoder for this classifier with captum-sing fit-decoder",
                )
            )

    @torch.no_grad()
    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        """Draw features, one by one, so that a picture does not depend on its neighbours.

        Args:
            wanted (Tensor): shape (B, D).
            seeds (int or sequence of int, optional): change nothing: there is no randomness.

        Returns:
            list of PIL.Image.Image: B pictures, mode RGB.

        Raises:
            SINGTypeError, SINGValueError: rows of another width, or with NaN.
        """
        from torchvision.transforms.functional import to_pil_image

        rows = check_wanted(f"{_KIND}.render", wanted, self.feature_dim)
        seeds_of(f"{_KIND}.render", seeds, len(rows))
        drawn = [(self(row)[0] * 255).round().byte() for row in rows.split(1)]  # floats are cut off
        return [to_pil_image(picture.cpu()) for picture in drawn]

    def save(self, path: str | Path) -> Path:
        """Save to one safetensors file, written whole or not at all.

        Returns:
            Path: ``path``.
        """
        frame = {"size": self.frame.size, "mean": self.frame.mean, "std": self.frame.std}
        about = {"part": self.part, "size": self.size, "frame": frame, "facts": self.facts}
        return save_tensors(path, _KIND, self.state_dict(), about)

    @classmethod
    def load(cls, path: str | Path) -> FeatureDecoder:
        """Read what :meth:`save` wrote.

        Raises:
            SINGFileError: the file is missing, truncated, or no decoder.
        """
        layers = {f"network.{name}" for size in SIZES for name in _network(1, size).state_dict()}
        tensors, about = load_tensors(path, _KIND, ("mean", "reading"), layers)
        try:
            frame = Frame(*(tuple(about["frame"][name]) for name in ("size", "mean", "std")))
            decoder = cls(
                tensors["mean"],
                tensors["reading"],
                frame,
                part=about["part"],
                size=about["size"],
                facts=about["facts"],
            )
            decoder.load_state_dict(tensors)
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ValueError("NaN or infinity in it")
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise SINGFileError(
                expected(
                    f"load {_KIND}", "path", "to hold one", f"{path} ({reason})", "Make it again"
                )
            ) from error
        return decoder.eval().requires_grad_(False)


def picture_size(frame: Frame, size: int) -> tuple[int, int]:
    """Height and width in the proportions of a frame, the longer side of ``size``."""
    height, width = (max(1, round(size * side / max(frame.size))) for side in frame.size)
    return height, width


def _network(width: int, size: int) -> nn.Sequential:
    """From codes (B, width) to squares (B, 3, size, size) in [0, 1]."""
    first, further = _CHANNELS
    layers: list[nn.Module] = [
        nn.Linear(width, _HIDDEN),
        nn.SiLU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.SiLU(),
        nn.Linear(_HIDDEN, first * _START**2),
        nn.SiLU(),
        nn.Unflatten(1, (first, _START, _START)),
    ]
    channels, side = first, 2 * _START
    while 2 * side < size:
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, further, 3, padding=1)]
        layers.append(nn.SiLU())
        channels, side = further, 2 * side
    layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, 12, 3, padding=1)]
    layers += [nn.PixelShuffle(2), nn.Sigmoid()]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _check(mean: Tensor, reading: Tensor, part: str, size: int) -> None:
    for name, value, known in (("part", part, PARTS), ("size", size, SIZES)):
        if value not in known:
            raise SINGValueError(
                expected(_KIND, name, f"in {known}", repr(value), "Choose one of them")
            )
    shaped = mean.ndim == 1 and reading.ndim == 2 and len(reading) == len(mean) and reading.numel()
    if not shaped or not mean.isfinite().all() or not reading.isfinite().all():
        actual = [tuple(mean.shape), tuple(reading.shape)] if not shaped else "NaN or infinity"
        raise SINGValueError(
            expected(
                _KIND,
                "mean and reading",
                "of shapes (D,) and (D, N), finite",
                actual,
                "Give those of the training features",
            )
        )
