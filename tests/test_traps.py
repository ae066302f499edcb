"""Traps that once worked: precision, memory and order, each with what went wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toys import BANK, DONORS, FITTED, IMAGES, features_of, fitted_translator, normal, toy_sing

from captum_sing import SING, ConceptBank, LinearTranslator, NullSpace, TranslatorFitter, find_head
from captum_sing.baselines import conditional_baseline
from captum_sing.errors import HeadNotFoundError, SINGTypeError, SINGValueError
from captum_sing.testing import ToyClassifier


def sing_of_a_layer() -> tuple[SING, nn.Linear]:
    """The head alone as the model, so that its input is the user's own tensor."""
    head = nn.Linear(12, 3)
    features = normal(50, 12, seed=0)
    translator = TranslatorFitter().update(features, normal(50, 16, seed=1)).fit()
    return SING(head, head, translator, BANK), head


class TestInputsThatAreTheFeature:
    def test_verify_never_writes_into_it(self) -> None:
        """Not even for the time of a pass: it may lie in a file that is mapped for reading."""
        sing, head = sing_of_a_layer()
        features = normal(6, 12, seed=2)
        before, same = features.clone(), []

        def watched(x: Tensor) -> Tensor:
            logits = head(x)
            same.append(torch.equal(features, before))
            return logits

        drift = SING(watched, head, sing.translator, BANK).verify(features)
        assert drift.null.max() < 1e-5 and drift.random.min() > 1e-2
        assert len(same) > 4 and all(same)

    def test_verify_takes_an_expanded_view(self) -> None:
        sing, _ = sing_of_a_layer()
        assert sing.verify(normal(1, 12, seed=3).expand(4, 12)).null.max() < 1e-5

    def test_verify_takes_a_model_that_expands_and_one_in_inference_mode(self) -> None:
        sing, head = sing_of_a_layer()

        def expanding(x: Tensor) -> Tensor:
            return head(x[:1].expand(len(x), -1))

        @torch.inference_mode()
        def serving(x: Tensor) -> Tensor:
            return head(x * 1.0)

        for forward in (expanding, serving):
            other = SING(forward, head, sing.translator, BANK)
            assert other.verify(normal(4, 12, seed=4)).null.max() < 1e-5


class TestPrecision:
    def test_autocast_does_not_reach_the_sums_nor_the_translation(self) -> None:
        mixed = normal(400, 8, seed=5) @ (torch.eye(8) + 0.9)
        targets = mixed @ normal(8, 3, seed=6) + 5.0
        plain = TranslatorFitter().update(mixed, targets).fit()
        with torch.autocast("cpu", torch.bfloat16):
            cast = TranslatorFitter().update(mixed, targets).fit()
            translated = plain(mixed)
        assert torch.equal(cast.weight, plain.weight)
        assert torch.equal(translated, plain(mixed))

    def test_a_translator_cast_to_float32_still_works(self) -> None:
        translator = copy.deepcopy(fitted_translator()).float()
        features = features_of(ToyClassifier())
        expected = fitted_translator()(features)
        assert torch.allclose(translator(features), expected, atol=1e-4)
        assert torch.allclose(translator.bias, fitted_translator().bias, atol=1e-4)

    def test_a_translator_owns_its_numbers(self) -> None:
        weight = torch.eye(3)
        translator = LinearTranslator(weight, torch.zeros(3), torch.zeros(3))
        weight.mul_(2.0)
        assert torch.equal(translator.weight, torch.eye(3))

    def test_statistics_of_features_survive_without_their_covariance(self, tmp_path: Path) -> None:
        features, up = normal(60, 12, seed=7), normal(4, 16, seed=8)
        bare = LinearTranslator(normal(16, 12, seed=9), torch.zeros(12), torch.zeros(16))
        whole = bare.with_statistics(features)
        small = LinearTranslator.load(whole.save(tmp_path / "t.safetensors", covariance=False))
        assert small.has_statistics and small.covariance is None
        assert torch.allclose(small.spread(up), whole.spread(up), rtol=1e-4)


class TestWords:
    def test_a_word_without_spread_hides_no_other(self) -> None:
        sing = toy_sing()
        flat = copy.deepcopy(sing.translator)
        up = BANK.directions[BANK.indices(["big"])][0]
        keep = torch.eye(16) - torch.outer(up, up)
        flat.embedding_covariance = keep @ flat.embedding_covariance @ keep
        found = SING(sing.forward_func, "head", flat, BANK).attribute(IMAGES, top_k=2).descriptions
        assert found.ignored.isfinite().all() and found.seen.isfinite().all()
        assert not found.ignored[:, BANK.indices(["big", "small"])].any()
        assert all(description.ignored for description in found)

    @pytest.mark.parametrize("count", [2, 3, 5])
    def test_words_that_are_one_word_are_refused(self, count: int) -> None:
        same = nn.functional.normalize(normal(1, 512, seed=count), dim=1).repeat(count, 1)
        same += 1e-9 * normal(count, 512, seed=0)  # as encoders round
        same[0, 0] += 1e-7
        words = tuple("abcde"[:count])
        with pytest.raises(SINGValueError, match="cannot tell apart"):
            ConceptBank(words, same, {"all": words})

    def test_a_misspelt_group_of_templates_is_told(self) -> None:
        with pytest.raises(SINGValueError, match=r"templates for groups among \['color'\], got"):
            ConceptBank.from_words(
                ["red", "blue"],
                toy_sing().encoder,
                templates={"colour": ["a {} thing"]},
                groups={"color": ["red", "blue"]},
            )


class TestHeads:
    def test_no_head_is_found_in_nothing(self) -> None:
        model = nn.Sequential(ToyClassifier(), nn.Softmax(dim=1)).eval()
        with pytest.raises(HeadNotFoundError):
            find_head(model, IMAGES)
        with pytest.raises(SINGValueError, match="example_inputs with one image or more"):
            find_head(model, IMAGES[:0])
        with pytest.raises(SINGValueError, match="example_inputs finite"):
            find_head(model, torch.full_like(IMAGES, torch.nan))

    def test_what_the_library_says_decides_between_equals_and_is_told(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Linear(4, 4, bias=False)).eval()
        nn.init.eye_(model[2].weight)  # two layers now give the output
        assert find_head(model, IMAGES).name == "2"
        model.pretrained_cfg = {"classifier": "1"}
        assert find_head(model, IMAGES).name == "1"
        soft = nn.Sequential(*model, nn.Softmax(dim=1)).eval()
        soft.pretrained_cfg = {"classifier": ("1", "2")}
        with pytest.raises(HeadNotFoundError, match="its library names 1 and 2"):
            find_head(soft, IMAGES)


class TestCalls:
    def test_one_donor_goes_with_further_arguments_of_all_images(self) -> None:
        class Scaled(ToyClassifier):
            def forward(self, images: Tensor, scale: Tensor) -> Tensor:
                return self.head(self.features(images * scale))

        sing, scale = toy_sing(Scaled().eval()), torch.ones(5, 1, 1, 1)
        one = sing.attribute(IMAGES, DONORS[:1], None, scale).perturbations
        each = sing.attribute(IMAGES, DONORS[:1].expand_as(IMAGES), None, scale).perturbations
        assert torch.allclose(one, each, atol=1e-6)

    def test_a_donor_that_the_translator_knows_is_said(self) -> None:
        sing = toy_sing()
        assert not sing.attribute(IMAGES, DONORS).descriptions.in_sample.any()
        assert sing.attribute(IMAGES, FITTED[:5]).descriptions.in_sample.all()

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"target": "cat"}, SINGTypeError, "target to be class numbers, got 'cat'"),
            ({"top_k": 2.5}, SINGValueError, "top_k of at least 1, an integer, got 2.5"),
            ({"internal_batch_size": 0}, SINGValueError, "internal_batch_size of at least 1"),
            ({"baselines": IMAGES[:2]}, SINGValueError, "baselines shaped like inputs"),
        ],
    )
    def test_bad_arguments_are_refused_before_the_model_runs(
        self, arguments: dict, error: type[Exception], message: str
    ) -> None:
        model = ToyClassifier().eval()
        passes: list[int] = []
        model.register_forward_pre_hook(lambda *_: passes.append(1))
        with pytest.raises(error, match=message):
            toy_sing(model).attribute(IMAGES, **arguments)
        assert not passes

    def test_conditional_without_a_covariance_is_refused_before_the_model_runs(self) -> None:
        model, passes = ToyClassifier().eval(), []
        model.register_forward_pre_hook(lambda *_: passes.append(1))
        translator = copy.deepcopy(fitted_translator())
        translator.covariance = None
        with pytest.raises(RuntimeError, match="feature_covariance"):
            SING(model, "head", translator, BANK).attribute(IMAGES, "conditional")
        assert not passes

    def test_a_chosen_null_space_is_not_replaced_by_a_target(self) -> None:
        model = ToyClassifier().eval()
        for options in ({"energy": 0.9}, {"classes": [0, 1]}, {"invariant_to": "probabilities"}):
            sing = toy_sing(model, null_space=NullSpace.from_layer(model.head, **options))
            with pytest.raises(SINGValueError, match="target None for a SING whose null space"):
                sing.attribute(IMAGES, target=0)
            assert sing.attribute(IMAGES).descriptions[0].notes

    def test_what_never_varies_predicts_nothing(self) -> None:
        space = NullSpace.from_weight(torch.tensor([[1.0, 0.0, 0.0]]))
        reference = normal(20, 3, seed=10) * torch.tensor([0.0, 1.0, 1.0])
        bare = LinearTranslator(torch.eye(3), torch.zeros(3), torch.zeros(3))
        translator = bare.with_statistics(reference)
        baseline = conditional_baseline(normal(4, 3, seed=11), space, translator)
        assert torch.allclose(baseline, translator.mean.expand(4, 3))
