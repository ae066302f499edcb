"""The permutation z against real permutations, its theorems, and its errors in empty worlds."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest, kstest
from torch import Tensor

from captum_sing import TranslatorFitter
from captum_sing.benchmark.synthetic import SyntheticWorld, random_world
from captum_sing.controls import (
    MINIMUM_CLASSES,
    class_means,
    contrasts,
    images_needed,
    permutation_z,
)
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.evidence import split_evidence

N, V = 120, 4


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def unbalanced(n: int = N, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(
        torch.tensor([0.5, 0.3, 0.15, 0.05]), n, replacement=True, generator=generator
    )


def nothing(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


def permuted_sums(
    evidence: Tensor, labels: Tensor, strata: Tensor | None, draws: int, seed: int = 0
) -> Tensor:
    """The statistic for permuted labels, one permutation after another."""
    generator = torch.Generator().manual_seed(seed)
    strata = torch.zeros_like(labels) if strata is None else strata
    sums = torch.zeros(draws, dtype=torch.float64)
    for part in strata.unique():
        rows = (strata == part).nonzero().flatten()
        shuffles = torch.rand(draws, len(rows), generator=generator).argsort(dim=1)
        permuted = labels[rows][shuffles]  # (draws, rows)
        sums += evidence[rows].gather(1, permuted.T).sum(dim=0)
    return sums


@pytest.mark.parametrize("stratified", [False, True])
def test_moments_are_those_of_20_000_permutations(stratified: bool) -> None:
    evidence = gaussian(N, V) + 0.3 * torch.nn.functional.one_hot(unbalanced(), V) + gaussian(V)
    labels = unbalanced()
    strata = torch.arange(N) // 17 if stratified else None  # the last one is small
    own, variance = contrasts(evidence, labels, strata)
    sums = permuted_sums(evidence, labels, strata, 20_000)
    observed = evidence.gather(1, labels[:, None]).sum()
    error = float(sums.std()) / math.sqrt(20_000)
    assert float(observed - own.sum()) == pytest.approx(float(sums.mean()), abs=4 * error)
    assert float(variance.sum().sqrt()) == pytest.approx(float(sums.std()), rel=0.02)
    found = permutation_z(evidence, labels, in_sample=nothing(N), strata=strata)
    sampled = float((sums >= observed).double().mean())
    assert found.p == pytest.approx(sampled, abs=0.01)


def test_equals_the_sum_over_all_pairs() -> None:
    """Hoeffding's moments, from the matrix of every image with every image's label."""
    evidence, labels = gaussian(N, V), unbalanced()
    matrix = evidence[:, labels]
    centred = matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()
    z = (matrix.trace() - matrix.sum() / N) / (centred.square().sum() / (N - 1)).sqrt()
    assert permutation_z(evidence, labels, in_sample=nothing(N)).z == pytest.approx(float(z))


@pytest.mark.parametrize("stratified", [False, True])
def test_constant_baselines_change_nothing(stratified: bool) -> None:
    evidence, labels = gaussian(N, V), unbalanced()
    strata = torch.arange(N) % 3 if stratified else None
    kwargs = {"in_sample": nothing(N), "strata": strata}
    before = permutation_z(evidence, labels, **kwargs)
    after = permutation_z(evidence + 100.0 * gaussian(V, seed=9), labels, **kwargs)
    assert after.z == pytest.approx(before.z, abs=1e-9)
    assert after.effect == pytest.approx(before.effect, abs=1e-9)
    other = permutation_z(evidence + gaussian(N, V, seed=9), labels, **kwargs)
    assert abs(other.z - before.z) > 0.1


def test_permuting_labels_within_classes_keeps_the_moments() -> None:
    evidence, labels, strata = gaussian(N, V), unbalanced(), torch.arange(N) % 5
    shuffled = labels.clone()
    for part in strata.unique():
        rows = (strata == part).nonzero().flatten()
        shuffled[rows] = labels[rows].roll(3)
    before, after = (contrasts(evidence, own, strata)[1].sum() for own in (labels, shuffled))
    assert float(after) == pytest.approx(float(before))
    assert permutation_z(evidence, shuffled, in_sample=nothing(N), strata=strata).z != 0


def test_within_class_a_word_that_goes_with_the_class_is_not_found() -> None:
    classes = torch.arange(1000) % V
    labels = torch.where(gaussian(1000) > 0.5, (classes + 1) % V, classes)
    evidence = gaussian(1000, V, seed=1) + torch.nn.functional.one_hot(classes, V)
    common = {"evidence": evidence, "labels": labels, "in_sample": nothing(1000)}
    assert permutation_z(**common).starred(1e-6)
    within = permutation_z(**common, strata=classes)
    assert abs(within.z) < 3
    assert permutation_z(
        evidence + torch.nn.functional.one_hot(labels, V), labels,
        in_sample=nothing(1000), strata=classes,
    ).starred(1e-6)  # fmt: skip


def test_sizes_and_reasons() -> None:
    evidence, labels = gaussian(N, V), unbalanced()
    assert permutation_z(evidence, labels, in_sample=nothing(N)).note is None
    few = permutation_z(evidence[:30], labels[:30], in_sample=nothing(30))
    assert few.note == "no star: 30 of at least 50 needed"
    assert few.p is not None and not few.starred(1.0)
    assert few.interval is not None
    same = permutation_z(evidence, torch.ones_like(labels), in_sample=nothing(N))
    assert same.p is None and math.isnan(same.value) and same.n == 0
    flat = permutation_z(torch.ones(N, V), labels, in_sample=nothing(N))
    assert flat.note == "not tested: nothing varies" and flat.p is None
    unknown = permutation_z(evidence, -torch.ones_like(labels), in_sample=nothing(N))
    assert unknown.n == 0 and unknown.p is None
    single = permutation_z(evidence, labels, in_sample=nothing(N), strata=torch.arange(N))
    assert single.n == 0 and single.p is None


def test_unknown_labels_are_left_out() -> None:
    evidence, labels = gaussian(N, V), unbalanced()
    known = torch.arange(N) % 3 > 0
    masked = torch.where(known, labels, -1)
    strata = torch.arange(N) // 40
    found = permutation_z(evidence, masked, in_sample=nothing(N), strata=strata)
    alone = permutation_z(
        evidence[known], labels[known], in_sample=nothing(int(known.sum())), strata=strata[known]
    )
    assert found == alone


def test_needed_images_give_the_power() -> None:
    effect, labels = 0.3, torch.arange(2).repeat(1000)
    needed = images_needed(effect)
    assert needed == 69
    hits = []
    for seed in range(300):
        own = labels[:needed]
        # two words: the contrast is the difference of their evidence, halved
        evidence = gaussian(needed, 2, seed=seed)
        evidence += effect * math.sqrt(2) * (torch.nn.functional.one_hot(own, 2) - 0.5)
        hits.append(permutation_z(evidence, own, in_sample=nothing(needed)).starred())
    interval = binomtest(sum(hits), 300).proportion_ci(0.999, method="exact")
    assert interval.low <= 0.8 <= interval.high


def in_world(
    world: SyntheticWorld, factor: str, n_train: int, *, held_out: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Ignored evidence for one factor's words, with labels and the mask."""
    train = world.sample(n_train, 1)
    test = world.sample(200, 2) if held_out else train
    translator = TranslatorFitter().update(train.features, train.embeddings).fit()
    features = test.features.double()
    null_part = world.null_space.project(features - translator.mean)
    _, ignored = split_evidence(features, null_part, translator, world.concepts)
    columns = [world.concepts.names.index(w) for w in world.concepts.groups[factor]]
    return ignored[:, columns], test.labels[factor], translator.knows(test.features)


def test_a_translator_on_its_own_images_is_refused_and_would_be_wrong() -> None:
    world = SyntheticWorld({"factor": "seen"}, seed=3)
    evidence, labels, in_sample = in_world(world, "factor", 400, held_out=False)
    assert in_sample.all()
    with pytest.raises(SINGValueError, match=r"expected images that the translator was not fitted"):
        permutation_z(evidence, labels, in_sample=in_sample)
    assert permutation_z(evidence, labels, in_sample=nothing(400)).z > 4  # of nothing at all
    evidence, labels, in_sample = in_world(world, "factor", 400)
    assert not in_sample.any()
    assert abs(permutation_z(evidence, labels, in_sample=in_sample).z) < 3


def empty_p_values(count: int, first: int) -> list[float]:
    found = []
    for seed in range(first, first + count):
        world = random_world(seed, factors=1)
        evidence, labels, in_sample = in_world(world, "factor0", 800)
        p = permutation_z(evidence, labels, in_sample=in_sample).p
        assert p is not None
        found.append(p)
    return found


def check_uniform(p_values: list[float]) -> None:
    for level in (0.01, 0.05, 0.1):
        hits = sum(p <= level for p in p_values)
        assert binomtest(hits, len(p_values), level).pvalue > 0.001, (level, hits)
    assert kstest(p_values, "uniform").pvalue > 0.001


def test_errors_in_empty_worlds_are_as_said() -> None:
    check_uniform(empty_p_values(60, 5000))


@pytest.mark.slow
def test_errors_in_many_empty_worlds_are_as_said() -> None:
    check_uniform(empty_p_values(600, 10_000))


def test_planted_factors_are_found() -> None:
    for seed in range(10):
        world = random_world(seed, planted=1, factors=1)
        evidence, labels, in_sample = in_world(world, "factor0", 800)
        assert permutation_z(evidence, labels, in_sample=in_sample).starred(0.001)


def test_class_means_stand_for_classes() -> None:
    """Class noise that images share makes a test of images blind to its own error."""
    classes = torch.arange(2000) % MINIMUM_CLASSES
    image_level, class_level = [], []
    for seed in range(200):
        label_of = torch.randint(
            V, (MINIMUM_CLASSES,), generator=torch.Generator().manual_seed(seed)
        )
        shared = gaussian(MINIMUM_CLASSES, V, seed=seed)
        evidence = shared[classes] + gaussian(2000, V, seed=1000 + seed)
        labels = label_of[classes]
        image_level.append(permutation_z(evidence, labels, in_sample=nothing(2000)).starred())
        means, own, used = class_means(evidence, labels, classes, fitted_classes=torch.tensor([]))
        test = permutation_z(means, own, in_sample=used, minimum=MINIMUM_CLASSES)
        class_level.append(test.starred())
        slow = torch.stack([evidence[classes == k].mean(0) for k in range(MINIMUM_CLASSES)])
        assert torch.allclose(means, slow) and torch.equal(own, label_of)
    assert binomtest(sum(class_level), 200, 0.05).pvalue > 0.001
    assert sum(image_level) > 60


def test_classes_that_the_translator_knows_are_refused() -> None:
    classes = torch.arange(N) % 60
    means, own, used = class_means(
        gaussian(N, V), classes % V, classes, fitted_classes=torch.tensor([5, 999])
    )
    assert used.nonzero().flatten().tolist() == [5]
    with pytest.raises(SINGValueError, match="1 of 60 that it was"):
        permutation_z(means, own, in_sample=used)
    with pytest.raises(SINGValueError, match="the same in all images of a class"):
        class_means(gaussian(N, V), unbalanced(), classes, fitted_classes=torch.tensor([]))


@pytest.mark.parametrize(
    ("evidence", "labels", "in_sample", "error", "message"),
    [
        (gaussian(9, 3).float()[:, :1], torch.zeros(9).long(), nothing(9), SINGValueError,
         "two words or more"),
        (torch.ones(9, 3).long(), torch.zeros(9).long(), nothing(9), SINGTypeError,
         "evidence to be a floating-point tensor, got torch.int64"),
        (torch.ones(9), torch.zeros(9).long(), nothing(9), SINGValueError, r"\(any, any\)"),
        (torch.full((9, 3), torch.nan), torch.zeros(9).long(), nothing(9), SINGValueError,
         "NaN or infinity in 9 of 9 rows"),
        (torch.ones(9, 3), torch.zeros(9), nothing(9), SINGTypeError, "labels to be a tensor of"),
        (torch.ones(9, 3), torch.full((9,), 3), nothing(9), SINGValueError,
         r"labels from -1 \(unknown\) to 2, got 3 to 3"),
        (torch.ones(9, 3), torch.full((9,), -2), nothing(9), SINGValueError, "got -2 to -2"),
        (torch.ones(9, 3), torch.zeros(8).long(), nothing(9), SINGValueError, r"labels of shape"),
        (torch.ones(9, 3), torch.zeros(9).long(), nothing(8), SINGValueError, "in_sample of shape"),
        (torch.ones(9, 3), torch.zeros(9).long(), None, SINGTypeError, "in_sample to be a boolean"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(
    evidence: Tensor, labels: Tensor, in_sample: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        permutation_z(evidence, labels, in_sample=in_sample)
