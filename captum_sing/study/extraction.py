"""What was read from a collection of pictures: columns in memory, the rest a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from captum_sing.datasets import Unusable
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.linear_head import LinearHead
from captum_sing.study.keys import key_of, tensors_digest
from captum_sing.study.shards import Block, Shard

__all__ = ["Columns", "Extraction", "Part"]

_WHERE = "Extraction.from_tensors"


class Part(Protocol):
    """Some consecutive pictures, on disk or in memory."""

    @property
    def places(self) -> range:
        """Which pictures."""

    def load(self) -> tuple[Block, Any]:
        """What was read from the usable ones; its ``rows`` are counted from the first place."""


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
        folder (Path or None): where the files are; None for what is in memory.
        shards (sequence of Part): the files.
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
    folder: Path | None
    shards: Sequence[Part] = field(repr=False)

    @classmethod
    def from_tensors(
        cls,
        features: Tensor,
        embeddings: Tensor,
        head: Tensor | nn.Module | LinearHead,
        *,
        logits: Tensor | None = None,
        labels: Tensor | Sequence[int | str | None] | None = None,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        model: str = "features in memory",
        encoder: str = "embeddings in memory",
        preprocessing: str | None = None,
        block_size: int = 4096,
    ) -> Extraction:
        """What somebody has read already, as an extraction: no network runs, nothing is written.

        Args:
            features (Tensor): at the head's input, shape (N, D).
            embeddings (Tensor): of the same pictures, shape (N, E).
            head (Tensor, nn.Module or LinearHead): W, shape (C, D), or the layer.
            logits (Tensor, optional): of the classifier, shape (N, C). Default: the head's
            labels (Tensor or sequence, optional): a class, by number or name, or None, for each.
            names (sequence of str, optional): N of them. Default: "image 0", ...
            class_names (sequence of str, optional): C of them.
            model, encoder (str, optional): their names, as a translator and a study keep them.
            preprocessing (str, optional): what was done to the pictures, in words.
            block_size (int, optional): rows that are read at once. Default: 4096

        Returns:
            Extraction: rows that are not finite are in its ``unusable``, and in no block.

        Raises:
            SINGTypeError, SINGValueError: what does not fit, or no row that can be used.

        Example::

            >>> features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
            >>> features[2, 0] = float("nan")
            >>> extraction = Extraction.from_tensors(features, torch.eye(5), torch.eye(3, 4))
            >>> extraction.sizes, extraction.valid.tolist(), extraction.unusable[0].name
            ((4, 3, 5), [True, True, False, True, True], 'image 2')
        """
        count, width = _shape("features", features, (None, None))
        _shape("embeddings", embeddings, (count, None))
        head = _head(head, width)
        classes = len(head.weight(width))
        logits = head.logits(features).to(features.dtype) if logits is None else logits
        _shape("logits", logits, (count, classes))
        names = [f"image {row}" for row in range(count)] if names is None else list(names)
        known = labels.tolist() if isinstance(labels, Tensor) else labels
        known = [None] * count if known is None else list(known)
        named = class_names and list(class_names)
        for argument, given, wanted in (
            ("names", names, count),
            ("labels", known, count),
            ("class_names", named, classes),
        ):
            if given is not None and len(given) != wanted:
                raise _unfit(argument, f"of length {wanted}", len(given), "Give one for each")
        if block_size < 1:
            raise _unfit("block_size", "of at least 1", block_size, "Leave it out")
        content = {"features": features, "logits": logits, "embeddings": embeddings}
        content = {name: tensor.detach().cpu() for name, tensor in content.items()}
        finite = torch.stack([tensor.isfinite().all(dim=1) for tensor in content.values()])
        valid, first = finite.all(dim=0), finite.byte().argmin(dim=0).tolist()
        if not valid.any():
            raise _unfit("features", "with one finite row or more", f"{count} others", "Check them")
        unusable = [
            Unusable(names[row], f"NaN or infinity in the {list(content)[first[row]]}", True)
            for row in (~valid).nonzero().flatten().tolist()
        ]
        facts = {"model": model, "encoder": encoder, "preprocessing": preprocessing}
        weight = ("head", head.weight(width))
        return cls(
            names=tuple(names),
            labels=tuple(known),
            valid=valid,
            predictions=torch.where(valid, content["logits"].nan_to_num().argmax(dim=1), -1),
            unusable=tuple(unusable),
            head=head,
            layers=(),
            class_names=None if named is None else tuple(named),
            sizes=(width, classes, embeddings.shape[1]),
            key=key_of(facts, names, known, named, tensors_digest([weight, *content.items()])),
            facts=facts,
            folder=None,
            shards=[
                _Held(range(start, min(start + block_size, count)), valid, *content.values())
                for start in range(0, count, block_size)
            ],
        )

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


@dataclass(frozen=True, eq=False)
class _Held:
    """A part that is in memory."""

    places: range
    valid: Tensor
    features: Tensor
    logits: Tensor
    embeddings: Tensor

    def load(self) -> tuple[Block, None]:
        own = slice(self.places.start, self.places.stop)
        rows = self.valid[own].nonzero().flatten()
        tensors = (tensor[own][rows] for tensor in (self.features, self.logits, self.embeddings))
        return Block(rows, *tensors), None


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


def _shape(argument: str, tensor: Any, shape: tuple[int | None, int | None]) -> tuple[int, int]:
    """The shape of a table of numbers, which is as wanted."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        actual = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        constraint, remedy = "to be a floating-point tensor", "Convert it"
        raise SINGTypeError(expected(_WHERE, argument, constraint, actual, remedy))
    found = tuple(tensor.shape)
    wanted = tuple(b if a is None else a for a, b in zip(shape, found, strict=False))
    if len(found) != 2 or found != wanted or 0 in found:
        named = tuple("any" if size is None else size for size in shape)
        raise _unfit(argument, f"of shape {named}, not empty", found, "Give one row a picture")
    return found[0], found[1]


def _head(head: Any, width: int) -> LinearHead:
    """The head of a weight, a layer or layers, for features of this width."""
    if isinstance(head, Tensor):
        _shape("head", head, (None, width))
        layer = nn.Linear(width, len(head), bias=False)
        layer.weight = nn.Parameter(head.detach(), requires_grad=False)
        return LinearHead.of(layer, _WHERE)
    head = head if isinstance(head, LinearHead) else LinearHead.of(head, _WHERE)
    if width not in head.widths:
        remedy = "Take what this layer reads"
        raise _unfit("features", f"of width in {head.widths}, as the head", width, remedy)
    return head


def _unfit(argument: str, constraint: str, actual: object, remedy: str) -> SINGValueError:
    return SINGValueError(expected(_WHERE, argument, constraint, actual, remedy))
