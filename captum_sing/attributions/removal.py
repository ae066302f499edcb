"""Taking pixels away: blurred, filled from around the hole, or as somebody else does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from captum_sing.errors import SINGValueError, expected

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REMOVALS", "Removal", "blur", "elsewhere", "inpaint", "remove_pixels"]

Removal: TypeAlias = Callable[[Tensor, Tensor], Tensor]

_SOFT = 8  # the blur's standard deviation is the shorter side over this
_WIDE = 3  # standard deviations of the kernel to each side


def blur(images: Tensor, masks: Tensor) -> Tensor:
    """Pixels of a Gaussian blur of the whole image, of an eighth of its shorter side.

    A blurred pixel keeps the color of what is around it, itself included: a large patch of one
    color stays so. What is told by fine detail goes.

    Args:
        images (Tensor): shape (B, C, H, W).
        masks (Tensor): the pixels to replace, shape (B, H, W), bool.

    Returns:
        Tensor: shape (B, C, H, W).
    """
    from torchvision.transforms.functional import gaussian_blur

    height, width = images.shape[-2:]
    deviation = min(height, width) / _SOFT
    reach = max(1, round(_WIDE * deviation))
    kernel = [2 * min(reach, side - 1) + 1 for side in (width, height)]
    blurred = images.float()
    for sides in ([kernel[0], 1], [1, kernel[1]]):  # torchvision would convolve with the square
        blurred = gaussian_blur(blurred, sides, [deviation, deviation])
    return torch.where(masks.unsqueeze(1).to(images.device), blurred.to(images), images)


def inpaint(images: Tensor, masks: Tensor) -> Tensor:
    r"""The smoothest filling of a hole: each pixel is the mean of its neighbours (harmonic).

    Nothing of what was in the hole is left, and the filling is never outside the range of the
    hole's border. A hole without a border, the whole image, is filled with its mean.

    Args:
        images (Tensor): shape (B, C, H, W).
        masks (Tensor): the pixels to replace, shape (B, H, W), bool.

    Returns:
        Tensor: shape (B, C, H, W).
    """
    filled = [
        _harmonic(image.detach().double().cpu().numpy(), mask.cpu().numpy())
        for image, mask in zip(images, masks, strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).to(images)


REMOVALS: dict[str, Removal] = {"blur": blur, "inpaint": inpaint}
"""What pixels can be replaced by."""


def elsewhere(masks: Tensor, generators: list[torch.Generator]) -> Tensor:
    """The same pixels at a random place: as many, of the same form, around the edges if need be.

    Scattered pixels act otherwise than a blob of as many, so chance has to have the same form.

    Args:
        masks (Tensor): shape (B, H, W).
        generators (list of torch.Generator): one an image.

    Returns:
        Tensor: shape (B, H, W); each image's mask rolled by any step but none at all.
    """
    height, width = masks.shape[1:]
    moved = []
    for mask, generator in zip(masks, generators, strict=True):
        steps = max(1, height * width - 1)
        step = 1 + int(torch.randint(steps, (1,), generator=generator))
        moved.append(mask.roll((step // width, step % width), dims=(0, 1)))
    return torch.stack(moved)


def remove_pixels(removal: Removal, images: Tensor, masks: Tensor) -> Tensor:
    """Call a removal, and check what it returns.

    Raises:
        SINGValueError: something else than finite images of the same shape.
    """
    removed: Any = removal(images, masks)
    if not isinstance(removed, Tensor) or removed.shape != images.shape:
        actual = tuple(removed.shape) if isinstance(removed, Tensor) else type(removed).__name__
    elif not removed.isfinite().all():
        actual = "NaN or infinity"
    else:
        return removed.to(images)
    raise SINGValueError(
        expected(
            "compare_attributions",
            "removal",
            f"to return finite images of shape {tuple(images.shape)}",
            actual,
            "It is called with images (B, C, H, W) and boolean masks (B, H, W)",
        )
    )


def _harmonic(image: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One image (C, H, W), by a sparse linear system: neighbours outside the image do not count."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import splu

    if not hole.any():
        return image
    if hole.all():
        return np.broadcast_to(image.mean(axis=(1, 2), keepdims=True), image.shape).copy()
    size = int(hole.sum())
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(size)
    degree, known = np.zeros(size), np.zeros((size, len(image)))
    pairs = []
    here, there = slice(None, -1), slice(1, None)
    for axis in (0, 1):
        for one, other in ((here, there), (there, here)):
            a = (one, slice(None)) if axis == 0 else (slice(None), one)
            b = (other, slice(None)) if axis == 0 else (slice(None), other)
            inside = hole[a]
            rows, beside = number[a][inside], number[b][inside]
            degree[rows] += 1  # each row once for each direction
            border = beside < 0
            known[rows[border]] += image[:, b[0], b[1]][:, inside][:, border].T
            pairs.append(np.stack([rows[~border], beside[~border]]))
    links = np.concatenate(pairs, axis=1)
    neighbours = coo_array((np.ones(links.shape[1]), (links[0], links[1])), shape=(size, size))
    solved = splu((diags_array(degree) - neighbours).tocsc()).solve(known)
    filled = image.copy()
    filled[:, hole] = solved.T
    return filled
