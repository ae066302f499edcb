"""What every control asks of its images: finite evidence, labels in range, nothing in-sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["check_evidence", "check_held_out", "check_labels", "check_mask", "check_rows"]


def check_rows(where: str, argument: str, values: Any, shape: tuple[int | None, ...]) -> Tensor:
    """A finite floating-point tensor of a shape, in float64 on the CPU; None fits any size.

    Raises:
        SINGTypeError, SINGValueError: it is something else.
    """
    if not isinstance(values, Tensor) or not values.is_floating_point():
        actual = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise SINGTypeError(
            expected(where, argument, "to be a floating-point tensor", actual, "Convert it first")
        )
    fits = values.dim() == len(shape) and all(
        size in (None, own) for size, own in zip(shape, values.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise SINGValueError(
            expected(
                where, argument, f"of shape ({wanted})", tuple(values.shape), "One row an image"
            )
        )
    if not values.isfinite().all():
        bad = int((~values.isfinite()).reshape(len(values), -1).any(dim=1).sum())
        raise SINGValueError(
            expected(
                where,
                argument,
                "finite",
                f"NaN or infinity in {bad} of {len(values)} rows",
                "Leave these images out and say so",
            )
        )
    return values.detach().double().cpu()


def check_mask(where: str, argument: str, mask: Any, shape: tuple[int, ...]) -> Tensor:
    """A boolean tensor of a shape, on the CPU.

    Raises:
        SINGTypeError, SINGValueError: it is something else.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        actual = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise SINGTypeError(
            expected(where, argument, "to be a boolean tensor", actual, "Say it for every image")
        )
    if mask.shape != shape:
        raise SINGValueError(
            expected(where, argument, f"of shape {shape}", tuple(mask.shape), "One row an image")
        )
    return mask.cpu()


def check_held_out(where: str, in_sample: Any, count: int) -> None:
    """Refuse images that the translator was fitted on.

    Raises:
        SINGTypeError, SINGValueError: no mask, or one with something in it.
    """
    used = int(check_mask(where, "in_sample", in_sample, (count,)).sum())
    if used:
        raise SINGValueError(
            expected(
                where,
                "images",
                "that the translator was not fitted on",
                f"{used} of {count} that it was",
                "Leave them out: a translator finds something in its own images, whether there is "
                "anything or not",
            )
        )


def check_labels(where: str, labels: Any, count: int, words: int | None = None) -> Tensor:
    """Whole numbers, one an image, from -1 (unknown) to the last word, on the CPU.

    Raises:
        SINGTypeError, SINGValueError: they are something else.
    """
    whole = isinstance(labels, Tensor) and labels.dtype in (
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64
    )  # fmt: skip
    if not whole:
        actual = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise SINGTypeError(
            expected(where, "labels", "to be a tensor of integers", actual, "Number the words")
        )
    if labels.shape != (count,):
        raise SINGValueError(
            expected(where, "labels", f"of shape ({count},)", tuple(labels.shape), "One an image")
        )
    labels = labels.detach().long().cpu()
    if count and words is not None and not (labels.min() >= -1 and labels.max() < words):
        raise SINGValueError(
            expected(
                where,
                "labels",
                f"from -1 (unknown) to {words - 1}",
                f"{int(labels.min())} to {int(labels.max())}",
                "Give each image the column of its own word",
            )
        )
    return labels


def check_evidence(
    where: str, evidence: Any, labels: Any, in_sample: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Evidence and labels of the images that have one, and which rows these are.

    Args:
        where (str): who asks.
        evidence (Tensor): shape (n, V), V at least 2.
        labels (Tensor): column of each image's own word, -1 for unknown, shape (n,).
        in_sample (Tensor): which images the translator was fitted on, bool, shape (n,).

    Returns:
        tuple of Tensor: evidence (m, V) in float64, labels (m,), rows (m,).
    """
    evidence = check_rows(where, "evidence", evidence, (None, None))
    count, words = evidence.shape
    if words < 2:
        raise SINGValueError(
            expected(
                where,
                "evidence",
                "of two words or more, which exclude each other",
                words,
                "Compare a word with others of its group",
            )
        )
    labels = check_labels(where, labels, count, words)
    check_held_out(where, in_sample, count)
    rows = (labels >= 0).nonzero().flatten()
    return evidence[rows], labels[rows], rows
