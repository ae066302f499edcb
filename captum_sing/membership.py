"""Which features a translator was fitted on: a few bytes an image, matched by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from captum_sing.errors import SINGValueError, expected

__all__ = ["FeatureRecord", "PackedSketches", "sketch"]

_WHERE, _REMEDY = "FeatureRecord", "Fit the translator again"
_PROJECTIONS = 4
_STEPS = 1000  # a standard deviation is cut into this many steps
_LIMIT = torch.iinfo(torch.int16).max
_TOLERANCE = 2  # steps: rounding differs between devices and batch sizes


def sketch(features: Tensor) -> Tensor:
    """Four fixed random projections of every feature, shape (B, 4), float64."""
    generator = torch.Generator().manual_seed(0)
    width = features.shape[-1]
    directions = torch.randn(width, _PROJECTIONS, generator=generator, dtype=torch.float64)
    return features.detach().double().cpu() @ directions / width**0.5


@dataclass(frozen=True)
class PackedSketches:
    """The sketches of one block of features, in eight bytes an image, until their spread is known.

    Attributes:
        codes (Tensor): shape (B, 4), int16: 65,534 steps from the smallest to the largest.
        middle, step (Tensor): shape (4,), float64.
    """

    codes: Tensor
    middle: Tensor
    step: Tensor

    @classmethod
    def of(cls, features: Tensor) -> PackedSketches:
        """The sketches of these features, shape (B, D)."""
        sketches = sketch(features)
        low, high = sketches.aminmax(dim=0)
        middle, step = (low + high) / 2, (high - low) / (2 * _LIMIT)
        codes = ((sketches - middle) / step.clamp_min(torch.finfo(step.dtype).tiny)).round()
        return cls(codes.to(torch.int16), middle, step)

    def unpack(self) -> Tensor:
        """The sketches, to half a step, shape (B, 4), float64."""
        return self.codes.double() * self.step + self.middle


class FeatureRecord:
    """The features that were used, known again by content.

    Eight bytes an image: four random projections, in thousandths of their spread. Two unrelated
    features of four or more independent directions agree in all four with a probability of about
    4e-12. A model in another precision gives other features: float16 ones are mostly known again,
    bfloat16 ones are not.

    Args:
        codes (Tensor): shape (N, 4), int16.
        scale (Tensor): shape (2, 4), float64: mean and spread of the projections.

    Example::

        >>> import torch
        >>> used = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
        >>> record = FeatureRecord.from_sketches(sketch(used))
        >>> bool(record.contains(used).all()), bool(record.contains(used + 1).any())
        (True, False)
    """

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        _check(codes, scale)
        self.codes = codes
        self.scale = scale
        self._tree = cKDTree(codes.numpy())

    @classmethod
    def from_tensors(cls, codes: Tensor | None, scale: Tensor | None) -> FeatureRecord | None:
        """What :meth:`tensors` gave; None where there was no record."""
        if codes is None and scale is None:
            return None
        if codes is None or scale is None:
            wanted, actual = "both or neither", "one of them"
            raise SINGValueError(expected(_WHERE, "codes and scale", wanted, actual, _REMEDY))
        return cls(codes, scale)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by the names of its arguments."""
        return {"codes": self.codes, "scale": self.scale}

    @classmethod
    def from_blocks(cls, blocks: Sequence[PackedSketches]) -> FeatureRecord:
        """A record of all these blocks."""
        return cls.from_sketches(torch.cat([block.unpack() for block in blocks]))

    @classmethod
    def from_sketches(cls, sketches: Tensor) -> FeatureRecord:
        """A record of what :func:`sketch` made, shape (N, 4)."""
        spread = sketches.std(dim=0, correction=0)
        scale = torch.stack([sketches.mean(dim=0), torch.where(spread > 0, spread, 1.0)])
        return cls(_encode(sketches, scale), scale)

    def contains(self, features: Tensor) -> Tensor:
        """Whether each feature was used, shape (B,), bool."""
        codes = _encode(sketch(features), self.scale)
        distance, _ = self._tree.query(
            codes.numpy(), p=float("inf"), distance_upper_bound=_TOLERANCE + 1
        )
        return torch.from_numpy(distance <= _TOLERANCE)


def _encode(sketches: Tensor, scale: Tensor) -> Tensor:
    steps = (sketches - scale[0]) / scale[1] * _STEPS
    return steps.round().clamp(-_LIMIT, _LIMIT).to(torch.int16)


def _check(codes: Tensor, scale: Tensor) -> None:
    whole = codes.dim() == 2 and codes.shape[1] == _PROJECTIONS and len(codes)
    if not whole or codes.dtype != torch.int16:
        wanted, actual = "of shape (N, 4), int16", f"{tuple(codes.shape)}, {codes.dtype}"
        raise SINGValueError(expected(_WHERE, "codes", wanted, actual, _REMEDY))
    if scale.shape != (2, _PROJECTIONS) or scale.dtype != torch.float64:
        wanted, actual = "of shape (2, 4), float64", f"{tuple(scale.shape)}, {scale.dtype}"
        raise SINGValueError(expected(_WHERE, "scale", wanted, actual, _REMEDY))
    if not scale.isfinite().all() or not (scale[1] > 0).all():
        wanted, actual = "finite, with spreads above 0", "others"
        raise SINGValueError(expected(_WHERE, "scale", wanted, actual, _REMEDY))
