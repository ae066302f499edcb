"""Planted against found: what the world must keep, and the measures behind it."""

from __future__ import annotations

import pytest
import torch

from captum_sing import SING
from captum_sing.demo import (
    CLASSIFIERS,
    load_classifier,
    load_concepts,
    load_encoder,
    load_translator,
    sample_scenes,
)
from captum_sing.demo.planted import Finding, find_planted, own_against_others
from captum_sing.demo.report import TEST_SEEDS
from captum_sing.demo.tables import readings
from captum_sing.demo.tail import Tail, backbone_features

NECKS = [name for name, about in CLASSIFIERS.items() if about.necked]


@pytest.fixture(scope="module")
def concepts():
    return load_concepts(load_encoder())


@pytest.fixture(scope="module")
def shared_features():
    """Backbone features and labels of 2,000 images for each architecture and seed, made once."""
    made: dict[tuple[str, int], tuple] = {}

    def features_of(model, architecture, seed):
        if (architecture, seed) not in made:
            scenes = sample_scenes(2000, seed)
            made[architecture, seed] = backbone_features(model, scenes.images), scenes.labels
        return made[architecture, seed]

    return features_of


def findings_of(name, concepts, shared_features, seed, planted=None):
    model, about = load_classifier(name), CLASSIFIERS[name]
    features, labels = shared_features(model, about.architecture, seed)
    sing = SING(Tail(model), "head", load_translator(name), concepts)
    planted = about.planted if planted is None else planted
    return find_planted(sing, features, labels, classifier=name, planted=planted, seed=seed)


@pytest.mark.parametrize("seed", TEST_SEEDS[:1])
@pytest.mark.parametrize("name", NECKS)
def test_what_is_planted_is_found_and_nothing_else(name, seed, concepts, shared_features):
    check(findings_of(name, concepts, shared_features, seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", TEST_SEEDS[1:])
@pytest.mark.parametrize("name", NECKS)
def test_on_the_other_seeds_too(name, seed, concepts, shared_features):
    check(findings_of(name, concepts, shared_features, seed))


def check(findings: list[Finding]) -> None:
    for finding in findings:
        assert finding.agrees, finding
        if finding.planted:
            assert finding.swap_donor >= 0.95, finding
        if finding.factor == "shape":
            assert abs(finding.named - finding.swap_own) <= 0.01, finding


def test_a_wrong_truth_is_told(concepts, shared_features):
    found = findings_of("resnet/neck_color", concepts, shared_features, TEST_SEEDS[0], ("size",))
    disagree = {f.factor for f in found if not f.agrees}
    assert disagree == {"color", "size"}
    sentences = " ".join(readings(found))
    assert "color is not planted, but its ignored evidence has an AUC of 1.00" in sentences
    assert "4 of 6 cases" in sentences


def test_the_tail_computes_what_the_classifier_does():
    model = load_classifier("convnext/neck_size")
    images = sample_scenes(5, 3).images
    with torch.no_grad():
        logits = Tail(model)(backbone_features(model, images))
        torch.testing.assert_close(logits, model(images))


def test_auc_equals_counting_pairs():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, 3, generator=generator).round(decimals=1)  # with ties
    own = torch.randint(3, (40,), generator=generator)
    ours = scores.gather(1, own[:, None]).flatten()
    others = scores[torch.nn.functional.one_hot(own, 3) == 0]
    wins = (ours[:, None] > others).double() + 0.5 * (ours[:, None] == others)
    assert own_against_others(scores, own) == pytest.approx(float(wins.mean()), abs=1e-9)
