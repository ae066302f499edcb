"""The whole attribution: what it returns is the paper's, and no more is claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from toys import (
    BANK,
    DONORS,
    ENCODER,
    FITTED,
    GROUPS,
    IMAGES,
    WORDS,
    any_translator,
    features_of,
    normal,
    toy_sing,
)

from captum_sing import SING, ConceptBank, LinearTranslator
from captum_sing.errors import SINGRuntimeError
from captum_sing.testing import ToyClassifier, ToyHead, toy_heads


@pytest.fixture
def sing() -> SING:
    return toy_sing()


@pytest.fixture
def model(sing: SING) -> ToyClassifier:
    return sing.forward_func


def test_is_a_captum_attribution_of_two(sing: SING) -> None:
    result = sing.attribute(IMAGES)
    assert SING.get_name() == "SING"
    assert result._fields == ("perturbations", "descriptions")
    perturbations, descriptions = result
    assert perturbations.shape == (5, 12)
    assert perturbations.dtype == torch.float32
    assert not perturbations.requires_grad
    assert len(descriptions) == 5
    assert descriptions.attribute_score.shape == descriptions.ignored.shape == (5, len(WORDS))
    assert descriptions.image_score.shape == descriptions.null_energy.shape == (5,)
    assert descriptions.concepts is sing.concepts
    assert "What the head ignores points at" in str(descriptions[0])


def test_no_logit_moves_and_the_rest_would(sing: SING, model: ToyClassifier) -> None:
    perturbations, _ = sing.attribute(IMAGES)
    features, logits = features_of(model), model(IMAGES)
    assert torch.allclose(model.head(features + perturbations), logits, atol=1e-5)
    assert perturbations.norm(dim=1).min() > 0.1
    kept = features + perturbations  # the principal part
    assert not torch.allclose(model.head(features - kept), logits, atol=1e-1)


class TestAgainstAnotherImplementation:
    """Eq. 7 to 9, one image and one word at a time, in NumPy's float64."""

    @staticmethod
    def degrees(u: np.ndarray, v: np.ndarray) -> float:
        return math.degrees(math.acos(u @ v / math.sqrt(u @ u) / math.sqrt(v @ v)))

    @pytest.mark.parametrize("kind", toy_heads())
    def test_scores_agree(self, kind: str) -> None:
        head: ToyHead = toy_heads()[kind]
        weight = head.module.weight.double().flatten(1).numpy()
        width = weight.shape[1]
        translator = any_translator(width)
        shape = (4, width, 1, 1) if isinstance(head.module, nn.Conv2d) else (4, width)
        inputs = normal(*shape, seed=5).to(head.module.weight.dtype)
        sing = SING(head.module, head.module, translator, BANK)
        perturbations, descriptions = sing.attribute(inputs)
        assert perturbations.shape == inputs.shape

        null_basis = np.linalg.svd(weight)[2][head.rank :].T
        matrix, offset = translator.weight.double().numpy(), translator.bias.numpy()
        for b, feature in enumerate(inputs.double().flatten(1).numpy()):
            equivalent = feature - null_basis @ (null_basis.T @ feature)
            moved = perturbations[b].double().flatten().numpy()
            assert np.abs(moved - (equivalent - feature)).max() < 1e-5
            original, changed = (matrix @ f + offset for f in (feature, equivalent))
            turned = self.degrees(original, changed)
            assert abs(descriptions.image_score[b] - turned) < 1e-4
            share = np.sum((null_basis.T @ feature) ** 2) / np.sum(feature**2)
            assert abs(descriptions.null_energy[b] - share) < 1e-6
            for v, text in enumerate(BANK.embeddings.double().numpy()):
                expected = self.degrees(original, text) - self.degrees(changed, text)
                assert abs(descriptions.attribute_score[b, v] - expected) < 1e-4

    def test_evidence_agrees(self, sing: SING, model: ToyClassifier) -> None:
        images = FITTED  # those of the translator
        reference = ENCODER.encode_image(images).double().numpy()
        mean = features_of(model, images).double().numpy().mean(axis=0)
        null_basis = np.linalg.svd(model.head.weight.detach().double().numpy())[2][4:].T
        matrix = sing.translator.weight.double().numpy()
        _, descriptions = sing.attribute(IMAGES)
        for b, feature in enumerate(features_of(model).double().numpy()):
            hidden = null_basis @ (null_basis.T @ (feature - mean))
            for word in WORDS:
                group = BANK.embeddings[BANK.indices(GROUPS[BANK.group_of(word)])].double().numpy()
                v = BANK.names.index(word)
                direction = BANK.embeddings[v].double().numpy() - group.mean(axis=0)
                direction /= np.linalg.norm(direction)
                spread = np.std(reference @ direction, ddof=1)
                total = (matrix @ (feature - mean)) @ direction / spread
                ignored = (matrix @ hidden) @ direction / spread
                assert abs(descriptions.ignored[b, v] - ignored) < 1e-4
                assert abs(descriptions.seen[b, v] - (total - ignored)) < 1e-4

    def test_centred_scores_agree(
        self,
        sing: SING,
        model: ToyClassifier,
    ) -> None:
        perturbations, descriptions = sing.attribute(IMAGES)
        features = features_of(model)
        centre = sing.translator(sing.translator.mean).numpy()
        for b in range(len(IMAGES)):
            original = sing.translator(features[b].double()).numpy() - centre
            changed = sing.translator((features + perturbations)[b].double()).numpy() - centre
            turned = self.degrees(original, changed)
            assert abs(descriptions.centred_image_score[b] - turned) < 1e-3
            for v in range(len(WORDS)):
                text = (BANK.embeddings[v] - BANK.group_means[v]).double().numpy()
                expected = self.degrees(original, text) - self.degrees(changed, text)
                assert abs(descriptions.centred_attribute_score[b, v] - expected) < 1e-3


class TestWhatIsClaimed:
    def test_nothing_about_the_translators_own_images(
        self, sing: SING, model: ToyClassifier
    ) -> None:
        used = FITTED[50:53]
        _, descriptions = sing.attribute(torch.cat([used, IMAGES]))
        assert descriptions.in_sample.tolist() == [True] * 3 + [False] * 5
        for description in descriptions:
            assert ("nothing is claimed" in str(description)) == description.in_sample

    def test_angles_but_no_words_without_statistics(
        self,
        model: ToyClassifier,
    ) -> None:
        bare = any_translator(12)
        _, descriptions = SING(model, "head", bare, BANK).attribute(IMAGES)
        assert descriptions.image_score.isfinite().all()
        assert "No word is named, for want of reference statistics" in str(descriptions[0])
        with pytest.raises(SINGRuntimeError, match=r"translator\.with_statistics\(features\)"):
            _ = descriptions.seen
        informed = bare.with_statistics(features_of(model, DONORS))
        _, descriptions = SING(model, "head", informed, BANK).attribute(IMAGES)
        assert descriptions.seen.shape == (5, len(WORDS))

    def test_the_planted_word_comes_first_where_angles_name_another(self) -> None:
        """The head sees the shape (numbers 1 and 2) and ignores the colour (number 3)."""
        words = {"color": ("red", "blue"), "shape": ("circle", "square")}
        embeddings = torch.tensor(
            [[0.0, 0.8, 0.6], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
        )
        BANK = ConceptBank(("red", "blue", "circle", "square"), embeddings, words)
        features = torch.tensor(
            [[2.0, 0.0, 3.0], [0.0, 2.0, 1.0], [2.0, 0.0, 1.0], [0.0, 2.0, 3.0]]
        )
        identity = LinearTranslator(torch.eye(3), torch.zeros(3), torch.zeros(3))
        head = nn.Linear(3, 2, bias=False)
        head.weight = nn.Parameter(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        sing = SING(head, head, identity.with_statistics(features), BANK)
        _, descriptions = sing.attribute(features)
        named = [description.ignored[0].word for description in descriptions]
        assert named == ["red", "blue", "blue", "red"]
        assert [len(description.ignored) for description in descriptions] == [1, 1, 1, 1]
        by_angle = descriptions.attribute_score.abs().argmax(dim=1)
        assert BANK.names[int(by_angle[0])] == "circle"
        seen = [description.seen[0].word for description in descriptions]
        assert seen == ["circle", "square", "circle", "square"]

    def test_as_many_words_as_asked(self, sing: SING) -> None:
        for top_k in (1, 2):
            _, descriptions = sing.attribute(IMAGES, top_k=top_k)
            assert max(len(description.ignored) for description in descriptions) == top_k
