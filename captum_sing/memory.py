"""Whether several layers were handed one tensor, or tensors that lie in the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

__all__ = ["layout", "one_tensor", "overlapping"]


def layout(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and shape."""
    return tensor.stride(), tuple(tensor.shape)


def one_tensor(received: Sequence[list[Tensor]], given: Sequence[Tensor]) -> bool:
    """Whether all layers were handed the same memory, and nothing wrote to it in between.

    Args:
        received (sequence of list of Tensor): what each layer was handed, once a device.
        given (sequence of Tensor): the numbers that were in it then.
    """
    places = [{(t.device, t.data_ptr(), layout(t)) for t in came} for came in received]
    return all(places[0] == other for other in places) and all(
        torch.equal(given[0], other) for other in given
    )


def overlapping(received: Sequence[list[Tensor]]) -> bool:
    """Whether two layers were handed some of the same memory, as a tensor and a view of it."""
    return any(
        one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
        and bool(torch.isin(_places(one), _places(other)).any())
        for ones, others in combinations(received, 2)
        for one in ones
        for other in others
    )


def _places(tensor: Tensor) -> Tensor:
    """Where each number of a tensor lies in its storage."""
    places = torch.tensor(tensor.storage_offset())
    for size, step in zip(tensor.shape, tensor.stride(), strict=True):
        places = places.unsqueeze(-1) + step * torch.arange(size)
    return places.flatten()
