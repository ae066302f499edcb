"""The null space of all images, made of the weights as they are, or of each image's class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.null_space import NullSpace

__all__ = ["ImageSpaces", "SpaceOfWeights", "numbers_of"]


def numbers_of(target: Any, count: int, outputs: int, where: str, noun: str = "class") -> Tensor:
    """A Captum target, one for all images or one each, as the number of each image.

    Args:
        target (int, sequence of int or Tensor): numbers of outputs.
        count (int): B.
        outputs (int): how many there are.
        where (str), noun (str): for the error: who complains, and what an output is.

    Returns:
        Tensor: shape (B,), on the CPU.

    Raises:
        SINGTypeError, SINGValueError: no integers, another number of them, or none of the outputs.

    Example::

        >>> numbers_of(1, 3, 5, "here").tolist(), numbers_of([0, 1, 4], 3, 5, "here").tolist()
        ([1, 1, 1], [0, 1, 4])
    """
    try:
        numbers = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)  # no numbers at all
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise SINGTypeError(
            expected(
                where,
                "target",
                f"to be {noun} numbers",
                numbers.dtype if numbers.numel() else repr(target),
                "Pass integers",
            )
        )
    if numbers.dim() > 1 or numbers.numel() not in (1, count):
        raise SINGValueError(
            expected(
                where,
                "target",
                f"one {noun}, or one for each of {count} images",
                f"shape {tuple(numbers.shape)}",
                f"Name one {noun} an image",
            )
        )
    numbers = numbers.cpu().reshape(-1).expand(count)
    outside = numbers[(numbers < 0) | (numbers >= outputs)]
    if len(outside):
        raise SINGValueError(
            expected(
                where,
                "target",
                f"to be integers in [0, {outputs - 1}]",
                int(outside[0]),
                "Name one that there is",
            )
        )
    return numbers


class SpaceOfWeights:
    """The null space of a head's weights as they are: made again when they have changed.

    Weights are compared by content, since they may be randomised in place.

    Args:
        given (NullSpace, optional): what is handed out for any weights.
    """

    def __init__(self, given: NullSpace | None = None) -> None:
        self.given = given
        self._made: tuple[Tensor, NullSpace] | None = None

    def of(self, weight: Tensor) -> NullSpace:
        """The given null space, or the exact one of a weight (C, D)."""
        if self.given is not None:
            return self.given
        if self._made is None or not _equal(self._made[0], weight):
            with torch.inference_mode(False):  # kept for calls that want gradients
                own = weight.clone()
                self._made = (own, NullSpace.from_weight(own))
        return self._made[1]


def _equal(stored: Tensor, weight: Tensor) -> bool:
    same_kind = stored.shape == weight.shape and stored.dtype == weight.dtype
    return same_kind and torch.equal(stored.to(weight.device), weight)


@dataclass(frozen=True)
class ImageSpaces:
    """The null space of each image in a batch.

    Attributes:
        parts (sequence): pairs of a null space and the rows of the batch that it is for.
        count (int): B.
    """

    parts: Sequence[tuple[NullSpace, Tensor]]
    count: int

    @classmethod
    def of_targets(
        cls, weight: Tensor, target: int | Sequence[int] | Tensor, count: int, rtol: float | None
    ) -> ImageSpaces:
        """Keep one class an image: the rows of a head's weight that ``target`` names.

        Args:
            weight (Tensor): shape (C, D).
            target (int, sequence of int or Tensor): one class for all images or one each.
            count (int): B.
            rtol (float or None): as :meth:`NullSpace.from_weight`.
        """
        classes = numbers_of(target, count, len(weight), "SING.attribute")
        return cls(
            [
                (
                    NullSpace.from_weight(weight, classes=[int(k)], rtol=rtol),
                    (classes == k).nonzero().flatten(),
                )
                for k in classes.unique()
            ],
            count,
        )

    @classmethod
    def same(cls, null_space: NullSpace, count: int) -> ImageSpaces:
        """One null space for all images."""
        return cls([(null_space, torch.arange(count))], count)

    def each(self, function: Callable[..., Tensor], *batches: Tensor) -> Tensor:
        """``function(null_space, rows of each batch...)`` for each part, put together again."""
        results = [function(space, *(b[rows] for b in batches)) for space, rows in self.parts]
        whole = results[0].new_empty((self.count, *results[0].shape[1:]))
        for (_, rows), result in zip(self.parts, results, strict=True):
            whole[rows] = result
        return whole

    def to(self, device: torch.device) -> ImageSpaces:
        """A copy on another device."""
        return ImageSpaces([(space.to(device), rows) for space, rows in self.parts], self.count)
