"""Batches are checked before any model runs, and cut without losing a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.inputs import batch_of, in_batches

IMAGES = torch.arange(7 * 2 * 3).reshape(7, 2, 3).float()


@pytest.mark.parametrize(
    ("inputs", "count"),
    [
        (IMAGES, 7),
        (IMAGES[:1], 1),
        ((IMAGES, IMAGES[:, 0]), 7),
        (torch.ones(3, dtype=torch.long), 3),
        (IMAGES.half(), 7),
    ],
)
def test_counts_images(inputs: Any, count: int) -> None:
    assert batch_of(inputs, "here") == count


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ([IMAGES], SINGTypeError, "to be a tensor or a tuple of tensors, got list. Stack the"),
        (IMAGES.numpy(), SINGTypeError, "got ndarray"),
        (None, SINGTypeError, "got NoneType"),
        ((), SINGTypeError, "got tuple"),
        ((IMAGES, None), SINGTypeError, "got tuple"),
        (IMAGES[:0], SINGValueError, r"with one image or more, got \(0, 2, 3\). Pass a non-empty"),
        (torch.tensor(1.0), SINGValueError, r"with one image or more, got \(\)"),
        ((IMAGES, IMAGES[:3]), SINGValueError, r"got \(7, 2, 3\), \(3, 2, 3\)"),
        (IMAGES / 0, SINGValueError, "finite, got NaN or infinity. Check the preprocessing"),
        (IMAGES * torch.nan, SINGValueError, "finite, got NaN or infinity"),
        ((IMAGES, IMAGES + torch.inf), SINGValueError, "finite, got NaN or infinity"),
    ],
)
def test_refuses(inputs: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^here: expected inputs .*{message}.*\\.$"):
        batch_of(inputs, "here")


def test_names_the_argument() -> None:
    with pytest.raises(SINGTypeError, match="^here: expected baselines to be a tensor"):
        batch_of("red", "here", "baselines")


@pytest.mark.parametrize("size", [None, 1, 2, 3, 7, 100])
def test_parts_make_the_whole(size: int | None) -> None:
    parts = list(in_batches(7, size, "here", IMAGES, (IMAGES[:, 0], 2.5)))
    assert torch.equal(torch.cat([images for images, _ in parts]), IMAGES)
    assert torch.equal(torch.cat([rows for _, (rows, _) in parts]), IMAGES[:, 0])
    assert all(len(images) == len(rows) <= (size or 7) for images, (rows, _) in parts)
    assert len(parts) == -(-7 // (size or 7))


def test_what_is_not_of_the_batch_is_handed_on_whole() -> None:
    shared, scalar, word = torch.ones(3), torch.tensor(2.0), "mask"
    for part in in_batches(7, 2, "here", IMAGES, shared, scalar, None, (word, shared)):
        assert part[1] is shared
        assert part[2] is scalar
        assert part[3] is None
        assert part[4] == (word, shared)
        assert part[4][1] is shared


@pytest.mark.parametrize("size", [0, -1])
def test_refuses_parts_of_nothing(size: int) -> None:
    with pytest.raises(SINGValueError, match=f"internal_batch_size of at least 1, got {size}. Use"):
        list(in_batches(7, size, "here", IMAGES))
