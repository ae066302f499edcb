"""Evidence adds up, equals a slow loop, and is blind to what the head sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_sing import SING, ConceptBank, LinearTranslator, NullSpace, TranslatorFitter
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
from captum_sing.demo.world import encode_scenes
from captum_sing.errors import SINGRuntimeError
from captum_sing.evidence import describe, split_evidence
from captum_sing.testing import ToyEncoder, ToyHead, toy_heads

HEADS = toy_heads()
ENCODER = ToyEncoder()
E, N = ENCODER.embedding_dim, 200
BANK = ConceptBank.from_words(
    ["red", "green", "blue", "big", "small"],
    ENCODER,
    groups={"color": ["red", "green", "blue"], "size": ["small", "big"]},
)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> ToyHead:
    return HEADS[request.param]


@pytest.fixture
def space(head: ToyHead) -> NullSpace:
    return NullSpace.from_layer(head.module)


@pytest.fixture
def features(space: NullSpace) -> Tensor:
    """Ten that the translator was not fitted on."""
    return gaussian(10, space.width, seed=1) + 3.0


@pytest.fixture
def translator(space: NullSpace) -> LinearTranslator:
    reference = gaussian(N, space.width) + 3.0
    embeddings = reference @ gaussian(space.width, E, seed=2) + gaussian(N, E, seed=3)
    return TranslatorFitter(alpha=1.0).update(reference, embeddings).fit()


def slow_direction(word: str) -> np.ndarray:
    """The word's embedding minus the mean of its group's, of unit length."""
    group = next(words for words in BANK.groups.values() if word in words)
    rows = {w: BANK.embeddings[BANK.names.index(w)].double().numpy() for w in group}
    centred = rows[word] - sum(rows.values()) / len(rows)
    return centred / np.sqrt((centred**2).sum())


def test_equals_a_slow_loop(
    space: NullSpace, features: Tensor, translator: LinearTranslator
) -> None:
    null_part = space.project(features - translator.mean)
    seen, ignored = split_evidence(features, null_part, translator, BANK)
    assert seen.shape == ignored.shape == (10, len(BANK))
    matrix, mean = translator.weight.double().numpy(), translator.mean.numpy()
    assert translator.embedding_covariance is not None
    covariance = translator.embedding_covariance.double().numpy()
    for t, word in enumerate(BANK.names):
        direction = slow_direction(word)
        spread = np.sqrt(direction @ covariance @ direction)
        for i, feature in enumerate(features.numpy()):
            total = (matrix @ (feature - mean)) @ direction / spread
            part = (matrix @ null_part[i].numpy()) @ direction / spread
            assert float(ignored[i, t]) == pytest.approx(part, abs=1e-5)
            assert float(seen[i, t]) == pytest.approx(total - part, abs=1e-5)


def test_adds_up_exactly(space: NullSpace, features: Tensor, translator: LinearTranslator) -> None:
    """Null part and principal part of the same feature; angles do not add up so."""
    centred = features - translator.mean
    null_part = space.project(centred)
    seen, ignored = split_evidence(features, null_part, translator, BANK)
    other_seen, other_ignored = split_evidence(features, centred - null_part, translator, BANK)
    torch.testing.assert_close(seen, other_ignored, rtol=0, atol=1e-10)
    torch.testing.assert_close(ignored, other_seen, rtol=0, atol=1e-10)
    everything = split_evidence(features, centred, translator, BANK)
    torch.testing.assert_close(everything[1], seen + ignored, rtol=0, atol=1e-10)
    assert everything[0].abs().max() < 1e-10
    assert ignored.abs().max() > 0.1


def test_of_the_ignored_part_knows_nothing_of_what_the_head_sees(
    space: NullSpace, features: Tensor, translator: LinearTranslator
) -> None:
    visible = gaussian(10, space.rank) @ space.principal_basis.T
    before, after = (
        split_evidence(f, space.project(f - translator.mean), translator, BANK)
        for f in (features, features + visible)
    )
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=1e-9)
    assert (after[0] - before[0]).abs().max() > 1e-2


def test_sums_to_zero_in_no_group_but_centres_each(translator: LinearTranslator) -> None:
    """The two words of a pair are mirror images: their directions are opposite."""
    features = gaussian(4, translator.feature_dim)
    seen, ignored = split_evidence(features, features - translator.mean, translator, BANK)
    torch.testing.assert_close(ignored[:, 3], -ignored[:, 4], rtol=1e-4, atol=1e-5)
    assert seen.abs().max() < 1e-10


def test_is_in_standard_deviations_of_the_reference_images() -> None:
    """Where translation is exact, the total evidence of these very images has a spread of one."""
    features = gaussian(N, E) @ gaussian(E, E, seed=1) + 2.0
    translator = TranslatorFitter(alpha=0.0).update(features, features * 7).fit()
    totals = sum(split_evidence(features, torch.zeros_like(features), translator, BANK))
    assert isinstance(totals, Tensor)
    torch.testing.assert_close(totals.std(dim=0), torch.ones(5).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(totals.mean(dim=0), torch.zeros(5).double(), rtol=0, atol=1e-6)


FACTS = {"null_energy": torch.ones(1), "in_sample": torch.zeros(1, dtype=torch.bool)}


def test_needs_statistics(space: NullSpace, features: Tensor) -> None:
    bare = LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), torch.zeros(E))
    with pytest.raises(SINGRuntimeError, match=r"statistics of reference images, got one that"):
        split_evidence(features, features, bare, BANK)
    described = describe(features, space.remove(features), features, bare, BANK, **FACTS)
    assert described.evidence is None
    assert described.image_score.isfinite().all()
    assert described.attribute_score.isfinite().all()


def slow_angle(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.degrees(np.arccos(u @ v / np.sqrt((u @ u) * (v @ v)))))


def test_scores_of_a_batch_equal_slow_ones(
    space: NullSpace, features: Tensor, translator: LinearTranslator
) -> None:
    equivalents = space.remove(features)
    ignored = space.project(features - translator.mean)
    described = describe(features, equivalents, ignored, translator, BANK, **FACTS, top_k=2)
    assert described.evidence is not None
    assert described.null_energy is FACTS["null_energy"] and described.top_k == 2
    centre = translator(translator.mean).numpy()
    matrix = translator.weight.double().numpy()
    part, energy = described.evidence.translation, described.translation_energy
    texts = BANK.embeddings.double().numpy()
    for i in range(len(features)):
        f, g = (translator(x)[i].numpy() for x in (features, equivalents))
        assert float(described.image_score[i]) == pytest.approx(slow_angle(f, g), abs=1e-4)
        f_centred, g_centred = f - centre, g - centre
        moved = matrix @ ignored[i].numpy()
        assert np.allclose(part[i].numpy(), moved, atol=1e-5)
        share = (moved @ moved) / (f_centred @ f_centred)
        assert float(energy[i]) == pytest.approx(share, rel=1e-4)
        wanted = slow_angle(f_centred, g_centred)
        assert float(described.centred_image_score[i]) == pytest.approx(wanted, abs=1e-4)
        for t, word in enumerate(BANK.names):
            plain = slow_angle(f, texts[t]) - slow_angle(g, texts[t])
            assert float(described.attribute_score[i, t]) == pytest.approx(plain, abs=1e-4)
            u = slow_direction(word)
            centred = slow_angle(f_centred, u) - slow_angle(g_centred, u)
            assert float(described.centred_attribute_score[i, t]) == pytest.approx(
                centred, abs=1e-4
            )


NECKS = [name for name, about in CLASSIFIERS.items() if about.necked and about.planted]


@pytest.fixture(scope="module")
def world():
    """Reference images, others, and both in the two backbones' features."""
    scenes, reference = sample_scenes(200, seed=20261101), sample_scenes(300, seed=20261102)
    encoder = load_encoder()
    backbones = {CLASSIFIERS[name].architecture: load_classifier(name) for name in NECKS}
    features = {
        kind: [backbone_features(model, part.images) for part in (scenes, reference)]
        for kind, model in backbones.items()
    }
    return scenes, features, encode_scenes(encoder, reference.images), load_concepts(encoder)


@pytest.mark.parametrize("with_embeddings", [True, False])
@pytest.mark.parametrize("name", NECKS)
def test_statistics_given_later_name_the_own_word(name, with_embeddings, world) -> None:
    """A translation's own spread would not: ridge shrinks what it cannot translate."""
    scenes, features, embeddings, concepts = world
    about, tail = CLASSIFIERS[name], Tail(load_classifier(name))
    fitted = load_translator(name)
    bare = LinearTranslator(fitted.weight, torch.zeros(fitted.feature_dim), fitted.bias)
    images, reference = features[about.architecture]
    with torch.no_grad():
        reference = tail.neck(reference)
    known = bare.with_statistics(reference, embeddings if with_embeddings else None)
    found = SING(tail, "head", known, concepts).attribute(images).descriptions
    own = torch.stack(
        [
            torch.tensor(concepts.indices([FACTORS[factor][i] for i in scenes.labels[factor]]))
            for factor in about.planted
        ]
    )
    assert (found.ignored.argmax(dim=1) == own).any(dim=0).double().mean() >= 0.95
    unit = "sd" if with_embeddings else "common sd"
    assert f" {unit})" in str(found[0]) and not found.notes


def test_one_unit_keeps_the_ranking_of_the_inner_products(space, features, tmp_path) -> None:
    map_ = LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), torch.zeros(E))
    known = map_.with_statistics(gaussian(N, space.width) + 3.0)
    null_part = space.project(features - known.mean)
    raw = null_part @ known.pull_back(BANK.directions)
    root = known.spread(BANK.directions).square().mean().sqrt()
    for one in (known, LinearTranslator.load(known.save(tmp_path / "t", covariance=False))):
        _, ignored = split_evidence(features, null_part, one, BANK)
        torch.testing.assert_close(ignored * root, raw, rtol=1e-4, atol=1e-6)


def test_few_reference_images_are_told(space, features) -> None:
    map_ = LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), torch.zeros(E))
    for count, notes in ((49, ("The statistics are of 49 images: so few rank words by noise.",)),
                         (50, ())):  # fmt: skip
        known = map_.with_statistics(gaussian(count, space.width))
        assert known.facts["reference_images"] == count
        found = describe(features, features, features, known, BANK, **FACTS)
        assert found.notes == notes
