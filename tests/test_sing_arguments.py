"""Baselines, targets, null spaces and prompts: each keeps what it says, and changes the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toys import DONORS, ENCODER, IMAGES, WORDS, features_of, normal, toy_sing

from captum_sing import SING, NullSpace
from captum_sing.errors import NoNullSpaceError
from captum_sing.steering import largest_angle
from captum_sing.testing import ToyClassifier


@pytest.fixture
def sing() -> SING:
    return toy_sing()


@pytest.fixture
def model(sing: SING) -> ToyClassifier:
    return sing.forward_func


class TestBaselines:
    @pytest.mark.parametrize("kind", ["mean", "conditional", "images", "features", "rows", "row"])
    def test_all_keep_the_logits(self, sing: SING, model: ToyClassifier, kind: str) -> None:
        features = features_of(model, DONORS)
        named = {"images": DONORS, "features": features, "rows": features[:, :, None, None],
                 "row": features[:1]}  # fmt: skip
        perturbations, descriptions = sing.attribute(IMAGES, named.get(kind, kind))
        moved = model.head(features_of(model) + perturbations)
        assert torch.allclose(moved, model(IMAGES), atol=1e-5)
        assert perturbations.norm(dim=1).min() > 1e-2
        assert ("with the donor's part instead" in str(descriptions[0])) == (kind in named)

    def test_mean_takes_away_what_varies(self, sing: SING, model: ToyClassifier) -> None:
        perturbations, _ = sing.attribute(IMAGES, "mean")
        space = NullSpace.from_layer(model.head)
        equivalents = space.project(features_of(model) + perturbations)
        assert torch.allclose(equivalents, space.project(sing.translator.mean).float(), atol=1e-5)

    def test_conditional_depends_on_what_the_head_sees(
        self, sing: SING, model: ToyClassifier
    ) -> None:
        features = features_of(model)
        hidden = NullSpace.from_layer(model.head).project(normal(5, 12, seed=6))
        head = toy_sing(model.head, model.head)
        one, other = (
            f + head.attribute(f, "conditional")[0] for f in (features, features + hidden)
        )
        assert torch.allclose(one, other, atol=1e-4)
        mean = features + head.attribute(features, "mean")[0]
        assert (one - mean).norm(dim=1).min() > 1e-2

    @pytest.mark.parametrize("one", [False, True])
    def test_donors_give_their_ignored_part(
        self, sing: SING, model: ToyClassifier, one: bool
    ) -> None:
        donors = DONORS[:1] if one else DONORS
        by_image, _ = sing.attribute(IMAGES, donors)
        by_feature, _ = sing.attribute(IMAGES, features_of(model, donors))
        assert torch.allclose(by_image, by_feature, atol=1e-5)
        project = NullSpace.from_layer(model.head).project
        swapped = project(features_of(model) + by_image)
        expected = project(features_of(model, donors)).expand(5, -1)
        assert torch.allclose(swapped, expected, atol=1e-5)
        assert not torch.allclose(expected, project(features_of(model)), atol=1e-2)

    def test_the_image_itself_changes_nothing(self, sing: SING) -> None:
        perturbations, descriptions = sing.attribute(IMAGES, IMAGES)
        assert torch.equal(perturbations, torch.zeros(5, 12))
        assert descriptions.image_score.abs().max() < 1e-6
        assert "the feature is its own baseline" in str(descriptions[0])

    def test_evidence_is_never_about_zero(self, sing: SING) -> None:
        _, removed = sing.attribute(IMAGES)
        _, about_mean = sing.attribute(IMAGES, "mean")
        assert torch.allclose(removed.ignored, about_mean.ignored)
        assert (removed.image_score - about_mean.image_score).abs().min() > 1e-3
        _, swapped = sing.attribute(IMAGES, DONORS)
        total = removed.seen + removed.ignored
        assert torch.allclose(swapped.seen + swapped.ignored, total)
        assert not torch.allclose(swapped.ignored, removed.ignored, atol=0.1)


class TestTargets:
    @pytest.mark.parametrize("target", [2, torch.tensor(2), torch.tensor([2] * 5), [2], [2] * 5])
    def test_one_logit_stays(self, sing: SING, model: ToyClassifier, target: Any) -> None:
        perturbations, descriptions = sing.attribute(IMAGES, target=target)
        moved = (model.head(features_of(model) + perturbations) - model(IMAGES)).abs()
        assert moved[:, 2].max() < 1e-5
        assert moved[:, [0, 1, 3]].max() > 1e-2
        assert "Only the target's logit is kept" in str(descriptions[0])
        assert sing.verify(IMAGES, target=target).null.max() < 1e-5

    def test_each_image_has_its_own(self, sing: SING) -> None:
        together, descriptions = sing.attribute(IMAGES, target=[0, 3, 1, 0, 2])
        for i, target in enumerate([0, 3, 1, 0, 2]):
            alone, described = sing.attribute(IMAGES[i : i + 1], target=target)
            assert torch.allclose(together[i], alone[0], atol=1e-5)
            scores = descriptions.attribute_score[i], described.attribute_score[0]
            assert torch.allclose(*scores, atol=1e-4)

    def test_it_makes_a_null_space_where_there_was_none(self, sing: SING) -> None:
        tall = ToyClassifier(classes=20)
        sing = toy_sing(tall, None)
        with pytest.raises(NoNullSpaceError, match=r"rank 12 from 20 rows.*energy=0\.99.*target="):
            sing.attribute(IMAGES)
        assert sing.verify(IMAGES, target=7).null.max() < 1e-5


class TestGivenNullSpace:
    def test_an_approximate_one_says_so(self, sing: SING, model: ToyClassifier) -> None:
        space = NullSpace.from_layer(model.head, energy=0.5)
        sing = toy_sing(model, null_space=space)
        assert "approximate (energy 0.5): the logits move" in str(sing.attribute(IMAGES)[1][0])
        assert sing.verify(IMAGES).null.min() > 1e-3

    def test_of_some_classes(self, sing: SING, model: ToyClassifier) -> None:
        space = NullSpace.from_layer(model.head, classes=[1, 3])
        sing = toy_sing(model, null_space=space)
        perturbations, descriptions = sing.attribute(IMAGES)
        assert "Only the logits of classes [1, 3] are kept." in str(descriptions[0])
        moved = (perturbations @ model.head.weight.detach().T).abs()
        assert moved[:, [1, 3]].max() < 1e-5 < moved[:, [0, 2]].min()
        assert sing.verify(IMAGES).null.max() < 1e-5

    def test_of_probabilities(self, sing: SING, model: ToyClassifier) -> None:
        space = NullSpace.from_layer(model.head, invariant_to="probabilities")
        sing = toy_sing(model, null_space=space)
        perturbations, _ = sing.attribute(IMAGES)
        moved = model.head(features_of(model) + perturbations)
        assert torch.allclose(moved.softmax(1), model(IMAGES).softmax(1), atol=1e-5)
        assert (moved - model(IMAGES)).abs().max() > 1e-2
        assert sing.verify(IMAGES).null.max() < 1e-5


class TestPrompts:
    PROMPTS: tuple[Any, ...] = (
        "red",
        "a small pale thing",
        normal(16, seed=7),
        normal(5, 16, seed=8),
    )

    @pytest.mark.parametrize("prompt", PROMPTS, ids=["word", "text", "embedding", "embeddings"])
    def test_turns_towards_the_text_by_the_angle(
        self, sing: SING, model: ToyClassifier, prompt: Any
    ) -> None:
        angle = torch.linspace(1.0, 3.0, 5)
        perturbations, descriptions = sing.attribute(IMAGES, prompt=prompt, image_score=angle)
        assert torch.allclose(descriptions.image_score, angle.double(), atol=1e-6)
        features = features_of(model)
        assert torch.allclose(model.head(features + perturbations), model(IMAGES), atol=1e-4)
        text = prompt if isinstance(prompt, Tensor) else sing.concepts.embed(prompt, ENCODER)
        before, after = (
            torch.cosine_similarity(sing.translator(f), text.expand(5, -1))
            for f in (features, features + perturbations)
        )
        assert (after > before).all()
        assert "; steered towards " in str(descriptions[0])

    def test_a_word_is_its_embedding(self, sing: SING) -> None:
        by_word, _ = sing.attribute(IMAGES, prompt="blue", image_score=2.0)
        embedding = sing.concepts.embeddings[WORDS.index("blue")]
        by_embedding, _ = sing.attribute(IMAGES, prompt=embedding, image_score=2.0)
        assert torch.equal(by_word, by_embedding)
        other, _ = sing.attribute(IMAGES, prompt="red", image_score=2.0)
        assert (by_word - other).norm() > 0.1 * by_word.norm()

    def test_an_angle_out_of_reach_is_said(self, sing: SING) -> None:
        degrees = torch.tensor([2.0, 2.0, 179.0, 2.0, 2.0])
        told = r"by image 2 \(179 degrees, must stay below \d+\.\d\d\); NaN there"
        with pytest.warns(UserWarning, match=told) as warned:
            perturbations, descriptions = sing.attribute(IMAGES, prompt="red", image_score=degrees)
        assert warned[0].filename == __file__
        features = features_of(sing.forward_func)
        space = NullSpace.from_layer(sing.layer)
        most = largest_angle(features, sing.concepts.embed("red"), space, sing.translator)
        assert f"must stay below {float(most[2]):.2f})" in str(warned[0].message)
        assert perturbations.isnan().any(dim=1).tolist() == [False, False, True, False, False]
        assert "angle asked for cannot be reached inside the null space" in str(descriptions[2])
        assert "cannot be reached" not in str(descriptions[1])

    def test_ten_images_are_named_and_others_counted(self, sing: SING) -> None:
        many = torch.cat([IMAGES] * 3)
        with pytest.warns(UserWarning) as warned:
            sing.attribute(many, prompt="red", image_score=179.0)
        message = str(warned[0].message)
        assert "image 9 (" in message and "image 10 (" not in message
        assert "and 5 more; NaN there" in message

    def test_away_from_a_text_and_from_one_to_another(self, sing: SING, model: Any) -> None:
        texts = {word: sing.concepts.embed(word) for word in ("red", "blue")}

        def cosines(changes: Tensor, word: str) -> Tensor:
            moved = sing.translator(features_of(model) + changes)
            return torch.cosine_similarity(moved, texts[word].expand(5, -1))

        still = torch.zeros_like(features_of(model))
        away, descriptions = sing.attribute(IMAGES, away_from="red", image_score=2.0)
        assert (cosines(away, "red") < cosines(still, "red")).all()
        assert "; steered away from red, its" in str(descriptions[0])
        both, descriptions = sing.attribute(IMAGES, prompt="blue", away_from="red", image_score=2.0)
        gap = cosines(both, "blue") - cosines(both, "red")
        assert (gap > cosines(still, "blue") - cosines(still, "red")).all()
        assert "; steered from red towards blue, its" in str(descriptions[0])
        assert torch.allclose(descriptions.image_score, torch.full((5,), 2.0).double(), atol=1e-6)

    def test_a_text_an_image(self, sing: SING) -> None:
        texts = ["red", "blue", "red", "a small pale thing", "blue"]
        together, _ = sing.attribute(IMAGES, prompt=texts, image_score=2.0)
        for row, text in enumerate(texts):
            alone, _ = sing.attribute(IMAGES[row : row + 1], prompt=text, image_score=2.0)
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)

    def test_the_step_is_always_told(self, sing: SING, model: Any) -> None:
        features = features_of(model)
        for asked in ({}, {"prompt": "red", "image_score": 2.0}):
            perturbations, descriptions = sing.attribute(IMAGES, **asked)
            step = perturbations.norm(dim=1) / features.norm(dim=1)
            torch.testing.assert_close(descriptions.step.float(), step)
            assert descriptions.to_dicts()[1]["step"] == pytest.approx(float(step[1]))
        assert f", in a step of {step[0]:.2g} norms of the feature." in str(descriptions[0])
