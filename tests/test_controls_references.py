"""One image against references without the word: a slow loop, errors and power."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from captum_sing.controls import References, presence
from captum_sing.errors import SINGTypeError, SINGValueError

N, V = 1200, 6


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def nothing(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


LABELS = torch.arange(N) % V


def test_equals_a_slow_loop() -> None:
    evidence, images = gaussian(N, V) * 3 + gaussian(V), gaussian(4, V, seed=1)
    references = References.of(evidence, presence(LABELS, V), in_sample=nothing(N))
    tests = references.test(images, in_sample=nothing(4))
    for t in range(V):
        without = [float(evidence[i, t]) for i in range(N) if LABELS[i] != t]
        mean = sum(without) / len(without)
        std = math.sqrt(sum((e - mean) ** 2 for e in without) / (len(without) - 1))
        assert tests.n[t] == len(without)
        for i in range(4):
            z = (float(images[i, t]) - mean) / std
            assert float(tests.z[i, t]) == pytest.approx(z)
            assert float(tests.p[i, t]) == pytest.approx(float(norm.sf(z)))
    assert tests.notes == (None,) * V


def test_a_common_word_is_found_among_references_without_it_only() -> None:
    """An eighth of all images have it; against all images a z is uniform by construction."""
    labels = torch.arange(4000) % 8
    evidence = gaussian(4000, 8) + 6 * torch.nn.functional.one_hot(labels, 8)
    reference, tested = torch.arange(4000) < 2000, torch.arange(4000) >= 2000
    known = References.of(evidence[reference], presence(labels[reference], 8),
                          in_sample=nothing(2000))  # fmt: skip
    p = known.test(evidence[tested], in_sample=nothing(2000)).p
    own = torch.nn.functional.one_hot(labels[tested], 8).bool()
    assert float((p[own] < 0.01).double().mean()) > 0.95
    assert kstest(p[~own], "uniform").pvalue > 0.001
    everyone = References.of(evidence[reference], torch.zeros(2000, 8, dtype=torch.bool),
                             in_sample=nothing(2000))  # fmt: skip
    q = everyone.test(evidence[tested], in_sample=nothing(2000)).p
    assert float((q[own] < 0.01).double().mean()) < 0.6


def test_constant_baselines_change_nothing() -> None:
    evidence, shift = gaussian(N, V), 50 * gaussian(V, seed=2)
    z = [
        References.of(evidence + c, presence(LABELS, V), in_sample=nothing(N))
        .test(evidence[:3] + c, in_sample=nothing(3))
        .z
        for c in (0.0, shift)
    ]
    assert torch.allclose(*z, atol=1e-9)


def test_too_few_references_give_no_star() -> None:
    evidence = gaussian(600, V)
    references = References.of(evidence, presence(LABELS[:600], V), in_sample=nothing(600))
    assert references.n.tolist() == [500] * V
    rare = LABELS[:600].clone()
    rare[1] = 0  # one image more has the first word, one less the second
    tests = References.of(evidence, presence(rare, V), in_sample=nothing(600)).test(
        evidence[:2], in_sample=nothing(2)
    )
    assert tests.notes[0] == "no star: 499 of 500 references without the word"
    assert tests.notes[1] is None and tests.n[1] == 501
    assert tests.p[:, 0].isnan().all() and tests.z.isfinite().all()
    unlabelled = References.of(
        evidence, presence(-torch.ones(600).long(), V), in_sample=nothing(600)
    )
    assert unlabelled.n.tolist() == [0] * V
    empty = unlabelled.test(evidence[:2], in_sample=nothing(2))
    assert empty.z.isnan().all() and empty.p.isnan().all() and all(empty.notes)
    flat = References.of(torch.ones(600, V), presence(LABELS[:600], V), in_sample=nothing(600))
    assert flat.test(torch.ones(2, V), in_sample=nothing(2)).p.isnan().all()


def test_in_sample_is_refused_on_both_sides() -> None:
    evidence, has_word = gaussian(N, V), presence(LABELS, V)
    with pytest.raises(SINGValueError, match=f"1 of {N} that it was"):
        References.of(evidence, has_word, in_sample=torch.arange(N) == 5)
    references = References.of(evidence, has_word, in_sample=nothing(N))
    with pytest.raises(SINGValueError, match="1 of 2 that it was"):
        references.test(evidence[:2], in_sample=torch.tensor([True, False]))
    with pytest.raises(SINGTypeError, match="has_word to be a boolean tensor, got torch.int64"):
        References.of(evidence, LABELS, in_sample=nothing(N))
    with pytest.raises(SINGValueError, match=r"has_word of shape \(1200, 6\)"):
        References.of(evidence, has_word[:, 1:], in_sample=nothing(N))
    with pytest.raises(SINGValueError, match=r"evidence of shape \(any, 6\)"):
        references.test(evidence[:, 1:], in_sample=nothing(N))
    with pytest.raises(SINGTypeError, match="labels to be a tensor of integers, got list"):
        presence([0, 1], 2)
