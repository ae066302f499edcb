"""The partialled test: blind to copies, finds what is in the null space alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, ttest_1samp
from scipy.stats import t as t_distribution
from sklearn.linear_model import Ridge
from torch import Tensor

from captum_sing.controls import Partialled, permutation_z
from captum_sing.errors import SINGValueError

R, V, TRAIN, TEST = 6, 4, 600, 300


def nothing(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


def draw(kind: str, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is seen, ignored evidence and labels, in a world of one kind."""
    world = torch.Generator().manual_seed(99)
    codes = 2 * torch.randn(V, R, generator=world, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, R + V, generator=generator, dtype=torch.float64)
    labels = torch.randint(V, (n,), generator=generator)
    seen = codes[labels] + noise[:, :R]
    own = torch.nn.functional.one_hot(labels, V).double()
    evidence = {
        "copy": seen @ codes.T / R,
        "beyond": own,
        "empty": torch.zeros(n, V, dtype=torch.float64),
    }[kind]
    return seen, evidence + noise[:, R:], labels


def run(kind: str, seed: int) -> tuple[bool, bool]:
    """The partialled star, and that of mere presence."""
    fitted = Partialled.fit(*draw(kind, TRAIN, 2 * seed))
    seen, ignored, labels = draw(kind, TEST, 2 * seed + 1)
    partialled = fitted.test(seen, ignored, labels, in_sample=nothing(TEST))
    present = permutation_z(ignored, labels, in_sample=nothing(TEST))
    return partialled.starred(), present.starred()


@pytest.mark.parametrize("kind", ["copy", "empty"])
def test_a_copy_is_present_and_says_nothing_new(kind: str) -> None:
    partialled, present = zip(*(run(kind, seed) for seed in range(200)), strict=True)
    assert binomtest(sum(partialled), 200, 0.05).pvalue > 0.001
    if kind == "copy":
        assert all(present)


def test_a_small_training_set_is_allowed_for() -> None:
    """Ten test images for each training image: without R/N^2 one in four would be starred."""
    hits = 0
    for seed in range(200):
        fitted = Partialled.fit(*draw("empty", 60, 2 * seed))
        hits += fitted.test(*draw("empty", 600, 2 * seed + 1), in_sample=nothing(600)).starred()
    assert binomtest(hits, 200, 0.05).pvalue > 0.001, hits


def test_what_is_ignored_alone_is_found() -> None:
    assert all(run("beyond", seed)[0] for seed in range(20))


def test_equals_the_slow_one() -> None:
    train, test = draw("beyond", TRAIN, 1), draw("beyond", TEST, 2)
    seen, ignored, labels = test
    found = Partialled.fit(*train).test(seen, ignored, labels, in_sample=nothing(TEST))
    penalty = 1e-4 * float((train[0] - train[0].mean(0)).square().sum(0).mean())
    products = np.zeros(TEST)
    for t in range(V):
        name = Ridge(penalty).fit(train[0], (train[2] == t).double())
        word = Ridge(penalty).fit(train[0], train[1][:, t])
        label = (labels == t).double().numpy() - name.predict(seen)
        products += label * (ignored[:, t].numpy() - word.predict(seen))
    assert found.value == pytest.approx(products.mean())
    # the t-test, but for the errors that both regressions have from one training set
    wider = np.sqrt(1 + TEST * R / TRAIN**2)
    slow = ttest_1samp(products, 0.0)
    assert found.p == pytest.approx(float(t_distribution.sf(slow.statistic / wider, TEST - 1)))
    low, high = slow.confidence_interval(0.95)
    middle, reach = (low + high) / 2, (high - low) / 2 * wider
    assert found.interval == pytest.approx((middle - reach, middle + reach))


def test_too_small_a_training_set_gives_no_star() -> None:
    few = Partialled.fit(*draw("beyond", 47, 1))
    seen, ignored, labels = draw("beyond", TEST, 2)
    found = few.test(seen, ignored, labels, in_sample=nothing(TEST))
    assert found.note == "no star: fitted on 47 images, 48 needed" and not found.starred(1.0)
    enough = Partialled.fit(*draw("beyond", 48, 1))
    assert enough.test(seen, ignored, labels, in_sample=nothing(TEST)).note is None


def test_refusals_and_unknown_labels() -> None:
    seen, ignored, labels = draw("beyond", TRAIN, 1)
    fitted = Partialled.fit(seen, ignored, labels)
    masked = labels.clone()
    masked[:100] = -1
    known = Partialled.fit(seen[100:], ignored[100:], labels[100:])
    again = Partialled.fit(seen, ignored, masked)
    assert torch.equal(again.weight, known.weight) and again.count == TRAIN - 100
    with pytest.raises(SINGValueError, match="600 of 600 that it was"):
        fitted.test(seen, ignored, labels, in_sample=~nothing(TRAIN))
    with pytest.raises(SINGValueError, match=r"seen of shape \(600, 6\)"):
        fitted.test(seen[:, 1:], ignored, labels, in_sample=nothing(TRAIN))
    with pytest.raises(SINGValueError, match=r"labels of two words or more, got \[2\]"):
        Partialled.fit(seen, ignored, torch.full_like(labels, 2))
    nobody = fitted.test(seen, ignored, torch.full_like(labels, -1), in_sample=nothing(TRAIN))
    assert nobody.n == 0 and nobody.p is None and math.isnan(nobody.value)
