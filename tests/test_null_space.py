"""Theorems about null spaces, each with its negative control, on heads of every kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_sing import NullSpace
from captum_sing.errors import NoNullSpaceError, SINGTypeError, SINGValueError
from captum_sing.linear_head import head_weight
from captum_sing.testing import ToyHead, toy_heads

HEADS = toy_heads()
SEVERAL = [name for name in HEADS if name != "one row"]


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> ToyHead:
    return HEADS[request.param]


@pytest.fixture(params=SEVERAL)
def rows(request: pytest.FixtureRequest) -> Tensor:
    """The weight of a head of two classes or more, as stored."""
    return head_weight(HEADS[request.param].module)


@pytest.fixture
def weight(head: ToyHead) -> Tensor:
    return head_weight(head.module).double()


@pytest.fixture
def space(head: ToyHead) -> NullSpace:
    return NullSpace.from_layer(head.module)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def projector(space: NullSpace) -> Tensor:
    return space.project(torch.eye(space.width, dtype=torch.float64))


def size(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def close(actual: Tensor, wanted: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(actual, wanted, rtol=0, atol=atol)


class TestProjector:
    def test_has_the_true_rank(self, head: ToyHead, space: NullSpace) -> None:
        assert space.rank == head.rank
        assert space.rank + space.nullity == space.width == head_weight(head.module).shape[1]

    def test_is_an_orthogonal_projection(self, space: NullSpace) -> None:
        p = projector(space)
        close(p @ p, p)
        close(p, p.T)
        assert float(p.trace()) == pytest.approx(space.nullity)

    def test_is_invisible_to_the_head(self, space: NullSpace, weight: Tensor) -> None:
        limit = (space.rtol + 1e-14) * size(weight)
        assert size(weight @ projector(space)) <= limit
        visible = size(weight) if space.rank == 1 else float(space.singular_values[space.rank - 1])
        assert visible > limit
        moved = (weight @ space.principal_basis).norm(dim=0)
        assert moved.min() >= visible * (1 - 1e-9)

    def test_equals_the_slow_one(self, head: ToyHead, space: NullSpace, weight: Tensor) -> None:
        slow = np.zeros((space.width, space.width))
        for direction in np.linalg.svd(weight.numpy(), full_matrices=True)[2][head.rank :]:
            slow += np.outer(direction, direction)
        close(projector(space), torch.from_numpy(slow), atol=1e-5)

    def test_bases_split_the_space(self, space: NullSpace) -> None:
        principal, null = space.principal_basis, space.null_basis
        assert principal.shape == (space.width, space.rank)
        assert null.shape == (space.width, space.nullity)
        close(principal.T @ principal, torch.eye(space.rank).double())
        close(null.T @ null, torch.eye(space.nullity).double())
        close(principal.T @ null, torch.zeros(space.rank, space.nullity).double())
        close(null @ null.T, projector(space))

    def test_depends_on_no_scale(self, head: ToyHead, space: NullSpace, weight: Tensor) -> None:
        kind = torch.float64 if head.module.weight.dtype == torch.float64 else torch.float32
        for scale in (2.0**-24, 3.0, 2.0**20):
            scaled = NullSpace.from_weight((weight * scale).to(kind))
            assert scaled.rank == space.rank
            close(projector(scaled), projector(space), atol=1e-2 if scale == 3.0 else 1e-9)

    def test_depends_on_no_order_of_classes(self, space: NullSpace, weight: Tensor) -> None:
        flipped = NullSpace.from_weight(weight.flip(0), rtol=space.rtol)
        close(projector(flipped), projector(space), atol=1e-5)

    def test_depends_on_the_weight(self, space: NullSpace, weight: Tensor) -> None:
        other = NullSpace.from_weight(weight.flip(1), rtol=space.rtol)
        assert size(projector(other) - projector(space)) > 0.1


class TestRemoval:
    def test_moves_no_logit(self, head: ToyHead, space: NullSpace, weight: Tensor) -> None:
        features = gaussian(6, space.width) + 2.0
        removal = space.remove(features) - features
        before = features @ weight.T
        allowed = 10 * space.rtol * float(before.abs().max())
        assert float((removal @ weight.T).abs().max()) <= allowed
        # of the same norm, a random and a principal perturbation do move them
        noise = gaussian(6, space.width, seed=1)
        for direction in (noise, noise - space.project(noise)):
            other = direction / direction.norm(dim=1, keepdim=True) * removal.norm(dim=1)[:, None]
            assert float((other @ weight.T).abs().max()) > 1000 * allowed

    def test_of_everything_ignored_leaves_nothing_of_it(self, space: NullSpace) -> None:
        features = gaussian(6, space.width) + 2.0
        equivalents = space.remove(features)
        close(space.project(equivalents), torch.zeros_like(features))
        close(space.remove(equivalents), equivalents)
        assert float((equivalents - features).norm(dim=1).min()) > 0.1

    def test_puts_the_baselines_null_part_in(self, space: NullSpace) -> None:
        features, baselines = gaussian(6, space.width), gaussian(6, space.width, seed=1)
        equivalents = space.remove(features, baselines)
        close(space.project(equivalents), space.project(baselines))
        close(equivalents @ space.principal_basis, features @ space.principal_basis)
        close(space.remove(features, features), features)
        one_for_all = space.remove(features, baselines[0])
        close(one_for_all[3], space.remove(features[3], baselines[0]))

    @pytest.mark.parametrize("given", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_is_float32_or_better(self, given: torch.dtype) -> None:
        space = NullSpace.from_layer(HEADS["wide"].module)
        features = gaussian(2, 3, space.width).to(given)
        better = torch.promote_types(given, torch.float32)
        assert space.project(features).dtype == space.remove(features).dtype == better
        close(space.project(features).double(), space.project(features.double()), atol=1e-6)


class TestRank:
    def test_tolerance_is_the_size_of_rounding_noise(self, head: ToyHead, space: NullSpace) -> None:
        weight = head_weight(head.module)
        eps = 2.0**-52 if weight.dtype == torch.float64 else 2.0**-23
        assert space.rtol == pytest.approx(0.5 * math.sqrt(sum(weight.shape) + 1) * eps)

    def test_worst_case_tolerance_drops_visible_directions(self) -> None:
        classes, width = 60, 2048
        left, _, right = torch.linalg.svd(gaussian(classes, width), full_matrices=False)
        spectrum = torch.logspace(0, -4, classes, dtype=torch.float64)
        weight = ((left * spectrum) @ right).float()
        worst = NullSpace.from_weight(weight, rtol=width * torch.finfo(torch.float32).eps)
        ours = NullSpace.from_weight(weight)
        features = gaussian(5, width)
        drifts = [
            float((space.project(features) @ weight.double().T).abs().max())
            / float((features @ weight.double().T).abs().max())
            for space in (worst, ours)
        ]
        assert worst.rank < ours.rank == classes
        assert drifts[0] > 1e-5
        assert drifts[1] < 1e-12

    def test_given_tolerance_is_used(self, weight: Tensor) -> None:
        singular_values = np.linalg.svd(weight.numpy(), compute_uv=False)
        for rtol in (0.01, 0.3, 0.9):
            wanted = sum(1 for s in singular_values if s > rtol * singular_values[0])
            assert NullSpace.from_weight(weight, rtol=rtol).rank == wanted

    def test_gap_is_the_step_at_the_cut(self, space: NullSpace) -> None:
        values = space.singular_values.tolist()
        wanted = values[space.rank - 1] / values[space.rank] if space.rank < len(values) else np.inf
        assert space.gap == pytest.approx(wanted)
        assert space.gap > 1e4

    def test_gap_above_an_exact_zero_is_infinite(self) -> None:
        assert NullSpace.from_weight(torch.tensor([[1.0, 0.0], [0.0, 0.0]])).gap == np.inf


class TestEnergy:
    @pytest.mark.parametrize("energy", [0.3, 0.9, 0.99, 0.9999, 1.0])
    def test_takes_the_smallest_rank_that_holds_it(
        self, weight: Tensor, space: NullSpace, energy: float
    ) -> None:
        squares = [s**2 for s in np.linalg.svd(weight.numpy(), compute_uv=False)]
        slow = next(
            r for r in range(1, len(squares) + 1) if sum(squares[:r]) >= energy * sum(squares)
        )
        part = NullSpace.from_weight(weight, energy=energy, rtol=space.rtol)
        assert part.rank == min(slow, space.rank)
        assert part.energy == energy
        lost = float((weight @ projector(part)).square().sum())
        assert lost <= (1 - energy + 1e-9) * sum(squares)

    def test_makes_a_null_space_where_there_is_none(self) -> None:
        weight = gaussian(30, 8)
        with pytest.raises(NoNullSpaceError):
            NullSpace.from_weight(weight)
        space = NullSpace.from_weight(weight, energy=0.8)
        assert 0 < space.nullity < 8
        assert size(weight @ projector(space)) > 1.0  # approximate: it does move the logits


class TestInvariance:
    @pytest.mark.parametrize("classes", [[0], [1, 0], (1,), torch.tensor([0, 1])])
    def test_classes_keep_their_own_logits_alone(self, rows: Tensor, classes: list[int]) -> None:
        space = NullSpace.from_weight(rows, classes=classes)
        chosen = [int(k) for k in classes]
        assert space.classes == tuple(chosen)
        assert space.rank == len(chosen)
        logits = rows.double().T / size(rows.double())
        moved = space.project(gaussian(4, space.width)) @ logits
        assert float(moved[:, chosen].abs().max()) < 1e-6
        assert float(moved.abs().max()) > 1e-4

    def test_probabilities_do_not_move(self, rows: Tensor) -> None:
        space = NullSpace.from_weight(rows, invariant_to="probabilities")
        every = NullSpace.from_weight(rows)
        rows = rows.double()
        assert space.rank in (every.rank, every.rank - 1)
        features = gaussian(4, space.width) / size(rows)
        before, after = features @ rows.T, space.remove(features) @ rows.T
        close(after.softmax(1), before.softmax(1), atol=1e-6)
        visible = features - space.project(features)
        assert (
            float(((features + visible) @ rows.T).softmax(1).sub(before.softmax(1)).abs().max())
            > 1e-3
        )

    def test_a_shift_of_all_logits_is_free(self) -> None:
        weight = gaussian(5, 12)
        space = NullSpace.from_weight(weight, invariant_to="probabilities")
        assert space.nullity == NullSpace.from_weight(weight).nullity + 1
        moved = space.project(gaussian(3, 12)) @ weight.T
        close(moved, moved.mean(dim=1, keepdim=True).expand_as(moved))
        centred = weight.numpy() - weight.numpy().mean(axis=0)
        close(space.singular_values, torch.from_numpy(np.linalg.svd(centred, compute_uv=False)))
        assert float(moved.abs().min()) > 1e-3

    def test_odds_within_classes_are_kept(self) -> None:
        weight, features = gaussian(6, 12), gaussian(4, 12, seed=1)
        space = NullSpace.from_weight(weight, classes=[4, 1, 2], invariant_to="probabilities")
        before, after = features @ weight.T, space.remove(features) @ weight.T
        within = [4, 1, 2]
        close(after[:, within].softmax(1), before[:, within].softmax(1))
        assert float((after.softmax(1) - before.softmax(1)).abs().max()) > 1e-2

    def test_restrict_shows_what_is_kept(self) -> None:
        weight, logits = gaussian(4, 9), gaussian(3, 4, seed=1)
        close(NullSpace.from_weight(weight).restrict(logits), logits)
        kept = NullSpace.from_weight(weight, classes=[2, 0]).restrict(logits)
        close(kept, torch.stack([logits[:, 2], logits[:, 0]], dim=1))
        odds = NullSpace.from_weight(weight, classes=[2, 0], invariant_to="probabilities")
        half = (logits[:, 2] - logits[:, 0]) / 2
        close(odds.restrict(logits), torch.stack([half, -half], dim=1))


class TestObject:
    def test_convolution_is_the_linear_map_of_its_weight(self) -> None:
        module = HEADS["1x1 convolution"].module
        from_layer = NullSpace.from_layer(module, classes=[1, 2])
        from_weight = NullSpace.from_weight(module.weight, classes=[1, 2])
        close(projector(from_layer), projector(from_weight))
        maps = gaussian(2, from_layer.width).float()
        wanted = maps @ head_weight(module).T + module.bias
        close(module(maps[:, :, None, None]).flatten(1), wanted, atol=1e-5)

    def test_moves_as_a_copy(self, space: NullSpace) -> None:
        moved = space.to("cpu")
        close(projector(moved), projector(space))
        assert (moved.rtol, moved.energy, moved.classes) == (space.rtol, None, None)

    def test_says_what_it_is(self) -> None:
        space = NullSpace.from_weight(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), rtol=1e-3)
        assert repr(space) == (
            "NullSpace(width=3, rank=2, nullity=1, rtol=0.001, gap=inf, invariant_to='logits')"
        )


WIDE = torch.ones(3, 8) + torch.eye(3, 8)
ODDS = {"invariant_to": "probabilities"}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"weight": [[1.0]]}, SINGTypeError, "weight to be a floating-point tensor, got list"),
        ({"weight": torch.ones(2, 3).long()}, SINGTypeError, "got torch.int64. Pass layer.weight"),
        ({"weight": torch.ones(3)}, SINGValueError, r"weight of shape \(C, D\), got \(3,\)"),
        ({"weight": torch.ones(0, 3)}, SINGValueError, r"got \(0, 3\)"),
        ({"weight": torch.ones(2, 3, 3, 3)}, SINGValueError, r"got \(2, 3, 3, 3\)"),
        ({"weight": WIDE * torch.nan}, SINGValueError, "weight finite, got NaN or infinity"),
        ({"weight": WIDE * torch.inf}, SINGValueError, "weight finite, got NaN or infinity"),
        ({"weight": WIDE * 0}, SINGValueError, "got only zeros. This head ignores everything"),
        ({"classes": []}, SINGValueError, r"distinct integers in \[0, 2\], got \[\]"),
        ({"classes": [3]}, SINGValueError, r"distinct integers in \[0, 2\], got \[3\]"),
        ({"classes": [-1]}, SINGValueError, r"got \[-1\]. Name each class to keep once"),
        ({"classes": [1, 1]}, SINGValueError, r"got \[1, 1\]"),
        ({"classes": [0.5]}, SINGTypeError, r"classes to be integers, got \[0.5\]"),
        ({"classes": 2}, SINGTypeError, r"classes to be integers, got 2. Write \[3\]"),
        ({"invariant_to": "softmax"}, SINGValueError, r"in \('logits', 'probabilities'\), got 'so"),
        ({"classes": [1], **ODDS}, SINGValueError, "two or more for probabilities, got one. The"),
        ({"rtol": -0.1}, SINGValueError, r"rtol in \[0, 1\), got -0.1"),
        ({"rtol": 1.0}, SINGValueError, r"rtol in \[0, 1\), got 1.0"),
        ({"energy": 0.0}, SINGValueError, r"energy in \(0, 1\], got 0.0"),
        ({"energy": 1.1}, SINGValueError, r"energy in \(0, 1\], got 1.1"),
        ({"energy": math.nan}, SINGValueError, r"energy in \(0, 1\], got nan"),
    ],
)
def test_refuses(arguments: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"NullSpace.from_weight: expected .*{message}"):
        NullSpace.from_weight(**{"weight": WIDE, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_equal_rows_have_one_probability(count: int) -> None:
    weight = gaussian(1, 8).expand(count, 8) * 0.11
    with pytest.raises(SINGValueError, match="whose probabilities depend on .* all the same"):
        NullSpace.from_weight(weight, invariant_to="probabilities")


@pytest.mark.parametrize(
    ("shape", "options", "ways"),
    [
        ((4, 4), {}, r"energy=0\.99, .* invariance to a shift of all logits, frees one direction"),
        ((9, 4), {}, r"energy=0\.99, .* most often none with more classes than width"),
        ((9, 4), {"invariant_to": "probabilities"}, r"energy=0\.99, .* at most, and here none"),
        ((9, 4), {"energy": 1.0}, r"an energy below 1, .* at most"),
        ((9, 4), {"classes": range(5)}, r"energy=0\.99, .* more classes than width"),
    ],
)
def test_a_head_without_a_null_space_names_the_ways_on(
    shape: tuple[int, int], options: dict[str, Any], ways: str
) -> None:
    with pytest.raises(NoNullSpaceError, match=r"below its width of 4, got rank 4 from \d rows\. "):
        NullSpace.from_weight(gaussian(*shape), **options)
    with pytest.raises(NoNullSpaceError, match=ways) as raised:
        NullSpace.from_weight(gaussian(*shape), **options)
    assert "fewer than 4 classes with classes=[...] or target=..." in str(raised.value)
    assert 'invariant_to="probabilities"' in str(raised.value)


@pytest.mark.parametrize(
    "layer",
    [nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Conv2d(4, 2, 1, stride=2), nn.Conv2d(4, 2, 1, groups=2)],
)
def test_refuses_layers_that_are_no_linear_map_of_a_feature(layer: nn.Module) -> None:
    name = type(layer).__name__
    with pytest.raises(SINGTypeError, match=f"layer to be a linear map .*, got {name}. Name the"):
        NullSpace.from_layer(layer)


def test_refuses_features_of_another_width() -> None:
    space = NullSpace.from_weight(WIDE)
    with pytest.raises(SINGValueError, match=r"project: expected features of shape \(..., 8\)"):
        space.project(torch.ones(2, 7))
