"""How alike two maps of one image are: rank correlation, and overlap of their top pixels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["overlap", "rank_correlation", "top_pixels"]


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation over the pixels of each image.

    Neighbouring pixels are alike, and most maps are large in the middle, so a correlation above
    zero is no sign of common content: compare it with that of two classes.

    Args:
        first, second (Tensor): maps, shape (B, H, W).

    Returns:
        Tensor: shape (B,), float64; NaN where a map is constant.

    Example::

        >>> maps = torch.arange(4.0).reshape(1, 2, 2)
        >>> rank_correlation(maps, maps.exp()).item(), rank_correlation(maps, maps * 0).item()
        (1.0, nan)
    """
    from scipy.stats import spearmanr

    values = [
        torch.nan
        if _constant(one) or _constant(other)
        else float(spearmanr(one.numpy(), other.numpy()).statistic)
        for one, other in zip(first.flatten(1).cpu(), second.flatten(1).cpu(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def top_pixels(maps: Tensor, share: float, generators: list[torch.Generator]) -> Tensor:
    """The pixels of largest value; equal values are put in random order, not that of rows.

    Two maps that are zero in most places would otherwise share the zeros that come first.

    Args:
        maps (Tensor): shape (B, H, W).
        share (float): of the pixels, at least one.
        generators (list of torch.Generator): one an image, for ties.

    Returns:
        Tensor: shape (B, H, W), bool; nothing for a map that is constant and so has no top.

    Example::

        >>> maps = torch.tensor([[[0.0, 3.0], [1.0, 2.0]]])
        >>> top_pixels(maps, 0.5, [torch.Generator()]).tolist()
        [[[False, True], [False, True]]]
    """
    values = maps.flatten(1).cpu()
    count = max(1, round(share * values.shape[1]))
    masks = torch.zeros_like(values, dtype=torch.bool)
    for row, mask, generator in zip(values, masks, generators, strict=True):
        order = torch.randperm(len(row), generator=generator)  # drawn for every image
        if not _constant(row):
            mask[order[row[order].argsort(descending=True, stable=True)[:count]]] = True
    return masks.reshape(maps.shape)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """The share of one map's top pixels that are among the other's; by chance, their share of all.

    Args:
        first, second (Tensor): of :func:`top_pixels`, shape (B, H, W).

    Returns:
        Tensor: shape (B,), float64; NaN where a map has no top pixels.
    """
    both = (first & second).sum(dim=(1, 2)).double()
    sizes = torch.minimum(first.sum(dim=(1, 2)), second.sum(dim=(1, 2)))
    return both / sizes  # 0 / 0 is NaN


def _constant(values: Tensor) -> bool:
    return bool((values == values[0]).all())
