"""Averaged heads are one linear map: of their concatenated inputs, or of the one they share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_sing import NullSpace
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.linear_head import LinearHead, head_weight
from captum_sing.testing import toy_heads


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers(*widths: int, classes: int = 4) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Linear(width, classes) for width in widths]


def mean_of_outputs(heads: list[nn.Module], inputs: list[Tensor]) -> Tensor:
    with torch.no_grad():
        outputs = [head(given).flatten(1) for head, given in zip(heads, inputs, strict=True)]
    return torch.stack(outputs).mean(dim=0)


@pytest.mark.parametrize("widths", [(9,), (9, 9), (9, 5), (3, 8, 4, 5)])
def test_is_the_mean_of_the_layers(widths: tuple[int, ...]) -> None:
    heads, inputs = layers(*widths), [gaussian(6, width, seed=width) for width in widths]
    head, features = LinearHead.of(heads), torch.cat(inputs, dim=1)
    wanted = mean_of_outputs(heads, inputs)
    torch.testing.assert_close(head.logits(features).float(), wanted)
    torch.testing.assert_close(head.join(inputs, shared=False), features)
    for part, given in zip(head.split(features), inputs, strict=True):
        assert torch.equal(part, given)
    assert head.weight().shape == head.weight(sum(widths)).shape == (4, sum(widths))


@pytest.mark.parametrize("count", [2, 3])
def test_is_the_mean_of_the_weights_where_all_read_one_tensor(count: int) -> None:
    heads, features = layers(*[7] * count), gaussian(6, 7)
    head = LinearHead.of(heads)
    wanted = mean_of_outputs(heads, [features] * count)
    torch.testing.assert_close(head.logits(features).float(), wanted)
    assert head.join([features] * count, shared=True) is features
    assert all(part is features for part in head.split(features))
    assert head.widths == [7 * count, 7]


def test_has_a_shared_width_only_where_all_widths_agree() -> None:
    assert LinearHead.of(layers(7)).widths == [7]
    assert LinearHead.of(layers(7, 5)).widths == [12]


def test_mixes_linear_layers_and_convolutions() -> None:
    heads = [nn.Linear(6, 3, bias=False), nn.Conv2d(4, 3, 1)]
    inputs = [gaussian(5, 6), gaussian(5, 4, 1, 1, seed=1)]
    head = LinearHead.of(heads)
    features = head.join(inputs, shared=False)
    assert features.shape == (5, 10)
    torch.testing.assert_close(head.logits(features).float(), mean_of_outputs(heads, inputs))
    alike = LinearHead.of([nn.Conv2d(4, 3, 1), nn.Conv2d(2, 3, 1)])
    maps = alike.join([gaussian(5, 4, 1, 1), gaussian(5, 2, 1, 1)], shared=False)
    assert maps.shape == (5, 6, 1, 1)
    assert [part.shape[1:] for part in alike.split(maps)] == [(4, 1, 1), (2, 1, 1)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_adds_no_rounding_of_its_own(dtype: torch.dtype) -> None:
    """16-bit weights are exact float32 numbers, and so are their sums halved; rank stays rank."""
    torch.manual_seed(0)
    heads: list[nn.Module] = [nn.Linear(16, 4, dtype=dtype) for _ in range(2)]
    head = LinearHead.of(heads)
    one, two = (head_weight(layer).double() for layer in heads)
    assert head.weight().dtype == torch.promote_types(dtype, torch.float32)
    assert torch.equal(head.weight().double(), torch.cat([one, two], dim=1) / 2)
    torch.testing.assert_close(head.weight(16).double(), (one + two) / 2, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", toy_heads())
def test_of_one_layer_is_that_layer(name: str) -> None:
    module = toy_heads()[name].module
    for head in (LinearHead.of(module), LinearHead.of([module])):
        assert torch.equal(head.weight(), head_weight(module))
        assert head.widths == [module.weight.shape[1]]


def test_null_spaces_of_a_list_are_joint() -> None:
    """Each head of a square or tall weight sees everything; together they do not."""
    heads = layers(5, 4, classes=6)
    space = NullSpace.from_layer(heads)
    assert (space.width, space.rank, space.nullity) == (9, 6, 3)
    inputs = [gaussian(8, 5), gaussian(8, 4, seed=1)]
    removed = LinearHead.of(heads).split(space.remove(torch.cat(inputs, dim=1)))
    assert (removed[0] - inputs[0]).norm() > 0.1
    torch.testing.assert_close(
        mean_of_outputs(heads, list(removed)), mean_of_outputs(heads, inputs)
    )
    approximate = NullSpace.from_layer(heads, energy=0.7)
    assert space.nullity < approximate.nullity < 9
    assert NullSpace.from_layer(heads, classes=[0, 3]).nullity == 7
    assert NullSpace.from_layer(heads, invariant_to="probabilities").nullity == 4


@pytest.mark.parametrize(
    ("listed", "error", "message"),
    [
        ([], SINGValueError, r"one layer, or a list of different ones, got \[\]\. List each"),
        (layers(3) * 2, SINGValueError, r"got \['Linear', 'Linear'\]\. List each of the averaged"),
        ([*layers(3), *layers(3, classes=5)], SINGValueError, "number of classes, got 4 and 5"),
        ([*layers(3), nn.ReLU()], SINGTypeError, "to be a linear map .* got ReLU"),
        (nn.ReLU(), SINGTypeError, "to be a linear map .* got ReLU"),
        (None, SINGTypeError, "one layer, or a list of different ones, got NoneType. Pass model"),
        (5, SINGTypeError, "one layer, or a list of different ones, got int"),
        ([layers(3)], SINGTypeError, "to be a linear map .* got list"),
    ],
)
def test_refuses(listed: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^SING: .*{message}"):
        LinearHead.of(listed)
    with pytest.raises(error, match=rf"^NullSpace\.from_layer: .*{message}"):
        NullSpace.from_layer(listed)


def test_refuses_features_of_another_width() -> None:
    with pytest.raises(SINGValueError, match="features of width 14 or 7, got 9. Take that"):
        LinearHead.of(layers(7, 7)).split(gaussian(5, 9))


def test_a_null_space_may_be_of_the_one_tensor_that_all_read() -> None:
    heads = layers(7, 7)
    shared = NullSpace.from_layer(heads, width=7)
    mean = NullSpace.from_weight((head_weight(heads[0]) + head_weight(heads[1])) / 2)
    features = gaussian(3, 7)
    torch.testing.assert_close(shared.project(features), mean.project(features))
    assert NullSpace.from_layer(heads, width=14).width == NullSpace.from_layer(heads).width == 14
    assert NullSpace.from_layer(heads[0], width=7).width == 7
    for listed, widths in ((heads, r"\[14, 7\]"), (layers(7, 5), r"\[12\]"), (heads[0], r"\[7\]")):
        with pytest.raises(SINGValueError, match=f"width in {widths}, got 8"):
            NullSpace.from_layer(listed, width=8)


class TestTied:
    """Inputs that cannot change independently, as far as images show it."""

    ONE = gaussian(3, 7) + 4

    def tied(self, one: Tensor, other: Tensor) -> bool:
        head = LinearHead.of(layers(one.shape[1], other.shape[1]))
        return head.tied(torch.cat([one, other], dim=1))

    @pytest.mark.parametrize("count", [3, 20])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_are_affine_functions_of_each_other(self, dtype: torch.dtype, count: int) -> None:
        one = (gaussian(count, 7) * 3 + 1).to(dtype)
        other = one * gaussian(7, seed=1).to(dtype) + gaussian(7, seed=2).to(dtype)
        assert self.tied(one, other) and self.tied(other, one) and self.tied(one, one)
        assert not self.tied(one, gaussian(count, 7, seed=3).to(dtype))

    def test_one_coordinate_that_goes_its_own_way_unties(self) -> None:
        other = 2 * self.ONE
        other[:, 3] += torch.tensor([0.0, 0.1, 0.0])
        assert not self.tied(self.ONE, other)
        assert not self.tied(self.ONE, self.ONE.flip(1))

    def test_of_constant_coordinates_nothing_is_said(self) -> None:
        one, other = self.ONE.clone(), 2 * self.ONE
        one[:, 3], other[:, 5] = 1.0, 0.0
        assert self.tied(one, other)
        one[1, 3] += 1e-6  # rounding
        assert self.tied(one, other)
        assert not self.tied(torch.ones(3, 7), torch.zeros(3, 7))

    def test_two_images_show_nothing(self) -> None:
        assert not self.tied(self.ONE[:2], self.ONE[:2])

    def test_other_widths_and_one_tensor_are_not_asked(self) -> None:
        assert not self.tied(self.ONE, self.ONE[:, :5])
        assert not LinearHead.of(layers(7, 7)).tied(self.ONE)
        assert not LinearHead.of(layers(7)).tied(self.ONE)

    def test_two_of_three_are_enough(self) -> None:
        head = LinearHead.of(layers(7, 7, 7))
        other = gaussian(3, 7, seed=5)
        assert head.tied(torch.cat([self.ONE, other, 1 - self.ONE], dim=1))
        assert head.tied(torch.cat([self.ONE, other, 1 - self.ONE], dim=1)[:, :, None, None])
