"""Few words together: found exactly where few made the vector, and no more than a description."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from captum_sing import SING, ConceptBank
from captum_sing.decomposition import Decomposition, decompose
from captum_sing.demo import (
    CLASSIFIERS,
    FACTORS,
    load_classifier,
    load_concepts,
    load_encoder,
    load_translator,
    sample_scenes,
)
from captum_sing.demo.tail import Tail, backbone_features
from captum_sing.errors import SINGValueError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bank_of(embeddings: Tensor, groups: int) -> ConceptBank:
    """Words w0, w1, ... in groups of consecutive ones."""
    names = tuple(f"w{i}" for i in range(len(embeddings)))
    size = len(names) // groups
    parts = {f"g{j}": names[j * size : (j + 1) * size] for j in range(groups)}
    return ConceptBank(names, normalize(embeddings.float(), dim=1), parts)


# pairs of opposites along the axes, so that the words of different groups are orthogonal
ORTHOGONAL = bank_of(torch.eye(16), 8)
RANDOM = bank_of(normal(120, 256), 12)


def neighbours() -> ConceptBank:
    """Twelve words, of which each of two groups has one near the same direction, w0 and w6."""
    embeddings = normal(12, 64, seed=3)
    embeddings[6] = embeddings[0] + 0.7 * normal(64, seed=4)
    return bank_of(embeddings, 2)


def combined(bank: ConceptBank, words: dict[str, float]) -> Tensor:
    rows = bank.directions.double()[bank.indices(list(words))]
    return torch.tensor(list(words.values()), dtype=torch.float64) @ rows


class TestRecovery:
    def test_of_orthogonal_words_is_exact(self) -> None:
        found = decompose(combined(ORTHOGONAL, {"w3": 0.5, "w6": 2.0, "w8": 1.0})[None], ORTHOGONAL)
        assert found[0].words == ("w6", "w8", "w3")
        assert found[0].coefficients == pytest.approx((2.0, 1.0, 0.5), abs=1e-6)
        assert found[0].explained == pytest.approx(1.0, abs=1e-9)

    def test_of_random_words_is_exact(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(30):
            chosen = torch.randperm(len(RANDOM), generator=generator)[:4].tolist()
            sizes = 0.5 + torch.rand(4, generator=generator, dtype=torch.float64)
            truth = {f"w{i}": float(size) for i, size in zip(chosen, sizes, strict=True)}
            (found,) = decompose(combined(RANDOM, truth)[None], RANDOM)
            coefficients = dict(zip(found.words, found.coefficients, strict=True))
            # a word beside the true ones may enter on the way, and is then left with nothing
            for word in {*truth, *coefficients}:
                assert coefficients.get(word, 0.0) == pytest.approx(truth.get(word, 0.0), abs=1e-6)
            assert found.explained == pytest.approx(1.0, abs=1e-9)

    def test_a_neighbour_is_named_by_the_ranking_alone(self) -> None:
        bank = neighbours()
        vector = combined(bank, {"w0": 1.0, "w3": 0.6, "w9": 0.5})
        by_word = (bank.directions.double() @ vector).argsort(descending=True)[:3].tolist()
        assert by_word[0] == 0 and 6 in by_word  # the neighbour, of which there is nothing
        (found,) = decompose(vector[None], bank, max_words=3)
        assert set(found.words) == {"w0", "w3", "w9"}
        assert found.explained == pytest.approx(1.0, abs=1e-6)

    def test_equals_the_lasso_of_coordinate_descent(self) -> None:
        from sklearn.linear_model import Lasso

        vector = normal(256, seed=5)
        (found,) = decompose(vector[None], RANDOM, max_words=50, penalty=0.08)
        lasso = Lasso(
            alpha=0.08 * float(vector.norm()) / 256, fit_intercept=False, positive=True, tol=1e-12,
            max_iter=100_000,
        )  # fmt: skip
        lasso.fit(RANDOM.directions.double().numpy().T, vector.numpy())
        chosen = {f"w{i}" for i in np.flatnonzero(lasso.coef_)}
        assert 1 < len(chosen) < 50
        assert set(found.words) == chosen


class TestProperties:
    vectors = normal(5, 256, seed=6)

    def test_words_are_few_positive_and_falling(self) -> None:
        for most in (1, 3, 8):
            for found in decompose(self.vectors, RANDOM, max_words=most, penalty=0.0):
                assert len(found.words) == len(found.coefficients) == len(set(found.words)) <= most
                assert min(found.coefficients) > 0
                assert list(found.coefficients) == sorted(found.coefficients, reverse=True)

    def test_more_words_explain_more(self) -> None:
        shares = [
            [
                found.explained
                for found in decompose(self.vectors, RANDOM, max_words=most, penalty=0)
            ]
            for most in (1, 2, 4, 8)
        ]
        assert (np.diff(shares, axis=0) > 0).all()

    def test_a_penalty_keeps_words_out(self) -> None:
        few, fewer, none = (
            [len(d.words) for d in decompose(self.vectors, RANDOM, max_words=50, penalty=penalty)]
            for penalty in (0.05, 0.15, 0.9)
        )
        assert all(a > b for a, b in zip(few, fewer, strict=True)) and not any(none)

    def test_explained_is_the_share_of_the_squared_length(self) -> None:
        for vector, found in zip(self.vectors, decompose(self.vectors, RANDOM), strict=True):
            made = combined(RANDOM, dict(zip(found.words, found.coefficients, strict=True)))
            rest = (vector - made).square().sum() / vector.square().sum()
            assert found.explained == pytest.approx(1.0 - float(rest), abs=1e-9)
            assert found.length == pytest.approx(float(vector.norm()))

    @pytest.mark.parametrize("scale", [1e-12, 1e-3, 7.0, 1e12])
    def test_scales_with_the_vector(self, scale: float) -> None:
        pairs = zip(
            decompose(self.vectors, RANDOM), decompose(scale * self.vectors, RANDOM), strict=True
        )
        for one, other in pairs:
            assert one.words == other.words
            scaled = [scale * value for value in one.coefficients]
            assert other.coefficients == pytest.approx(scaled, rel=1e-6)
            assert other.explained == pytest.approx(one.explained, rel=1e-6)

    def test_is_the_same_again_and_alone(self) -> None:
        together = decompose(self.vectors, RANDOM)
        assert together == decompose(self.vectors, RANDOM)
        assert together == [decompose(vector[None], RANDOM)[0] for vector in self.vectors]

    def test_a_word_dropped_on_the_way_costs_no_other_its_place(self) -> None:
        """As many words as are asked for, although the path drops some; and in silence."""
        shared = normal(10, 16, seed=1).repeat(10, 1)
        bank = bank_of(normal(100, 16, seed=8) + 2 * shared, 5)
        found = decompose(normal(40, 16, seed=9), bank, max_words=8, penalty=0.0)
        assert np.mean([len(one.words) for one in found]) > 7.3

    def test_opposite_words_are_never_both_needed(self) -> None:
        for sign in (1, -1):
            vector = sign * ORTHOGONAL.directions[:1].double()
            (found,) = decompose(vector, ORTHOGONAL, penalty=0.0)
            assert found.words == (("w0",) if sign > 0 else ("w1",))

    def test_nothing_is_no_words(self) -> None:
        (found,) = decompose(torch.zeros(1, 256), RANDOM)
        assert found.words == () and found.length == 0.0 and math.isnan(found.explained)
        assert str(found) == "no few words explain it"

    def test_twins_in_two_groups_do_not_trouble_it(self) -> None:
        axes = torch.eye(4)
        bank = bank_of(axes[[0, 1, 0, 1]], 2)
        (found,) = decompose(bank.directions[:1].double(), bank, penalty=0.0)
        assert found.words in (("w0",), ("w2",)) and found.explained == pytest.approx(1.0)

    def test_reads_as_a_sentence(self) -> None:
        found = Decomposition(("red", "big"), (4.0, 1.0), 0.68, 5.0)
        assert str(found) == "red, big together explain 68%"
        assert str(Decomposition(("red",), (4.0,), 0.93, 5.0)) == "red alone explains 93%"


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (torch.zeros(3, 255), {}, r"of shape \(B, 256\), got \(3, 255\)"),
        (torch.zeros(256), {}, r"got \(256,\)"),
        (torch.full((1, 256), torch.nan), {}, "finite, got NaN"),
        (torch.zeros(1, 256), {"max_words": 0}, "got 0 and 0.1"),
        (torch.zeros(1, 256), {"max_words": 2.5}, "a whole number of at least 1.*got 2.5"),
        (torch.zeros(1, 256), {"penalty": 1.5}, "got 5 and 1.5"),
        (torch.zeros(1, 256), {"penalty": math.nan}, "got 5 and nan"),
    ],
)
def test_refuses(vectors: Tensor, options: dict[str, float], message: str) -> None:
    with pytest.raises(SINGValueError, match=message):
        decompose(vectors, RANDOM, **options)  # type: ignore[arg-type]


NECKS = [name for name, about in CLASSIFIERS.items() if about.necked]


@pytest.fixture(scope="module")
def world():
    """Images nobody was fitted on, their features in both backbones, and the words."""
    scenes = sample_scenes(200, seed=20261101)
    features = {
        about.architecture: backbone_features(load_classifier(name), scenes.images)
        for name, about in CLASSIFIERS.items()
        if name.endswith("/neck_none")
    }
    return scenes, features, load_concepts(load_encoder())


@pytest.mark.parametrize("name", NECKS)
def test_of_a_planted_neck_names_the_own_word_of_each_planted_factor(name, world) -> None:
    """And of one that ignores none of the factors, explains little of the whole."""
    scenes, features, concepts = world
    about, model = CLASSIFIERS[name], load_classifier(name)
    sing = SING(Tail(model), "head", load_translator(name), concepts)
    descriptions = sing.attribute(features[about.architecture]).descriptions
    few = descriptions.decompose()
    for factor in about.planted:
        own = [FACTORS[factor][label] for label in scenes.labels[factor].tolist()]
        named = [word in one.words for word, one in zip(own, few, strict=True)]
        assert np.mean(named) > 0.98
    explained = np.array([one.explained for one in few])
    of_whole = explained * descriptions.translation_energy.numpy()
    print(f"{name}: {explained.mean():.3f} explained, {of_whole.mean():.3f} of the whole, "
          f"{np.mean([len(one.words) for one in few]):.2f} words")  # fmt: skip
    assert explained.mean() > 0.5  # also where nothing was planted: it is no test
    if about.planted:
        assert of_whole.mean() > 0.2
    else:
        assert of_whole.mean() < 0.05
