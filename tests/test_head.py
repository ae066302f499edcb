"""The head of a model is found by what the model does, or the error says what else it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn
from torch.nn import functional
from toys import untouched

from captum_sing.errors import (
    HeadNotFoundError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.head import find_head, resolve_layer
from captum_sing.hooks import logits_of, read_features
from captum_sing.null_space import head_weight
from captum_sing.testing import ToyClassifier

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Wrapped(nn.Module):
    """A toy classifier with something done to its output."""

    def __init__(self, after: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = ToyClassifier()
        self.after = after

    def forward(self, images: Tensor) -> Any:
        return self.after(self.model(images))


class Functional(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        return functional.linear(self.features(images), self.head.weight, self.head.bias)


class ByKeyword(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(input=self.features(images))


def hugging_face() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=16, num_labels=10,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def compiled(called: bool) -> nn.Module:
    model = torch.compile(ToyClassifier(), backend="eager")
    if called:
        with torch.no_grad():
            model(IMAGES)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "torchvision resnet50": (lambda: torchvision.models.resnet50(), "fc"),
    "timm ViT-S": (
        lambda: timm.create_model("vit_small_patch16_224", num_classes=100, img_size=32),
        "head",
    ),
    "1x1 convolution": (
        lambda: ResNetV2((1, 1, 1, 1), (128,) * 4, num_classes=10, stem_chs=32),
        "head.fc",
    ),
    "transformers": (hugging_face, "classifier"),
    "sequential": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.Linear(8, 3)), "2"),
    "normalised": (
        lambda: nn.Sequential(
            torchvision.transforms.Normalize([0.5] * 3, [2.0] * 3), hugging_face()
        ),
        "1.classifier",
    ),
    "DataParallel": (lambda: nn.DataParallel(ToyClassifier()), "module.head"),
    "compiled": (lambda: compiled(False), "head"),
    "compiled and called without gradients": (lambda: compiled(True), "head"),
    "by keyword": (ByKeyword, "head"),
    "tuple": (lambda: Wrapped(lambda y: (y, y.mean())), "model.head"),
    "dictionary": (lambda: Wrapped(lambda y: {"loss": y.mean(), "logits": y}), "model.head"),
    "another precision": (lambda: Wrapped(Tensor.double), "model.head"),
    "one logit": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 1), nn.Flatten(0)),
        "1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_finds_the_layer_that_makes_the_logits(kind: str) -> None:
    build, expected = MODELS[kind]
    torch.manual_seed(0)
    model = build()
    with untouched(model):
        name, module = find_head(model, IMAGES)
    assert name == expected
    assert resolve_layer(model, name) is module
    model.eval()
    features = read_features(model, module, IMAGES).flatten(1)
    logits = logits_of(model(IMAGES))
    by_hand = features @ head_weight(module).T + module.bias
    assert torch.allclose(by_hand, logits.reshape(by_hand.shape).float(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finds_the_head_in_half_precision(dtype: torch.dtype) -> None:
    assert find_head(ToyClassifier().to(dtype), IMAGES.to(dtype)).name == "head"


def test_agrees_with_what_timm_says() -> None:
    for name in ("resnet10t", "dpn48b", "convnext_atto"):
        model = timm.create_model(name, num_classes=5)
        assert find_head(model, IMAGES).name == model.pretrained_cfg["classifier"]


def test_takes_the_last_of_two_layers_with_one_output() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 3), nn.Linear(3, 3, bias=False))
    nn.init.eye_(model[2].weight)
    assert find_head(model, IMAGES).name == "2"


def test_takes_a_tuple_of_inputs() -> None:
    class Two(ToyClassifier):
        def forward(self, left: Tensor, right: Tensor, scale: float) -> Tensor:
            return super().forward(left - scale * right)

    assert find_head(Two(), (IMAGES, IMAGES.flip(0), 0.5)).name == "head"


def test_statistics_and_modes_stay_in_train_mode() -> None:
    model = ToyClassifier().train()
    model.features[1].eval()
    with untouched(model):
        find_head(model, IMAGES)
    model(IMAGES)
    with pytest.raises(AssertionError), untouched(model.features):
        model.features[1].train()  # the check itself is able to fail
        model(IMAGES)


@pytest.mark.parametrize(
    ("after", "listed"),
    {
        "softmax": (lambda y: y.softmax(dim=1), r"model\.head \(Linear, output \(2, 4\)\)"),
        "temperature": (lambda y: y / 0.07, r"model\.head \(Linear, output \(2, 4\)\)"),
        "in place": (lambda y: y.mul_(2.0), r"model\.head \(Linear, output \(2, 4\)\)"),
        "some classes": (lambda y: y[:, :3], r"differs .*model\.head \(Linear, output \(2, 4\)\)"),
    }.values(),
)
def test_lists_candidates_where_something_comes_after(after: Any, listed: str) -> None:
    model = Wrapped(after)
    with untouched(model), pytest.raises(HeadNotFoundError, match=listed):
        find_head(model, IMAGES)


def test_names_averaged_heads() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=7, img_size=32)
    with pytest.raises(HeadNotFoundError, match="mean of the heads head and head_dist"):
        find_head(model, IMAGES)


def test_names_a_weight_applied_as_a_function() -> None:
    with pytest.raises(HeadNotFoundError, match=r"never calls head \(its weight is applied by F"):
        find_head(Functional(), IMAGES)


def test_says_that_there_is_no_linear_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(HeadNotFoundError, match="calls no linear layer"):
        find_head(model, IMAGES)


def test_a_strided_or_grouped_convolution_is_no_head() -> None:
    for head in (nn.Conv2d(12, 4, 1, groups=4), nn.Conv2d(12, 4, 1, stride=2)):
        model = nn.Sequential(nn.Conv2d(3, 12, 32), head, nn.Flatten())
        with pytest.raises(HeadNotFoundError, match="calls no linear layer"):
            find_head(model, IMAGES)


def test_refuses_images_that_the_model_refuses() -> None:
    model = ToyClassifier()
    wrong = "inputs that the model accepts.*got \\(2, 5, 32, 32\\) float32, and the model"
    with untouched(model), pytest.raises(SINGValueError, match=wrong):
        find_head(model, torch.zeros(2, 5, 32, 32))


def test_refuses_a_function() -> None:
    with pytest.raises(SINGTypeError, match="expected model to be a module, got function"):
        find_head(lambda x: x, IMAGES)  # type: ignore[arg-type]


def test_refuses_a_model_that_returns_no_tensor() -> None:
    with pytest.raises(SINGTypeError, match="to return logits .* got str"):
        find_head(Wrapped(lambda y: "a cat"), IMAGES)


class TestResolveLayer:
    def test_takes_modules_and_names(self) -> None:
        model = ToyClassifier()
        assert resolve_layer(model, model.head) is model.head
        assert resolve_layer(model, "features.0") is model.features[0]
        assert resolve_layer(torch.compile(model, backend="eager"), "head") is model.head

    @pytest.mark.parametrize("name", ["head", "module.head"])
    def test_knows_data_parallel(self, name: str) -> None:
        model = ToyClassifier()
        assert resolve_layer(nn.DataParallel(model), name) is model.head

    @pytest.mark.parametrize("name", ["fc", "", "features.head"])
    def test_lists_the_last_linear_layers(self, name: str) -> None:
        listed = rf"layer of ToyClassifier, got '{name}'\. Its last linear layers are \['head'\]"
        with pytest.raises(SINGNameError, match=listed):
            resolve_layer(ToyClassifier(), name)

    def test_refuses_a_name_for_a_function(self) -> None:
        with pytest.raises(SINGTypeError, match="a module where forward_func is a function"):
            resolve_layer(lambda x: x, "head")

    def test_refuses_what_is_no_layer(self) -> None:
        with pytest.raises(SINGTypeError, match="layer to be a module or a name, got int"):
            resolve_layer(ToyClassifier(), 3)  # type: ignore[arg-type]
