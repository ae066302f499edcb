"""How well a translator does, against slow formulas and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor

from captum_sing.quality import TranslatorReport, fit_of

N, E = 40, 5


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def slow_cosine(p: list[float], z: list[float]) -> float:
    product = sum(a * b for a, b in zip(p, z, strict=True))
    return product / math.sqrt(sum(a * a for a in p) * sum(b * b for b in z))


@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("mean", [0.0, 20.0])
def test_equals_slow_formulas(noise: float, mean: float) -> None:
    truth = gaussian(N, E) * torch.linspace(0.1, 3, E) + mean
    predicted = truth + noise * gaussian(N, E, seed=1)
    fit = fit_of(predicted, truth)
    cosines = [slow_cosine(p, z) for p, z in zip(predicted.tolist(), truth.tolist(), strict=True)]
    degrees = [math.degrees(math.acos(c)) for c in cosines]
    assert fit.cosine == pytest.approx(sum(cosines) / N, abs=1e-9)
    assert fit.degrees == pytest.approx(sum(degrees) / N, abs=1e-6)
    wanted = r2_score(truth.numpy(), predicted.numpy(), multioutput="variance_weighted")
    assert fit.r2 == pytest.approx(wanted, abs=1e-9)


def test_perfect_and_constant_predictions() -> None:
    """The cosine flatters: a constant prediction has a high one, and an R^2 of 0."""
    truth = gaussian(N, E) + 20.0
    perfect = fit_of(truth, truth)
    assert (perfect.cosine, perfect.degrees, perfect.r2) == pytest.approx((1.0, 0.0, 1.0))
    constant = fit_of(truth.mean(dim=0).expand(N, E), truth)
    assert constant.cosine > 0.99
    assert constant.r2 == pytest.approx(0.0, abs=1e-12)


def test_images_are_paired() -> None:
    truth = gaussian(N, E)
    assert fit_of(truth.flip(0), truth).r2 < 0
    assert fit_of(truth.flip(0), truth.flip(0)).r2 == 1


def test_report_has_no_parts_without_a_null_space() -> None:
    report = TranslatorReport(N, 0, fit_of(gaussian(N, E), gaussian(N, E)))
    assert report.principal is report.null is None
