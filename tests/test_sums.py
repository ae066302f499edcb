"""Centred sums of blocks merge into those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_sing.sums import PairSums

N, D, E = 300, 7, 3
NAMES = ("feature_mean", "embedding_mean", "gram", "cross", "embedding_gram")


def pairs(ratio: float = 50.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(N, D, generator=generator, dtype=torch.float64) * torch.linspace(0.5, 2, D)
    z = torch.randn(N, E, generator=generator, dtype=torch.float64) + f[:, :E]
    return (f + ratio).to(dtype), (z - 3 * ratio).to(dtype)


def check(sums: PairSums, f: Tensor, z: Tensor, tolerance: float) -> None:
    """Against numpy's own covariance, relative to the diagonal."""
    both = torch.cat([f.double(), z.double()], dim=1).numpy()
    slow = np.cov(both.T, bias=True) * len(both)
    limit = tolerance * np.abs(slow).max()
    assert sums.count == len(f)
    np.testing.assert_allclose(sums.feature_mean, both[:, :D].mean(0), rtol=1e-12)
    np.testing.assert_allclose(sums.embedding_mean, both[:, D:].mean(0), rtol=1e-12)
    np.testing.assert_allclose(sums.gram, slow[:D, :D], atol=limit)
    np.testing.assert_allclose(sums.cross, slow[:D, D:], atol=limit)
    np.testing.assert_allclose(sums.embedding_gram, slow[D:, D:], atol=limit)


@pytest.mark.parametrize("ratio", [0.0, 50.0, 5000.0])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-11), (torch.float16, 1e-5)]
)
def test_are_those_of_numpy(ratio: float, dtype: torch.dtype, tolerance: float) -> None:
    f, z = pairs(ratio, dtype)
    check(PairSums.of(f, z), f, z, tolerance)
    parts = [PairSums.of(f[k::4], z[k::4]) for k in range(4)]
    check(PairSums.merged(parts), f, z, tolerance)


@pytest.mark.parametrize("sizes", [(1, N - 1), (N - 1, 1), (1,) * N, (100, 150, 50)])
def test_do_not_depend_on_the_blocks(sizes: tuple[int, ...]) -> None:
    f, z = pairs(dtype=torch.float64)
    parts = [PairSums.of(*block) for block in zip(f.split(sizes), z.split(sizes), strict=True)]
    check(PairSums.merged(parts), f, z, 1e-11)


def test_merge_blocks_whose_means_are_far_apart() -> None:
    """As where images come sorted by class: the spread between blocks is the larger part."""
    f, z = pairs(dtype=torch.float32)
    f, z = f + 1000 * (torch.arange(N) // 100)[:, None], z
    parts = [PairSums.of(f[k : k + 100], z[k : k + 100]) for k in (0, 100, 200)]
    check(PairSums.merged(parts), f, z, 1e-9)


def test_merging_leaves_the_parts_alone() -> None:
    f, z = pairs()
    parts = [PairSums.merged([PairSums.of(f[:100], z[:100])]), PairSums.of(f[100:], z[100:])]
    kept = [getattr(part, name).clone() for part in parts for name in NAMES]
    PairSums.merged(parts)
    for before, after in zip(kept, (getattr(p, n) for p in parts for n in NAMES), strict=True):
        assert torch.equal(before, after)
    assert [part.count for part in parts] == [100, 200]


def test_nothing_adds_nothing() -> None:
    f, z = pairs()
    sums = PairSums.merged([PairSums.of(f, z)])
    kept = [getattr(sums, name).clone() for name in NAMES]
    sums.add(PairSums.empty(D, E, f.device))
    assert sums.count == N
    assert all(torch.equal(a, getattr(sums, n)) for a, n in zip(kept, NAMES, strict=True))


def test_are_in_float64_whatever_the_blocks_are() -> None:
    """With fewer rows than columns, float32 would leave eigenvalues far below 0."""
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(50, 100, generator=generator) + 100 * torch.randn(50, 1, generator=generator)
    values = torch.linalg.eigvalsh(PairSums.of(f, f[:, :2]).gram)
    assert values.min() > -1e-13 * values.max()
