"""Logit drift: largest change over largest logit, over what was declared invariant."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from captum_sing import NullSpace, Verification
from captum_sing.testing import toy_heads
from captum_sing.verification import logit_drift

HEADS = toy_heads()
C = 5
WEIGHT = torch.randn(C, 12, generator=torch.Generator().manual_seed(0))


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def slow_drift(before: list[float], after: list[float], kept: list[int], shift: bool) -> float:
    b, a = [before[k] for k in kept], [after[k] for k in kept]
    if shift:
        b, a = ([x - sum(xs) / len(xs) for x in xs] for xs in (b, a))
    change = max(abs(x - y) for x, y in zip(a, b, strict=True))
    return change / max(abs(x) for x in b)


@pytest.mark.parametrize("invariant_to", ["logits", "probabilities"])
@pytest.mark.parametrize("classes", [None, [0, 3], [2, 1, 4]])
def test_equals_a_slow_loop(classes: list[int] | None, invariant_to: str) -> None:
    space = NullSpace.from_weight(WEIGHT, classes=classes, invariant_to=invariant_to)
    before, after = gaussian(7, C), gaussian(7, C, seed=1)
    drift = logit_drift(space, before, after)
    assert drift.shape == (7,)
    kept, shift = classes or list(range(C)), invariant_to == "probabilities"
    slow = [
        slow_drift(b, a, kept, shift) for b, a in zip(before.tolist(), after.tolist(), strict=True)
    ]
    assert drift.tolist() == pytest.approx(slow, rel=1e-6)


def test_forgives_a_shift_of_all_logits_to_probabilities_alone() -> None:
    logits = gaussian(3, C)
    forgiving = NullSpace.from_weight(WEIGHT, invariant_to="probabilities")
    strict = NullSpace.from_weight(WEIGHT)
    assert logit_drift(forgiving, logits, logits + 7).max() < 1e-6
    assert logit_drift(strict, logits, logits + 7).min() > 1


def test_looks_at_the_kept_classes_alone() -> None:
    logits = gaussian(3, C)
    moved = logits.clone()
    moved[:, 4] += 100
    assert logit_drift(NullSpace.from_weight(WEIGHT, classes=[0, 1]), logits, moved).max() == 0
    assert logit_drift(NullSpace.from_weight(WEIGHT, classes=[4]), logits, moved).min() > 1


def test_has_no_unit_and_no_floor() -> None:
    space, before, after = NullSpace.from_weight(WEIGHT), gaussian(3, C), gaussian(3, C, seed=1)
    tiny = logit_drift(space, before * 1e-30, after * 1e-30)
    torch.testing.assert_close(tiny, logit_drift(space, before, after))


def test_of_nothing_is_nan() -> None:
    space, zero = NullSpace.from_weight(WEIGHT), torch.zeros(1, C)
    assert logit_drift(space, zero, zero).isnan()
    assert logit_drift(space, zero, zero + 1).isinf()


@pytest.mark.parametrize("name", HEADS)
def test_is_rounding_noise_for_removal_and_large_for_the_rest(name: str) -> None:
    module = HEADS[name].module.double()
    space = NullSpace.from_weight(module.weight, rtol=1e-11 if "float64" in name else 1e-6)
    shape = (4, space.width, 1, 1) if module.weight.dim() == 4 else (4, space.width)
    features, noise = gaussian(*shape).double() + 1, gaussian(*shape, seed=1).double()

    def logits(flat: Tensor) -> Tensor:
        with torch.no_grad():
            return module(flat.view(shape)).flatten(1)

    removed = space.project(features.flatten(1))
    size = removed.norm(dim=1, keepdim=True)
    noise = noise.flatten(1)
    random = noise / noise.norm(dim=1, keepdim=True) * size
    before = logits(features)
    null = logit_drift(space, before, logits(features.flatten(1) - removed))
    other = logit_drift(space, before, logits(features.flatten(1) + random))
    assert null.max() < 1e-5
    assert other.min() > 1000 * null.max()


def test_prints_means_that_pass_over_nan() -> None:
    drift = torch.tensor([1e-7, 3e-7, math.nan])
    text = str(Verification(drift, torch.tensor([0.5]), torch.tensor([2.0])))
    assert text == "relative logit drift: null 2.0e-07, random 5.0e-01, principal 2.0e+00"
