"""Each refusal is one sentence; those of the first table come before the model runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import BANK, DONORS, IMAGES, WORDS, any_translator, fitted_translator, normal, toy_sing

from captum_sing import SING, ConceptBank, NullSpace
from captum_sing.errors import (
    HeadNotFoundError,
    SINGNameError,
    SINGRuntimeError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.testing import ToyClassifier, ToyEncoder


@pytest.fixture
def sing() -> SING:
    return toy_sing()


@pytest.fixture
def model(sing: SING) -> ToyClassifier:
    return sing.forward_func


BEFORE: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an empty batch": ({"inputs": IMAGES[:0]}, SINGValueError, r"one image or more, got \(0,"),
    "a list": ({"inputs": [IMAGES]}, SINGTypeError, "a tensor or a tuple of tensors, got list"),
    "NaN": ({"inputs": IMAGES * torch.nan}, SINGValueError, "inputs finite, got NaN or inf"),
    "infinity": ({"inputs": IMAGES / 0.0}, SINGValueError, "Check the preprocessing"),
    "unequal inputs": (
        {"inputs": (IMAGES, DONORS[:2])}, SINGValueError, r"got \(5, 3, 8, 8\), \(2, 3, 8, 8\)",
    ),
    "a baseline's name": ({"baselines": "zero"}, SINGValueError, r"'conditional'\).*'zero'"),
    "a number as baseline": ({"baselines": 0}, SINGTypeError, "zero is None"),
    "too few donors": (
        {"baselines": DONORS[:2]}, SINGValueError, r"one row or as many, got \(2, 3, 8, 8\)",
    ),
    "donors of another width": (
        {"baselines": torch.ones(5, 9)}, SINGValueError, r"head's input \(5, 12\), .*\(5, 9",
    ),
    "donors with NaN": (
        {"baselines": DONORS * torch.nan}, SINGValueError, "expected baselines finite",
    ),
    "a class that is none": ({"target": 4}, SINGValueError, r"target .* in \[0, 3\], got 4"),
    "a negative class": ({"target": -1}, SINGValueError, r"target .* in \[0, 3\], got -1"),
    "half a class": ({"target": 0.5}, SINGTypeError, "target to be class numbers, got torch.f"),
    "too few classes": ({"target": [1, 2]}, SINGValueError, r"each of 5 images, got shape \(2"),
    "a text without angle": ({"prompt": "red"}, SINGValueError, "a text and the angle to"),
    "an angle without text": ({"image_score": 3.0}, SINGValueError, "a text and the angle to"),
    "no angle at all": (
        {"prompt": "red", "image_score": 0.0}, SINGValueError, "between 0 and 180 degrees",
    ),
    "a text of another width": (
        {"prompt": torch.ones(9), "image_score": 3.0}, SINGValueError, "prompt of width 16",
    ),
    "a number as text": (
        {"prompt": 5, "image_score": 3.0}, SINGTypeError, "text or an embedding, got int",
    ),
    "no words": ({"top_k": 0}, SINGValueError, "top_k of at least 1"),
}  # fmt: skip


class TestRefusals:
    @pytest.mark.parametrize("kind", BEFORE)
    def test_before_the_model_runs(self, kind: str, model: ToyClassifier, sing: SING) -> None:
        def unused(images: Tensor) -> Tensor:
            raise AssertionError("the model ran")

        arguments, error, message = BEFORE[kind]
        never = toy_sing(unused, model.head)
        with pytest.raises(error, match=message):
            never.attribute(**{"inputs": IMAGES, **arguments})

    def test_statistics_are_asked_for_before_the_model_runs(
        self,
        model: ToyClassifier,
    ) -> None:
        def unused(images: Tensor) -> Tensor:
            raise AssertionError("the model ran")

        for baselines in ("mean", "conditional"):
            sing = SING(unused, model.head, any_translator(12), BANK)
            with pytest.raises(SINGRuntimeError, match=r"Give it some with translator\.with_stati"):
                sing.attribute(IMAGES, baselines)

    @pytest.mark.parametrize("layer", [None, "head"])
    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (
                torch.zeros(2, 4, 8, 8),
                r"accepts.* got \(2, 4, 8, 8\) float32, and the model says: ",
            ),
            (IMAGES[0], "add the batch dimension"),
            (IMAGES.double(), "float64, and the model says"),
        ],
    )
    def test_images_that_the_model_refuses(
        self, layer: str | None, images: Tensor, message: str, model: ToyClassifier, sing: SING
    ) -> None:
        with pytest.raises(SINGValueError, match=message):
            toy_sing(model, layer).attribute(images)

    @pytest.mark.parametrize(
        ("layer", "error", "message"),
        [
            ("fc", SINGNameError, r"got 'fc'\. Its last linear layers are \['head'\]"),
            (
                "features.0",
                SINGTypeError,
                r"a linear map .*got Conv2d\. Name the last linear layer",
            ),
            ("features", SINGTypeError, "a linear map .*got Sequential"),
            (7, SINGTypeError, "to be a module or a name, got int"),
        ],
    )
    def test_layers(
        self, layer: Any, error: type[Exception], message: str, model: ToyClassifier, sing: SING
    ) -> None:
        with pytest.raises(error, match=message):
            toy_sing(model, layer)

    def test_parts_of_another_model(self, model: ToyClassifier) -> None:
        with pytest.raises(SINGValueError, match="input of width 12, got one for width 20"):
            SING(model, "head", any_translator(20), BANK)
        space = NullSpace.from_weight(normal(3, 20, seed=0))
        with pytest.raises(SINGValueError, match="null_space for the head's input of width 12"):
            SING(model, "head", any_translator(12), BANK, null_space=space)
        with pytest.raises(SINGValueError, match="input of width 12, got one for width 20"):
            SING(model, None, any_translator(20), BANK).attribute(IMAGES)

    def test_free_text_without_encoder(self, model: ToyClassifier) -> None:
        sing = SING(model, "head", fitted_translator(), BANK)
        with pytest.raises(
            SINGValueError, match="got 'pale'. For free text, give SING the encoder"
        ):
            sing.attribute(IMAGES, prompt="pale", image_score=3.0)

    def test_concepts_of_another_encoder(self, model: ToyClassifier) -> None:
        stranger = ConceptBank.from_words(WORDS, ToyEncoder(seed=1))
        with pytest.raises(
            SINGValueError, match="toy/16-8@0, got toy/16-8@1. Two encoders are two"
        ):
            SING(model, "head", fitted_translator(), stranger)

    def test_no_layer_to_find_in_a_function(self, model: ToyClassifier, sing: SING) -> None:
        with pytest.raises(SINGTypeError, match="Where forward_func is a function, name the"):
            toy_sing(lambda x: model(x), None).attribute(IMAGES)

    def test_a_softmax_lists_candidates(self, model: ToyClassifier, sing: SING) -> None:
        soft = nn.Sequential(model, nn.Softmax(dim=1))
        with pytest.raises(
            HeadNotFoundError, match=r"0\.head \(Linear, output \(2, 4\)\).*Pass the"
        ):
            toy_sing(soft, None).attribute(IMAGES)

    def test_weights_without_a_value(self, model: ToyClassifier, sing: SING) -> None:
        nn.init.constant_(model.head.weight, torch.nan)
        with pytest.raises(SINGValueError, match="finite logits, got NaN or infinity"):
            toy_sing(model, None).attribute(IMAGES)
        nn.init.zeros_(model.head.weight)
        with pytest.raises(SINGValueError, match="got only zeros. This head ignores everything"):
            sing.attribute(IMAGES)
