"""Synthetic worlds: what is planted is planted, what is kept out is kept out, seeds decide."""

from __future__ import annotations

import pytest
import torch

from captum_sing.benchmark.synthetic import PLACES, SyntheticWorld, random_world
from captum_sing.errors import SINGValueError

ALL = {place: place for place in PLACES}


@pytest.mark.parametrize("relu", [False, True])
def test_codes_stand_where_they_should(relu: bool) -> None:
    """The means of a factor's values differ in the parts that its place names, and nowhere else."""
    world = SyntheticWorld(ALL, 3, amplitude=6.0, relu=relu)
    sample = world.sample(20_000, 1)
    features = sample.features.double()
    ignored = world.null_space.project(features)
    moved = {}
    for factor in ALL:
        own = torch.nn.functional.one_hot(sample.labels[factor]).double()
        means = {
            part: own.T @ (values - values.mean(dim=0)) / own.sum(dim=0)[:, None]
            for part, values in (("seen", features - ignored), ("ignored", ignored))
        }
        moved[factor] = {part for part, m in means.items() if float(m.norm(dim=1).mean()) > 0.8}
    both = {"seen", "ignored"}
    assert moved == {
        "absent": set(), "seen": {"seen"}, "ignored": {"ignored"}, "both": both, "anywhere": both,
    }  # fmt: skip


def test_unplanted_factors_are_independent_of_the_ignored_part() -> None:
    """Images that differ in a seen factor alone have one ignored part, to the last digit."""
    world = SyntheticWorld({"seen": "seen", "ignored": "ignored"}, 5, relu=True)
    other = SyntheticWorld({"seen": "absent", "ignored": "ignored"}, 5, relu=True)
    one, two = world.sample(50, 1), other.sample(50, 1)
    parts = [world.null_space.project(sample.features.double()) for sample in (one, two)]
    assert torch.allclose(*parts, atol=1e-12)
    assert not torch.equal(one.features, two.features)
    assert torch.equal(one.embeddings, two.embeddings)


@pytest.mark.parametrize("relu", [False, True])
def test_null_space_is_as_wide_as_said(relu: bool) -> None:
    world = SyntheticWorld(ALL, 1, width=64, nullity=10, relu=relu)
    assert (world.null_space.nullity, world.null_space.width) == (10, 64)
    features = world.sample(2000, 1).features
    assert bool((features >= 0).all()) == relu
    assert (0.2 < float((features == 0).double().mean()) < 0.8) == relu
    values = world.sample(800, 2).labels["seen"].bincount()
    assert values.tolist() == [100] * 8


def test_head_follows_variance() -> None:
    spread = {}
    for follow in (0.0, 3.0):
        world = SyntheticWorld(ALL, 2, decay=1.0, follow=follow, busy=False, amplitude=0.0)
        features = world.sample(4000, 1).features.double()
        centred = features - features.mean(dim=0)
        null_part = world.null_space.project(centred)
        spread[follow] = float(null_part.square().sum() / centred.square().sum())
    assert spread[3.0] < 0.15 < 0.3 < spread[0.0]


def test_encoder_names_what_it_sees_across_a_gap() -> None:
    world = SyntheticWorld({"a": "seen", "b": "absent"}, 1, busy=True)
    sample = world.sample(2000, 1)
    for factor, words in world.concepts.groups.items():
        rows = [world.concepts.names.index(word) for word in words]
        named = (sample.embeddings @ world.concepts.embeddings[rows].T).argmax(dim=1)
        assert float((named == sample.labels[factor]).double().mean()) > 0.7
    image, text = sample.embeddings.mean(dim=0), world.concepts.embeddings.mean(dim=0)
    cosine = float(torch.nn.functional.cosine_similarity(image, text, dim=0))
    assert 0.4 < cosine < 0.75


def test_seeds_decide() -> None:
    one, again, other = (SyntheticWorld(ALL, seed) for seed in (1, 1, 2))
    assert torch.equal(one.sample(9, 3).features, again.sample(9, 3).features)
    assert torch.equal(one.concepts.embeddings, again.concepts.embeddings)
    assert not torch.equal(one.sample(9, 3).features, one.sample(9, 4).features)
    labels = [world.sample(80, 3).labels["seen"] for world in (one, again, other)]
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])
    assert not torch.allclose(one.concepts.embeddings, other.concepts.embeddings, atol=0.1)


def test_random_worlds_differ_and_say_what_is_planted() -> None:
    worlds = [random_world(seed, planted=seed % 3) for seed in range(40)]
    assert {world.width for world in worlds} == {64, 128, 256}
    assert {world.relu for world in worlds} == {world.busy for world in worlds} == {False, True}
    for seed, world in enumerate(worlds):
        assert list(world.places.values()).count("ignored") == seed % 3
        assert set(world.places.values()) <= {"absent", "seen", "ignored"}
        assert random_world(seed, planted=seed % 3) == world


def test_tied_factors_agree_in_six_of_ten_images_and_in_the_rest_by_chance() -> None:
    places = {"a": "seen", "b": "seen", "c": "seen"}
    labels = SyntheticWorld(places, 1, tied=("a", "b")).sample(8000, 1).labels
    agree = {f: float((labels["a"] == labels[f]).double().mean()) for f in "bc"}
    assert agree["b"] == pytest.approx(0.6 + 0.4 / 8, abs=0.02)
    assert agree["c"] == pytest.approx(1 / 8, abs=0.02)
    untied = SyntheticWorld(places, 1).sample(8000, 1).labels
    assert torch.equal(untied["a"], labels["a"])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SINGValueError, match=r"got \['hidden'\]"):
        SyntheticWorld({"a": "hidden"}, 1)
    with pytest.raises(SINGValueError, match="places of one factor or more"):
        SyntheticWorld({}, 1)
    with pytest.raises(SINGValueError, match="nullity from 1 to 63, got 64"):
        SyntheticWorld({"a": "seen"}, 1, width=64, nullity=64)
    for tied in (("b", "a"), ("a", "z"), ("a", "a")):
        with pytest.raises(SINGValueError, match=r"tied two of \['a', 'b'\], in their order"):
            SyntheticWorld({"a": "seen", "b": "seen"}, 1, tied=tied)
