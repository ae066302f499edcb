"""One tensor, parts of one, or none of the same memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_sing.memory import layout, one_tensor, overlapping

WHOLE = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (WHOLE, WHOLE, True),
        (WHOLE, WHOLE.clone(), False),
        (WHOLE[:, :6], WHOLE[:, 5:], True),
        (WHOLE[:, :5], WHOLE[:, 5:], False),
        (WHOLE[:, ::2], WHOLE[:, 1::2], False),
        (WHOLE[:, ::2], WHOLE[:, 4:6], True),
        (WHOLE, WHOLE[:, :1].expand(4, 10), True),
        (WHOLE[:, 5:], WHOLE[:, :1, None, None].expand(4, 5, 1, 1), False),
    ],
)
def test_overlapping_is_some_of_the_same_memory(one: Tensor, other: Tensor, meet: bool) -> None:
    other_numbers = one.clone().fill_(7.0)
    assert overlapping([[one], [other]]) == overlapping([[other], [one]]) == meet
    assert overlapping([[one], [other_numbers], [other]]) == meet
    assert not overlapping([[one]])


def test_one_tensor_is_all_of_the_same_memory_and_numbers() -> None:
    part = WHOLE[:, :5]
    assert one_tensor([[part], [WHOLE[:, :5]]], [part, part])
    assert not one_tensor([[part], [WHOLE[:, 5:]]], [part, part])
    assert not one_tensor([[part], [part.clone()]], [part, part])
    assert not one_tensor([[part], [part]], [part, 2 * part])  # written to in between
    assert layout(part) == ((10, 1), (4, 5))
