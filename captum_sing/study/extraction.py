"""What was read from a collection of pictures: columns in memory, the rest a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_sing.datasets import Unusable
from captum_sing.linear_head import LinearHead
from captum_sing.study.shards import Block, Shard

__all__ = ["Columns", "Extraction"]


@dataclass(frozen=True, eq=False)
class Extraction:
    """Features, logits and embeddings of N pictures, on disk, and small columns of them in memory.

    Attributes:
        names (tuple of str): N paths, or "image 17" where there is none.
        labels (tuple): N of them: int, str or None; a folder's are the names of its subfolders.
        valid (Tensor): shape (N,), bool: the pictures that the blocks hold.
        predictions (Tensor): shape (N,), int64: the class of the largest logit; -1 if not valid.
        unusable (tuple of Unusable): the other pictures, by name, with the reason.
        head (LinearHead): what makes the logits from the features, in the classifier.
        layers (tuple of str): its dotted names.
        class_names (tuple of str or None): one a class, where they are known.
        sizes (tuple of int): D, C and E.
        key (str): of all that these numbers depend on; equal keys are equal extractions.
        facts (dict): the same in words: the names of model and encoder, the preprocessing, ...
        folder (Path): where the files are.
        shards (sequence of Shard): the files.
    """

    names: tuple[str, ...]
    labels: tuple[int | str | None, ...]
    valid: Tensor
    predictions: Tensor
    unusable: tuple[Unusable, ...]
    head: LinearHead
    layers: tuple[str, ...]
    class_names: tuple[str, ...] | None
    sizes: tuple[int, int, int]
    key: str
    facts: dict[str, Any]
    folder: Path
    shards: Sequence[Shard] = field(repr=False)

    def __len__(self) -> int:
        """N, the unusable pictures among them."""
        return len(self.names)

    def blocks(self) -> Iterator[Block]:
        """Read all usable pictures in their order, a part at a time; as often as one likes.

        Yields:
            Block: what one file holds, so memory does not grow with the number of pictures. Its
            ``rows`` are places in the columns.

        Raises:
            SINGFileError: a file was deleted or damaged since it was checked.
        """
        for shard in self.shards:
            block, _ = shard.load()
            if len(block.rows):
                yield block._replace(rows=block.rows + shard.places.start)


class Columns:
    """What is known of every picture, gathered from the parts in any order.

    Args:
        names (sequence of str): N of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.labels: list[int | str | None] = [None] * len(names)
        self.predictions = torch.full((len(names),), -1)
        self.unusable: dict[int, Unusable] = {}
        self.layers: list[str] = []
        self.sizes: tuple[int, int, int] | None = None

    def add(self, shard: Shard, block: Block, facts: dict[str, Any]) -> None:
        """One part more, as its file holds it."""
        start, stop = shard.places.start, shard.places.stop
        self.labels[start:stop] = facts["labels"]
        for row, reason, was_read in facts["unusable"]:
            self.unusable[start + row] = Unusable(self.names[start + row], reason, was_read)
        if len(block.rows):
            self.predictions[block.rows + start] = block.logits.argmax(dim=1)
            self.layers = facts["layers"]
            features, classes, width = (len(tensor[0]) for tensor in block[1:])
            self.sizes = (features, classes, width)
