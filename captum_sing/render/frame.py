"""What a classifier's preprocessing does to colours, and the size of what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captum_sing.errors import SINGTypeError, SINGValueError, expected

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Frame"]

_PROBE = 256  # side of the plain pictures, which a resize leaves plain
_COLOURS = ((0, 0, 0), (255, 255, 255), (40, 128, 200))  # the last is the test


@dataclass(frozen=True)
class Frame:
    """The classifier's input: what it sees of a picture after the crop.

    Attributes:
        size (tuple of int): height and width.
        mean, std (tuple of float): of each colour: the input is (picture - mean) / std, with
            pictures in [0, 1].

    Example::

        >>> import torch
        >>> frame = Frame((2, 2), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        >>> inputs = frame.normalize(torch.ones(1, 3, 4, 4))
        >>> inputs.shape, inputs.unique(), frame.pictures(inputs).unique()
        (torch.Size([1, 3, 2, 2]), tensor([2.]), tensor([1.]))
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, preprocess: Callable[[Image.Image], Tensor], where: str = "Frame.of") -> Frame:
        """Found by what the preprocessing makes of plain pictures.

        Args:
            preprocess (callable): one RGB picture -> (3, H, W).
            where (str, optional): who complains.

        Raises:
            SINGTypeError: it makes something else than a tensor (3, H, W).
            SINGValueError: what it does to a colour cannot be undone by a mean and a std.
        """
        from PIL import Image

        made = []
        for colour in _COLOURS:
            tensor: Any = preprocess(Image.new("RGB", (_PROBE, _PROBE), colour))
            if not isinstance(tensor, Tensor) or tensor.ndim != 3 or len(tensor) != 3:
                shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise SINGTypeError(
                    expected(
                        where,
                        "preprocess",
                        "to make a tensor (3, H, W) of a picture",
                        shape,
                        "A classifier of colour pictures is wanted",
                    )
                )
            made.append(tensor.double().flatten(1))
        black, white = (tensor.mean(dim=1) for tensor in made[:2])
        std, mean = 1.0 / (white - black), -black / (white - black)
        truth = torch.tensor(_COLOURS[-1], dtype=torch.float64) / 255
        error = (made[-1] * std[:, None] + mean[:, None] - truth[:, None]).abs().max().item()
        if not error < 0.01:  # NaN too
            raise SINGValueError(
                expected(
                    where,
                    "preprocess",
                    "to end with (picture - mean) / std for each colour",
                    f"one that a plain picture's colours differ from by {error:.2g}",
                    "Leave out what changes colours otherwise, or is random",
                )
            )
        height, width = tensor.shape[1:]
        return cls((height, width), _three(mean), _three(std))

    def pictures(self, inputs: Tensor) -> Tensor:
        """Pictures in [0, 1] of inputs (B, 3, H, W), in float32."""
        mean, std = self._colours(inputs.float())
        return (inputs.float() * std + mean).clamp(0.0, 1.0)

    def normalize(self, pictures: Tensor) -> Tensor:
        """Inputs (B, 3, H, W) of pictures (B, 3, h, w) in [0, 1], resized; differentiable."""
        mean, std = self._colours(pictures)
        return (resized(pictures, self.size) - mean) / std

    def _colours(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (like.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return mean, std


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, 3, H, W) at another height and width."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def _three(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = values.tolist()
    return red, green, blue
