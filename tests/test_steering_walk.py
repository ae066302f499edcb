"""Steering with a translator that is not linear: along its gradient, to the same angle."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace, image_score, steering
from captum_sing.nonlinear import NonlinearTranslator
from captum_sing.steering import steer

B, D, H, E, C = 7, 24, 40, 12, 5


def normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


WEIGHT = normal(C, D, seed=0)
SPACE = NullSpace.from_weight(WEIGHT)
FEATURES, TEXT = normal(B, D, seed=1), normal(E, seed=2)


def network(
    kind: str = "3layer", activation: str = "gelu", bias: float = 0.0
) -> NonlinearTranslator:
    widths = [(H, D), *[(H, H)] * (2 if kind != "3layer" else 1), (E, H)]
    layers = [
        (normal(*shape, seed=3 + n) / math.sqrt(shape[1]), torch.full((shape[0],), bias * 10**n))
        for n, shape in enumerate(widths)
    ]
    return NonlinearTranslator(kind, layers, activation)


@pytest.mark.parametrize("kind", ["3layer", "4layer", "residual"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh"])
def test_turns_by_the_angle_towards_the_text_and_moves_no_logit(kind: str, activation: str) -> None:
    translator = network(kind, activation)
    degrees = torch.linspace(0.5, 20.0, B, dtype=torch.float64)
    steered = steer(FEATURES, TEXT, degrees, SPACE, translator)
    assert steered.isfinite().all()
    before, after = translator(FEATURES), translator(steered)
    torch.testing.assert_close(image_score(before, after), degrees, rtol=0, atol=1e-6)
    text = TEXT.expand(B, -1)
    nearer = torch.cosine_similarity(after, text) - torch.cosine_similarity(before, text)
    assert (nearer > 0).all()
    moved = ((steered - FEATURES) @ WEIGHT.T).abs().amax(dim=1)
    assert (moved / (FEATURES @ WEIGHT.T).abs().amax(dim=1)).max() < 1e-10


def test_the_way_is_the_closed_form_where_the_network_is_linear() -> None:
    """Rectifiers that never close; both ways start in one direction and part with the angle."""
    translator = network("3layer", "relu", bias=200.0)
    (a, x), (b, y), (c, z) = ((w.double(), v.double()) for w, v in translator.layers)
    line = LinearTranslator(c @ b @ a, torch.zeros(D), c @ (b @ x + y) + z)
    torch.testing.assert_close(line(FEATURES), translator(FEATURES), rtol=1e-4, atol=1e-3)
    for degrees, parted in ((0.05, 1e-3), (0.5, 0.1)):
        steps = [steer(FEATURES, TEXT, degrees, SPACE, t) - FEATURES for t in (translator, line)]
        apart = (steps[0] - steps[1]).norm(dim=1) / steps[1].norm(dim=1)
        assert apart.max() < parted


def test_where_the_gradient_leads_no_further_is_nan() -> None:
    some = torch.tensor([5.0, 179.0, 5.0, 5.0, 179.0, 5.0, 5.0])
    rows = steer(FEATURES, TEXT, some, SPACE, network()).isnan().all(dim=1)
    assert rows.tolist() == (some > 100).tolist()


def test_what_it_costs_does_not_depend_on_large_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that turn less lead almost the same way, and each one leads upwards."""
    translator = network()
    coarse = steer(FEATURES, TEXT, 20.0, SPACE, translator)
    monkeypatch.setattr(steering, "_TURN", 0.2)
    fine = steer(FEATURES, TEXT, 20.0, SPACE, translator)
    apart = (coarse - fine).norm(dim=1) / (fine - FEATURES).norm(dim=1)
    assert 0 < apart.max() < 0.2
    monkeypatch.setattr(steering, "_TURN", 90.0)
    wild = steer(FEATURES, TEXT, 20.0, SPACE, translator)
    assert ((wild - fine).norm(dim=1) > (coarse - fine).norm(dim=1)).any()


def test_a_dead_network_is_nan() -> None:
    dead = network("3layer", "relu", bias=-1000.0)
    assert steer(FEATURES, TEXT, 1.0, SPACE, dead).isnan().all()


def test_a_row_does_not_depend_on_its_batch() -> None:
    translator = network()
    together = steer(FEATURES, TEXT, 10.0, SPACE, translator)
    alone = torch.cat([steer(f[None], TEXT, 10.0, SPACE, translator) for f in FEATURES])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_needs_no_gradients_of_its_caller(mode: type) -> None:
    with mode():
        steered = steer(FEATURES.clone(), TEXT.clone(), 3.0, SPACE, network())
    assert steered.isfinite().all() and not steered.requires_grad
