"""Four scenes in one image, alike in shape: where does a map look for one cell's colour?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.demo.scenes import FACTORS, IMAGE_SIZE, sample_masks, sample_scenes
from captum_sing.errors import SINGNameError, expected

__all__ = ["MOSAIC_FACTORS", "Mosaics", "sample_mosaics"]

MOSAIC_FACTORS = ("color", "background", "texture")
"""Factors that have a place in the image, and at least four values."""

_CELLS = 4


@dataclass(frozen=True)
class Mosaics:
    """Images of four scenes, and the truth about them.

    Attributes:
        images (Tensor): shape (N, 3, 128, 128), in [0, 1].
        factor (str): what differs between the cells.
        values (Tensor): of the factor in each cell, indices into ``FACTORS[factor]``, (N, 4).
        shapes (Tensor): the shape that is in all four cells, shape (N,).
        masks (Tensor): where each cell's value is seen, shape (N, 4, 128, 128), in [0, 1]: on the
            cell's object for a colour or a texture, beside it for a background.
    """

    images: Tensor
    factor: str
    values: Tensor
    shapes: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def word(self, index: int, cell: int) -> str:
        """The word for one cell of an image; no other cell of that image has it."""
        return FACTORS[self.factor][int(self.values[index, cell])]


def sample_mosaics(count: int, seed: int, factor: str) -> Mosaics:
    """Draws mosaics: the same shape in four cells, each with a value of the factor of its own.

    The pointing game on a grid: a map of one cell's word should lie in that cell, where a map of
    the class, which is in all four, has no reason to prefer one.

    Args:
        count (int): number of images N.
        seed (int): the same seed gives the same images, to the bit.
        factor (str): one of :data:`MOSAIC_FACTORS`.

    Raises:
        SINGNameError: another factor.
        SINGValueError: a count below one.

    Example::

        >>> mosaics = sample_mosaics(2, seed=0, factor="background")
        >>> mosaics.images.shape, sorted(mosaics.word(0, cell) for cell in range(4))
        (torch.Size([2, 3, 128, 128]), ['black', 'brown', 'gray', 'navy'])
    """
    if factor not in MOSAIC_FACTORS:
        raise SINGNameError(
            expected(
                "sample_mosaics",
                "factor",
                f"in {list(MOSAIC_FACTORS)}",
                repr(factor),
                "Choose one of them",
            )
        )
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randint(len(FACTORS["shape"]), (max(count, 0),), generator=generator)
    order = torch.rand(len(shapes), len(FACTORS[factor]), generator=generator).argsort(dim=1)
    values = order[:, :_CELLS]
    seeds = torch.randint(2**31, (_CELLS,), generator=generator).tolist()
    images, masks = [], torch.zeros(len(shapes), _CELLS, 2 * IMAGE_SIZE, 2 * IMAGE_SIZE)
    for cell, cell_seed in enumerate(seeds):
        labels = {"shape": shapes, factor: values[:, cell]}
        images.append(sample_scenes(count, cell_seed, labels=labels).images)
        objects = sample_masks(count, cell_seed, labels=labels)
        top, left = (IMAGE_SIZE * part for part in divmod(cell, 2))
        masks[:, cell, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE] = (
            1.0 - objects if factor == "background" else objects
        )
    rows = [torch.cat(images[first : first + 2], dim=3) for first in (0, 2)]
    return Mosaics(torch.cat(rows, dim=2), factor, values, shapes, masks)
