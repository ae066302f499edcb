"""Training feature decoders on what was streamed: pictures, and the features they have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.render.decoder import PARTS, SIZES, FeatureDecoder, picture_size
from captum_sing.render.frame import Frame, resized

__all__ = ["MOST_BYTES", "DecoderFitter"]

MOST_BYTES = 4 * 2**30
"""Pictures and features that are kept in memory: 64 x 64 pixels and 2048 features take 20 KB."""
_WHERE = "DecoderFitter"
_LEAST = 8  # pictures
_RATE = 2e-3
_EDGES = 20.0
_CONSTANT = 1e-10  # a variance below this share of the largest is rounding
_FLOOR = 1e-4  # such a share is added, so that small directions are not blown up


class DecoderFitter:
    r"""Gathers pictures and features, then trains a decoder of each part on them.

    The loss of a picture x that is drawn as y is

    .. math:: \overline{(y - x)^2} + 20 \, \overline{(\partial y - \partial x)^2},

    the mean squared difference of pixels, and that of the steps from a pixel to its neighbours,
    across and down, which edges are made of. Both are least for the mean of all pictures that have
    a feature. Absolute differences are least for their median, which has no small object that may
    be in several places. There is no term that has the classifier look at what is drawn: with one,
    its own agreement would be no evidence any more, and in a trial on the demo world it agreed with
    pictures in which another network found no shape.

    The code that a decoder reads is whitened, with the variances :math:`v_i` of the training
    features along their main directions (of the whole feature, or within the principal part):
    coordinates are divided by :math:`\sqrt{v_i + 10^{-4} \max v}`. With each feature divided by
    its own spread instead, the same steps teach it much less.

    Args:
        frame (Frame): the classifier's input.
        null_space (NullSpace, optional): of the head, for the principal part.
        parts (sequence of str, optional): which of :data:`PARTS`. Default: those that can be
        size (int, optional): one of ``SIZES``. Default: 64
        epochs (int, optional): passes over what was gathered. Default: 8
        batch_size (int, optional): pictures a step. Default: 32
        seed (int, optional): of the first weights and of the order. Default: 0
        show_progress (bool, optional): a progress bar over the steps. Default: False

    Example::

        >>> import torch
        >>> from captum_sing.render.frame import Frame
        >>> frame = Frame((32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        >>> fitter = DecoderFitter(frame, size=32, epochs=1)
        >>> decoders = fitter.update(torch.randn(40, 6), torch.rand(40, 3, 32, 32)).fit()
        >>> decoders["whole"](torch.randn(2, 6)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        frame: Frame,
        null_space: NullSpace | None = None,
        *,
        parts: Sequence[str] | None = None,
        size: int = 64,
        epochs: int = 8,
        batch_size: int = 32,
        seed: int = 0,
        show_progress: bool = False,
    ) -> None:
        if parts is None:
            parts = PARTS[: 1 if null_space is None else 2]
        check_settings(parts, size, epochs, batch_size)
        if null_space is None and "principal" in parts:
            raise _refusal(
                "null_space",
                "of the head, for the principal part",
                "None",
                'Give NullSpace.from_layer(head), or parts=["whole"]',
            )
        self.frame, self.null_space, self.parts = frame, null_space, tuple(parts)
        self.size, self.epochs, self.batch_size = size, epochs, batch_size
        self.seed, self.show_progress = seed, show_progress
        self._features: list[Tensor] = []
        self._pictures: list[Tensor] = []

    @property
    def count(self) -> int:
        """Pictures so far."""
        return sum(map(len, self._features))

    def check_room(self, count: int, width: int) -> None:
        """Refuse more than :data:`MOST_BYTES`, which can be known before they are read.

        Args:
            count (int): pictures in all.
            width (int): D.

        Raises:
            SINGValueError: they do not fit.
        """
        height, across = picture_size(self.frame, self.size)
        most = MOST_BYTES // (4 * width + 3 * height * across)
        if count > most:
            raise _refusal(
                "pictures",
                f"that fit in {MOST_BYTES / 2**30:.0f} GiB: {most:,} of this size",
                f"{count:,}",
                "Set a limit, or a smaller size",
            )

    def mean_picture(self) -> Tensor:
        """The mean of the pictures so far, (3, h, w): what is drawn by who knows no feature."""
        sums = [part.double().sum(dim=0) for part in self._pictures]
        return (torch.stack(sums).sum(dim=0) / (255 * self.count)).float()

    def update(self, features: Tensor, pictures: Tensor) -> DecoderFitter:
        """Some more: kept on the CPU, features in float32 and pictures in 8 bits.

        Args:
            features (Tensor): shape (B, D).
            pictures (Tensor): what the classifier saw, (B, 3, H, W) in [0, 1].

        Returns:
            DecoderFitter: itself.

        Raises:
            SINGValueError: shapes or values that cannot be used, or more than :data:`MOST_BYTES`.
        """
        self._check(features, pictures)
        if not len(features):
            return self
        self.check_room(self.count + len(features), features.shape[1])
        small = resized(pictures.detach().float(), picture_size(self.frame, self.size))
        kept = features.detach().float().cpu().clone()
        self._pictures.append((small.clamp(0.0, 1.0) * 255).round().to(torch.uint8).cpu())
        self._features.append(kept)
        return self

    def fit(self, device: torch.device | None = None) -> dict[str, FeatureDecoder]:
        """Train a decoder of each part, by AdamW with one cycle of the learning rate.

        Args:
            device (torch.device, optional): where they are trained, and stay. Default: the CPU

        Returns:
            dict of str to FeatureDecoder: part -> decoder, in evaluation mode. The same seed gives
            the same on the same machine.

        Raises:
            SINGValueError: too few pictures, or features that are all the same.
        """
        if self.count < _LEAST:
            raise _refusal(
                "pictures", f"of {_LEAST} or more", self.count, "Give some thousands if you can"
            )
        features, pictures = torch.cat(self._features), torch.cat(self._pictures)
        self._features, self._pictures = [features], [pictures]
        if not (features != features[0]).any():
            raise _refusal("features", "that differ", "one and the same", "Give other pictures")
        steps = self.epochs * math.ceil(len(features) / self.batch_size)
        found, total = {}, steps * len(self.parts)
        with tqdm(desc=_WHERE, total=total, unit="step", disable=not self.show_progress) as bar:
            for part in self.parts:
                decoder = self._new(part, features).to(device)
                bar.set_postfix(part=part)
                self._train(decoder, features, pictures, steps, bar)
                found[part] = decoder.eval().requires_grad_(False)
        return found

    def _new(self, part: str, features: Tensor) -> FeatureDecoder:
        """One with the statistics of the training features and seeded weights."""
        space = self.null_space if part == "principal" else None
        basis = None if space is None else space.principal_basis.cpu().double()
        facts = {
            "loss": "squared differences of pixels and of their steps",
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "images": {"fitted": len(features)},
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return FeatureDecoder(
                features.double().mean(dim=0),
                whitening(features, basis),
                self.frame,
                part=part,
                size=self.size,
                facts=facts,
            )

    def _train(
        self, decoder: FeatureDecoder, features: Tensor, pictures: Tensor, steps: int, bar: Any
    ) -> None:
        device = decoder.mean.device
        optimizer = torch.optim.AdamW(
            decoder.network.parameters(),
            _RATE,
            weight_decay=1e-4,
            fused=device.type in ("cpu", "cuda"),
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(steps, 2))
        for rows in self._batches(len(features)):
            truth = pictures[rows].to(device).float() / 255
            loss = difference(decoder(features[rows].to(device)), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()

    def _batches(self, count: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            yield from torch.randperm(count, generator=generator).split(self.batch_size)

    def _check(self, features: Tensor, pictures: Tensor) -> None:
        width = self._features[0].shape[1] if self._features else features.shape[-1]
        if self.null_space is not None:
            width = self.null_space.width
        if features.ndim != 2 or features.shape[1] != width or not features.isfinite().all():
            shape = tuple(features.shape)
            raise _refusal(
                "features",
                f"of shape (B, {width}), finite",
                f"{shape}" if features.isfinite().all() else f"{shape} with NaN or infinity",
                "Leave out pictures without a feature",
            )
        if pictures.ndim != 4 or pictures.shape[:2] != (len(features), 3):
            raise _refusal(
                "pictures",
                f"of shape ({len(features)}, 3, H, W), one a feature",
                tuple(pictures.shape),
                "Pass what the classifier saw, before it was normalised",
            )
        if pictures.numel() and not (
            pictures.amin() >= -1e-3 and pictures.amax() <= 1.001
        ):  # NaN too
            raise _refusal(
                "pictures",
                "in [0, 1]",
                f"from {float(pictures.amin()):.3g} to {float(pictures.amax()):.3g}",
                "Undo the normalisation with Frame.pictures",
            )


def difference(drawn: Tensor, truth: Tensor) -> Tensor:
    """The loss of :class:`DecoderFitter` of pictures (B, 3, h, w), a scalar."""
    error = drawn - truth
    steps = [error.diff(dim=side).square().mean() for side in (2, 3)]
    return error.square().mean() + _EDGES * (steps[0] + steps[1])


def whitening(features: Tensor, basis: Tensor | None = None) -> Tensor:
    """The directions of features (N, D), or of their coordinates in a basis (D, R), scaled.

    Returns:
        Tensor: shape (D, at most R), float64: centred features times it have unit variances, but
        for those along directions that hardly vary.
    """
    centred = features.double() - features.double().mean(dim=0)
    centred = centred if basis is None else centred @ basis
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(features) - 1))
    kept = values > _CONSTANT * values[-1]
    directions = vectors[:, kept] / (values[kept] + _FLOOR * values[-1]).sqrt()
    return directions if basis is None else basis @ directions


def check_settings(parts: Sequence[str], size: int, epochs: int, batch_size: int) -> None:
    """Numbers and names that can be used.

    Raises:
        SINGValueError: one that cannot.
    """
    if isinstance(parts, str) or not parts or not set(parts) <= set(PARTS):
        raise _refusal("parts", f"some of {list(PARTS)}", repr(parts), "Name one or both")
    if size not in SIZES:
        raise _refusal("size", f"in {SIZES}", size, "Choose one of them")
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        if number < 1 or number != int(number):
            raise _refusal(name, "of at least 1, an integer", number, "Leave it out")


def _refusal(argument: str, constraint: str, actual: object, remedy: str) -> SINGValueError:
    return SINGValueError(expected(_WHERE, argument, constraint, actual, remedy))
