"""A real head of more classes than features ignores nothing exactly: the ways on from there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from toys import BANK, any_translator, normal

from captum_sing import SING, NullSpace, Verification
from captum_sing.errors import NoNullSpaceError
from captum_sing.hooks import replace_features

IMAGES = normal(3, 3, 64, 64, seed=9)
SOME = [7, 3, 999]


def resnet18(classes: int = 1000) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=classes).eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return resnet18()


def sing_of(model: nn.Module, **options: Any) -> SING:
    space = NullSpace.from_layer(model.fc, **options) if options else None
    return SING(model, None, any_translator(512), BANK, null_space=space)


def silent(drift: Verification) -> bool:
    controls = min(drift.random.min(), drift.principal.min())
    return bool(drift.null.max() <= 1e-5 and controls >= 1000 * drift.null.max())


def test_has_no_exact_null_space(model: nn.Module) -> None:
    for run in (SING.attribute, SING.verify):
        with pytest.raises(NoNullSpaceError, match="width of 512, got rank 512 from 1000 rows"):
            run(sing_of(model), IMAGES)


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_energy_gives_an_approximate_one_and_tells_its_drift(
    model: nn.Module, energy: float
) -> None:
    sing = sing_of(model, energy=energy)
    perturbations, descriptions = sing.attribute(IMAGES)
    drift = sing.verify(IMAGES)
    assert perturbations.norm(dim=1).min() > 0.1
    assert f"approximate (energy {energy:g})" in str(descriptions[0])
    assert 1e-4 < drift.null.max() < drift.random.min()
    before, after = (
        replace_features(model, model.fc, IMAGES, feature)
        for feature in (sing_features(model), sing_features(model) + perturbations)
    )
    by_hand = (after - before).abs().amax(dim=1) / before.abs().amax(dim=1)
    torch.testing.assert_close(drift.null.float(), by_hand, rtol=1e-3, atol=1e-6)


def sing_features(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return nn.Sequential(*list(model.children())[:-1])(IMAGES).flatten(1)


def test_less_energy_ignores_more_and_moves_more(model: nn.Module) -> None:
    spaces = [NullSpace.from_layer(model.fc, energy=energy) for energy in (0.99, 0.9, 0.5)]
    assert 0 < spaces[0].nullity < spaces[1].nullity < spaces[2].nullity < 512
    drifts = [sing_of(model, energy=e).verify(IMAGES).null.mean() for e in (0.99, 0.9, 0.5)]
    assert drifts == sorted(drifts)


@pytest.mark.parametrize("invariant_to", ["logits", "probabilities"])
def test_fewer_classes_are_kept_exactly(model: nn.Module, invariant_to: str) -> None:
    sing = sing_of(model, classes=SOME, invariant_to=invariant_to)
    assert silent(sing.verify(IMAGES))
    perturbations, descriptions = sing.attribute(IMAGES)
    moved = perturbations @ model.fc.weight.detach().T
    assert moved.abs().max() > 1e-2
    kept = moved[:, SOME]
    odds = kept - kept[:, :1]
    assert (odds if invariant_to == "probabilities" else kept).abs().max() < 1e-5
    assert f"Only the {invariant_to} of classes {SOME} are kept." in str(descriptions[0])


@pytest.mark.parametrize("target", [5, [5, 0, 999], torch.tensor([5, 5, 1])])
def test_a_target_keeps_its_own_logit(model: nn.Module, target: Any) -> None:
    sing = sing_of(model)
    assert silent(sing.verify(IMAGES, target=target))
    moved = sing.attribute(IMAGES, target=target)[0] @ model.fc.weight.detach().T
    own = moved[range(3), torch.as_tensor(target).expand(3)]
    assert own.abs().max() < 1e-5 < 1e-2 < moved.abs().max()


def test_probabilities_of_more_classes_than_features_have_none_either(model: nn.Module) -> None:
    with pytest.raises(NoNullSpaceError, match="frees one direction at most, and here none"):
        sing_of(model, invariant_to="probabilities")


def test_probabilities_of_as_many_classes_as_features_have_one_direction() -> None:
    square = resnet18(512)
    with pytest.raises(NoNullSpaceError, match="shift of all logits, frees one direction"):
        sing_of(square).attribute(IMAGES)
    sing = sing_of(square, invariant_to="probabilities")
    drift = sing.verify(IMAGES)
    assert NullSpace.from_layer(square.fc, invariant_to="probabilities").nullity == 1
    assert drift.null.max() <= 1e-5 < 1e-3 < drift.random.min()
    moved = sing.attribute(IMAGES)[0] @ square.fc.weight.detach().T
    assert moved.abs().max() > 1e-4  # all logits move, together
    assert (moved - moved[:, :1]).abs().max() < 1e-5
