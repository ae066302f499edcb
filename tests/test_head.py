"""The head of a model is found by what the model does, or the error says what else it does."""

from __future__ import annotations

import re
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
    SINGRuntimeError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.forward_pass import logits_of
from captum_sing.head import _linear_calls, find_head, resolve_layer
from captum_sing.hooks import read_features
from captum_sing.linear_head import head_weight
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


class Averaged(nn.Module):
    """Heads of several widths, called before other layers of the same number of outputs."""

    def __init__(self, widths: tuple[int, ...] = (12, 30, 7), merge: Any = None) -> None:
        super().__init__()
        self.necks = nn.ModuleList(nn.Linear(3072, width) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(width, 5) for width in widths)
        self.auxiliary = nn.Sequential(nn.Linear(12, 5), nn.Linear(5, 5))
        self.merge = merge or (lambda outputs: torch.stack(outputs).mean(dim=0))

    def forward(self, images: Tensor) -> Tensor:
        features = [neck(images.flatten(1)) for neck in self.necks]
        outputs = [head(f) for head, f in zip(self.heads, features, strict=True)]
        self.auxiliary(features[0])
        return self.merge(outputs)


AVERAGED = r"is the mean of the heads .*\. Pass layer=\[(.*)\], which is analysed jointly\.$"


def listed(model: nn.Module, images: Tensor = IMAGES) -> str:
    """The list that the error says to pass."""
    with untouched(model), pytest.raises(HeadNotFoundError, match=AVERAGED) as caught:
        find_head(model, images)
    found = re.search(AVERAGED, str(caught.value))
    return found[1] if found else ""


def distilled() -> nn.Module:
    return timm.create_model("deit_tiny_distilled_patch16_224", num_classes=7, img_size=32)


class TestAveragedHeads:
    def test_are_named_as_the_list_to_pass(self) -> None:
        model = distilled()
        assert listed(model) == "'head', 'head_dist'"
        with pytest.raises(HeadNotFoundError, match="mean of the heads head and head_dist"):
            find_head(model, IMAGES)

    @pytest.mark.parametrize("widths", [(12, 30), (12, 30, 7), (12, 12, 12, 12)])
    def test_of_any_width_and_number(self, widths: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        model = Averaged(widths)
        names = [f"heads.{i}" for i in range(len(widths))]
        assert listed(model) == repr(names)[1:-1]
        assert [resolve_layer(model, name) for name in names] == list(model.heads)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_in_other_precisions(self, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        assert listed(Averaged().to(dtype), IMAGES.to(dtype)) == "'heads.0', 'heads.1', 'heads.2'"

    def test_behind_data_parallel(self) -> None:
        model = nn.DataParallel(Averaged((12, 30)))
        assert listed(model) == "'heads.0', 'heads.1'"
        assert resolve_layer(model, "heads.1") is model.module.heads[1]

    @pytest.mark.parametrize("scale", [0.0, 1e-9])
    def test_that_are_zero_or_nearly(self, scale: float) -> None:
        """Outputs that are all alike say nothing; what the library names does."""
        model = distilled()
        for head in (model.head, model.head_dist):
            nn.init.normal_(head.weight, std=scale)
            nn.init.zeros_(head.bias)
        assert listed(model) == "'head', 'head_dist'"

    def test_small_outputs_are_compared_by_their_own_size(self) -> None:
        torch.manual_seed(0)
        model = Averaged(merge=lambda outputs: 0.3 * outputs[0] + 0.3 * outputs[1])
        for head in model.heads:
            head.weight.data *= 1e-9
            head.bias.data.zero_()
        with pytest.raises(HeadNotFoundError, match="differs from that of every linear layer"):
            find_head(model, IMAGES)

    @pytest.mark.parametrize(
        "merge",
        {
            "sum": lambda y: y[0] + y[1],
            "weighted": lambda y: 0.6 * y[0] + 0.4 * y[1],
            "one and a scaled one": lambda y: y[0] + 0.5 * y[1],
            "temperature": lambda y: y[0] / 2,
            "largest": lambda y: torch.stack(y).amax(dim=0),
            "mean of probabilities": lambda y: torch.stack(y).softmax(dim=-1).mean(dim=0),
        }.items(),
        ids=lambda item: item[0],
    )
    def test_other_ways_to_merge_are_no_mean(self, merge: tuple[str, Any]) -> None:
        torch.manual_seed(0)
        model = Averaged(merge=merge[1])
        with pytest.raises(HeadNotFoundError, match="differs from that of every .* explicitly"):
            find_head(model, IMAGES)

    def test_one_head_on_two_views_is_no_pair(self) -> None:
        class TwoViews(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                both = [super(TwoViews, self).forward(view) for view in (images, images.flip(-1))]
                return torch.stack(both).mean(dim=0)

        with pytest.raises(HeadNotFoundError, match="differs from that of every linear layer"):
            find_head(TwoViews(), IMAGES)

    def test_says_where_the_library_disagrees(self) -> None:
        torch.manual_seed(0)
        model = Averaged((12, 30))
        model.pretrained_cfg = {"classifier": ("heads.0", "auxiliary.1")}
        named = r"heads\.0 and heads\.1; its library names heads\.0 and auxiliary\.1\. Pass"
        with pytest.raises(HeadNotFoundError, match=named):
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


def compiled_and_called(model: nn.Module) -> nn.Module:
    """Its graph is made without hooks, and from then on calls none."""
    compiled = torch.compile(model.eval(), backend="eager")
    with torch.no_grad():
        compiled(IMAGES)
    return compiled


def test_says_that_a_model_is_compiled_inside() -> None:
    model = ToyClassifier()
    wrapped = nn.Sequential(nn.Identity(), compiled_and_called(model))
    message = (
        r"compiled inside, so that 1\._orig_mod\.head calls no hook. Pass the model uncompiled"
    )
    with pytest.raises(HeadNotFoundError, match=message):
        find_head(wrapped, IMAGES)
    with pytest.raises(SINGRuntimeError, match="compiled inside; pass it uncompiled"):
        read_features(wrapped, model.head, IMAGES)


def test_names_of_compiled_models_are_layers_of_them() -> None:
    model = ToyClassifier()
    compiled = compiled_and_called(model)
    parallel = nn.DataParallel(compiled)
    assert find_head(parallel, IMAGES) == ("module.head", model.head)
    for given, names in (
        (compiled, ("head", "_orig_mod.head")),
        (parallel, ("head", "module.head", "module._orig_mod.head")),
        (nn.Sequential(compiled), ("0.head", "0._orig_mod.head")),
    ):
        assert [resolve_layer(given, name) for name in names] == [model.head] * len(names)
    assert torch.equal(
        read_features(parallel, model.head, IMAGES), read_features(model, model.head, IMAGES)
    )


def test_keeps_only_what_may_be_the_logits() -> None:
    """One row an image: of tokens and maps, the shape is enough."""

    class Tokens(ToyClassifier):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Linear(32, 7)

        def forward(self, images: Tensor) -> Tensor:
            self.tokens(images)
            return super().forward(images)

    model = Tokens()
    calls, _ = _linear_calls(model, (IMAGES,), len(IMAGES))
    assert {call.name: call.output.numel() for call in calls} == {"tokens": 0, "head": 8}
    assert find_head(model, IMAGES).name == "head"
    with pytest.raises(HeadNotFoundError, match=r"\(2, 3, 32, 7\) has more than one row an image"):
        find_head(nn.Sequential(model.tokens), IMAGES)


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
