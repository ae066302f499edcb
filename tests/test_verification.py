"""Logit drift: largest change over largest logit, over what was declared invariant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from captum_sing import NullSpace, Verification
from captum_sing.errors import SINGValueError
from captum_sing.linear_head import LinearHead
from captum_sing.targets import ImageSpaces
from captum_sing.testing import toy_heads
from captum_sing.verification import logit_drift, measure

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


def linear_head(classes: int = C) -> nn.Linear:
    head = nn.Linear(12, classes)
    nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(3))
    return head.requires_grad_(False)


class TestMeasure:
    HEAD = linear_head()
    FEATURES = gaussian(4, 12) + 1
    SPACE = NullSpace.from_layer(HEAD)
    SPACES = ImageSpaces.same(SPACE, 4)
    REMOVED = -SPACE.project(FEATURES)

    def measure(
        self, run: Callable[[Tensor], Tensor], perturbations: Tensor = REMOVED, seed: int = 0
    ) -> Verification:
        head = LinearHead.of(self.HEAD)
        return measure(run, head, self.FEATURES, perturbations, self.SPACES, seed)

    def test_compares_with_perturbations_of_the_same_size(self) -> None:
        seen: list[Tensor] = []

        def run(features: Tensor) -> Tensor:
            seen.append(features - self.FEATURES)
            return self.HEAD(features)

        drift = self.measure(run)
        assert drift.null.max() < 1e-6 < 1e-2 < min(drift.random.min(), drift.principal.min())
        assert drift.residual.max() < 1e-6
        none, *others = seen
        assert not none.any()
        for other in others:
            torch.testing.assert_close(other.norm(dim=1), self.REMOVED.norm(dim=1))
        assert self.SPACE.project(others[2]).norm() < 1e-5 < self.SPACE.project(others[1]).norm()
        assert not torch.allclose(self.measure(run, seed=1).random, drift.random)

    def test_residual_is_what_the_head_alone_does_not_make(self) -> None:
        drift = self.measure(lambda f: 2 * self.HEAD(f))
        torch.testing.assert_close(drift.residual, torch.full_like(drift.residual, 0.5))
        assert drift.null.max() < 1e-6
        other = linear_head(C + 1)
        residual = self.measure(lambda f: other(f)).residual
        assert residual.shape == (4,) and residual.isinf().all()
        blank = self.measure(lambda f: torch.zeros(4, C + 1))
        assert blank.null.isnan().all() and blank.residual.isinf().all()

    @pytest.mark.parametrize("columns", [4, 9])
    def test_chosen_classes_need_the_heads_rows(self, columns: int) -> None:
        """Row 4 of the head is no column, or another one, of what the model returns."""
        message = f"logits of the layer's 5 classes, of which some are kept, got {columns}. Leave"
        for spaces in (
            ImageSpaces.same(NullSpace.from_layer(self.HEAD, classes=[3, 4]), 4),
            ImageSpaces.of_targets(self.HEAD.weight, 4, 4, None),
        ):
            with pytest.raises(SINGValueError, match=message):
                measure(
                    linear_head(columns),
                    LinearHead.of(self.HEAD),
                    self.FEATURES,
                    self.REMOVED,
                    spaces,
                )


def test_tells_of_a_residual_above_rounding() -> None:
    rounding, other = torch.tensor([0.01, math.nan]), torch.tensor([0.3, math.nan])
    text = "relative logit drift: null 1.0e-02, random 1.0e-02, principal 1.0e-02"
    half = Verification(rounding, rounding, rounding, rounding, rounding=0.05)
    assert str(half) == text
    other_head = "; the head alone does not make the model's logits: residual"
    assert str(replace(half, rounding=1e-4)) == f"{text}{other_head} 1.0e-02"
    assert str(replace(half, residual=other)) == f"{text}{other_head} 3.0e-01"
    assert str(replace(half, tied=True)).startswith(f"{text}; the heads' inputs are tied")
    unknown = torch.full((2,), math.nan)
    assert str(replace(half, residual=unknown)) == text


@pytest.mark.parametrize(
    ("dtype", "most"),
    [(torch.float16, 0.05), (torch.bfloat16, 0.05), (torch.float32, 2e-4), (torch.float64, 1e-12)],
)
def test_rounding_is_that_of_the_coarsest_precision(dtype: torch.dtype, most: float) -> None:
    """What a list that is not quite averaged leaves is told; what rounding leaves is not."""
    head = linear_head().to(dtype)
    features = (gaussian(64, 12) + 1).to(dtype)
    spaces = ImageSpaces.same(NullSpace.from_layer(head), 64)
    removed = -NullSpace.from_layer(head).project(features)

    def told(scale: float, given: Tensor) -> bool:
        run = lambda f: scale * head(f.to(dtype))  # noqa: E731
        return "residual" in str(measure(run, LinearHead.of(head), given, removed, spaces))

    for given in (features, features.double()):
        assert not told(1.0, given)
        assert told(1 + 2 * most, given)


def test_prints_means_that_pass_over_nan() -> None:
    drift = torch.tensor([1e-7, 3e-7, math.nan])
    text = str(Verification(drift, torch.tensor([0.5]), torch.tensor([2.0]), drift))
    assert text == "relative logit drift: null 2.0e-07, random 5.0e-01, principal 2.0e+00"
