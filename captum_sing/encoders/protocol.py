"""What this package asks of a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageTextEncoder"]


@runtime_checkable
class ImageTextEncoder(Protocol):
    """What this package asks of a vision-language model.

    Attributes:
        name (str): architecture and exact weights; two encoders of one name make one space.
        embedding_dim (int): E.
    """

    name: str
    embedding_dim: int

    def preprocess(self, image: Image.Image) -> Tensor:
        """One picture -> (3, H, W), as :meth:`encode_image` wants it."""
        ...

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), not normalised."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """V texts -> (V, E), not normalised."""
        ...
