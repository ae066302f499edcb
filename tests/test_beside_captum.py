"""SING is used beside Captum's other attributions, on the same model, in any order."""

from __future__ import annotations

import pytest
import torch
from captum.attr import (
    Attribution,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
)
from torch import Tensor
from toys import untouched

from captum_sing import SING, ConceptBank, LinearTranslator
from captum_sing.testing import ToyClassifier, ToyEncoder

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3])


@pytest.fixture
def model() -> ToyClassifier:
    return ToyClassifier().eval()


@pytest.fixture
def sing(model: ToyClassifier) -> SING:
    weight = torch.randn(16, 12, generator=torch.Generator().manual_seed(1))
    translator = LinearTranslator(weight, torch.zeros(12), torch.zeros(16))
    bank = ConceptBank.from_words(["red", "blue", "big"], ToyEncoder())
    return SING(model, model.head, translator, bank)


def others(model: ToyClassifier) -> tuple[Tensor, Tensor]:
    gradients = IntegratedGradients(model).attribute(IMAGES, target=TARGETS, n_steps=8)
    maps = LayerGradCam(model, model.features[0]).attribute(IMAGES, target=TARGETS)
    return gradients, maps


def test_neither_disturbs_the_other(model: ToyClassifier, sing: SING) -> None:
    before, alone = others(model), sing.attribute(IMAGES)
    with untouched(model):
        beside = sing.attribute(IMAGES, target=TARGETS)
        after, again = others(model), sing.attribute(IMAGES)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert before[0].shape == IMAGES.shape and before[1].shape == (4, 1, 8, 8)
    assert torch.equal(alone.perturbations, again.perturbations)
    assert torch.equal(alone.descriptions.attribute_score, again.descriptions.attribute_score)
    assert beside.perturbations.shape == (4, 12)


def test_neither_disturbs_the_other_after_an_error(model: ToyClassifier, sing: SING) -> None:
    before = others(model)
    with untouched(model):
        for method in (sing, IntegratedGradients(model)):
            with pytest.raises((ValueError, RuntimeError)):
                method.attribute(torch.zeros(2, 5, 8, 8), target=0)
    assert all(torch.equal(*pair) for pair in zip(before, others(model), strict=True))


def test_it_is_one_of_them(model: ToyClassifier, sing: SING) -> None:
    assert isinstance(sing, LayerAttribution)
    assert sing.forward_func is model and sing.layer is model.head
    assert LayerAttribution.interpolate(torch.ones(1, 1, 2, 2), (4, 4)).shape == (1, 1, 4, 4)


def test_a_noise_tunnel_goes_through(model: ToyClassifier, sing: SING) -> None:
    """Captum calls ``attribute.__wrapped__``, and takes tensors alone as a result."""

    class Perturbations(Attribution):
        def attribute(self, inputs: Tensor, **kwargs: object) -> Tensor:
            return SING.attribute.__wrapped__(sing, inputs, **kwargs).perturbations

        attribute.__wrapped__ = attribute  # type: ignore[attr-defined]

    with untouched(model):
        quiet = NoiseTunnel(Perturbations(model)).attribute(IMAGES, nt_samples=3, stdevs=0.0)
        noisy = NoiseTunnel(Perturbations(model)).attribute(IMAGES, nt_samples=3, stdevs=0.5)
    plain = sing.attribute(IMAGES).perturbations
    assert torch.allclose(quiet, plain, atol=1e-5)
    assert not torch.allclose(noisy, plain, atol=1e-3)
