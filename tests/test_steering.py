"""The closed-form step against the paper's gradient and a bisection, and against the head."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace, image_score
from captum_sing.errors import SINGValueError
from captum_sing.linear_head import head_weight
from captum_sing.steering import largest_angle, steer
from captum_sing.testing import ToyHead, toy_heads

HEADS = toy_heads()
B, E = 6, 30


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> ToyHead:
    return HEADS[request.param]


@pytest.fixture
def space(head: ToyHead) -> NullSpace:
    return NullSpace.from_layer(head.module)


@pytest.fixture
def translator(space: NullSpace) -> LinearTranslator:
    return LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), gaussian(E, seed=1))


@pytest.fixture
def features(space: NullSpace) -> Tensor:
    return gaussian(B, space.width, seed=2)


TEXT = gaussian(E, seed=3)


def slow_steer(
    feature: Tensor, text: Tensor, degrees: float, weight: Tensor, translator: LinearTranslator
) -> Tensor:
    """Eq. 10-13 by autograd, and the step by bisection; NaN where the angle is never reached."""
    matrix, offset = translator.weight.double(), translator.image

    def translate(x: Tensor) -> Tensor:
        return matrix @ x + offset

    def turned(x: Tensor) -> float:
        u, v = translate(feature), translate(x)
        return math.degrees(math.acos(min(1.0, float(u @ v / (u.norm() * v.norm())))))

    variable = feature.clone().requires_grad_()
    torch.cosine_similarity(translate(variable), text, dim=0).backward()
    gradient = variable.grad
    assert gradient is not None
    right = torch.linalg.svd(weight)[2]
    rank = int(torch.linalg.matrix_rank(weight, rtol=3e-7))
    direction = sum((v @ gradient) * v for v in right[rank:])
    direction = direction / direction.norm()
    low, high = 0.0, 1.0
    while turned(feature + high * direction) < degrees:
        low, high = high, 2 * high
        if high > 1e8:
            return torch.full_like(feature, torch.nan)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if turned(feature + middle * direction) < degrees else (low, middle)
        )
    return feature + high * direction


@pytest.mark.parametrize("degrees", [0.5, 10.0, 40.0])
def test_turns_by_the_wanted_angle_and_moves_no_logit(
    head: ToyHead,
    space: NullSpace,
    translator: LinearTranslator,
    features: Tensor,
    degrees: float,
) -> None:
    steered = steer(features, TEXT, degrees, space, translator)
    assert steered.isfinite().all()
    turned = image_score(translator(features), translator(steered))
    torch.testing.assert_close(turned, torch.full_like(turned, degrees), rtol=0, atol=1e-2)
    weight = head_weight(head.module).double()
    moved = ((steered - features) @ weight.T).abs().max()
    size = float(torch.linalg.matrix_norm(weight, 2)) * float((steered - features).norm())
    assert moved <= (space.rtol + 1e-14) * size
    assert (steered - features).norm(dim=1).min() > 1e-3


def test_turns_towards_the_text(
    space: NullSpace, translator: LinearTranslator, features: Tensor
) -> None:
    steered = steer(features, TEXT, 1.0, space, translator)
    before, after = (
        torch.cosine_similarity(translator(f), TEXT, dim=1) for f in (features, steered)
    )
    assert (after > before).all()
    away = steer(features, -TEXT, 1.0, space, translator)
    assert (torch.cosine_similarity(translator(away), TEXT, dim=1) < before).all()


@pytest.mark.parametrize("degrees", [1.0, 30.0, 85.0])
def test_equals_gradient_and_bisection(
    head: ToyHead,
    space: NullSpace,
    translator: LinearTranslator,
    features: Tensor,
    degrees: float,
) -> None:
    if head.module.weight.dtype == torch.float64:
        weight = space.principal_basis.T  # the same rows, well conditioned
    else:
        weight = head_weight(head.module).double()
    steered = steer(features, TEXT, degrees, space, translator)
    for f, ours in zip(features, steered, strict=True):
        slow = slow_steer(f, TEXT, degrees, weight, translator)
        torch.testing.assert_close(ours, slow, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_takes_a_text_and_an_angle_an_image(
    space: NullSpace, translator: LinearTranslator, features: Tensor
) -> None:
    texts, degrees = gaussian(B, E, seed=4), torch.linspace(2.0, 20.0, B)
    steered = steer(features, texts, degrees, space, translator)
    alone = [
        steer(features[i : i + 1], texts[i], float(degrees[i]), space, translator) for i in range(B)
    ]
    torch.testing.assert_close(steered, torch.cat(alone))


def test_an_angle_out_of_reach_is_nan(
    space: NullSpace, translator: LinearTranslator, features: Tensor
) -> None:
    """However far, T(f) turns no further than to the direction of the step itself."""
    step = steer(features, TEXT, 1.0, space, translator) - features
    moved = step @ translator.weight.double().T
    limit = image_score(translator(features), moved)
    assert steer(features, TEXT, limit - 0.1, space, translator).isfinite().all()
    assert steer(features, TEXT, limit + 0.1, space, translator).isnan().all()
    some = torch.where(torch.arange(B) == 2, limit + 0.1, limit - 0.1)
    rows = steer(features, TEXT, some, space, translator).isnan()
    assert rows.any(dim=1).tolist() == rows.all(dim=1).tolist() == [i == 2 for i in range(B)]


@pytest.mark.parametrize("degrees", [0.0, -5.0, 180.0, math.nan])
def test_what_is_no_angle_is_nan(degrees: float) -> None:
    space = NullSpace.from_layer(HEADS["wide"].module)
    translator = LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), TEXT)
    features = gaussian(B, space.width)
    assert steer(features, TEXT, degrees, space, translator).isnan().all()


def test_length_of_the_text_does_not_matter(
    space: NullSpace, translator: LinearTranslator, features: Tensor
) -> None:
    one, other = (steer(features, c * TEXT, 5.0, space, translator) for c in (1.0, 30.0))
    torch.testing.assert_close(one, other)


def test_a_translator_that_hears_nothing_of_the_null_space_is_not_followed() -> None:
    """What is left of its gradient there is rounding, and would be followed for ever."""
    weight = head_weight(HEADS["wide"].module)
    space = NullSpace.from_layer(HEADS["wide"].module)
    deaf = LinearTranslator(
        gaussian(E, len(weight)).float() @ weight, torch.zeros(space.width), gaussian(E, seed=1)
    )
    features = gaussian(B, space.width, seed=2)
    assert steer(features, TEXT, 20.0, space, deaf).isnan().all()
    assert largest_angle(features, TEXT, space, deaf).isnan().all()


def test_refuses_another_number_of_angles() -> None:
    space = NullSpace.from_layer(HEADS["wide"].module)
    translator = LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), TEXT)
    with pytest.raises(SINGValueError, match="image_score one, or 6, got 4. Give one angle"):
        steer(gaussian(B, space.width), TEXT, torch.ones(4), space, translator)


@pytest.mark.parametrize("shape", [(E + 1,), (B - 1, E), (1, B, E), ()])
def test_refuses_texts_of_another_shape(shape: tuple[int, ...]) -> None:
    space = NullSpace.from_layer(HEADS["wide"].module)
    translator = LinearTranslator(gaussian(E, space.width), torch.zeros(space.width), TEXT)
    with pytest.raises(
        SINGValueError, match=r"steer: expected texts of shape \(30,\) or \(6, 30\)"
    ):
        steer(gaussian(B, space.width), torch.ones(shape), 5.0, space, translator)
