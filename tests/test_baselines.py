"""The conditional baseline leaves what the head could not have known, and only that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace
from captum_sing.baselines import conditional_baseline, deviation
from captum_sing.errors import SINGRuntimeError
from captum_sing.targets import ImageSpaces
from captum_sing.testing import ToyHead, toy_heads

HEADS = toy_heads()
N = 4000


@pytest.fixture(params=HEADS)
def space(request: pytest.FixtureRequest) -> NullSpace:
    head: ToyHead = HEADS[request.param]
    return NullSpace.from_layer(head.module)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def translator_of(features: Tensor) -> LinearTranslator:
    width = features.shape[1]
    return LinearTranslator(
        torch.eye(width), torch.zeros(width), torch.zeros(width)
    ).with_statistics(features)


def world(space: NullSpace, copied: float, own: float, seed: int) -> Tensor:
    """What the head sees, a copy of it in the null space, and what is in the null space alone."""
    seen = gaussian(N, space.rank, seed=seed)
    copy = copied * seen @ gaussian(space.rank, space.nullity, seed=90)
    alone = own * gaussian(N, space.nullity, seed=seed + 1)
    mean = 3.0 * gaussian(space.width, seed=91)
    return mean + seen @ space.principal_basis.T + (copy + alone) @ space.null_basis.T


def left_over(space: NullSpace, features: Tensor, translator: LinearTranslator) -> Tensor:
    """Share of the null part's variance that the baseline leaves."""
    residual = space.project(features - conditional_baseline(features, space, translator))
    varying = space.project(features - features.mean(dim=0))
    return residual.square().sum() / varying.square().sum()


def test_a_copy_leaves_nothing(space: NullSpace) -> None:
    translator = translator_of(world(space, copied=1.0, own=0.0, seed=0))
    held_out = world(space, copied=1.0, own=0.0, seed=10)
    assert left_over(space, held_out, translator) < 1e-6


def test_independent_noise_is_left_whole(space: NullSpace) -> None:
    translator = translator_of(world(space, copied=0.0, own=1.0, seed=0))
    held_out = world(space, copied=0.0, own=1.0, seed=10)
    assert 0.98 < left_over(space, held_out, translator) < 1.02


def test_of_a_mixture_the_copy_goes_and_the_noise_stays(space: NullSpace) -> None:
    features = world(space, copied=1.0, own=0.5, seed=0)
    held_out = world(space, copied=1.0, own=0.5, seed=10)
    baseline = conditional_baseline(held_out, space, translator_of(features))
    residual = (held_out - baseline) @ space.null_basis
    alone = 0.5 * gaussian(N, space.nullity, seed=11)
    assert (residual - alone).square().sum() < 0.02 * alone.square().sum()


def test_equals_a_ridge_regression_on_the_samples(space: NullSpace) -> None:
    features = world(space, copied=0.5, own=1.0, seed=0)[:300]
    seen = (features - features.mean(dim=0)) @ space.principal_basis
    penalty = 1e-4 * float(seen.var(dim=0).mean()) * (len(features) - 1)
    ridge = Ridge(alpha=penalty).fit(
        (features @ space.principal_basis).numpy(), (features @ space.null_basis).numpy()
    )
    held_out = world(space, copied=0.5, own=1.0, seed=10)[:20]
    wanted = ridge.predict((held_out @ space.principal_basis).numpy()).reshape(20, -1)
    baseline = conditional_baseline(held_out, space, translator_of(features))
    ours = (baseline @ space.null_basis).numpy()
    np.testing.assert_allclose(ours, wanted, atol=1e-4)


def test_depends_on_what_the_head_sees_alone(space: NullSpace) -> None:
    features = world(space, copied=1.0, own=1.0, seed=0)
    translator = translator_of(features)
    baseline = conditional_baseline(features, space, translator)
    shown = (baseline - translator.mean) @ space.principal_basis
    torch.testing.assert_close(shown, torch.zeros_like(shown), rtol=0, atol=1e-9)
    hidden = features + gaussian(N, space.nullity, seed=5) @ space.null_basis.T
    again = conditional_baseline(hidden, space, translator)
    torch.testing.assert_close(again, baseline, rtol=0, atol=1e-8)
    visible = features + gaussian(N, space.rank, seed=5) @ space.principal_basis.T
    assert (conditional_baseline(visible, space, translator) - baseline).abs().max() > 0.1


def test_of_the_mean_is_the_mean(space: NullSpace) -> None:
    features = world(space, copied=1.0, own=1.0, seed=0)
    mean = features.mean(dim=0, keepdim=True)
    baseline = conditional_baseline(mean, space, translator_of(features))
    torch.testing.assert_close(baseline, mean, rtol=0, atol=1e-9)


def test_needs_statistics(space: NullSpace) -> None:
    width = space.width
    bare = LinearTranslator(torch.eye(width), torch.zeros(width), torch.zeros(width))
    with pytest.raises(SINGRuntimeError, match=r"feature_covariance: .*with_statistics"):
        conditional_baseline(torch.ones(2, width), space, bare)


def test_deviation_is_from_each_kind_of_baseline(space: NullSpace) -> None:
    features = world(space, copied=1.0, own=1.0, seed=0)[:7]
    translator = translator_of(world(space, copied=1.0, own=1.0, seed=3))
    donors, spaces = gaussian(7, space.width, seed=4), ImageSpaces.same(space, 7)
    for baselines, subtracted in (
        (None, torch.zeros(space.width)),
        ("mean", translator.mean),
        ("conditional", conditional_baseline(features, space, translator)),
        (donors, donors),
        (donors[:1], donors[0]),
    ):
        ours = deviation(features, baselines, spaces, translator)
        torch.testing.assert_close(ours, features - subtracted)
