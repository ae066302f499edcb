"""Small deterministic parts for testing what is built on this package: heads, an encoder, a model.

Nothing here is a mock: the heads have a known rank, and the encoder's embeddings depend on every
pixel, every word and the order of the words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ToyClassifier", "ToyEncoder", "ToyHead", "toy_heads"]


@dataclass(frozen=True)
class ToyHead:
    """A linear head and the rank that its weight truly has.

    Attributes:
        module (nn.Linear or nn.Conv2d): the head.
        rank (int): R; it is below the width, so there is a null space.
    """

    module: nn.Linear | nn.Conv2d
    rank: int


def toy_heads() -> dict[str, ToyHead]:
    """Heads of every kind, by name, for a test to run through.

    Example::

        >>> from captum_sing import NullSpace
        >>> all(NullSpace.from_layer(h.module).rank == h.rank for h in toy_heads().values())
        True
    """
    twins = _gaussian(6, 20)
    twins[4] = twins[1]
    return {
        "wide": _head(_gaussian(5, 24), 5),
        "tall": _head(_gaussian(30, 7) @ _gaussian(7, 12), 7),
        "rank deficient": _head(_gaussian(8, 5) @ _gaussian(5, 24), 5),
        "duplicated rows": _head(twins, 5),
        "no bias": _head(_gaussian(5, 20), 5, bias=False),
        "one row": _head(_gaussian(1, 9), 1),
        "1x1 convolution": _head(_gaussian(5, 16)[:, :, None, None], 5),
        "scaled by 1e-7": _head(_gaussian(8, 5) @ _gaussian(5, 24) * 1e-7, 5),
        "four decades": _head(_spanning(8, 24, 4), 8),
        "float64, ten decades": _head(_spanning(8, 24, 10), 8, torch.float64),
        "float16": _head(twins, 5, torch.float16),
        "bfloat16": _head(twins, 5, torch.bfloat16),
    }


class ToyEncoder:
    """An :class:`captum_sing.ImageTextEncoder` of fixed random numbers.

    An image's embedding is a linear function of its pixels; a text's is the sum of a vector for
    each word and, weaker, one for each word at its place.

    Args:
        embedding_dim (int): E. Default: 16
        image_size (int): height and width of a preprocessed image. Default: 8
        seed (int): two encoders of different seeds are two spaces. Default: 0

    Example::

        >>> encoder = ToyEncoder()
        >>> encoder.encode_text(["red on blue", "blue on red"]).shape
        torch.Size([2, 16])
    """

    def __init__(self, embedding_dim: int = 16, image_size: int = 8, seed: int = 0) -> None:
        self.name = f"toy/{embedding_dim}-{image_size}@{seed}"
        self.embedding_dim = embedding_dim
        self.image_size = image_size
        pixels = 3 * image_size**2
        self._pixels_to_embedding = self._numbers("pixels", pixels, embedding_dim) / pixels**0.5

    def preprocess(self, image: Image.Image) -> Tensor:
        """One picture -> (3, H, W), values in [0, 1]."""
        size = self.image_size
        resized = image.convert("RGB").resize((size, size))
        values = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        return values.reshape(size, size, 3).permute(2, 0, 1).float() / 255

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), not normalised."""
        return images.flatten(1) @ self._pixels_to_embedding

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """V texts -> (V, E), not normalised."""
        return torch.stack([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Tensor:
        total = self._numbers("start", self.embedding_dim)
        for place, word in enumerate(re.findall(r"\w+", text.lower())):
            total = total + self._numbers(word, self.embedding_dim)
            total = total + 0.25 * self._numbers(f"{place} {word}", self.embedding_dim)
        return total

    def _numbers(self, key: str, *shape: int) -> Tensor:
        digest = hashlib.sha256(f"{self.name} {key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.randn(shape, generator=generator)


class ToyClassifier(nn.Module):
    """A small convolutional classifier: ``features``, then the linear ``head``.

    Args:
        classes (int): C. Default: 4
        width (int): D. Default: 12
        seed (int): of the weights; the global random state is left alone. Default: 0

    Example::

        >>> ToyClassifier()(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4])
    """

    def __init__(self, classes: int = 4, width: int = 12, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.features = nn.Sequential(
                nn.Conv2d(3, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, C)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _gaussian(rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * rows + columns)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def _spanning(rows: int, columns: int, decades: int) -> Tensor:
    """A matrix whose singular values fall from 1 by so many powers of ten."""
    left, _, right = torch.linalg.svd(_gaussian(rows, columns), full_matrices=False)
    return left @ torch.logspace(0, -decades, rows, dtype=torch.float64).diag() @ right


def _head(
    weight: Tensor, rank: int, dtype: torch.dtype = torch.float32, *, bias: bool = True
) -> ToyHead:
    classes, width = weight.shape[:2]
    kind, kernel = (nn.Linear, ()) if weight.dim() == 2 else (nn.Conv2d, (1,))
    layer = skip_init(kind, width, classes, *kernel, bias=bias, dtype=dtype).requires_grad_(False)
    layer.weight.copy_(weight)
    if bias:
        layer.bias.copy_(torch.linspace(-1.0, 1.0, classes))
    return ToyHead(layer, rank)
