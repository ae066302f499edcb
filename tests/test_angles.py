"""Angles at their ends, and the paper's two scores against a slow float64 re-implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace, angle, attribute_score, image_score
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.linear_head import head_weight
from captum_sing.testing import ToyHead, toy_heads

HEADS = toy_heads()
WORDS = 7
E = 10


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> ToyHead:
    return HEADS[request.param]


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def slow_angle(u: np.ndarray, v: np.ndarray) -> float:
    cosine = sum(a * b for a, b in zip(u, v, strict=True)) / math.sqrt(
        sum(a * a for a in u) * sum(b * b for b in v)
    )
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def slow_equivalent(feature: np.ndarray, weight: np.ndarray, rank: int) -> np.ndarray:
    """f - Vn Vn^T f, with the null vectors of a full decomposition, one after the other."""
    right = np.linalg.svd(weight, full_matrices=True)[2]
    equivalent = feature.copy()
    for direction in right[rank:]:
        equivalent -= (direction @ feature) * direction
    return equivalent


@pytest.mark.parametrize("images", [4, WORDS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_equal_the_papers_formulas(head: ToyHead, images: int, dtype: torch.dtype) -> None:
    weight = head_weight(head.module)
    width = weight.shape[1]
    translator = LinearTranslator(gaussian(E, width), torch.zeros(width), gaussian(E, seed=1))
    features, texts = (
        gaussian(images, width, seed=2).to(dtype),
        gaussian(WORDS, E, seed=3).to(dtype),
    )
    equivalents = NullSpace.from_layer(head.module).remove(features)
    score = image_score(translator(features), translator(equivalents))
    scores = attribute_score(translator(features), translator(equivalents), texts)

    assert score.shape == (images,)
    assert scores.shape == (images, WORDS)
    matrix, offset = translator.weight.double().numpy(), translator.image.numpy()
    for i, feature in enumerate(features.double().numpy()):
        other = slow_equivalent(feature, weight.double().numpy(), head.rank)
        f, g = matrix @ feature + offset, matrix @ other + offset
        assert float(score[i]) == pytest.approx(slow_angle(f, g), abs=1e-4)
        for t, text in enumerate(texts.double().numpy()):
            slow = slow_angle(f, text) - slow_angle(g, text)
            assert float(scores[i, t]) == pytest.approx(slow, abs=1e-4)


def test_every_image_meets_every_word_at_no_loss_of_digits() -> None:
    """The score holds no (B, V, E) tensor, and equals the angles of one pair at a time."""
    f, g, texts = gaussian(9, E), gaussian(9, E, seed=1), gaussian(WORDS, E, seed=2)
    g[0], texts[1] = f[0] + 1e-9, f[0]  # where a cosine has no digits left
    pairs = angle(f[:, None], texts) - angle(g[:, None], texts)
    torch.testing.assert_close(attribute_score(f, g, texts), pairs, rtol=0, atol=1e-12)


def test_sign_of_the_attribute_score() -> None:
    """Positive: the equivalent is closer to the text; swapping the two turns the sign."""
    text = torch.tensor([[1.0, 0.0]])
    far, near = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    assert attribute_score(far, near, text).item() == pytest.approx(45.0)
    assert attribute_score(near, far, text).item() == pytest.approx(-45.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degrees", [0.0, 1e-3, 0.5, 45.0, 90.0, 179.5, 179.999, 180.0])
def test_angle_is_right_up_to_its_ends(degrees: float, dtype: torch.dtype) -> None:
    theta = math.radians(degrees)
    u = torch.tensor([2.0, 0.0], dtype=dtype)
    v = torch.tensor([math.cos(theta), math.sin(theta)], dtype=dtype)
    assert float(angle(u, v)) == pytest.approx(degrees, abs=2e-5)


def test_acos_of_a_float32_cosine_would_be_wrong_there() -> None:
    theta = math.radians(0.01)
    u, v = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(theta), math.sin(theta)])
    naive = math.degrees(math.acos(float(u @ v)))
    assert abs(naive - 0.01) > 5e-3
    assert float(angle(u, v)) == pytest.approx(0.01, abs=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradient_is_finite_at_the_ends(sign: float) -> None:
    u = torch.tensor([[0.6, 0.8]], requires_grad=True)
    value = angle(u, sign * u.detach())
    value.sum().backward()
    assert value.item() == pytest.approx(0.0 if sign > 0 else 180.0, abs=1e-5)
    assert u.grad is not None
    assert u.grad.isfinite().all()


def test_gradient_between_the_ends_is_the_true_one() -> None:
    u, v = gaussian(3, E).requires_grad_(), gaussian(3, E, seed=1)
    assert torch.autograd.gradcheck(lambda x: angle(x, v), (u,))


def test_angle_knows_no_length_but_knows_direction() -> None:
    u, v = gaussian(5, E).float(), gaussian(5, E, seed=1).float()
    for scale in (1e-7, 3.0, 1e6):
        torch.testing.assert_close(angle(scale * u, v), angle(u, v), rtol=0, atol=1e-4)
    torch.testing.assert_close(angle(-u, v), 180 - angle(u, v), rtol=0, atol=1e-4)
    torch.testing.assert_close(angle(u, v), angle(v, u), rtol=0, atol=0)


def test_zero_has_no_angle() -> None:
    assert angle(torch.zeros(3), torch.ones(3)).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    u, v = gaussian(5, E).to(dtype), gaussian(5, E, seed=1).to(dtype)
    assert angle(u, v).dtype == torch.float32
    torch.testing.assert_close(angle(u, v), angle(u.float(), v.float()), rtol=0, atol=0)


def test_refuses_what_is_no_pair_of_vectors() -> None:
    with pytest.raises(SINGTypeError, match=r"angle: expected u to be a floating-point tensor"):
        angle([1.0, 0.0], torch.ones(2))  # type: ignore[arg-type]
    with pytest.raises(SINGTypeError, match=r"expected v to be a floating.*got torch.int64"):
        angle(torch.ones(2), torch.ones(2, dtype=torch.long))
    with pytest.raises(SINGValueError, match=r"angle: expected v of last dimension 2, as u, got 3"):
        angle(torch.ones(2), torch.ones(3))


def test_refuses_scores_of_the_wrong_shape() -> None:
    f, texts = torch.ones(4, 2), torch.ones(3, 2)
    with pytest.raises(SINGValueError, match=r"texts of shape \(V, E\), got \(2,\)"):
        attribute_score(f, f, texts[0])
    with pytest.raises(SINGValueError, match=r"original of shape \(B, E\), got \(2,\)"):
        attribute_score(f[0], f, texts)
    with pytest.raises(SINGValueError, match=r"equivalent of shape \(4, 2\), as original, got"):
        attribute_score(f, f[:1], texts)


def test_attribute_score_keeps_the_digits_of_small_angles_and_a_finite_gradient() -> None:
    """Also for many texts at once, where a faster distance would lose them."""
    texts = torch.nn.functional.normalize(gaussian(40, E), dim=1).float()
    aside = torch.nn.functional.normalize(gaussian(40, E, seed=1), dim=1).float()
    f = texts.clone().requires_grad_()
    g = texts + math.radians(0.05) * aside
    scores = attribute_score(f, g, texts)
    wanted = [
        -slow_angle(a.double().numpy(), t.double().numpy()) for a, t in zip(g, texts, strict=True)
    ]
    assert scores.diagonal().tolist() == pytest.approx(wanted, abs=2e-5)
    scores.sum().backward()
    assert f.grad is not None
    assert f.grad.isfinite().all()
