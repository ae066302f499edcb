"""Which features a translator was fitted on: a few bytes an image, matched by content."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

__all__ = ["FeatureRecord", "sketch"]

_PROJECTIONS = 4
_STEPS = 1000  # a standard deviation is cut into this many steps
_TOLERANCE = 2  # steps: rounding differs between devices and batch sizes


def sketch(features: Tensor) -> Tensor:
    """Four fixed random projections of every feature, shape (B, 4), float64."""
    generator = torch.Generator().manual_seed(0)
    width = features.shape[-1]
    directions = torch.randn(width, _PROJECTIONS, generator=generator, dtype=torch.float64)
    return features.detach().double().cpu() @ directions / width**0.5


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
        self.codes = codes
        self.scale = scale
        self._tree = cKDTree(codes.numpy())

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
    limit = torch.iinfo(torch.int16).max
    return steps.round().clamp(-limit, limit).to(torch.int16)
