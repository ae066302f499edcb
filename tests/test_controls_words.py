"""Many words: Welch and regression against other libraries, false discoveries as promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, false_discovery_control, ttest_ind
from sklearn.linear_model import LinearRegression
from torch import Tensor

from captum_sing.controls import word_tests
from captum_sing.errors import SINGTypeError, SINGValueError

N, V = 400, 12


def nothing(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


def draw(seed: int, *, n: int = N, words: int = V, together: bool = False) -> tuple[Tensor, Tensor]:
    """Noise as evidence, correlated between neighbouring words; and labels, in clusters of four."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, words + 1, generator=generator, dtype=torch.float64)
    chance = torch.rand(n, words, generator=generator)
    if together:
        shared = torch.rand(n, words // 4, generator=generator).repeat_interleave(4, dim=1)
        chance = torch.where(torch.rand(n, words, generator=generator) < 0.7, shared, chance)
    return noise[:, 1:] + 0.7 * noise[:, :-1], chance < 0.15


def test_alone_is_welchs_test() -> None:
    evidence, has_word = draw(0)
    found = word_tests(evidence, has_word, in_sample=nothing(N), labels="alone")
    for t in range(V):
        mask = has_word[:, t]
        slow = ttest_ind(
            evidence[mask, t], evidence[~mask, t], equal_var=False, alternative="greater"
        )
        assert float(found.t[t]) == pytest.approx(float(slow.statistic))
        assert float(found.p[t]) == pytest.approx(float(slow.pvalue))
        assert float(found.degrees[t]) == pytest.approx(float(slow.df))
        assert found.n[t] == mask.sum()
    assert np.allclose(found.q, false_discovery_control(found.p.numpy()))


def slow_coefficient(evidence: Tensor, has_word: Tensor, t: int, others: list[int]) -> list[float]:
    """Least squares on the word's label beside others: coefficient, its t with HC3, degrees."""
    design = has_word[:, [t, *others]].double().numpy()
    fit = LinearRegression().fit(design, evidence[:, t])
    left = evidence[:, t].numpy() - fit.predict(design)
    full = np.column_stack([np.ones(len(design)), design])
    free = len(design) - np.linalg.matrix_rank(full)
    inverse = np.linalg.pinv(full.T @ full)
    leverage = np.einsum("ij,jk,ik->i", full, inverse, full)
    meat = full.T @ np.diag((left / (1 - leverage)) ** 2) @ full
    error = np.sqrt((inverse @ meat @ inverse)[1, 1])
    smaller = min(design[:, 0].sum(), len(design) - design[:, 0].sum()) - 1
    return [fit.coef_[0], fit.coef_[0] / error, min(smaller, free)]


def test_together_is_multiple_regression() -> None:
    evidence, has_word = draw(1, together=True)
    found = word_tests(evidence, has_word, in_sample=nothing(N))
    for t in range(V):
        others = [s for s in range(V) if s != t]
        slow = slow_coefficient(evidence, has_word, t, others)
        assert [float(x[t]) for x in (found.value, found.t, found.degrees)] == pytest.approx(slow)


def test_a_group_is_compared_within_itself() -> None:
    """Complete groups: labels of a group sum to one, so that without groups nothing is told."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randint(4, (3, N), generator=generator)
    has_word = torch.cat([torch.nn.functional.one_hot(part, 4) for part in own], dim=1).bool()
    evidence = torch.randn(N, V, generator=generator, dtype=torch.float64)
    evidence[:, 5] += has_word[:, 5]
    groups = torch.arange(V) // 4
    found = word_tests(evidence, has_word, in_sample=nothing(N), groups=groups)
    for t in range(V):
        others = [s for s in range(V) if groups[s] != groups[t]]
        slow = slow_coefficient(evidence, has_word, t, others)
        assert [float(x[t]) for x in (found.value, found.t, found.degrees)] == pytest.approx(slow)
    assert found.starred().nonzero().flatten().tolist() == [5]
    confounded = word_tests(evidence, has_word, in_sample=nothing(N))
    assert confounded.p.isnan().all() and not confounded.starred(1.0).any()


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_spreads_may_differ(ratio: float) -> None:
    """Fifty images with a word, which vary more or less than the other 450."""
    hits = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        has_word = torch.stack(
            [torch.randperm(500, generator=generator) < 50 for _ in range(10)], 1
        )
        evidence = torch.randn(500, 10, generator=generator)
        evidence = torch.where(has_word, ratio * evidence, evidence)
        hits += int((word_tests(evidence, has_word, in_sample=nothing(500)).p <= 0.05).sum())
    assert binomtest(hits, 400, 0.05).pvalue > 1e-3, hits


def false_share(together: bool, labels: str) -> float:
    """The mean share of false discoveries, at 0.1; in each cluster one of four words is planted."""
    shares = []
    for seed in range(40):
        evidence, has_word = draw(100 + seed, n=600, words=40, together=together)
        evidence[:, ::4] += has_word[:, ::4]
        # neighbours of a planted word carry its evidence
        for neighbour in (1, 2, 3):
            evidence[:, neighbour::4] += 0.5 * has_word[:, ::4]
        found = word_tests(evidence, has_word, in_sample=nothing(600), labels=labels)
        stars = found.starred(0.1)
        assert float(stars[::4].double().mean()) > 0.8
        stars[::4] = False
        shares.append(float(stars.sum()) / max(1, int(found.starred(0.1).sum())))
    return float(np.mean(shares))


@pytest.mark.slow
def test_false_discoveries_are_controlled() -> None:
    assert false_share(together=True, labels="together") < 0.14
    assert false_share(together=False, labels="alone") < 0.14


def test_words_that_come_together_need_the_regression() -> None:
    assert false_share(together=True, labels="alone") > 0.4


@pytest.mark.slow
def test_nothing_is_found_in_nothing() -> None:
    worlds = [draw(500 + seed) for seed in range(200)]
    for labels in ("alone", "together"):
        any_star = [
            bool(word_tests(e, h, in_sample=nothing(N), labels=labels).starred(0.1).any())
            for e, h in worlds
        ]
        assert sum(any_star) <= 34  # 20 expected; 34 is past the 0.1 % tail


def test_a_word_without_a_contrast_has_no_test() -> None:
    evidence, has_word = draw(2)
    has_word[:, 3], has_word[:, 4], has_word[:, 5] = False, True, has_word[:, 6]
    for labels, untested in (("together", {3, 4, 5, 6}), ("alone", {3, 4})):
        found = word_tests(evidence, has_word, in_sample=nothing(N), labels=labels)
        assert set(found.p.isnan().nonzero().flatten().tolist()) == untested
        rest = [t for t in range(V) if t not in untested]
        assert torch.equal(found.q.isnan(), found.p.isnan())
        assert [note is None for note in found.notes] == (~found.p.isnan()).tolist()
        assert np.allclose(found.q[rest], false_discovery_control(found.p[rest].numpy()))


def test_too_few_images_give_no_test() -> None:
    evidence, has_word = draw(3, n=50, words=60)
    found = word_tests(evidence, has_word, in_sample=nothing(50), minimum=1)
    assert found.p.isnan().all() and all("tell this one's" in str(note) for note in found.notes)
    evidence, has_word = draw(3)
    has_word[:, 0], has_word[:, 1] = torch.arange(N) % 40 < 2, torch.arange(N) % 20 > 0
    has_word[0, 0] = False
    for labels in ("alone", "together"):
        found = word_tests(evidence, has_word, in_sample=nothing(N), labels=labels)
        assert found.notes[0] == "not tested: 19 images to compare, 20 needed"
        assert found.p[0].isnan() and found.p[1:].isfinite().all() and found.notes[1] is None
        assert found.value.isfinite().all()


def test_what_cannot_be_used_is_refused() -> None:
    evidence, has_word = draw(0)
    with pytest.raises(SINGValueError, match=r"labels in \('alone', 'together'\), got 'none'"):
        word_tests(evidence, has_word, in_sample=nothing(N), labels="none")
    with pytest.raises(SINGValueError, match="3 of 400 that it was"):
        word_tests(evidence, has_word, in_sample=torch.arange(N) < 3)
    with pytest.raises(SINGTypeError, match="has_word to be a boolean"):
        word_tests(evidence, has_word.long(), in_sample=nothing(N))
    with pytest.raises(SINGValueError, match=r"has_word of shape \(400, 12\)"):
        word_tests(evidence, has_word.T, in_sample=nothing(N))
    with pytest.raises(SINGValueError, match=r"groups\): expected labels of shape \(12,\)"):
        word_tests(evidence, has_word, in_sample=nothing(N), groups=torch.zeros(3).long())
