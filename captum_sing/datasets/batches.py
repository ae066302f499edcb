"""Pictures in batches, preprocessed for several readers; what cannot be used is kept apart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from captum_sing.datasets.pictures import NoPictureError, Picture, Pictures, as_picture
from captum_sing.errors import SINGTypeError, SINGValueError, expected

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Batch", "Transforms", "Unusable", "read_batches"]

Transforms = Mapping[str, "Callable[[Image.Image], Tensor]"]
"""What each reader makes of a picture, by the name of that argument."""

_WHERE = "read_batches"


@dataclass(frozen=True)
class Unusable:
    """A picture that is left out.

    Attributes:
        name (str): its file, or its place.
        reason (str): why.
        read (bool): whether it could be read, so that the reason lies in what came after.
    """

    name: str
    reason: str
    read: bool = False


@dataclass(frozen=True)
class _Sample:
    place: int
    name: str
    label: int | str | None
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class _NoPicture(Unusable):
    found: str = ""


@dataclass(frozen=True)
class _Misuse:
    """A mistake in the arguments, as a value: so a worker process hands it on whole."""

    argument: str
    constraint: str
    actual: str
    remedy: str


@dataclass(frozen=True)
class Batch:
    """The usable pictures of some consecutive places.

    Attributes:
        places (list of int), names (list of str), labels (list): one each.
        tensors (dict of str to Tensor): what each transform made of them, in the transforms'
            order, shape (B, C, H, W).
        unusable (list of Unusable): the others.
    """

    places: list[int]
    names: list[str]
    labels: list[int | str | None]
    tensors: dict[str, Tensor]
    unusable: list[Unusable]


def read_batches(
    pictures: Pictures,
    transforms: Transforms,
    *,
    batch_size: int = 32,
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Read and preprocess pictures, in order, once.

    Args:
        pictures (Pictures): which.
        transforms (mapping of str to callable): argument name -> picture -> tensor.
        batch_size, num_workers: as of :class:`torch.utils.data.DataLoader`.

    Yields:
        Batch: of ``batch_size`` places; fewer pictures where some cannot be used.

    Raises:
        SINGTypeError: the first items are no pictures (later ones are unusable), or a transform
            does not make a tensor of one, or makes tensors of different shapes.
        SINGValueError: a number that cannot be used; workers for a stream.

    Example::

        >>> from PIL import Image
        >>> from captum_sing.testing import ToyEncoder
        >>> pictures = Pictures.of([Image.new("RGB", (20, 30))] * 5)
        >>> batches = read_batches(pictures, {"x": ToyEncoder().preprocess}, batch_size=3)
        >>> [tuple(batch.tensors["x"].shape) for batch in batches]
        [(3, 3, 8, 8), (2, 3, 8, 8)]
    """
    stream = pictures.order is None
    for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        if value < least:
            raise SINGValueError(expected(_WHERE, name, f"of at least {least}", value, "Check it"))
    if stream and num_workers:
        raise SINGValueError(
            expected(
                _WHERE,
                "num_workers",
                "of 0 for images without a length",
                num_workers,
                "Each process would read all of them: make a list, or read them in this one",
            )
        )
    data: Dataset[Any] = (_Stream if stream else _Listed)(pictures, transforms)
    return _checked(DataLoader(data, batch_size, num_workers=num_workers, collate_fn=_collate))


def _checked(batches: Iterable[Batch | _Misuse]) -> Iterator[Batch]:
    begun = False
    for batch in batches:
        if isinstance(batch, _Misuse):
            raise SINGTypeError(
                expected(_WHERE, batch.argument, batch.constraint, batch.actual, batch.remedy)
            )
        begun = begun or bool(batch.names)
        for one in batch.unusable:
            if isinstance(one, _NoPicture) and not begun:
                raise NoPictureError(one.name, one.found)
        yield batch


class _Listed(Dataset[Any]):
    """Pictures that can be asked for, in any process."""

    def __init__(self, pictures: Pictures, transforms: Transforms) -> None:
        self.pictures, self.transforms = pictures, transforms

    def __len__(self) -> int:
        return len(self.pictures.order or ())

    def __getitem__(self, place: int) -> _Sample | Unusable | _Misuse:
        name, read = self.pictures.name(place), partial(self.pictures.read, place)
        return _prepared(read, name, place, self.transforms)


class _Stream(IterableDataset[Any]):
    """Pictures that come as they come."""

    def __init__(self, pictures: Pictures, transforms: Transforms) -> None:
        self.pictures, self.transforms = pictures, transforms

    def __iter__(self) -> Iterator[_Sample | Unusable | _Misuse]:
        for place, item in enumerate(self.pictures.stream()):
            name = f"image {place}"
            yield _prepared(partial(as_picture, item, name), name, place, self.transforms)


def _prepared(
    read: Callable[[], Picture], name: str, place: int, transforms: Transforms
) -> _Sample | Unusable | _Misuse:
    try:
        picture = read()
    except NoPictureError as error:
        return _NoPicture(name, f"no picture, but {error.found}", found=error.found)
    except Exception as error:  # decoders and datasets raise whatever the damage makes them raise
        return Unusable(name, _reason(error))
    tensors: dict[str, Tensor] = {}
    for argument, transform in transforms.items():
        try:
            made = transform(picture.image)
        except Exception as error:
            return Unusable(picture.name, f"{argument}: {_reason(error)}", read=True)
        if not isinstance(made, Tensor) or made.dim() != 3:
            shape = f" of shape {tuple(made.shape)}" if isinstance(made, Tensor) else ""
            return _Misuse(
                argument,
                "to make a tensor (C, H, W) of a picture",
                f"{type(made).__name__}{shape}",
                "End it with torchvision's ToTensor, or wrap it in a function",
            )
        tensors[argument] = made
    return _Sample(place, picture.name, picture.label, tensors)


def _collate(found: Sequence[_Sample | Unusable | _Misuse]) -> Batch | _Misuse:
    for item in found:
        if isinstance(item, _Misuse):
            return item
    samples = [item for item in found if isinstance(item, _Sample)]
    tensors: dict[str, Tensor] = {}
    for argument in samples[0].tensors if samples else ():
        each = [sample.tensors[argument] for sample in samples]
        shapes = sorted({tuple(tensor.shape) for tensor in each})
        if len(shapes) > 1:
            return _Misuse(
                argument,
                "to make tensors of one shape",
                " and ".join(map(str, shapes[:2])),
                "Let it resize and crop, as the model's own preprocessing does",
            )
        tensors[argument] = torch.stack(each)
    return Batch(
        [sample.place for sample in samples],
        [sample.name for sample in samples],
        [sample.label for sample in samples],
        tensors,
        [item for item in found if isinstance(item, Unusable)],
    )


def _reason(error: Exception) -> str:
    """The inner reason of one of our errors, or the first line of another's."""
    inner = error.__cause__ or error
    text = (str(inner).splitlines() or [""])[0].rstrip(".")
    return textwrap.shorten(text, 120) or type(inner).__name__
