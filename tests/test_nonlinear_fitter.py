"""Gradient descent learns what a line cannot, stops in time, and is the same for the same seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from captum_sing import TranslatorFitter
from captum_sing.errors import SINGValueError
from captum_sing.nonlinear import KINDS, NonlinearTranslator
from captum_sing.nonlinear_fitter import fit_nonlinear

D, E, N = 3, 2, 1500


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bent(count: int = N, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A kinked function of features whose means are far above their spread."""
    raw = gaussian(count, D, seed=seed)
    embeddings = torch.stack([raw[:, 0].abs(), raw[:, 1] - raw[:, 2].clamp_min(0)], dim=1)
    return raw * torch.tensor([1.0, 5.0, 0.2]) + 40.0, 0.03 * embeddings + 0.5


def fit(kind: str = "3layer", **further: Any) -> NonlinearTranslator:
    settings = {"hidden_dim": 32, "batch_size": 64, "epochs": 40, **further}
    return fit_nonlinear(*bent(), kind, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_learns_what_no_line_can(kind: str) -> None:
    held_out = bent(seed=5)
    translator = fit(kind, encoder="toy", model="toys/one")
    line = TranslatorFitter(1e-3).update(*bent()).fit()
    assert translator.evaluate(*held_out).whole.r2 > 0.97 > 0.8 > line.evaluate(*held_out).whole.r2
    assert translator.kind == kind
    assert (translator.encoder, translator.model) == ("toy", "toys/one")
    assert translator.facts["count"] == N
    torch.testing.assert_close(translator.mean, bent()[0].double().mean(dim=0), rtol=1e-2, atol=0)
    assert translator.knows(bent()[0]).all()
    assert translator.evaluate(*held_out).in_sample == 0


def test_is_the_same_for_the_same_seed_and_leaves_torch_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (fit(epochs=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    f = bent()[0]
    assert torch.equal(first(f), again(f))
    assert not torch.allclose(first(f), other(f))


def test_stops_where_more_would_do_harm() -> None:
    """Of noise there is nothing to learn but the training pairs."""
    features, noise = gaussian(300, 20), gaussian(300, 4, seed=1)
    settings: dict[str, Any] = {"hidden_dim": 64, "batch_size": 32}
    stopped = fit_nonlinear(features, noise, epochs=60, patience=5, **settings)
    assert stopped.facts["epochs"] == stopped.facts["best_epoch"] + 5 < 20
    held_out = gaussian(300, 20, seed=2), gaussian(300, 4, seed=3)
    overfitted = fit_nonlinear(features, noise, epochs=60, patience=60, held_out=0.01, **settings)
    assert overfitted.facts["epochs"] == 60
    assert stopped.evaluate(*held_out).whole.r2 > -0.3
    assert stopped.evaluate(*held_out).whole.r2 > overfitted.evaluate(*held_out).whole.r2


def test_lives_with_constant_features_and_half_precision() -> None:
    features, embeddings = bent()
    features = torch.cat([features, torch.full((N, 1), 7.0)], dim=1)
    translator = fit_nonlinear(features.half(), embeddings, hidden_dim=16, epochs=3)
    assert translator(features).isfinite().all()
    flat = fit_nonlinear(features, torch.ones(N, 2), hidden_dim=16, epochs=3)
    torch.testing.assert_close(flat(features), torch.ones(N, 2), rtol=0, atol=1e-5)


F, Z = bent(50)


@pytest.mark.parametrize(
    ("features", "embeddings", "settings", "message"),
    [
        (F / 0, Z, {}, r"features finite and of shape \(N, width\)"),
        (F, Z * torch.nan, {}, r"embeddings finite and of shape"),
        (F[0], Z, {}, r"features finite and of shape \(N, width\), got \(3,\)"),
        (F[1:], Z, {}, r"embeddings for 49 features, got \(50, 2\)"),
        (F[:3], Z[:3], {}, r"features more than the 2 held out, got 3"),
        (F, Z, {"held_out": 0.0}, r"held_out above 0 and below 1, got 0.0\. Use 0.1"),
        (F, Z, {"held_out": -1}, "held_out above 0"),
        (F, Z, {"held_out": float("nan")}, "held_out above 0"),
        (F, Z, {"kind": ["3layer"]}, "kind in"),
        (F, Z, {"batch_size": 2.5}, "batch_size of at least 1, an integer, got 2.5"),
        (F, Z, {"held_out": 0.99}, r"features more than the 50 held out, got 50"),
        (F, Z, {"kind": "2layer"}, r"kind in \['3layer', '4layer', 'residual'\], got '2layer'"),
        (F, Z, {"activation": "sin"}, r"activation in .*, got 'sin'"),
        (F, Z, {"epochs": 0}, "epochs of at least 1, an integer, got 0"),
        (F, Z, {"hidden_dim": 0}, "hidden_dim of at least 1"),
        (F, Z, {"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_refuses_what_cannot_be_fitted(
    features: Tensor, embeddings: Tensor, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SINGValueError, match=f"fit_nonlinear: expected {message}"):
        fit_nonlinear(features, embeddings, **settings)
