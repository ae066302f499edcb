"""Reading the pictures of whole parts, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_sing.datasets import Batch, Pictures, read_batches
from captum_sing.study.networks import Networks
from captum_sing.study.shards import Block, Shard

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["read_shards"]


def read_shards(
    networks: Networks,
    preprocess: Callable[[Image.Image], Tensor],
    pictures: Pictures,
    shards: Sequence[Shard],
    batch_size: int,
    num_workers: int,
    progress: Callable[[int], Any],
) -> Iterator[tuple[Shard, Block, dict[str, Any]]]:
    """Read pictures through both networks.

    The batches are the same whichever shards are asked for, since every shard but the collection's
    last one is of whole batches; and one reader reads them all, so its processes start once.

    Args:
        networks (Networks): the classifier and the encoder.
        preprocess (callable): one picture -> (3, H, W), for the classifier.
        pictures (Pictures): the whole collection.
        shards (sequence of Shard): which parts of it, in their order.
        batch_size, num_workers: as of :func:`captum_sing.datasets.read_batches`.
        progress (callable): is told the number of pictures of each batch.

    Yields:
        tuple: the shard, its block, and "labels", "unusable" (row, reason, whether it could be
        read) and "layers".
    """
    order = pictures.order or ()
    chosen = [order[place] for shard in shards for place in shard.places]
    if not chosen:
        return
    transforms = {"preprocess": preprocess, "encoder.preprocess": networks.encoder.preprocess}
    batches = iter(
        read_batches(
            replace(pictures, order=chosen),
            transforms,
            batch_size=batch_size,
            num_workers=num_workers,
        )
    )
    start = 0
    for shard in shards:
        part = _Part(networks, start, len(shard.places))
        for batch in islice(batches, -(-len(shard.places) // batch_size)):
            progress(part.add(batch))
        yield shard, part.block(), part.facts()
        start += len(shard.places)


class _Part:
    """What is read from some consecutive pictures, of which the first has a place in the reader."""

    def __init__(self, networks: Networks, start: int, count: int) -> None:
        self.networks, self.start = networks, start
        self.read = 0
        self.labels: list[int | str | None] = [None] * count
        self.unusable: list[tuple[int, str, bool]] = []
        self.blocks: list[Block] = []

    def add(self, batch: Batch) -> int:
        """The next batch; how many pictures it had."""
        count = len(batch.places) + len(batch.unusable)
        rows = [place - self.start for place in batch.places]
        unread = sorted(set(range(self.read, self.read + count)) - set(rows))
        for row, problem in zip(unread, batch.unusable, strict=True):
            self.unusable.append((row, problem.reason, problem.read))
        for row, label in zip(rows, batch.labels, strict=True):
            self.labels[row] = label
        if rows:
            block, refused = self.networks.read(*batch.tensors.values())
            self.unusable += [(rows[row], reason, True) for row, reason in refused.items()]
            if len(block.rows):
                self.blocks.append(block._replace(rows=torch.tensor(rows)[block.rows]))
        self.read += count
        return count

    def block(self) -> Block:
        """The usable pictures."""
        if not self.blocks:
            return Block(torch.empty(0, dtype=torch.int64), *[torch.empty(0, 0)] * 3)
        return Block(*map(torch.cat, zip(*self.blocks, strict=True)))

    def facts(self) -> dict[str, Any]:
        """The rest."""
        return {
            "labels": self.labels,
            "unusable": sorted(self.unusable),
            "layers": self.networks.layers,
        }
