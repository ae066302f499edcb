"""What a comparison refuses: early where that is possible, and by the name of the method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import Tensor, nn
from toys import BANK, IMAGES, toy_sing

from captum_sing import SING, LinearTranslator
from captum_sing.attributions import compare_attributions
from captum_sing.errors import (
    SINGError,
    SINGRuntimeError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.testing import ToyClassifier

EARLY: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no sing": ({"sing": ToyClassifier()}, TypeError, "sing to be a SING, got ToyClassifier"),
    "no images": ({"inputs": None}, TypeError, "inputs to be a tensor"),
    "two inputs": ({"inputs": (IMAGES, IMAGES)}, ValueError, r"one floating.*got 2 inputs"),
    "features": ({"inputs": IMAGES[:, 0, 0]}, ValueError, r"tensor \(B, C, H, W\), got \(5, 8\)"),
    "not finite": ({"inputs": IMAGES / 0}, ValueError, "inputs finite"),
    "word": ({"concept": "purple"}, KeyError, "words among.*purple"),
    "one of the words": ({"concept": ["red"] * 4 + ["?"]}, KeyError, r"words among.*\['\?'\]"),
    "words": ({"concept": ["red", "blue"]}, ValueError, "to be a word, or one for each of 5"),
    "number": ({"concept": 3}, ValueError, "concept to be a word.*got int"),
    "kind": ({"kind": "hidden"}, ValueError, "kind in .*got 'hidden'"),
    "kind with word": (
        {"kind": "hidden", "concept": "red"}, ValueError, "kind in .*got 'hidden'"
    ),
    "kind of no word": (
        {"kind": "null_energy", "concept": "red"}, ValueError, "words None for 'null_energy'"
    ),
    "no method": ({"methods": {}}, TypeError, "methods to be a mapping.*got none"),
    "methods": ({"methods": [Saliency]}, TypeError, "methods to be a mapping.*got list"),
    "method": ({"methods": {"S": "Saliency"}}, TypeError, r"\['S'\] to be callable.*got str"),
    "option": ({"options": {"Occlusion": {}}}, KeyError, r"for methods in .*\['Occlusion'\]"),
    "options": ({"options": {"S": 3}}, TypeError, r"options\['S'\] to be a mapping.*got int"),
    "own option": ({"options": {"S": {"target": 1}}}, ValueError, r"without .*got \['target'\]"),
    "no top": ({"top": 0}, ValueError, "top between 0 and 1, got 0"),
    "all on top": ({"top": 1.0}, ValueError, "top between 0 and 1, got 1.0"),
    "text on top": ({"top": "10%"}, ValueError, "top between 0 and 1, got '10%'"),
    "seed": ({"seed": -1}, ValueError, "seed to be an integer from 0 on, got -1"),
    "size": ({"internal_batch_size": 0}, ValueError, "internal_batch_size of at least 1, got 0"),
    "removal": ({"removal": "erase"}, ValueError, r"removal in \['blur', 'inpaint'\], or callable"),
    "no removal": ({"removal": None}, ValueError, "removal in .*got None"),
    "pictures": ({"pictures": IMAGES[:2].sigmoid()}, ValueError, "pictures one for each of 5"),
    "picture": ({"pictures": IMAGES}, ValueError, r"picture with three channels and values in \[0"),
    "no pictures": ({"pictures": 3}, ValueError, "pictures one for each of 5 images, got int"),
}  # fmt: skip


class Counting(nn.Module):
    """A model that must not run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.runs = ToyClassifier().eval(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.runs += 1
        return self.inner(images)


@pytest.mark.parametrize("case", EARLY)
def test_before_any_model_runs(case: str) -> None:
    asked, error, message = EARLY[case]
    model = Counting()
    sing = SING(model, model.inner.head, toy_sing().translator, BANK)
    arguments = {"sing": sing, "inputs": IMAGES, "methods": {"S": Saliency}, **asked}
    with pytest.raises(SINGError, match=message) as raised:
        compare_attributions(**arguments)
    assert isinstance(raised.value, error) and model.runs == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (4, r"target to be integers in \[0, 3\], got 4"),
        ([0, 1, 2, 3, -1], r"target to be integers in \[0, 3\], got -1"),
        ([0, 1], r"one for each of 5 images, got shape \(2,\)"),
        (1.0, "target to be class numbers, got torch.float32"),
        ("star", "target to be class numbers, got 'star'"),
        (True, "target to be class numbers, got torch.bool"),
    ],
)
def test_targets_before_any_method_runs(target: Any, message: str) -> None:
    with pytest.raises(SINGError, match=message):
        compare_attributions(toy_sing(), IMAGES, target=target, methods={"S": Never})


def test_a_translator_without_statistics() -> None:
    translator = LinearTranslator(torch.ones(16, 12), torch.zeros(12), torch.zeros(16))
    sing = SING(ToyClassifier().eval(), "head", translator, BANK)
    with pytest.raises(SINGRuntimeError, match="statistics"):
        compare_attributions(sing, IMAGES, methods={"S": Never})


class Never:
    """A method that must not run."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def attribute(self, inputs: Tensor, target: Any) -> Tensor:
        raise ZeroDivisionError


def returning(value: Any) -> Any:
    class Method(Never):
        def attribute(self, inputs: Tensor, target: Any) -> Any:
            return value

    return Method


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        (nn.Identity, SINGTypeError, r"methods\['M'\] to make an attribution, got Identity"),
        (returning(None), SINGTypeError, r"methods\['M'\] to return one tensor, got NoneType"),
        (
            returning((IMAGES, 0.1)),
            SINGTypeError,
            r"methods\['M'\] to return one tensor, got tuple",
        ),
        (returning(IMAGES[:4]), SINGValueError, r"methods\['M'\] to return 5 maps.*\(4, 3, 8, 8\)"),
        (returning(torch.ones(5)), SINGValueError, r"methods\['M'\] to return 5 maps.*\(5,\)"),
        (returning(torch.ones(5, 16, 24)), SINGValueError, r"proportions.*\(5, 16, 24\).*tokens"),
        (returning(torch.ones(5, 1, 4, 24)), SINGValueError, r"proportions.*\(5, 1, 4, 24\)"),
        (returning(IMAGES / 0), SINGValueError, r"methods\['M'\] to return finite.*5 of 5 images"),
    ],
)
def test_maps_that_cannot_be_used(method: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compare_attributions(toy_sing(), IMAGES, "red", methods={"M": method})


def test_one_bad_image_is_counted() -> None:
    maps = IMAGES.clone()
    maps[2, 0, 0, 0] = torch.nan
    with pytest.raises(SINGValueError, match=r"methods\['M'\].*NaN or infinity for 1 of 5"):
        compare_attributions(toy_sing(), IMAGES, methods={"M": returning(maps)})


@pytest.mark.parametrize(
    ("removal", "actual"),
    [
        (lambda images, masks: None, "NoneType"),
        (lambda images, masks: images[:, :1], r"\(5, 1, 8, 8\)"),
        (lambda images, masks: images / 0, "NaN or infinity"),
    ],
)
def test_removals_that_cannot_be_used(removal: Any, actual: str) -> None:
    message = rf"removal to return finite images of shape \(5, 3, 8, 8\), got {actual}"
    with pytest.raises(SINGValueError, match=message):
        compare_attributions(toy_sing(), IMAGES, methods={"S": Saliency}, removal=removal)


def test_logits_of_another_shape() -> None:
    toy = toy_sing()
    model = lambda images: toy.forward_func(images)[:, :, None]  # noqa: E731
    sing = SING(model, toy.forward_func.head, toy.translator, BANK)
    with pytest.raises(SINGValueError, match=r"of logits \(B, C\), got \(5, 4, 1\)"):
        compare_attributions(sing, IMAGES, methods={"S": Never})


@pytest.fixture(autouse=True)
def numbers_stay() -> Iterator[None]:
    """Torch's global numbers are as they were, also after an error."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def test_defaults_are_captums() -> None:
    comparison = compare_attributions(toy_sing(), IMAGES[:1])
    assert list(comparison.maps) == ["IntegratedGradients", "Saliency"]
    plain = IntegratedGradients(toy_sing().forward_func).attribute(
        IMAGES[:1], target=int(comparison.table["target"][0])
    )
    found = comparison.maps["IntegratedGradients"].target
    assert torch.allclose(found, plain.sum(dim=1).float(), atol=1e-6)
