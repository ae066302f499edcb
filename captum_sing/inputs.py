"""A batch as Captum takes it, checked, and cut into parts that fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["batch_of", "check_size", "in_batches"]


def batch_of(inputs: Any, where: str, argument: str = "inputs") -> int:
    """The number of images in a batch (a tensor or a tuple of them), after checking it.

    Raises:
        SINGTypeError: no tensor.
        SINGValueError: an empty batch, tensors of different lengths, NaN or infinity.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise SINGTypeError(
            expected(
                where,
                argument,
                "to be a tensor or a tuple of tensors",
                type(inputs).__name__,
                "Stack the preprocessed images with torch.stack",
            )
        )
    lengths = {len(tensor) if tensor.dim() else 0 for tensor in tensors}
    if len(lengths) != 1 or 0 in lengths:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise SINGValueError(
            expected(where, argument, "with one image or more", shapes, "Pass a non-empty batch")
        )
    for tensor in tensors:
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise SINGValueError(
                expected(where, argument, "finite", "NaN or infinity", "Check the preprocessing")
            )
    return lengths.pop()


def check_size(size: int | None, where: str) -> None:
    """A batch size is None or at least 1."""
    if size is not None and size < 1:
        raise SINGValueError(
            expected(where, "internal_batch_size", "of at least 1", size, "Use None for one pass")
        )


def in_batches(
    count: int, size: int | None, where: str, *arguments: Any
) -> Iterator[tuple[Any, ...]]:
    """Cut what is as long as the batch into parts; what is not is handed on whole.

    Args:
        count (int): images in the batch.
        size (int or None): images in a part; None for one part.
        where (str): for the error message.
        *arguments: tensors, tuples of them, or anything else.

    Raises:
        SINGValueError: a size below 1.
    """
    check_size(size, where)
    size = size or count
    for start in range(0, count, size):
        rows = slice(start, start + size)
        yield tuple(_cut(argument, rows, count) for argument in arguments)


def _cut(argument: Any, rows: slice, count: int) -> Any:
    if isinstance(argument, tuple):
        return tuple(_cut(item, rows, count) for item in argument)
    whole = not isinstance(argument, torch.Tensor) or argument.dim() == 0 or len(argument) != count
    return argument if whole else argument[rows]
