"""What geometry alone gives, against sampled subspaces; a random translator keeps its gains."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace, image_score
from captum_sing.controls import (
    haar_spread,
    isotropic_cosine,
    isotropic_image_score,
    random_translator,
)
from captum_sing.errors import SINGValueError

D, V, K = 24, 5, 9


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_haar_spread_is_that_of_sampled_subspaces() -> None:
    g, delta = gaussian(D, V), gaussian(D, V, seed=1)
    delta = delta + 0.5 * g  # so that the total is not near zero
    bases = torch.linalg.qr(gaussian(4000, D, K, seed=2)).Q
    shares = ((bases.mT @ g) * (bases.mT @ delta)).sum(dim=(1, 2)) / (g * delta).sum()
    assert float(shares.mean()) == pytest.approx(K / D, abs=4 * float(shares.std()) / 63)
    assert haar_spread(g, delta, K) == pytest.approx(float(shares.std()), rel=0.04)


def test_haar_spread_equals_the_formula_with_a_whole_matrix() -> None:
    g, delta = gaussian(D, V), gaussian(D, V, seed=1)
    matrix = (g @ delta.T + delta @ g.T) / 2
    trace = matrix.trace()
    squares = (matrix - trace / D * torch.eye(D)).square().sum()
    variance = 2 * K * (D - K) / (D * (D - 1) * (D + 2)) * squares / trace**2
    assert haar_spread(g, delta, K) == pytest.approx(float(variance.sqrt()))


def test_haar_spread_vanishes_where_there_is_no_choice() -> None:
    g = gaussian(D, V)
    assert haar_spread(g, g, 0) == haar_spread(g, g, D) == 0.0
    assert math.isnan(haar_spread(g, torch.zeros(D, V), K))
    with pytest.raises(SINGValueError, match=r"nullity from 0 to 24, got 25"):
        haar_spread(g, g, D + 1)
    with pytest.raises(SINGValueError, match=r"deviations of shape \(24, 5\)"):
        haar_spread(g, g[:, 1:], K)


def test_isotropic_image_score_is_that_of_an_isotropic_world() -> None:
    """The root mean square of sin(IS), for a translator that keeps all angles."""
    features = gaussian(20_000, D)
    space = NullSpace.from_weight(torch.linalg.qr(gaussian(D, D - K, seed=3)).Q.T)
    turned = image_score(features, space.remove(features))
    share = float(torch.deg2rad(turned).sin().square().mean())
    assert isotropic_image_score(K, D) == pytest.approx(
        math.degrees(math.asin(math.sqrt(share))), abs=0.3
    )
    with pytest.raises(SINGValueError, match="nullity"):
        isotropic_image_score(D + 1, D)


def test_isotropic_cosine_is_uniform_for_isotropic_parts_only() -> None:
    space = NullSpace.from_weight(gaussian(D - K, D, seed=3))
    pulled = gaussian(D, 2, seed=4)
    results = [isotropic_cosine(row, pulled, space) for row in gaussian(400, D, seed=5)]
    assert kstest([r[0].p for r in results], "uniform").pvalue > 0.001
    assert not any(found.starred(1.0) for r in results for found in r)
    stretched = torch.where(torch.arange(D) == 0, 30.0, 1.0)
    bent = [isotropic_cosine(row, pulled, space) for row in gaussian(400, D, seed=6) * stretched]
    assert kstest([r[0].p for r in bent], "uniform").pvalue < 1e-6


def test_isotropic_cosine_equals_the_slow_one() -> None:
    space = NullSpace.from_weight(gaussian(D - K, D, seed=3))
    part, pulled = gaussian(D, seed=7), gaussian(D, V, seed=8)
    basis = space.null_basis
    found = isotropic_cosine(part, pulled, space)
    for t, result in enumerate(found):
        u, v = basis.T @ part, basis.T @ pulled[:, t]
        assert result.value == pytest.approx(float(u @ v / (u.norm() * v.norm())))
        assert result.n == K
    own = isotropic_cosine(pulled[:, 0], pulled, space)[0]
    assert own.value == pytest.approx(1.0) and own.p == pytest.approx(0.0, abs=1e-12)


def test_random_translator_keeps_gains_and_nothing_else() -> None:
    weight = gaussian(V, D).float()
    translator = LinearTranslator(weight, gaussian(D), gaussian(V, seed=1), facts={"model": "m"})
    turned, again = random_translator(translator, 3), random_translator(translator, 3)
    assert torch.equal(turned.weight, again.weight)
    assert not torch.allclose(turned.weight, random_translator(translator, 4).weight)
    assert torch.allclose(
        torch.linalg.svdvals(turned.weight), torch.linalg.svdvals(weight), atol=1e-5
    )
    assert torch.allclose(turned.weight @ turned.weight.T, weight @ weight.T, atol=1e-4)
    assert torch.equal(turned(translator.origin), translator(translator.origin))
    assert turned.facts == {"model": "m", "random": 3} and translator.facts == {"model": "m"}


def test_random_translators_have_no_direction() -> None:
    """The mean over seeds vanishes, as a random rotation's does: not so without fixed signs."""
    translator = LinearTranslator(torch.eye(D)[:V], torch.zeros(D), torch.zeros(V))
    mean = torch.stack([random_translator(translator, seed).weight for seed in range(400)]).mean(0)
    assert float(mean.abs().max()) < 4 / math.sqrt(400 * D)
