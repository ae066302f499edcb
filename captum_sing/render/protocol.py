"""What every way of drawing an equivalent is asked for, and what it refuses."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.translator_base import Translator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Renderer", "check_wanted", "seeds_of"]


@runtime_checkable
class Renderer(Protocol):
    """A way from features, or from their translations, to pictures.

    Attributes:
        takes (str): ``"features"``, f of shape (B, D), or ``"embeddings"``, T(f) of shape (B, E).
        restores_norm (bool): whether the length of an embedding matters to it, so that it wants
            every one scaled to the length of the original picture's (the paper's Eq. 19).
        facts (dict): the settings that a picture can be made again from, in types that JSON holds.
    """

    takes: str
    restores_norm: bool
    facts: dict[str, Any]

    @property
    def normalize(self) -> Callable[[Tensor], Tensor] | None:
        """Of pictures that are framed as the classifier's input is, what makes an input of them.

        (B, 3, H, W) in [0, 1] -> (B, 3, H, W). None for pictures that go through the classifier's
        own preprocessing.
        """
        ...

    def check(self, translator: Translator) -> None:
        """Refuse a translator whose features or embeddings are not what this draws.

        Raises:
            SINGValueError: another width, another encoder or another model.
        """
        ...

    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        """Draw them.

        Args:
            wanted (Tensor): B features or embeddings, as :attr:`takes` says.
            seeds (int or sequence of int, optional): of the randomness, one for all or one each. A
                picture follows from its row and its seed alone. Default: 0

        Returns:
            list of PIL.Image.Image: B pictures, mode RGB.
        """
        ...


def check_wanted(where: str, wanted: Tensor, width: int) -> Tensor:
    """Rows that can be drawn: finite, and of the width that the renderer takes.

    Args:
        where (str): the caller, for the message.
        wanted (Tensor): shape (B, ``width``).

    Returns:
        Tensor: ``wanted``, detached.

    Raises:
        SINGTypeError, SINGValueError: what cannot be drawn, with the rows named.
    """
    if not isinstance(wanted, Tensor) or not wanted.is_floating_point():
        actual = wanted.dtype if isinstance(wanted, Tensor) else type(wanted).__name__
        raise SINGTypeError(
            expected(where, "wanted", "to be a floating-point tensor", actual, "Convert it")
        )
    if wanted.ndim != 2 or wanted.shape[1] != width or not len(wanted):
        raise SINGValueError(
            expected(
                where,
                "wanted",
                f"of shape (B, {width}), not empty",
                tuple(wanted.shape),
                "Give what this renderer was made for, one row a picture",
            )
        )
    lost = (~wanted.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if lost:
        raise SINGValueError(
            expected(
                where,
                "wanted",
                "to be finite",
                f"NaN or infinity in rows {lost[:10]}",
                "Leave them out; an angle that cannot be reached, for one, leaves NaN",
            )
        )
    return wanted.detach()


def seeds_of(where: str, seeds: int | Sequence[int], count: int) -> list[int]:
    """One seed a picture.

    Raises:
        SINGValueError: neither one for all nor one each, or something that is no seed.
    """
    try:
        one = operator.index(seeds)  # type: ignore[arg-type]
        given = [one] * count
    except TypeError:
        given = _integers(seeds)
    if len(given) != count or not all(0 <= seed < 2**63 for seed in given):
        raise SINGValueError(
            expected(
                where,
                "seeds",
                f"one integer from 0, or {count} of them",
                repr(seeds)[:80],
                "Give one, so that pictures differ by what is drawn alone",
            )
        )
    return given


def _integers(seeds: Any) -> list[int]:
    """A sequence of integers as a list, and an empty one for what is none."""
    try:
        return [operator.index(seed) for seed in seeds]
    except TypeError:
        return []
