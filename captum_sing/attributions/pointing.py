"""Whether a map points at a place that is known: relevance inside a mask, against its area."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["MaskShare", "mask_share"]

_WHERE = "mask_share"


class MaskShare(NamedTuple):
    """What :func:`mask_share` returns.

    Attributes:
        concentration (Tensor): share of the relevance inside the mask over the mask's share of the
            area, shape (B,): 1 for a uniform map, at most one over the mask's share.
        density (Tensor): relevance a pixel inside over that outside, shape (B,): 1 for a uniform
            map, without a bound.
    """

    concentration: Tensor
    density: Tensor


def mask_share(maps: Tensor, masks: Tensor) -> MaskShare:
    r"""How much of the positive relevance lies inside a mask.

    With r the positive part of the map and m the mask,

    .. math:: \text{concentration} = \frac{\sum r m / \sum r}{\bar m}, \qquad
        \text{density} = \frac{\sum r m / \sum m}{\sum r (1 - m) / \sum (1 - m)}.

    The first cannot be large for a large mask, so two masks are compared by the second. A map that
    is large in the middle of every image does well on every object in the middle: compare with
    the class map of the same images, not with 1 alone.

    Args:
        maps (Tensor): signed relevance, shape (B, H, W).
        masks (Tensor): share of each pixel that is inside, in [0, 1] or bool, shape (B, H, W).

    Returns:
        MaskShare: float64, on the device of the maps. NaN where there is no positive relevance, or
        nothing or everything is inside the mask; an infinite density where none lies outside.

    Raises:
        SINGTypeError, SINGValueError: something else than two such tensors.

    Example::

        >>> import torch
        >>> mask = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
        >>> concentration, density = mask_share(torch.ones(1, 2, 2), mask)
        >>> concentration.item(), density.item(), mask_share(mask, mask).concentration.item()
        (1.0, 1.0, 4.0)
    """
    for name, value in (("maps", maps), ("masks", masks)):
        if not isinstance(value, Tensor):
            raise SINGTypeError(
                expected(_WHERE, name, "to be a tensor", type(value).__name__, "Stack them first")
            )
        if value.dim() != 3 or value.shape != maps.shape or not value.isfinite().all():
            raise SINGValueError(
                expected(
                    _WHERE,
                    name,
                    "finite, of one shape (B, H, W)",
                    f"{tuple(maps.shape)} and {tuple(masks.shape)}"
                    if value.dim() != 3 or value.shape != maps.shape
                    else "NaN or infinity",
                    "Sum over the channels, and bring the mask to the map's size",
                )
            )
    inside, relevance = masks.to(maps.device).double(), maps.detach().double().clamp_min(0.0)
    if not ((inside >= 0) & (inside <= 1)).all():
        low, high = inside.aminmax()
        raise SINGValueError(
            expected(_WHERE, "masks", "in [0, 1]", f"[{low:g}, {high:g}]", "Divide by the largest")
        )
    outside, dims = 1.0 - inside, (1, 2)
    within = (relevance * inside).sum(dims)
    density = (within / inside.sum(dims)) / ((relevance * outside).sum(dims) / outside.sum(dims))
    concentration = within / relevance.sum(dims) / inside.mean(dims)
    partial = (inside.sum(dims) > 0) & (outside.sum(dims) > 0)
    nothing = float("nan")
    return MaskShare(concentration.where(partial, nothing), density.where(partial, nothing))
