"""Ridge regression and cross-validation from sums, against scikit-learn on the rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from torch import Tensor

from captum_sing.errors import SINGValueError
from captum_sing.ridge import cross_validate, mean_variance, ridge
from captum_sing.sums import PairSums

D, E = 12, 4


def pairs(count: int, noise: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(count, D, generator=generator, dtype=torch.float64)
    f = f * torch.logspace(0, -2, D) + 4.0
    z = f @ torch.randn(D, E, generator=generator, dtype=torch.float64)
    return f, z + noise * torch.randn(count, E, generator=generator, dtype=torch.float64)


def searched(f: Tensor, z: Tensor, alphas: list[float], folds: int) -> GridSearchCV:
    """Over contiguous folds, as KFold makes them."""
    search = GridSearchCV(Ridge(), {"alpha": alphas}, cv=KFold(folds))
    return search.fit(f.numpy(), z.numpy())


def per_fold(search: GridSearchCV, folds: int) -> np.ndarray:
    return np.array([search.cv_results_[f"split{k}_test_score"] for k in range(folds)])


def folds_of(f: Tensor, z: Tensor, folds: int) -> list[PairSums]:
    cuts = [len(part) for part in np.array_split(np.arange(len(f)), folds)]
    return [PairSums.of(*part) for part in zip(f.split(cuts), z.split(cuts), strict=True)]


ALPHAS = [10.0**power for power in range(-3, 6)]


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0, 100.0])
@pytest.mark.parametrize(("count", "folds"), [(60, 2), (60, 5), (61, 7), (12, 5), (9, 3)])
def test_equals_a_grid_search_of_scikit_learn(noise: float, count: int, folds: int) -> None:
    """Also with fewer rows than features, and on folds of unequal size."""
    f, z = pairs(count, noise)
    search = searched(f, z, ALPHAS, folds)
    scores = cross_validate(folds_of(f, z, folds), ALPHAS)
    np.testing.assert_allclose(scores.numpy(), per_fold(search, folds), rtol=1e-6, atol=1e-9)
    assert int(scores.mean(dim=0).argmax()) == search.best_index_


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_equals_ridge_of_scikit_learn(alpha: float) -> None:
    f, z = pairs(60)
    theirs = Ridge(alpha=alpha).fit(f.numpy(), z.numpy())
    np.testing.assert_allclose(ridge(PairSums.of(f, z), alpha), theirs.coef_, rtol=1e-8)


def test_scores_are_held_out() -> None:
    """With nothing to learn, held-out R^2 falls below 0 where fitting is easy."""
    f, _ = pairs(40)
    z = torch.randn(40, E, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    scores = cross_validate(folds_of(f, z, 4), [1e-6, 1e9])
    assert (scores[:, 0] < -0.2).all()
    assert (scores[:, 1] > scores[:, 0]).all()


def test_constant_outputs_and_features_count_as_in_scikit_learn() -> None:
    f, z = pairs(60)
    f[:, 3], z[:, 1] = 7.0, 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = searched(f, z, ALPHAS, 3)
    scores = cross_validate(folds_of(f, z, 3), ALPHAS)
    np.testing.assert_allclose(scores.numpy(), per_fold(search, 3), rtol=1e-6, atol=1e-9)


def test_equal_penalties_are_told_by_their_order() -> None:
    f, z = pairs(60)
    scores = cross_validate(folds_of(f, z, 3), [1.0, 1.0]).mean(dim=0)
    assert scores[0] == scores[1]
    assert int(scores.argmax()) == 0 == searched(f, z, [1.0, 1.0], 3).best_index_


def test_penalties_are_measured_by_the_variance_of_the_features() -> None:
    f, z = pairs(60)
    wanted = 60 * f.numpy().var(axis=0).mean()
    assert mean_variance(PairSums.of(f, z)) == pytest.approx(wanted, rel=1e-10)


def test_refuses_no_penalty_on_features_that_depend_on_each_other() -> None:
    f, z = pairs(60)
    sums = PairSums.of(torch.cat([f, f[:, :1]], dim=1), z)
    with pytest.raises(SINGValueError, match=r"alpha above 0 for features that are constant or"):
        ridge(sums, 0.0)
    assert ridge(sums, 1.0).isfinite().all()


def test_a_weak_penalty_on_dependent_features_is_solved_all_the_same() -> None:
    """Far below what rounding makes of the sums, where no Cholesky factor is to be had."""
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(400, 1, generator=generator, dtype=torch.float64) @ torch.rand(
        1, 300, generator=generator, dtype=torch.float64
    )
    z = f[:, :2] + 1.0
    sums = PairSums.of(f + 5.0, z)
    for alpha in (1e-14, 1e-12, 1e-3):
        weight = ridge(sums, alpha)
        torch.testing.assert_close((f - f.mean(0)) @ weight.T, z - z.mean(0), rtol=0, atol=1e-5)


def test_outputs_of_little_spread_about_a_large_mean_are_not_constant() -> None:
    """As float32 holds them, against scikit-learn on the same numbers."""
    f, z = pairs(60, noise=0.3)
    f, z = f.float().double(), (3 * z / z.std(dim=0) + 1e6).float().double()
    search = searched(f, z, ALPHAS, 3)
    scores = cross_validate(folds_of(f.float(), z.float(), 3), ALPHAS)
    np.testing.assert_allclose(scores.numpy(), per_fold(search, 3), atol=1e-6)
    assert scores.max() > 0.9
