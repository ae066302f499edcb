"""Which pictures are the same as an earlier one, to the bit of what was read from them."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from captum_sing.study.shards import Block

__all__ = ["Repeats"]


class Repeats:
    """Knows every picture that it was shown, by 16 bytes.

    Example::

        >>> features, same = torch.tensor([[1.0], [2.0], [1.0]]), torch.ones(3, 1)
        >>> block = Block(torch.arange(3), features, same, same)
        >>> repeats = Repeats()
        >>> repeats.among(block).tolist(), repeats.among(block).tolist()
        ([False, False, True], [True, True, True])
    """

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def among(self, block: Block) -> Tensor:
        """Which of these were shown before, shape (B,), bool; they are known from now on."""
        read = (block.features, block.embeddings)
        features, embeddings = (one.contiguous().view(torch.uint8).numpy() for one in read)
        repeated = []
        for feature, embedding in zip(features, embeddings, strict=True):
            content = feature.tobytes() + embedding.tobytes()
            digest = hashlib.blake2b(content, digest_size=16).digest()
            repeated.append(digest in self._known)
            self._known.add(digest)
        return torch.tensor(repeated, dtype=torch.bool)
