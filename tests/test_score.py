"""A SINGScore says what SING.attribute says, for every kind and baseline, and has gradients."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from score_worlds import WORLDS
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from toys import BANK, IMAGES, any_translator, fitted_translator, normal, toy_sing, untouched

from captum_sing import SING, ConceptBank, NullSpace, SINGScore, TranslatorFitter
from captum_sing.baselines import conditional_map
from captum_sing.errors import SINGNameError, SINGRuntimeError, SINGTypeError, SINGValueError
from captum_sing.score import KINDS
from captum_sing.testing import ToyClassifier

WORDS_KINDS = KINDS[:4]


def said(sing: SING, kind: str, baselines: Any, images: Tensor = IMAGES) -> Tensor:
    """The same score, as an attribution describes it."""
    descriptions = sing.attribute(images, baselines).descriptions
    scores = getattr(descriptions, kind)
    return scores if scores.dim() == 2 else scores[:, None]


class TestItIsTheAttribution:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("baselines", [None, "mean", "conditional", "donor"])
    def test_every_kind_and_baseline(self, kind: str, baselines: str | None) -> None:
        sing = toy_sing()
        donor = normal(12, seed=5) if baselines == "donor" else baselines
        row = donor[None] if baselines == "donor" else donor
        scores = sing.score(kind, baselines=donor)(IMAGES)
        expected = said(sing, kind, row)
        assert scores.shape == expected.shape and scores.dtype == torch.float32
        assert torch.allclose(scores.double(), expected.double(), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("name", WORLDS)
    def test_on_real_architectures(self, name: str) -> None:
        world = WORLDS[name]()
        for kind in KINDS:
            expected = said(world.sing, kind, None, world.images).float()
            assert torch.allclose(world.sing.score(kind)(world.images), expected, atol=1e-4)

    def test_kinds_differ(self) -> None:
        """What is compared above is not one number seven times."""
        first = [toy_sing().score(kind)(IMAGES)[:, 0] for kind in KINDS]
        for i, one in enumerate(first):
            assert not any(torch.allclose(one, other, atol=1e-3) for other in first[:i])

    def test_seen_and_ignored_are_the_total(self) -> None:
        sing = toy_sing()
        total = sing.score("seen")(IMAGES) + sing.score("ignored")(IMAGES)
        features = sing.forward_func.features(IMAGES).double()
        translated = sing.translator(features) - sing.translator.image
        unit = sing.translator.spread(BANK.directions)
        expected = translated @ BANK.directions.double().T / unit
        assert torch.allclose(total.double(), expected, atol=1e-5)


class TestOutputs:
    def test_words_in_the_order_asked_for(self) -> None:
        sing = toy_sing()
        everything = sing.score()(IMAGES)
        some = sing.score("ignored", ["big", "red"])
        assert some.names == ("big", "red") and some.target("red") == 1
        assert torch.equal(some(IMAGES), everything[:, BANK.indices(["big", "red"])])
        assert sing.score("ignored", "red").names == ("red",)

    def test_another_bank(self) -> None:
        sing = toy_sing()
        other = ConceptBank.from_words(["hot", "cold"], sing.encoder)
        expected = said(SING(sing.forward_func, "head", sing.translator, other), "ignored", None)
        score = sing.score("ignored", other)
        assert score.names == ("hot", "cold")
        assert torch.allclose(score(IMAGES).double(), expected, atol=1e-6)

    def test_single_outputs(self) -> None:
        for kind in KINDS[4:]:
            score = toy_sing().score(kind)
            assert score.names == (kind,) and score(IMAGES).shape == (5, 1)

    def test_of_features(self) -> None:
        sing = toy_sing()
        score, features = sing.score(), sing.forward_func.features(IMAGES)
        assert torch.allclose(score.of_features(features), score(IMAGES), atol=1e-6)
        as_map = features[:, :, None, None]
        assert torch.equal(score.of_features(as_map), score.of_features(features))


class TestGradients:
    @pytest.mark.parametrize("kind", KINDS)
    def test_are_those_of_finite_differences(self, kind: str) -> None:
        score = toy_sing().score(kind, baselines="mean")
        features = normal(2, 12, seed=6).double().requires_grad_()
        assert torch.autograd.gradcheck(score.of_features, (features,), atol=1e-5)

    @pytest.mark.parametrize("kind", ["image_score", "centred_image_score", "attribute_score"])
    def test_are_finite_where_nothing_is_ignored(self, kind: str) -> None:
        sing = toy_sing()
        space = NullSpace.from_layer(sing.forward_func.head)
        seen = normal(3, 12, seed=7).double()
        seen = (seen - space.project(seen)).requires_grad_()
        scores = sing.score(kind).of_features(seen)
        scores.sum().backward()
        assert scores.abs().max() < 1e-5 and seen.grad.isfinite().all()

    def test_come_from_the_ignored_part_alone(self) -> None:
        """Moving a feature along what the head reads moves no ignored evidence."""
        sing = toy_sing()
        features = normal(2, 12, seed=8).double().requires_grad_()
        sing.score("ignored", "red").of_features(features).sum().backward()
        weight = sing.forward_func.head.weight.double()
        assert features.grad.abs().max() > 1e-3
        assert (features.grad @ weight.T).abs().max() < 1e-6 * features.grad.abs().max()
        features.grad = None
        sing.score("seen", "red").of_features(features).sum().backward()
        assert (features.grad @ weight.T).abs().max() > 1e-2 * features.grad.abs().max()

    def test_follow_the_caller(self) -> None:
        score, images = toy_sing().score(), IMAGES.clone().requires_grad_()
        with torch.no_grad():
            assert not score(images).requires_grad
            with torch.enable_grad():
                assert score(images).requires_grad
        with torch.inference_mode():
            assert score(IMAGES).shape == (5, 5)

    @pytest.mark.parametrize("baselines", [None, "conditional"])
    def test_outlive_a_call_in_inference_mode(self, baselines: str | None) -> None:
        """What is kept between calls must not be of the mode that it was first made in."""
        score, images = toy_sing().score(baselines=baselines), IMAGES.clone().requires_grad_()
        with torch.inference_mode():
            score(IMAGES)
        (gradient,) = torch.autograd.grad(score(images)[:, 0].sum(), images)
        fresh = toy_sing().score(baselines=baselines)
        (expected,) = torch.autograd.grad(fresh(images)[:, 0].sum(), images)
        assert torch.equal(gradient, expected)

    def test_work_in_torch_func(self) -> None:
        score = toy_sing().score()
        gradient = torch.func.grad(lambda images: score(images)[:, 0].sum())(IMAGES)
        images = IMAGES.clone().requires_grad_()
        (expected,) = torch.autograd.grad(score(images)[:, 0].sum(), images)
        assert torch.allclose(gradient, expected, atol=1e-7)

    def test_come_back_in_row_major_order(self) -> None:
        """Captum's metrics view them, which a channels-last gradient refuses."""

        class ChannelsLast(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                return super().forward(images.to(memory_format=torch.channels_last))

        images = IMAGES.clone().requires_grad_()
        (plain,) = torch.autograd.grad(ChannelsLast().eval()(images).sum(), images)
        score = toy_sing(ChannelsLast().eval()).score()
        (gradient,) = torch.autograd.grad(score(images).sum(), images)
        assert not plain.is_contiguous() and gradient.is_contiguous()


class TestItIsAModule:
    def test_casts_reach_the_model_alone(self) -> None:
        sing = toy_sing()
        score, expected = sing.score(), sing.score()(IMAGES)
        weight = sing.translator.weight.clone()
        half = score.to(torch.bfloat16)
        assert half.model.head.weight.dtype == torch.bfloat16
        assert half.translator.origin.dtype == half.texts.dtype == torch.float64
        assert torch.equal(sing.translator.weight, weight)
        scores = half(IMAGES.bfloat16())
        assert scores.dtype == torch.float32
        assert torch.allclose(scores, expected, atol=0.1) and not torch.equal(scores, expected)
        assert score.double()(IMAGES.double()).dtype == torch.float64

    def test_moves_as_one(self) -> None:
        moved = copy.deepcopy(toy_sing().score(baselines=normal(12, seed=5))).to("meta")
        tensors = {**dict(moved.named_parameters()), **dict(moved.named_buffers())}
        assert {"texts", "donor", "translator.weight", "model.head.weight"} <= set(tensors)
        assert all(tensor.device.type == "meta" for tensor in tensors.values())

    @pytest.mark.parametrize("kind", ["seen", "attribute_score"])
    def test_words_follow_the_translator(self, kind: str) -> None:
        """Scores share it, so another score may have moved it; a cast stands for the move."""
        score = toy_sing().score(kind, baselines=normal(12, seed=5))
        expected = score(IMAGES)
        score.texts, score.donor = score.texts.float(), score.donor.float()
        assert torch.allclose(score(IMAGES), expected, atol=1e-4)

    def test_the_outputs_are_not_in_the_state(self) -> None:
        """They would change their names with the words of another score."""
        assert not [name for name in toy_sing().score().state_dict() if name in ("texts", "donor")]

    def test_the_regression_is_made_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []

        def counted(*parts: Any) -> Tensor:
            made.append(1)
            return conditional_map(*parts)

        monkeypatch.setattr("captum_sing.score.conditional_map", counted)
        model = ToyClassifier().eval()
        score = toy_sing(model).score(baselines="conditional")
        first = score(IMAGES)
        assert torch.equal(score(IMAGES), first) and len(made) == 1
        with torch.no_grad():
            model.head.weight.copy_(normal(4, 12, seed=9))
        assert torch.equal(score(IMAGES), toy_sing(model).score(baselines="conditional")(IMAGES))
        assert len(made) == 3

    def test_a_copy_is_another(self) -> None:
        score = toy_sing().score()
        before, other = score(IMAGES), copy.deepcopy(score)
        other.model.head.reset_parameters()
        assert not torch.allclose(other(IMAGES), before, atol=1e-2)
        assert torch.equal(score(IMAGES), before)
        other.load_state_dict(score.state_dict())
        assert torch.equal(other(IMAGES), before)

    def test_the_null_space_follows_the_weights(self) -> None:
        """Sanity checks randomise a model in place."""
        model = ToyClassifier().eval()
        score = toy_sing(model).score()
        before = score(IMAGES)
        with torch.no_grad():
            model.head.weight.copy_(normal(4, 12, seed=9))
        after = score(IMAGES)
        assert not torch.allclose(after, before, atol=1e-2)
        assert torch.equal(after, toy_sing(model).score()(IMAGES))

    def test_a_given_null_space_stays(self) -> None:
        model = ToyClassifier().eval()
        space = NullSpace.from_layer(model.head, classes=[0])
        sing = toy_sing(model, null_space=space)
        scores = sing.score()(IMAGES)
        assert torch.allclose(scores.double(), said(sing, "ignored", None), atol=1e-6)
        assert not torch.allclose(scores, toy_sing(model).score()(IMAGES), atol=1e-2)

    def test_leaves_the_model_as_it_was(self) -> None:
        model = ToyClassifier().train()
        score = toy_sing(model).score()
        with untouched(model):
            expected = score(IMAGES)
            with pytest.raises(SINGValueError, match="inputs that the model accepts"):
                score(torch.zeros(2, 5, 8, 8))
        assert torch.equal(expected, toy_sing(model.eval()).score()(IMAGES))

    def test_trains_nothing(self) -> None:
        assert not [
            name for name, _ in toy_sing().score().named_parameters() if "model" not in name
        ]

    def test_says_what_it_is(self) -> None:
        assert "'seen', 2 outputs" in repr(toy_sing().score("seen", ["big", "red"]))


class Shifted(ToyClassifier):
    """Takes a number for each image."""

    def forward(self, images: Tensor, shift: Tensor) -> Tensor:
        return self.head(self.features(images + shift[:, None, None, None]))


class TestModels:
    def test_the_head_is_found_at_the_first_call(self) -> None:
        model = ToyClassifier().eval()
        score = toy_sing(model, layer=None).score()
        with pytest.raises(SINGRuntimeError, match="layer to be known, got None"):
            score.of_features(normal(2, 12, seed=0))
        with untouched(model):
            assert torch.equal(score(IMAGES), toy_sing(model).score()(IMAGES))
        every_three = toy_sing(Shifted().eval(), layer=None).score()
        assert every_three(IMAGES, normal(5, seed=1)).shape == (5, 5)
        assert score.of_features(normal(2, 12, seed=0)).shape == (2, 5)

    def test_a_function_wrappers_and_outputs_that_are_no_tensor(self) -> None:
        model = ToyClassifier().eval()
        expected = toy_sing(model).score()(IMAGES)
        function = toy_sing(lambda x: {"logits": model(x)}, layer=model.head).score()
        assert torch.equal(function(IMAGES), expected)
        assert [name for name, _ in function.named_parameters()] == [
            "layers.0.weight",
            "layers.0.bias",
        ]
        for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
            assert torch.equal(toy_sing(wrapped, layer=model.head).score()(IMAGES), expected)

    def test_further_arguments(self) -> None:
        class Scaled(ToyClassifier):
            def forward(self, images: Tensor, scale: float, *, shift: float = 0.0) -> Tensor:
                return self.head(self.features(images * scale + shift))

        sing = toy_sing(Scaled().eval())
        expected = toy_sing().score()(IMAGES * 0.5 + 1.0)
        assert torch.allclose(sing.score()(IMAGES, 0.5, shift=1.0), expected, atol=1e-6)

    def test_heads_that_are_averaged(self) -> None:
        class Two(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = ToyClassifier().features
                self.one, self.other = nn.Linear(12, 4), nn.Linear(12, 4)

            def forward(self, images: Tensor) -> Tensor:
                features = self.body(images)
                return (self.one(features) + self.other(features.sin())) / 2

        model = Two().eval()
        sing = SING(model, [model.one, model.other], any_translator(24), BANK)
        scores = sing.score("image_score")(IMAGES)
        expected = sing.attribute(IMAGES).descriptions.image_score
        assert torch.allclose(scores[:, 0].double(), expected, atol=1e-4)

    def test_what_is_written_to_after_the_head(self) -> None:
        class Overwriting(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                features = self.features(images)
                logits = self.head(features.detach())
                features.mul_(0.0)
                return logits

        scores = toy_sing(Overwriting().eval()).score()(IMAGES)
        assert torch.equal(scores, toy_sing().score()(IMAGES))


class Largest(TorchDispatchMode):
    """The most numbers in any tensor that is made, forward or backward."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


@pytest.mark.parametrize("kind", WORDS_KINDS)
def test_ten_thousand_words_make_no_tensor_of_images_words_and_widths(kind: str) -> None:
    words, width, images = 10_000, 64, 40
    units = nn.functional.normalize(normal(words, width, seed=1), dim=1)
    names = tuple(f"w{number}" for number in range(words))
    bank = ConceptBank(names, units, {"words": names})
    head = nn.Linear(32, 4)
    features, embeddings = normal(200, 32, seed=2), normal(200, width, seed=3)
    translator = TranslatorFitter().update(features, embeddings).fit()
    score = SINGScore(head, head, translator, bank, kind)
    inputs = normal(images, 32, seed=4).requires_grad_()
    with Largest() as largest:
        score(inputs)[:, 9_999].sum().backward()
    assert inputs.grad.abs().max() > 0
    assert images * words <= largest.numbers <= words * width


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"kind": "confidence"}, SINGValueError, r"kind in \['ignored', .*got 'confidence'"),
            ({"concepts": "cat"}, SINGNameError, r"words among \['red'.*got \['cat'\]"),
            ({"concepts": []}, SINGValueError, "words with one or more, got none"),
            (
                {"kind": "null_energy", "concepts": "red"},
                SINGValueError,
                "words None for 'null_energy', which is of no word, got red",
            ),
            ({"baselines": "zero"}, SINGValueError, "baselines None, in .*'conditional'.*'zero'"),
            ({"baselines": torch.zeros(5, 12)}, SINGValueError, r"one finite feature .*got shape"),
            ({"baselines": torch.full((12,), torch.nan)}, SINGValueError, r"\(12,\), got NaN or"),
        ],
    )
    def test_arguments(self, arguments: dict, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            toy_sing().score(**arguments)

    def test_inputs(self) -> None:
        score = toy_sing().score()
        for given, got in (((), "nothing by position"), (([IMAGES],), "list")):
            with pytest.raises(SINGTypeError, match=f"a tensor of images, got {got}"):
                score(*given)
        for features in (torch.zeros(12), torch.zeros(2, 7), torch.zeros(2, 3, 4)):
            with pytest.raises(SINGValueError, match=r"features of shape \(B, 12\), got \("):
                score.of_features(features)

    def test_an_output_that_is_none(self) -> None:
        with pytest.raises(SINGNameError, match=r"word among \['red'\], got 'blue'"):
            toy_sing().score("ignored", "red").target("blue")

    def test_a_translator_of_another_layer(self) -> None:
        sing = toy_sing()
        with pytest.raises(
            SINGValueError, match="translator for the head.s input of width 12, got one for width 7"
        ):
            SINGScore(sing.forward_func, "head", any_translator(7), BANK, "image_score")

    @pytest.mark.parametrize("kind", KINDS)
    def test_missing_statistics_are_said_at_once(self, kind: str) -> None:
        model = ToyClassifier().eval()
        sing = SING(model, "head", any_translator(12), BANK)
        if kind in ("attribute_score", "image_score", "null_energy"):
            assert sing.score(kind)(IMAGES).isfinite().all()
            with pytest.raises(SINGRuntimeError, match="with the statistics of reference images"):
                sing.score(kind, baselines="mean")
        else:
            with pytest.raises(SINGRuntimeError, match="with the statistics of reference images"):
                sing.score(kind)

    def test_a_conditional_baseline_without_a_covariance(self) -> None:
        translator = copy.deepcopy(fitted_translator())
        translator.covariance = None
        sing = SING(ToyClassifier().eval(), "head", translator, BANK)
        with pytest.raises(SINGRuntimeError, match="feature_covariance"):
            sing.score("ignored", baselines="conditional")

    def test_nothing_divides_by_a_feature_at_its_baseline(self) -> None:
        score = toy_sing().score("null_energy", baselines="mean")
        mean = fitted_translator().mean[None]
        assert math.isnan(float(score.of_features(mean)))
