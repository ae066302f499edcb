"""The measures of a translator, against scikit-learn and against what they must not hide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from captum_sing.quality import fit_of


@pytest.fixture
def truth():
    return torch.randn(300, 7, generator=torch.Generator().manual_seed(0)) + 2.0


def test_r2_is_that_of_scikit_learn(truth):
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    expected = r2_score(truth.numpy(), noisy.numpy(), multioutput="variance_weighted")
    assert fit_of(noisy, truth).r2 == pytest.approx(expected, abs=1e-5)


def test_cosine_and_degrees_equal_a_slow_loop(truth):
    predicted = truth.flip(0)
    pairs = list(zip(predicted.double().numpy(), truth.double().numpy(), strict=True))
    cosines = [float(p @ t / np.linalg.norm(p) / np.linalg.norm(t)) for p, t in pairs]
    fit = fit_of(predicted, truth)
    assert fit.cosine == pytest.approx(np.mean(cosines), abs=1e-6)
    assert fit.degrees == pytest.approx(np.mean(np.degrees(np.arccos(cosines))), abs=1e-3)


def test_a_constant_prediction_has_a_fine_cosine_and_no_r2(truth):
    fit = fit_of(truth.mean(dim=0).expand_as(truth), truth)
    assert fit.cosine > 0.85
    assert fit.r2 == pytest.approx(0.0, abs=1e-6)
