"""What a ridge regression needs to know of pairs of features and embeddings: centred sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

__all__ = ["PairSums"]


@dataclass
class PairSums:
    r"""Sums over pairs (f, z) about their means, in float64; two of them merge exactly.

    Attributes:
        count (int): number of pairs N.
        feature_mean, embedding_mean (Tensor): shapes (D,) and (E,).
        gram (Tensor): :math:`\sum (f - \bar f)(f - \bar f)^\top`, shape (D, D).
        cross (Tensor): :math:`\sum (f - \bar f)(z - \bar z)^\top`, shape (D, E).
        embedding_gram (Tensor): :math:`\sum (z - \bar z)(z - \bar z)^\top`, shape (E, E).

    Example::

        >>> import torch
        >>> f, z = torch.arange(8.0).reshape(4, 2), torch.ones(4, 1)
        >>> halves = PairSums.of(f[:1], z[:1]), PairSums.of(f[1:], z[1:])
        >>> torch.equal(PairSums.merged(halves).gram, PairSums.of(f, z).gram)
        True
    """

    count: int
    feature_mean: Tensor
    embedding_mean: Tensor
    gram: Tensor
    cross: Tensor
    embedding_gram: Tensor

    @classmethod
    def empty(cls, feature_dim: int, embedding_dim: int, device: torch.device) -> PairSums:
        """The sums of nothing."""
        d, e = feature_dim, embedding_dim
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        return cls(0, zeros(d), zeros(e), zeros(d, d), zeros(d, e), zeros(e, e))

    @classmethod
    @torch.no_grad()
    def of(cls, features: Tensor, embeddings: Tensor) -> PairSums:
        """The sums of one block, multiplied in float64 whatever it comes in.

        In float32 the sums of fewer pairs than features would gain small wrong eigenvalues, which
        a weak penalty does not cover.

        Args:
            features (Tensor): shape (B, D).
            embeddings (Tensor): shape (B, E), on the same device.
        """
        f, z = features.double(), embeddings.double()
        means = f.mean(dim=0), z.mean(dim=0)
        f, z = f - means[0], z - means[1]
        return cls(len(f), *means, f.T @ f, f.T @ z, z.T @ z)

    @classmethod
    def merged(cls, parts: Iterable[PairSums]) -> PairSums:
        """The sums of all parts together; these stay as they are."""
        parts = list(parts)
        first = parts[0]
        total = cls.empty(len(first.gram), len(first.embedding_gram), first.gram.device)
        for part in parts:
            total.add(part)
        return total

    def add(self, other: PairSums) -> None:
        """Take in other pairs: sums about two means become sums about their common one."""
        if not other.count:
            return
        total = self.count + other.count
        share, weight = other.count / total, self.count * other.count / total
        device = self.gram.device
        f = other.feature_mean.to(device) - self.feature_mean
        z = other.embedding_mean.to(device) - self.embedding_mean
        for own, more, left, right in (
            (self.gram, other.gram, f, f),
            (self.cross, other.cross, f, z),
            (self.embedding_gram, other.embedding_gram, z, z),
        ):
            own.add_(more.to(device)).addr_(left, right, alpha=weight)
        self.feature_mean = self.feature_mean + share * f
        self.embedding_mean = self.embedding_mean + share * z
        self.count = total
