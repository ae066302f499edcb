"""Worlds of pictures: planted sets, and scenes that no two of its parts share."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from captum_sing.benchmark import STARRED, judge
from captum_sing.benchmark.probing import probe, probe_parts
from captum_sing.benchmark.scenes import BACKBONES, SEEDS, Gallery, necks
from captum_sing.demo import FACTORS, load_classifier, sample_scenes
from captum_sing.demo.report import TEST_SEEDS
from captum_sing.demo.tail import backbone_features
from captum_sing.demo.training.common import image_seed


def test_sixty_necks_are_thirty_sets_turned_twice() -> None:
    made = necks(60, 4)
    planted = [(neck.backbone, neck.planted) for neck in made[:60]]
    assert len(set(planted)) == 30 and planted[:30] == planted[30:]
    assert {len(neck.planted) for neck in made[:60]} == {1, 2, 3}
    assert {factor for neck in made for factor in neck.planted} == set(FACTORS) - {"shape"}
    assert [neck.planted for neck in made[60:]] == [()] * 4
    assert len({neck.number for neck in made}) == len({neck.name for neck in made}) == 64


def test_seeds_of_scenes_are_nobody_elses() -> None:
    last = 30_000_000 + SEEDS[-1] * 1000 + 999
    assert max(TEST_SEEDS) < 30_000_000 < last < image_seed(0, 0)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    """Small: necks are leaky, but planted factors are there."""
    return Gallery(0, 1024, 1000)


def test_anatomy_has_all_combinations_equally_often(gallery: Gallery) -> None:
    whole = Gallery(0, 2 * 10_240, 1000)._combinations
    for one, other in combinations(FACTORS, 2):
        cells = whole[one] * len(FACTORS[other]) + whole[other]
        assert len(set(cells.bincount().tolist())) == 1
    few = gallery._combinations
    assert all(torch.equal(few[factor], whole[factor][:1024]) for factor in FACTORS)


@pytest.mark.slow
def test_a_neck_carries_what_is_planted(gallery: Gallery) -> None:
    world = gallery.neck(necks(1, 0)[0])
    assert (world.kind, world.truth["color"], sum(world.truth.values())) == ("necks", True, 1)
    assert world.tested.extraction.labels == tuple(
        FACTORS["shape"].index(word) for word in world.tested.words["shape"]
    )
    found = {one.factor: one for one in judge(world)}
    assert found["color"].starred[STARRED] and found["color"].p[STARRED] < 1e-9
    sizes = len(world.tested.extraction), len(world.references.extraction)
    assert sizes == (200, 1200)
    assert not world.translator.knows(gallery.references.features["resnet"][:, :64]).any()


@pytest.mark.slow
def test_worlds_have_their_own_images(gallery: Gallery) -> None:
    one, other = (gallery.neck(neck) for neck in necks(3, 0)[::2])
    assert one.tested.words != other.tested.words
    assert one.references.words == other.references.words


def test_a_trained_classifier_hides_color_as_taught(gallery: Gallery) -> None:
    world = gallery.trained("color_hidden", 5)
    assert world.truth == dict.fromkeys(FACTORS) | {"color": True}
    assert {one.factor: one.starred[STARRED] for one in judge(world)}["color"]


@pytest.mark.slow
def test_backbones_carry_every_factor_and_trained_ones_do_not() -> None:
    fitted, tested = sample_scenes(3000, 31_900_000), sample_scenes(1000, 31_900_001)
    for name, backbone in {
        **BACKBONES,
        "plain": "plain",
        "plain_convnext": "plain_convnext",
    }.items():
        model = load_classifier(backbone)
        features = [backbone_features(model, scenes.images) for scenes in (fitted, tested)]
        right = {
            factor: probe(features[0], fitted.labels[factor], features[1], tested.labels[factor])
            for factor in FACTORS
        }
        assert (min(right.values()) > 0.9) == (name in BACKBONES), right


def test_probes_see_each_part() -> None:
    from captum_sing.benchmark import SyntheticWorld

    world = SyntheticWorld({"a": "ignored", "b": "seen"}, 1, amplitude=6.0)
    fitted, tested = world.sample(1000, 1), world.sample(500, 2)
    found = probe_parts(
        world.null_space, fitted.features, fitted.labels, tested.features, tested.labels
    )
    assert found["a"][0] < 0.25 < 0.9 < found["a"][1]
    assert found["b"][1] < 0.25 < 0.9 < found["b"][0]
