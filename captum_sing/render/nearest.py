"""The real picture that lies nearest to what is wanted: nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize as unit

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.render.protocol import check_wanted, seeds_of
from captum_sing.translator_base import Translator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SPACES", "Nearest", "Neighbours", "seen_and_ignored"]

SPACES = ("embeddings", "features")

_WHERE = "Nearest"
_NUMBERS = 2**22  # that are worked on at once
_QUERIES = 256
_SEEN = 2.0  # how much more than the ignored part the seen one counts


class Neighbours(NamedTuple):
    """The nearest pictures of B rows, the nearest first.

    Attributes:
        indices (Tensor): rows of the gallery, shape (B, count), int64.
        similarities (Tensor): the larger the nearer, shape (B, count), float64: the cosine of
            embeddings, minus the distance of features.
    """

    indices: Tensor
    similarities: Tensor


class Nearest:
    r"""A gallery of real pictures, of which the nearest stands for what is wanted.

    Embeddings are compared by the cosine of :math:`z - \bar z`, with the mean over the gallery:
    all images lie in one narrow cone, and about zero the nearest is the one nearest to its axis.
    Features are compared by Euclidean distance, as a head reads them: twice a feature has other
    logits. Where most of what varies is ignored, that is no guide to a swap: the nearest picture is
    then the donor's kin, and the head sees it as the donor. Given the null space, both parts are
    measured by their own spread over the gallery, and what is seen counts twice as much.

    **Which pictures may stand in it.** With the photograph itself in the gallery, the nearest to
    T(f) is most often just that, and a comparison of f with its equivalent shows the photograph
    beside another one whatever was removed. Leave out every picture whose feature is drawn, and the
    donors of swaps; and pictures of the same thing (frames of one film, copies), which only you
    know.

    The nearest picture is a picture *like* the wanted one: it differs from it in all that the
    gallery does not hold in every combination, and its logits are its own. :attr:`similarities
    <Neighbours.similarities>` and a verification say how near it came.

    Args:
        rows (Tensor): embeddings, shape (N, E), or features, (N, D), in any precision. Kept as
            given and read a part at a time: no copy is made.
        load (sequence or callable): row number -> PIL picture, called only for what is drawn.
        by (str, optional): what ``rows`` are, one of :data:`SPACES`. Default: "embeddings"
        names (sequence of str, optional): N of them, for whoever shows the pictures.
        encoder (str, optional): whose embeddings, to refuse the translators of others.
        model (str, optional): whose features, likewise.
        null_space (NullSpace, optional): of the head that reads the features.
        centre (bool, optional): compare embeddings about their mean. Default: True
        without (sequence of int, optional): rows that are never the nearest, nor in the mean.

    Attributes:
        takes (str): ``by``.
        facts (dict): what a picture can be found again from, beside the gallery itself.

    Raises:
        SINGTypeError, SINGValueError: an empty gallery, rows that are not finite, lengths that
            differ, rows to leave out that there are not.

    Example::

        >>> from PIL import Image
        >>> from captum_sing.datasets import Pictures
        >>> from captum_sing.study import Extraction
        >>> pictures = Pictures.of([Image.new("RGB", (8, 8), c) for c in ("red", "blue", "lime")])
        >>> head = torch.nn.Linear(4, 2)
        >>> extraction = Extraction.from_tensors(torch.rand(3, 4), torch.eye(3), head)
        >>> blocks = list(extraction.blocks())  # without the pictures that could not be read,
        >>> places = torch.cat([block.rows for block in blocks]).tolist()  # so places are not rows
        >>> gallery = Nearest(
        ...     torch.cat([block.embeddings for block in blocks]),
        ...     lambda row: pictures.read(places[row]).image,
        ...     names=[extraction.names[place] for place in places],
        ...     encoder=extraction.facts["encoder"],
        ... )
        >>> gallery.nearest(torch.tensor([[0.1, 0.9, 0.2]])).indices
        tensor([[1]])
        >>> gallery.render(torch.tensor([[0.1, 0.9, 0.2]]))[0].getpixel((0, 0))
        (0, 0, 255)
    """

    restores_norm = False
    normalize: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self,
        rows: Tensor,
        load: Sequence[Any] | Callable[[int], Any],
        *,
        by: str = "embeddings",
        names: Sequence[str] | None = None,
        encoder: str | None = None,
        model: str | None = None,
        null_space: NullSpace | None = None,
        centre: bool = True,
        without: Sequence[int] = (),
    ) -> None:
        if by not in SPACES:
            raise SINGValueError(expected(_WHERE, "by", f"in {SPACES}", repr(by), "Choose one"))
        self.rows = _checked_rows(rows)
        if null_space is not None and (by, rows.shape[1]) != ("features", null_space.width):
            actual, remedy = f"{by} of width {rows.shape[1]}", "Leave it out"
            constraint = f"for a gallery by features of width {null_space.width}"
            raise _unfit("null_space", constraint, actual, remedy)
        count = len(rows)
        if not callable(load) and not (hasattr(load, "__len__") and hasattr(load, "__getitem__")):
            constraint, remedy = "to be a sequence or callable", "Give lambda row: picture"
            raise SINGTypeError(expected(_WHERE, "load", constraint, type(load).__name__, remedy))
        for argument, given in (("load", None if callable(load) else load), ("names", names)):
            if given is not None and len(given) != count:
                raise _unfit(argument, f"of length {count}", len(given), "Give one for each row")
        self.takes = by
        self.names = None if names is None else tuple(names)
        self.encoder, self.model = encoder, model
        self.centre = centre and by == "embeddings"
        self._load = load
        self._held = torch.ones(count, dtype=torch.bool, device=rows.device)
        self._held[_left_out(without, count)] = False
        self._size = max(1, _NUMBERS // max(rows.shape[1], _QUERIES))
        self._mean = self._measure_mean()
        self._space = None if null_space is None else null_space.to(rows.device)
        self._scales = [] if self._space is None else self._measure_scales(self._space)
        self.facts: dict[str, Any] = {
            "renderer": "nearest",
            "by": by,
            "centre": self.centre,
            "null_space": None if null_space is None else repr(null_space),
            "gallery": len(self),
            "without": (~self._held).nonzero().flatten().tolist(),
            "encoder": encoder,
            "model": model,
        }

    def __len__(self) -> int:
        """How many pictures can be the nearest."""
        return int(self._held.sum())

    def check(self, translator: Translator) -> None:
        """Refuse a translator whose features or embeddings are not the gallery's.

        Args:
            translator (Translator): T.

        Raises:
            SINGValueError: another width, another encoder or another model; a name that is not
                known on both sides is not compared.
        """
        if self.takes == "embeddings":
            what, own, other = "encoder", self.encoder, translator.encoder
            width = translator.embedding_dim
        else:
            what, own, other = "model", self.model, translator.model
            width = translator.feature_dim
        remedy = f"Take the {self.takes} of the translator's {what}"
        if width != self.rows.shape[1]:
            wanted = f"with {self.takes} of width {self.rows.shape[1]}, as the gallery's"
            raise SINGValueError(expected(_WHERE, "translator", wanted, width, remedy))
        if None not in (own, other) and own != other:
            wanted = f"for the gallery's {what}, {own}"
            raise SINGValueError(expected(_WHERE, "translator", wanted, other, remedy))

    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        """The nearest picture of each row.

        Args:
            wanted (Tensor): shape (B, E) or (B, D), as :attr:`takes` says.
            seeds (int or sequence of int, optional): checked, and otherwise without effect:
                nothing here is random.

        Returns:
            list of PIL.Image.Image: B pictures, mode RGB.

        Raises:
            SINGTypeError, SINGValueError: what cannot be compared, or ``load`` gave no picture.
        """
        indices = self.nearest(wanted).indices[:, 0].tolist()
        seeds_of(_WHERE, seeds, len(indices))
        drawn = {index: self.picture(index) for index in set(indices)}
        return [drawn[index] for index in indices]

    def picture(self, index: int) -> Image.Image:
        """One picture of the gallery, mode RGB.

        Raises:
            SINGTypeError: ``load`` gave something else.
            Exception: whatever ``load`` raises where it cannot read.
        """
        from PIL import Image

        image = self._load(index) if callable(self._load) else self._load[index]
        if not isinstance(image, Image.Image):
            raise SINGTypeError(
                expected(
                    _WHERE,
                    "load",
                    "to give PIL pictures",
                    f"{type(image).__name__} for row {index}",
                    "Convert it, with torchvision's to_pil_image for a tensor",
                )
            )
        return image.convert("RGB")

    @torch.no_grad()
    def nearest(self, wanted: Tensor, count: int = 1) -> Neighbours:
        """The nearest pictures of each row; the gallery is read once for every 256 rows.

        Args:
            wanted (Tensor): shape (B, E) or (B, D), as :attr:`takes` says.
            count (int, optional): how many of each. Default: 1

        Raises:
            SINGTypeError, SINGValueError: rows that cannot be compared, or a gallery that is
                smaller than ``count``.
        """
        wanted = check_wanted(_WHERE, wanted, self.rows.shape[1])
        if not 1 <= count <= len(self):
            remedy = "Ask for fewer, or give more pictures"
            raise _unfit("count", f"from 1 to the gallery's {len(self)} pictures", count, remedy)
        queries = self._prepared(wanted.to(self.rows.device))
        blind = (queries == 0).all(dim=1).nonzero().flatten().tolist()
        if blind and self.takes == "embeddings":
            raise _unfit(
                "wanted",
                f"to differ from {'the mean of the gallery' if self.centre else 'zero'}",
                f"the same in rows {blind[:10]}",
                "It points nowhere, and no picture is nearer than another",
            )
        found = [self._closest(part, count) for part in queries.split(_QUERIES)]
        return Neighbours(*(torch.cat(parts).cpu() for parts in zip(*found, strict=True)))

    def _closest(self, queries: Tensor, count: int) -> Neighbours:
        best = queries.new_empty(len(queries), 0)
        places = best.long()
        for start, part in self._parts():
            rows = self._prepared(part)
            euclidean = self.takes == "features"
            similar = -torch.cdist(queries, rows) if euclidean else queries @ rows.T
            similar[:, ~self._held[start : start + len(part)]] = -torch.inf
            near, order = similar.topk(min(count, len(part)))
            best, places = torch.cat([best, near], 1), torch.cat([places, order + start], 1)
            best, order = best.topk(min(count, best.shape[1]))
            places = places.gather(1, order)
        return Neighbours(places, best)

    def _prepared(self, rows: Tensor) -> Tensor:
        """As they are compared; in float64: small distances are differences of large numbers."""
        exact = rows.double()
        if self.takes == "embeddings":
            return unit(exact - self._mean if self.centre else exact)
        if self._space is None:
            return exact
        seen, ignored = seen_and_ignored(exact, self._space)
        return torch.cat([_SEEN * seen / self._scales[0], ignored / self._scales[1]], dim=1)

    def _parts(self) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.rows), self._size):
            yield start, self.rows[start : start + self._size]

    def _measure_mean(self) -> Tensor:
        """Over the rows that can be the nearest, once all are found to be finite."""
        total = self.rows.new_zeros(self.rows.shape[1], dtype=torch.float64)
        for start, part in self._parts():
            lost = (~part.isfinite().all(dim=1)).nonzero().flatten() + start
            if len(lost):
                actual = f"NaN or infinity in rows {lost[:10].tolist()}"
                raise _unfit("rows", "to be finite", actual, "Leave these pictures out")
            total += part[self._held[start : start + len(part)]].sum(dim=0, dtype=torch.float64)
        return total / len(self)

    def _measure_scales(self, space: NullSpace) -> list[float]:
        """How far those rows are spread in what the head sees, and in what it ignores."""
        squares = [0.0, 0.0]
        for start, part in self._parts():
            held = part[self._held[start : start + len(part)]].double() - self._mean
            for side, rows in enumerate(seen_and_ignored(held, space)):
                squares[side] += float(rows.square().sum())
        seen, ignored = ((square / len(self)) ** 0.5 for square in squares)
        largest = float(space.singular_values[0])
        noise = 8 * torch.finfo(self.rows.dtype).eps * (float(self._mean.norm()) + ignored)
        if seen <= noise * largest or ignored <= noise:
            constraint = "that differ in what the head sees and in what it ignores"
            actual = f"spreads of {seen:.1e} and {ignored:.1e}"
            raise _unfit("rows", constraint, actual, "Leave out null_space, or give other pictures")
        return [seen, ignored]


def seen_and_ignored(features: Tensor, space: NullSpace) -> tuple[Tensor, Tensor]:
    r"""Rows with the distances of what a head sees of features, and of what it ignores.

    Args:
        features (Tensor): shape (N, D), float64.
        space (NullSpace): of the head.

    Returns:
        tuple of Tensor: :math:`S V_p^\top f`, shape (N, R), which are as far apart as the logits
        that were declared invariant; and :math:`P_n f`, shape (N, D).
    """
    seen = features @ space.principal_basis * space.singular_values[: space.rank]
    return seen, space.project(features)


def _checked_rows(rows: Any) -> Tensor:
    if not isinstance(rows, Tensor) or not rows.is_floating_point():
        actual = rows.dtype if isinstance(rows, Tensor) else type(rows).__name__
        raise SINGTypeError(
            expected(_WHERE, "rows", "to be a floating-point tensor", actual, "Convert it")
        )
    if rows.ndim != 2 or 0 in rows.shape:
        raise _unfit("rows", "of shape (N, E) or (N, D), not empty", tuple(rows.shape), "Give some")
    return rows.detach()


def _left_out(without: Sequence[int], count: int) -> Tensor:
    rows = torch.as_tensor(without)
    if not rows.numel():
        return torch.zeros(0, dtype=torch.int64)
    whole = rows.ndim == 1 and not (rows.is_floating_point() or rows.dtype == torch.bool)
    if not whole or rows.min() < 0 or rows.max() >= count:
        constraint = f"to be row numbers from 0 to {count - 1}"
        raise _unfit("without", constraint, repr(without)[:80], "Number the gallery's rows from 0")
    if len(rows.unique()) == count:
        raise _unfit("without", f"to be fewer than all {count} rows", count, "Keep some")
    return rows.long()


def _unfit(argument: str, constraint: str, actual: object, remedy: str) -> SINGValueError:
    return SINGValueError(expected(_WHERE, argument, constraint, actual, remedy))
