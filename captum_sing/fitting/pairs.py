"""Which pictures are held out, and what model and encoder make of the others of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from captum_sing.datasets import Unusable
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import (
    HeadNotFoundError,
    SINGRuntimeError,
    SINGValueError,
    expected,
)
from captum_sing.fitter import TranslatorFitter
from captum_sing.head import find_head, resolve_layer
from captum_sing.hooks import read_features
from captum_sing.linear_head import LinearHead

__all__ = ["MOST_HELD_OUT", "Blocks", "PairReader", "Split"]

MOST_HELD_OUT = 5_000

_BLOCK = 1_024

Layers = nn.Module | str | Sequence[nn.Module | str] | None


class Split:
    """A seeded draw of one in every 1 / ``share`` consecutive places; to be asked in order.

    :data:`MOST_HELD_OUT` at most: of a stream these are among its first places, since nobody knows
    how many will come.

    Args:
        share (float): from 0 to 0.5.
        count (int or None): number of places; None where it is not known.
        seed (int): of the draw.

    Example::

        >>> split = Split(0.25, 12, seed=0)
        >>> held_out = [place for place in range(12) if split.takes(place)]
        >>> [place // 4 for place in held_out]
        [0, 1, 2]
    """

    def __init__(self, share: float, count: int | None, seed: int) -> None:
        self.share = min(share, 1.0 if not count else MOST_HELD_OUT / count)
        self._places = self._drawn(torch.Generator().manual_seed(seed))
        self._next = next(self._places, math.inf)

    def takes(self, place: int) -> bool:
        """Whether the picture at a place, later than those asked for before, is held out."""
        while self._next < place:
            self._next = next(self._places, math.inf)
        return place == self._next

    def _drawn(self, generator: torch.Generator) -> Iterator[int]:
        for stratum in range(MOST_HELD_OUT if self.share else 0):
            first, end = (math.ceil((stratum + i) / self.share) for i in (0, 1))
            yield first + int(torch.randint(end - first, (), generator=generator))


class Blocks:
    """Hands pairs on to a fitter in blocks: each update costs as much as the sums are large.

    Args:
        fitter (TranslatorFitter): which.
    """

    def __init__(self, fitter: TranslatorFitter) -> None:
        self.fitter = fitter
        self._waiting: list[tuple[Tensor, Tensor]] = []

    @property
    def count(self) -> int:
        """Pairs so far."""
        return self.fitter.count + sum(len(features) for features, _ in self._waiting)

    def add(self, features: Tensor, embeddings: Tensor) -> None:
        """Some more pairs."""
        if len(features):
            self._waiting.append((features, embeddings))
        if sum(len(waiting) for waiting, _ in self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        if self._waiting:
            features, embeddings = map(torch.cat, zip(*self._waiting, strict=True))
            self.fitter.update(features, embeddings)
            self._waiting.clear()


class PairReader:
    """Features and embeddings of preprocessed pictures.

    Args:
        model (nn.Module): the classifier.
        encoder (ImageTextEncoder): whose embeddings.
        layer (nn.Module, str, a sequence of these, or None): the head; None finds it.
    """

    def __init__(self, model: nn.Module, encoder: ImageTextEncoder, layer: Layers) -> None:
        self.model, self.encoder = model, encoder
        self.layers: nn.Module | Sequence[nn.Module] | None = None
        if isinstance(layer, (nn.Module, str)):
            self.layers = resolve_layer(model, layer)
        elif layer is not None:
            self.layers = [resolve_layer(model, one) for one in layer]
        if self.layers is not None:
            self.head.weight()  # refuses what is not linear

    @property
    def head(self) -> LinearHead:
        """What the features were read from.

        Raises:
            SINGRuntimeError: none yet.
        """
        if self.layers is None:
            raise SINGRuntimeError(
                expected("PairReader", "head", "to be found", "nothing yet", "Read a batch first")
            )
        return LinearHead.of(self.layers)

    @property
    def names(self) -> list[str]:
        """The layers of the head, by their names in the model."""
        head = [self.layers] if isinstance(self.layers, nn.Module) else [*(self.layers or ())]
        return [name for name, module in self.model.named_modules() if module in head]

    def read(
        self, inputs: Tensor, encoder_inputs: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor, list[int], list[Unusable]]:
        """Read a batch.

        Args:
            inputs, encoder_inputs (Tensor): the same B pictures, for model and encoder.
            names (sequence of str): one each.

        Returns:
            tuple: features (N, D), embeddings (N, E), the rows of these N pictures, and those for
            which the model or the encoder gives no finite numbers.

        Raises:
            HeadNotFoundError: ``layer`` is None and no layer makes the logits.
        """
        features, kept, unusable = _each(self._features, inputs, names)
        if not kept:
            return features, features, [], unusable
        names = [names[row] for row in kept]
        embeddings, rows, further = _each(self._embeddings, encoder_inputs[kept], names)
        return features[rows], embeddings, [kept[row] for row in rows], [*unusable, *further]

    @torch.no_grad()
    def _features(self, inputs: Tensor) -> Tensor:
        like = next((p for p in self.model.parameters() if p.is_floating_point()), inputs)
        inputs = inputs.to(like.device, like.dtype)
        if self.layers is None:
            self.layers = find_head(self.model, inputs[:2]).module
        return read_features(self.model, self.layers, inputs).flatten(1)

    @torch.no_grad()
    def _embeddings(self, inputs: Tensor) -> Tensor:
        embeddings = self.encoder.encode_image(inputs)
        wanted = (len(inputs), self.encoder.embedding_dim)
        if embeddings.shape != wanted or not embeddings.isfinite().all():
            actual = tuple(embeddings.shape) if embeddings.shape != wanted else "NaN or infinity"
            raise SINGValueError(
                expected(
                    "PairReader",
                    "encoder",
                    f"to make finite embeddings of shape {wanted}",
                    actual,
                    "Check its weights and its precision",
                )
            )
        return embeddings


def _each(
    read: Callable[[Tensor], Tensor], inputs: Tensor, names: Sequence[str]
) -> tuple[Tensor, list[int], list[Unusable]]:
    """Read a batch; where it is refused, one by one, so that a picture alone is left out."""
    try:
        return read(inputs), list(range(len(inputs))), []
    except HeadNotFoundError:
        raise
    except SINGValueError as error:
        if len(inputs) == 1:
            return inputs[:0], [], [Unusable(names[0], str(error), read=True)]
    alone = [_each(read, inputs[row : row + 1], names[row:]) for row in range(len(inputs))]
    kept = [row for row, (_, rows, _) in enumerate(alone) if rows]
    found = [alone[row][0] for row in kept]
    unusable = [one for _, _, problems in alone for one in problems]
    return (torch.cat(found) if found else inputs[:0]), kept, unusable
