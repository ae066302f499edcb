"""Bootstrap intervals: coverage, clusters, pairs, seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from captum_sing.controls import bootstrap_mean, bootstrap_means, paired_difference
from captum_sing.controls.bootstrap import resampled_means
from captum_sing.errors import SINGTypeError, SINGValueError


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_agrees_with_scipy() -> None:
    values, per = gaussian(80) + 2.0, gaussian(80, seed=1).abs() + 1.0
    theirs = bootstrap(
        (values.numpy(), per.numpy()),
        lambda v, w, axis: v.mean(axis=axis) / w.mean(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = bootstrap_mean(values, per, draws=20_000)
    assert ours.value == pytest.approx(float(values.sum() / per.sum()))
    assert ours.interval == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_clusters_are_drawn_whole() -> None:
    """Against a slow loop that draws clusters, with repeats, and averages all their rows."""
    values, clusters = gaussian(50, 2), torch.arange(50).sqrt().long() * 3
    found = resampled_means(values, clusters, draws=200, seed=4)
    names = clusters.unique()
    draws = np.random.default_rng(4).integers(len(names), size=(200, len(names)))
    for row, drawn in zip(found, draws, strict=True):
        rows = torch.cat([(clusters == names[k]).nonzero().flatten() for k in drawn])
        assert torch.allclose(row, values[rows].mean(dim=0))


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_hold_the_truth(clustered: bool) -> None:
    """Rows of a cluster share noise: only drawing clusters covers then."""
    hits = {True: 0, False: 0}
    clusters = torch.arange(400) // 5
    for seed in range(200):
        noise = gaussian(80, seed=seed)[clusters] if clustered else gaussian(400, seed=seed)
        values = noise + gaussian(400, seed=1000 + seed)
        for drawn in (True, False):
            groups = clusters if drawn else None
            found = bootstrap_mean(values, clusters=groups, draws=400, seed=seed)
            hits[drawn] += not found.excludes(0.0)
    assert binomtest(hits[True], 200, 0.95).pvalue > 1e-3
    assert hits[False] < 170 if clustered else binomtest(hits[False], 200, 0.95).pvalue > 1e-3


def test_pairs_cancel_what_both_share() -> None:
    hard = 50 * gaussian(100)
    first, second = hard + 1.0 + 0.1 * gaussian(100, seed=1), hard
    found = paired_difference(first, second)
    assert found.value == pytest.approx(1.0, abs=0.05)
    assert found.interval is not None and found.interval[1] - found.interval[0] < 0.1
    assert found.excludes(0.0) and not found.excludes(1.0)
    assert not paired_difference(first, second.flip(0)).excludes(0.0)
    back = paired_difference(second, first)
    assert found.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_differences_of_ratios() -> None:
    v, w, x, y = (gaussian(60, seed=s).abs() + 1 for s in range(4))
    found = paired_difference(v, w, x, y, draws=300)
    assert found.value == pytest.approx(float(v.sum() / x.sum() - w.sum() / y.sum()))
    rows = np.random.default_rng(0).integers(60, size=(300, 60))
    slow = [float(v[r].sum() / x[r].sum() - w[r].sum() / y[r].sum()) for r in rows]
    assert found.interval == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_equal_seeds_give_equal_results() -> None:
    values = gaussian(3000)
    one = bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) == one
    assert bootstrap_mean(values, seed=6).interval != one.interval


@pytest.mark.parametrize("clustered", [False, True])
def test_columns_are_drawn_together(clustered: bool) -> None:
    values = gaussian(120, 3) + torch.tensor([0.0, 5.0, -5.0])
    clusters = torch.arange(120) // 3 if clustered else None
    found = bootstrap_means(values, clusters=clusters, draws=300, seed=2)
    for column, result in zip(values.T, found, strict=True):
        alone = bootstrap_mean(column, clusters=clusters, draws=300, seed=2)
        assert (result.value, result.n) == (pytest.approx(alone.value, rel=1e-12), alone.n)
        assert result.interval == pytest.approx(alone.interval, rel=1e-12)
    assert bootstrap_means(values[:1])[0].note == "no interval: 1 to draw from"
    with pytest.raises(SINGValueError, match=r"values of shape \(any, any\), got \(120,\)"):
        bootstrap_means(values[:, 0])


def test_few_units_have_a_reason() -> None:
    alone = bootstrap_mean(torch.ones(1))
    assert alone.value == 1.0 and alone.interval is None
    assert alone.note == "no interval: 1 to draw from"
    assert math.isnan(bootstrap_mean(torch.ones(0)).value)
    few = bootstrap_mean(gaussian(200), clusters=torch.arange(200) % 5)
    assert few.interval is not None and few.n == 200
    assert few.note == "no star: an interval from 5 is too narrow; 30 needed"
    with pytest.raises(SINGValueError, match="draws of at least 100, got 3"):
        bootstrap_mean(gaussian(50), draws=3)
    with pytest.raises(SINGValueError, match=r"values of shape \(50\), got \(49,\)"):
        paired_difference(gaussian(50), gaussian(49))
    with pytest.raises(SINGTypeError, match="values to be a floating-point tensor"):
        bootstrap_mean([1.0, 2.0])
