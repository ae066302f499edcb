"""Real models, wrapped or not: verified through themselves, and left as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from toys import BANK, DONORS, IMAGES, any_translator, features_of, normal, toy_sing, untouched

from captum_sing import SING, NullSpace
from captum_sing.errors import HeadNotFoundError, SINGError, SINGValueError
from captum_sing.testing import ToyClassifier


@pytest.fixture
def sing() -> SING:
    return toy_sing()


@pytest.fixture
def model(sing: SING) -> ToyClassifier:
    return sing.forward_func


class TestModels:
    @pytest.mark.parametrize("layer", [None, "head", "module"])
    def test_the_layer_may_be_found_named_or_given(
        self, sing: SING, model: ToyClassifier, layer: str | None
    ) -> None:
        given = model.head if layer == "module" else layer
        other = toy_sing(model, given)
        assert torch.equal(other.attribute(IMAGES)[0], sing.attribute(IMAGES)[0])
        assert other.layer is model.head

    @pytest.mark.parametrize(
        "wrap", ["DataParallel", "compiled", "compiled and called", "function"]
    )
    def test_wrapped_models_give_the_same(
        self, sing: SING, model: ToyClassifier, wrap: str
    ) -> None:
        wrapped: Any = nn.DataParallel(model)
        if wrap.startswith("compiled"):
            wrapped = torch.compile(model, backend="eager")
        if wrap == "compiled and called":
            with torch.no_grad():
                wrapped(IMAGES)
        if wrap == "function":
            wrapped = lambda images: {"logits": model(images)}  # noqa: E731
        layer = model.head if wrap == "function" else None
        other = toy_sing(wrapped, layer)
        expected, _ = sing.attribute(IMAGES)
        assert torch.equal(other.attribute(IMAGES)[0], expected)
        assert other.verify(IMAGES).null.max() < 1e-5

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions_are_scored_exactly(
        self, sing: SING, model: ToyClassifier, dtype: torch.dtype
    ) -> None:
        """The scores are those of the features as they are, with no rounding of ours."""
        model.to(dtype)
        perturbations, descriptions = sing.attribute(IMAGES.to(dtype))
        features = features_of(model, IMAGES.to(dtype)).double()
        weight = model.head.weight.detach().double()
        assert perturbations.dtype == torch.promote_types(dtype, torch.float32)
        assert ((perturbations.double() @ weight.T).abs() < 1e-5).all()
        space = NullSpace.from_weight(weight)
        exact = sing.translator(features), sing.translator(space.remove(features))
        cosine = torch.cosine_similarity(*exact, dim=1)
        assert torch.allclose(descriptions.image_score, cosine.acos().rad2deg(), atol=1e-6)

    @pytest.mark.parametrize("size", [1, 2, 5, 100])
    def test_batches_change_nothing(self, sing: SING, size: int) -> None:
        for baselines in (None, "mean", DONORS, DONORS[:1]):
            whole = sing.attribute(IMAGES, baselines)
            parts = sing.attribute(IMAGES, baselines, internal_batch_size=size)
            assert torch.allclose(parts.perturbations, whole.perturbations, atol=1e-5)
            scores = (parts.descriptions.ignored, whole.descriptions.ignored)
            assert torch.allclose(*scores, atol=1e-4)
        null = sing.verify(IMAGES, internal_batch_size=size).null
        assert null.shape == (5,) and null.max() < 1e-5

    @pytest.mark.parametrize("layer", [None, "head"])
    def test_several_inputs_and_further_arguments(self, sing: SING, layer: str | None) -> None:
        class Mixing(ToyClassifier):
            def forward(self, left: Tensor, right: Tensor, scale: Tensor, shift: float) -> Tensor:
                return super().forward(left - right * scale[:, None, None, None] + shift)

        mixing = toy_sing(Mixing(), layer)
        inputs, further = (IMAGES, DONORS), (torch.arange(5.0), 0.5)
        mixed = IMAGES - DONORS * torch.arange(5.0)[:, None, None, None] + 0.5
        for size in (None, 2):
            result = mixing.attribute(
                inputs, additional_forward_args=further, internal_batch_size=size
            )
            assert torch.allclose(result[0], sing.attribute(mixed)[0], atol=1e-5)
        swapped, _ = mixing.attribute(inputs, inputs[::-1], additional_forward_args=further)
        donors = DONORS - IMAGES * torch.arange(5.0)[:, None, None, None] + 0.5
        assert torch.allclose(swapped, sing.attribute(mixed, donors)[0], atol=1e-5)
        assert mixing.verify(inputs, additional_forward_args=further).null.max() < 1e-5

    def test_new_weights_make_a_new_null_space(self, sing: SING, model: ToyClassifier) -> None:
        before, _ = sing.attribute(IMAGES)
        assert torch.equal(before, sing.attribute(IMAGES)[0])
        torch.manual_seed(5)
        model.head.reset_parameters()  # in place: the same module, the same tensor
        after, _ = sing.attribute(IMAGES)
        weight = model.head.weight.detach()
        assert (after @ weight.T).abs().max() < 1e-5
        assert (before @ weight.T).abs().max() > 1e-2


class TestVerify:
    @pytest.mark.parametrize("kind", ["resnet50", "ViT-S"])
    def test_real_architectures(self, kind: str) -> None:
        torch.manual_seed(0)
        if kind == "resnet50":
            model, images, width = torchvision.models.resnet50(), normal(2, 3, 64, 64, seed=9), 2048
        else:
            model = timm.create_model("vit_small_patch16_224", num_classes=100, img_size=64)
            images, width = normal(2, 3, 64, 64, seed=9), 384
        sing = SING(model, None, any_translator(width), BANK)
        drift = sing.verify(images)
        assert drift.null.max() <= 1e-5
        for control in (drift.random, drift.principal):
            assert control.min() >= 1000 * drift.null.max()

    @pytest.mark.parametrize(
        ("also", "exposed"),
        [
            (lambda f: f.square().sum(dim=1, keepdim=True), True),
            (lambda f: f @ torch.ones(12, 4), True),
            (lambda f: torch.zeros(1), False),
        ],
    )
    def test_a_feature_that_is_used_elsewhere_is_found_out(
        self, sing: SING, also: Callable[[Tensor], Tensor], exposed: bool
    ) -> None:
        """The weight alone would not tell."""

        class Branching(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                features = self.features(images)
                return self.head(features) + also(features)

        model = Branching()
        with untouched(model):
            drift = toy_sing(model).verify(IMAGES)
        assert (drift.null.min() > 1e-3) == exposed
        assert (drift.null.max() < 1e-5) != exposed

    def test_a_second_head_on_the_same_feature_is_found_out(self, sing: SING) -> None:
        class Distilled(ToyClassifier):
            def __init__(self) -> None:
                super().__init__()
                self.head_dist = nn.Linear(12, 4)

            def forward(self, images: Tensor) -> Tensor:
                features = self.features(images)
                return (self.head(features) + self.head_dist(features)) / 2

        model = Distilled()
        with pytest.raises(HeadNotFoundError, match="mean of the heads head and head_dist"):
            toy_sing(model, None).attribute(IMAGES)
        drift = toy_sing(model).verify(IMAGES)
        assert drift.null.min() > 1e-3

    def test_other_baselines_and_seeds(self, sing: SING) -> None:
        for baselines in ("mean", "conditional", DONORS):
            assert sing.verify(IMAGES, baselines).null.max() < 1e-5
        one, same, other = (sing.verify(IMAGES, seed=seed).random for seed in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.allclose(one, other)

    def test_says_it_in_one_line(self, sing: SING) -> None:
        assert str(sing.verify(IMAGES)).startswith("relative logit drift: null ")


CALLS: dict[str, Callable[[SING], Any]] = {
    "attribute": lambda sing: sing.attribute(IMAGES),
    "donors": lambda sing: sing.attribute(IMAGES, DONORS, internal_batch_size=2),
    "target": lambda sing: sing.attribute(IMAGES, target=1),
    "steering": lambda sing: sing.attribute(IMAGES, prompt="red", image_score=2.0),
    "verify": lambda sing: sing.verify(IMAGES),
    "with gradients": lambda sing: sing.attribute(IMAGES.clone().requires_grad_()),
    "wrong shape": lambda sing: sing.attribute(torch.zeros(2, 4, 8, 8)),
    "wrong donors": lambda sing: sing.attribute(IMAGES, DONORS[:, :2]),
    "NaN": lambda sing: sing.attribute(IMAGES * torch.nan),
    "unknown class": lambda sing: sing.attribute(IMAGES, target=4),
    "wrong shape to verify": lambda sing: sing.verify(torch.zeros(2, 4, 8, 8)),
}
FAILING = {"wrong shape", "wrong donors", "NaN", "unknown class", "wrong shape to verify"}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("layer", [None, "head"])
def test_the_model_is_left_as_it_was(kind: str, layer: str | None, sing: SING) -> None:
    """In train mode, with part of it frozen, after success and after an error."""
    model = ToyClassifier().train()
    model.features[0].eval().requires_grad_(False)
    used = toy_sing(model, layer)
    with untouched(model):
        if kind in FAILING:
            with pytest.raises(SINGError):
                CALLS[kind](used)
        else:
            CALLS[kind](used)


@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_a_model_that_fails_later_is_left_as_it_was(fails_at: int, sing: SING) -> None:
    """At the head's search, when features are read, or when they are replaced."""

    class Failing(ToyClassifier):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            self.calls += 1
            if self.calls == fails_at:
                raise RuntimeError("boom")
            return logits

    model = Failing().train()
    used = toy_sing(model, None)
    with untouched(model), pytest.raises(SINGValueError, match="the model says: boom"):
        used.verify(IMAGES)
