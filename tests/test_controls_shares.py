"""The signal share: 1 for planted, 0 for kept, its interval, its gate, and the star."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from captum_sing import TranslatorFitter
from captum_sing.benchmark.synthetic import SyntheticWorld
from captum_sing.controls import (
    Share,
    against_other_words,
    class_deviations,
    contrasts,
    haar_spread,
    signal_share,
)
from captum_sing.errors import SINGValueError

V = 8


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def nothing(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


def shares_of(
    world: SyntheticWorld, n_train: int = 2000, n: int = 600, seed: int = 2
) -> dict[str, tuple[Share, float]]:
    """Factor -> its share and its Haar spread, from features."""
    train, test = world.sample(n_train, 1), world.sample(n, seed)
    translator = TranslatorFitter().update(train.features, train.embeddings).fit()
    features = test.features.double()
    pulled = translator.pull_back(world.concepts.directions)
    centred = features - translator.mean
    found = {}
    for factor, words in world.concepts.groups.items():
        g = pulled[:, [world.concepts.names.index(word) for word in words]]
        share = signal_share(
            world.null_space.project(centred) @ g,
            centred @ g,
            test.labels[factor],
            nullity=world.nullity,
            width=world.width,
            in_sample=translator.knows(test.features),
            draws=300,
        )
        deviations = class_deviations(features, test.labels[factor], V)
        mean = contrasts(centred @ g, test.labels[factor])[0].mean()
        assert float((g * deviations).sum()) == pytest.approx(float(mean), abs=1e-6)
        slow = (g * world.null_space.project(deviations.T).T).sum() / (g * deviations).sum()
        assert math.isnan(share.value) or share.value == pytest.approx(float(slow), abs=1e-6)
        found[factor] = share, haar_spread(g, deviations, world.nullity)
    return found


def test_planted_is_one_and_kept_is_zero_in_every_world() -> None:
    places = {"in": "ignored", "out": "seen", "half": "both"}
    for decay, relu, share in ((0.0, False, 0.5), (1.0, True, 0.5), (1.0, False, 0.1)):
        for seed in range(3):
            world = SyntheticWorld(
                places, seed, decay=decay, relu=relu, nullity=int(128 * share), amplitude=4.0
            )
            found = {factor: share for factor, (share, _) in shares_of(world).items()}
            assert found["in"].value == pytest.approx(1.0, abs=0.06)
            assert found["out"].value == pytest.approx(0.0, abs=0.06)
            assert found["half"].excludes(0.0) and found["half"].excludes(1.0)
            assert found["in"].chance == pytest.approx(share, abs=0.01)


def test_intervals_hold_the_truth() -> None:
    """Of a translator that stands: other images of the same world."""
    world = SyntheticWorld({"in": "ignored", "out": "seen"}, 7)
    hits = 0
    for seed in range(60):
        found = shares_of(world, n_train=500, n=200, seed=10 + seed)
        hits += not found["out"][0].excludes(0.0)
    # the share of the world itself differs a little from 0 and 1, by the translator's error
    assert hits >= 52


def test_a_share_of_nothing_is_no_number() -> None:
    found, _ = shares_of(SyntheticWorld({"a": "absent", "b": "seen"}, 1))["a"]
    assert math.isnan(found.value) and found.interval is None and not found.starred(1.0)
    assert found.note is not None and "the total contrast is not clear (z = " in found.note
    assert found.total is not None and found.total.z < 5
    assert against_other_words(found, [found] * 20, 0.1) is found


def test_never_clamped() -> None:
    """Two parts that oppose each other."""
    labels = torch.arange(400) % V
    signal = torch.nn.functional.one_hot(labels, V).double()
    common = {"labels": labels, "nullity": 32, "width": 64, "in_sample": nothing(400)}
    total = signal + 0.1 * gaussian(400, V)
    assert signal_share(1.5 * total, total, **common).value == pytest.approx(1.5)
    found = signal_share(-0.5 * total + 0.1 * gaussian(400, V, seed=1), total, **common)
    assert found.value == pytest.approx(-0.5, abs=0.05)
    assert found.interval is not None and found.interval[1] < 0


def test_constant_baselines_change_nothing() -> None:
    labels = torch.arange(300).sqrt().long() % V
    total = torch.nn.functional.one_hot(labels, V) + 0.2 * gaussian(300, V)
    ignored = 0.3 * total + 0.2 * gaussian(300, V, seed=1)
    common = {"labels": labels, "nullity": 32, "width": 64, "in_sample": nothing(300)}
    one = signal_share(ignored, total, **common)
    other = signal_share(ignored + 5 * gaussian(V), total - 9 * gaussian(V), **common)
    assert one.value == pytest.approx(other.value)
    assert one.interval == pytest.approx(other.interval)


def test_classes_are_drawn_whole_where_asked() -> None:
    """Images of a class share what they say: drawing images makes the interval too narrow."""
    classes = torch.arange(800) % 40
    labels = classes % V
    noise = gaussian(40, V)[classes]
    total = 2 * torch.nn.functional.one_hot(labels, V) + 0.1 * gaussian(800, V)
    common = {"nullity": 32, "width": 64, "in_sample": nothing(800)}
    by_image = signal_share(noise, total, labels, **common)
    by_class = signal_share(noise, total, labels, clusters=classes, **common)
    assert by_image.value == by_class.value
    assert by_class.se > 3 * by_image.se


def test_equal_seeds_give_equal_results() -> None:
    labels = torch.arange(200) % V
    total = torch.nn.functional.one_hot(labels, V) + 0.2 * gaussian(200, V)
    common = {"nullity": 32, "width": 64, "in_sample": nothing(200)}
    one, again, other = (signal_share(total**3, total, labels, seed=s, **common) for s in (1, 1, 2))
    assert one == again and one != other


def starred(kind: str, seeds: range) -> list[bool]:
    """The star of one factor against fifteen that have no regard to the head."""
    stars = []
    for seed in seeds:
        places = {"own": kind, **{f"other{i}": "anywhere" for i in range(15)}}
        world = SyntheticWorld(places, seed, width=160, nullity=80, values=V, amplitude=4.0)
        found = shares_of(world, n_train=1500, n=800)
        share, spread = found.pop("own")
        tested = against_other_words(share, [other for other, _ in found.values()], spread)
        assert tested.centre == pytest.approx(0.5, abs=0.1) and tested.p is not None
        assert tested.spread == spread and tested.note is None
        stars.append(tested.starred())
    return stars


def test_the_star_finds_planted_and_kept() -> None:
    assert all(starred("ignored", range(2))) and all(starred("seen", range(2)))


@pytest.mark.slow
def test_the_star_is_rarely_given_to_others() -> None:
    stars = starred("anywhere", range(100, 200))
    assert binomtest(sum(stars), len(stars), 0.05).pvalue > 0.001, sum(stars)


def test_no_star_without_enough_to_compare_with() -> None:
    share = Share(0.9, 500, (0.8, 1.0), None, "not tested", 80, 160, 0.03)
    others = [replace(share, value=value) for value in [0.4] * 7 + [0.5] + [9.0] * 7]
    tested = against_other_words(share, others, 0.05)
    assert tested.starred() and tested.centre == 0.5
    z = 0.4 / math.hypot(0.05, 0.03)
    assert tested.p == pytest.approx(math.erfc(z / math.sqrt(2)))
    few = against_other_words(share, [*others[1:], replace(share, value=math.nan)], 0.05)
    assert few.note == "no star: 14 of 15 others needed" and few.p is None
    narrow = against_other_words(replace(share, nullity=29), others, 0.05)
    assert narrow.note == "no star: 29 of 30 ignored directions needed"
    with pytest.raises(SINGValueError, match="spread finite, got nan"):
        against_other_words(share, others, math.nan)


def test_in_sample_is_refused() -> None:
    total = gaussian(20, V)
    with pytest.raises(SINGValueError, match="2 of 20 that it was"):
        signal_share(
            total, total, torch.arange(20) % V, nullity=1, width=2, in_sample=torch.arange(20) < 2
        )
