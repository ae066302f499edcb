"""What a layer receives is read and replaced exactly, and no trace is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from toys import untouched

from captum_sing.errors import SINGRuntimeError, SINGTypeError, SINGValueError
from captum_sing.forward_pass import evaluating
from captum_sing.hooks import read_features, replace_features
from captum_sing.testing import ToyClassifier

IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))


class Twice(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return self.head(features) + self.head(2 * features)


class Functional(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        return functional.linear(self.features(images), self.head.weight, self.head.bias)


class ByKeyword(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(input=self.features(images))


class Overwriting(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        logits = self.head(features)
        features.zero_()
        return logits


class Raising(ToyClassifier):
    """Runs its head, then fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        super().forward(images)
        raise self.error


class Mixing(ToyClassifier):
    """Two inputs and two further arguments, one of them a number for each image."""

    def forward(self, left: Tensor, right: Tensor, scale: Tensor, shift: float) -> Tensor:
        return super().forward(left - right * scale[:, None, None, None] + shift)


class Tokens(ToyClassifier):
    def forward(self, images: Tensor) -> Tensor:
        tokens = self.features[:3](images).flatten(2).transpose(1, 2)
        return self.head(tokens).mean(dim=1)


def truth(model: ToyClassifier) -> Tensor:
    with evaluating(model), torch.no_grad():
        return model.features(IMAGES)


class TestRead:
    @pytest.mark.parametrize("kind", [ToyClassifier, ByKeyword, Overwriting])
    @pytest.mark.parametrize("training", [False, True])
    def test_is_what_the_head_receives(self, kind: type[ToyClassifier], training: bool) -> None:
        model = kind().train(training)
        with untouched(model):
            features = read_features(model, model.head, IMAGES)
        assert torch.equal(features, truth(model))
        assert not features.requires_grad

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_keeps_the_models_precision(self, dtype: torch.dtype) -> None:
        model = ToyClassifier().to(dtype)
        assert read_features(model, model.head, IMAGES.to(dtype)).dtype == dtype

    def test_reads_what_a_convolution_receives(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 6, 8), nn.Conv2d(6, 2, 1), nn.Flatten())
        assert torch.equal(read_features(model, model[1], IMAGES), model[0](IMAGES))

    @pytest.mark.parametrize("size", [1, 2, 5, 8])
    def test_batches_change_nothing(self, size: int) -> None:
        model = Mixing()
        inputs, further = (IMAGES, IMAGES.flip(0)), (torch.arange(5.0), 0.5)
        whole = read_features(model, model.head, inputs, further)
        parts = read_features(model, model.head, inputs, further, internal_batch_size=size)
        assert torch.allclose(whole, parts, atol=1e-6)
        unscaled = read_features(model, model.head, inputs, (torch.zeros(5), 0.5))
        assert not torch.allclose(whole, unscaled)

    @pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_works_in_every_gradient_mode(self, context: Callable[[], Any]) -> None:
        model = ToyClassifier()
        with context():
            assert torch.equal(read_features(model, model.head, IMAGES), truth(model))

    def test_works_behind_data_parallel(self) -> None:
        model = ToyClassifier()
        parallel = nn.DataParallel(model)
        assert torch.equal(read_features(parallel, model.head, IMAGES), truth(model))

    @pytest.mark.parametrize("called", [False, True])
    def test_works_when_compiled(self, called: bool) -> None:
        model = ToyClassifier().eval()
        compiled = torch.compile(model, backend="eager")
        if called:
            with torch.no_grad():
                compiled(IMAGES)
        with untouched(model):
            assert torch.equal(read_features(compiled, model.head, IMAGES), truth(model))

    def test_works_through_a_function(self) -> None:
        model = ToyClassifier().eval()
        features = read_features(lambda x: {"y": model(x)}, model.head, IMAGES)
        assert torch.equal(features, truth(model))

    def test_shows_progress_when_asked(self, capsys: pytest.CaptureFixture[str]) -> None:
        model = ToyClassifier()
        read_features(model, model.head, IMAGES, internal_batch_size=2)
        assert not capsys.readouterr().err
        read_features(model, model.head, IMAGES, internal_batch_size=2, show_progress=True)
        assert "3/3" in capsys.readouterr().err


class Refusal(NamedTuple):
    model: Callable[[], ToyClassifier]
    error: type[Exception]
    message: str
    inputs: Any = IMAGES
    size: int | None = None


def broken() -> ToyClassifier:
    model = ToyClassifier()
    nn.init.constant_(model.features[0].weight, torch.nan)
    return model


REFUSALS = {
    "wrong shape": Refusal(
        ToyClassifier,
        SINGValueError,
        r"that the model accepts.*got \(2, 5, 8, 8\) float32, and the model says: .*channels",
        torch.zeros(2, 5, 8, 8),
    ),
    "no batch": Refusal(ToyClassifier, SINGValueError, "add the batch dimension", IMAGES[0]),
    "raises": Refusal(lambda: Raising(ValueError("boom")), SINGValueError, "model says: boom"),
    "asserts": Refusal(
        lambda: Raising(AssertionError("a hook of a crane")), SINGValueError, "hook of a crane"
    ),
    "out of memory": Refusal(
        lambda: Raising(torch.OutOfMemoryError("full")), torch.OutOfMemoryError, "^full$"
    ),
    "no pixels": Refusal(ToyClassifier, SINGValueError, "finite, got NaN", IMAGES * torch.nan),
    "empty": Refusal(ToyClassifier, SINGValueError, "one image or more", IMAGES[:0]),
    "a list": Refusal(ToyClassifier, SINGTypeError, "torch.stack", [IMAGES]),
    "batches of none": Refusal(
        ToyClassifier, SINGValueError, "internal_batch_size of at least 1", size=0
    ),
    "broken weights": Refusal(broken, SINGValueError, "features finite, got NaN"),
    "called twice": Refusal(Twice, SINGRuntimeError, "called once .* got 2 calls of Linear"),
    "never called": Refusal(Functional, SINGRuntimeError, r"got no call of Linear.*F\.linear"),
    "tokens": Refusal(
        Tokens, SINGValueError, r"shape \(5, D\).* got an input of shape \(5, 64, 12"
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("training", [False, True])
def test_refuses_and_leaves_no_trace(kind: str, training: bool) -> None:
    build, error, message, inputs, size = REFUSALS[kind]
    model = build().train(training)
    with untouched(model), pytest.raises(error, match=message):
        read_features(model, model.head, inputs, internal_batch_size=size)


def test_a_layer_of_another_model_is_never_called() -> None:
    with pytest.raises(SINGRuntimeError, match="name the layer that the model uses"):
        read_features(ToyClassifier(), ToyClassifier().head, IMAGES)


class TestReplace:
    @pytest.mark.parametrize("kind", [ToyClassifier, ByKeyword])
    def test_runs_the_head_on_other_features(self, kind: type[ToyClassifier]) -> None:
        model = kind()
        with untouched(model):
            logits = replace_features(model, model.head, IMAGES, OTHER)
        assert torch.equal(logits, model.head(OTHER))
        assert not logits.requires_grad

    def test_leaves_inputs_as_they_were(self) -> None:
        """Also where the head reads the inputs themselves, which a graph still needs."""
        head, inputs = nn.Linear(12, 4), torch.randn(5, 12, requires_grad=True)
        before, loss = inputs.detach().clone(), inputs.square().sum()
        assert torch.equal(replace_features(head, head, inputs, OTHER), head(OTHER))
        assert torch.equal(inputs, before)
        loss.backward()
        assert torch.equal(inputs.grad, 2 * before)

    def test_leaves_inputs_as_they_were_after_an_error(self) -> None:
        class Failing(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                super().forward(x)
                raise KeyError("boom")

        model, inputs = Failing(nn.Linear(12, 4)), OTHER.flip(0)
        before = inputs.clone()
        with untouched(model), pytest.raises(KeyError, match="boom"):
            replace_features(model, model[0], inputs, OTHER)
        assert torch.equal(inputs, before)

    @pytest.mark.parametrize("order", ["head first", "head last"])
    def test_what_else_reads_the_feature_reads_the_new_one(self, order: str) -> None:
        """Where it reads it after the layer; what has read it before is past."""

        class Branching(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                features = self.features(images)
                if order == "head first":
                    return self.head(features) + features.sum(dim=1, keepdim=True)
                return features.sum(dim=1, keepdim=True) + self.head(features)

        model = Branching()
        moved = replace_features(model, model.head, IMAGES, OTHER) - model.head(OTHER)
        aside = (OTHER if order == "head first" else truth(model)).sum(dim=1, keepdim=True)
        assert torch.allclose(moved, aside.expand(-1, 4), atol=1e-5)

    def test_batches_change_nothing(self) -> None:
        model = Mixing()
        inputs, further = (IMAGES, IMAGES.flip(0)), (torch.arange(5.0), 0.5)
        parts = replace_features(model, model.head, inputs, OTHER, further, internal_batch_size=2)
        assert torch.allclose(parts, model.head(OTHER), atol=1e-6)

    def test_gives_one_row_an_image(self) -> None:
        conv = nn.Sequential(nn.Conv2d(3, 6, 8), nn.Conv2d(6, 2, 1))
        assert replace_features(conv, conv[1], IMAGES, torch.zeros(5, 6, 1, 1)).shape == (5, 2)
        one = nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Flatten(0))
        assert replace_features(one, one[1], IMAGES, torch.zeros(5, 192)).shape == (5, 1)

    def test_refuses_a_layer_called_twice(self) -> None:
        model = Twice()
        with untouched(model), pytest.raises(SINGRuntimeError, match="2 calls of Linear"):
            replace_features(model, model.head, IMAGES, OTHER)
