"""With targets, each image keeps the logit of its own class, and the batch its order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_sing import NullSpace
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.linear_head import head_weight
from captum_sing.targets import ImageSpaces
from captum_sing.testing import toy_heads

HEADS = toy_heads()
B = 5
TARGETS = [3, 0, 3, 1, 0]


@pytest.fixture(params=[name for name in HEADS if name != "one row"])
def weight(request: pytest.FixtureRequest) -> Tensor:
    return head_weight(HEADS[request.param].module)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def remove(space: NullSpace, features: Tensor) -> Tensor:
    return space.remove(features)


@pytest.mark.parametrize("targets", [TARGETS, torch.tensor(TARGETS), tuple(TARGETS)])
def test_each_image_keeps_its_own_logit_alone(weight: Tensor, targets: list[int]) -> None:
    features = gaussian(B, weight.shape[1])
    spaces = ImageSpaces.of_targets(weight, targets, B, None)
    equivalents = spaces.each(remove, features)
    moved = ((equivalents - features) @ weight.double().T).abs() / weight.double().norm()
    for image, target in enumerate(TARGETS):
        assert moved[image, target] < 1e-12
        assert moved[image].max() > 1e-3
        alone = NullSpace.from_weight(weight, classes=[target])
        torch.testing.assert_close(equivalents[image], alone.remove(features[image]))
        assert alone.nullity == weight.shape[1] - 1


@pytest.mark.parametrize("target", [2, [2], torch.tensor(2), torch.tensor([2])])
def test_one_class_is_for_all_images(weight: Tensor, target: int) -> None:
    features = gaussian(B, weight.shape[1])
    spaces = ImageSpaces.of_targets(weight, target, B, None)
    (only,) = spaces.parts
    assert only[1].tolist() == list(range(B))
    torch.testing.assert_close(spaces.each(remove, features), only[0].remove(features))


def test_each_class_is_decomposed_once(weight: Tensor) -> None:
    spaces = ImageSpaces.of_targets(weight, TARGETS, B, 1e-4)
    assert [space.classes for space, _ in spaces.parts] == [(0,), (1,), (3,)]
    assert [rows.tolist() for _, rows in spaces.parts] == [[1, 4], [3], [0, 2]]
    assert all(space.rtol == 1e-4 for space, _ in spaces.parts)


def test_same_is_one_space_for_all(weight: Tensor) -> None:
    space = NullSpace.from_weight(weight)
    features, baselines = gaussian(B, space.width), gaussian(B, space.width, seed=1)
    spaces = ImageSpaces.same(space, B)
    ours = spaces.each(NullSpace.remove, features, baselines)
    torch.testing.assert_close(ours, space.remove(features, baselines))


def test_rows_stay_together_over_several_batches(weight: Tensor) -> None:
    spaces = ImageSpaces.of_targets(weight, TARGETS, B, None).to(torch.device("cpu"))
    numbers = torch.arange(B).double()
    pairs = spaces.each(lambda _, a, b: torch.stack([a, b], dim=1), numbers, 10 * numbers)
    assert pairs.tolist() == [[i, 10 * i] for i in range(B)]
    classes = spaces.each(lambda space, a: torch.full_like(a, space.classes[0]), numbers)
    assert classes.tolist() == TARGETS


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (1.0, SINGTypeError, "target to be class numbers, got torch.float32. Pass integers"),
        ([True] * B, SINGTypeError, "target to be class numbers, got torch.bool"),
        ([0, 1], SINGValueError, r"one class, or one for each of 5 images, got shape \(2,\)"),
        ([[0]] * B, SINGValueError, r"got shape \(5, 1\). Name one class an image"),
        (99, SINGValueError, r"target to be integers in \[0, 4\], got 99"),
        ([0, 1, 2, 3, 5], SINGValueError, r"target to be integers in \[0, 4\], got 5"),
        (-1, SINGValueError, r"target to be integers in \[0, 4\], got -1"),
    ],
)
def test_refuses(target: object, kind: type[Exception], message: str) -> None:
    weight = head_weight(HEADS["wide"].module)
    with pytest.raises(kind, match=message):
        ImageSpaces.of_targets(weight, target, B, None)  # type: ignore[arg-type]
