"""Naming: exact intervals, the sources add up, and removal is judged where it must be."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from captum_sing import LinearTranslator, TranslatorFitter
from captum_sing.benchmark.synthetic import SyntheticWorld
from captum_sing.controls import exact_interval, name, naming, naming_drop, naming_sources
from captum_sing.errors import SINGTypeError, SINGValueError

V = 8


def nothing(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 11), (60, 100)])
def test_interval_is_what_its_definition_says(k: int, n: int) -> None:
    """Clopper and Pearson: both tails hold half of what is left out, by the binomial sum."""
    low, high = exact_interval(k, n)
    if k:
        assert binom.sf(k - 1, n, low) == pytest.approx(0.025)
    else:
        assert low == 0.0
    if k < n:
        assert binom.cdf(k, n, high) == pytest.approx(0.025)
    else:
        assert high == 1.0
    with pytest.raises(SINGValueError, match="n of at least 1, got 0"):
        exact_interval(0, 0)


def test_naming_counts() -> None:
    named, own = torch.tensor([0, 1, 1, 2, 2, 0]), torch.tensor([0, 1, 2, 2, -1, 1])
    found = naming(named, own, in_sample=nothing(6))
    assert found.n == 5 and found.value == 3 / 5
    assert found.interval == exact_interval(3, 5)
    labels, names = (0, 1, 2, 2, 1), (0, 1, 1, 2, 0)
    slow = sum(labels.count(t) / 5 * names.count(t) / 5 for t in range(3))
    assert found.chance == pytest.approx(slow)
    assert not found.starred(1.0)
    empty = naming(named, -torch.ones(6).long(), in_sample=nothing(6))
    assert empty.n == 0 and math.isnan(empty.value) and empty.note == "no image has a label"


def test_drop_is_the_exact_binomial_sum() -> None:
    own = torch.zeros(20, dtype=torch.long)
    before, after = own.clone(), own.clone()
    after[:9] = 1  # lost
    before[9:11] = 1  # won
    found = naming_drop(before, after, own, in_sample=nothing(20))
    slow = sum(math.comb(11, k) for k in range(9, 12)) / 2**11
    assert found.p == pytest.approx(slow)
    assert found.value == pytest.approx(7 / 20)
    assert found.interval is not None and found.interval[0] < 7 / 20 < found.interval[1]
    gain = naming_drop(after, before, own, in_sample=nothing(20))
    assert gain.value == -found.value and gain.p is not None and gain.p > 0.9
    same = naming_drop(own, own, own, in_sample=nothing(20))
    assert same.value == 0.0 and same.p is None and same.note == "not tested: no image changed"


def test_in_sample_and_wrong_names_are_refused() -> None:
    own = torch.zeros(5, dtype=torch.long)
    with pytest.raises(SINGValueError, match="5 of 5 that it was"):
        naming(own, own, in_sample=~nothing(5))
    with pytest.raises(SINGValueError, match="5 of 5 that it was"):
        naming_drop(own, own, own, in_sample=~nothing(5))
    with pytest.raises(SINGTypeError, match="naming"):
        naming(own.float(), own, in_sample=nothing(5))


def named_of(place: str, seed: int = 0) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Names from each source, the labels and the mask."""
    world = SyntheticWorld({"factor": place}, seed, amplitude=4.0)
    train, test = world.sample(2000, 1), world.sample(600, 2)
    space = world.null_space
    translator = TranslatorFitter().update(train.features, train.embeddings).fit()
    refitted = TranslatorFitter().update(space.project(train.features), train.embeddings).fit()
    sources = naming_sources(test.features, space, translator, refitted)
    texts = world.concepts.embeddings
    named = {source: name(translated, texts) for source, translated in sources.items()}
    return named, test.labels["factor"], translator.knows(test.features)


@pytest.mark.parametrize("place", ["seen", "ignored", "both"])
def test_each_source_names_what_it_holds(place: str) -> None:
    named, own, mask = named_of(place)
    share = {source: naming(n, own, in_sample=mask) for source, n in named.items()}
    low, high = 0.25, 0.75
    assert share["all"].value > high
    for part, elsewhere in (("seen, conditional", "ignored"), ("ignored, refitted", "seen")):
        if place == elsewhere:
            assert share[part].value < low and not share[part].excludes(share[part].chance)
        else:
            assert share[part].value > high and share[part].excludes(share[part].chance)
    assert share["seen"].value <= share["seen, conditional"].value + 0.03
    assert share["ignored"].value <= share["ignored, refitted"].value + 0.03
    drop = naming_drop(named["all"], named["seen, conditional"], own, in_sample=mask)
    assert drop.starred(0.001) == (place == "ignored")


def test_sources_add_up() -> None:
    world = SyntheticWorld({"factor": "both"}, 0)
    train, features = world.sample(500, 1), world.sample(20, 2).features
    translator = TranslatorFitter().update(train.features, train.embeddings).fit()
    sources = naming_sources(features, world.null_space, translator)
    assert set(sources) == {"all", "seen", "seen, conditional", "ignored"}
    constant = translator(translator.mean)
    total = sources["seen"] + sources["ignored"] - constant
    assert torch.allclose(total, sources["all"], atol=1e-6)
    assert not torch.allclose(sources["seen"], sources["seen, conditional"], atol=1e-3)


def test_name_is_the_nearest_text() -> None:
    generator = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(V, 5, generator=generator), dim=1)
    translated = torch.randn(30, 5, generator=generator)
    cosines = torch.nn.functional.cosine_similarity(translated[:, None], texts[None], dim=2)
    assert torch.equal(name(translated, texts), cosines.argmax(dim=1))
    bare = LinearTranslator(torch.eye(5), torch.zeros(5), torch.zeros(5))
    assert torch.equal(name(bare(translated), texts), name(translated, texts))
