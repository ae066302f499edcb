"""What one has, as pictures with a name and perhaps a label."""

from __future__ import annotations

import math
import operator
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset

from captum_sing.classifiers import as_rgb, load_image
from captum_sing.errors import SINGFileError, SINGTypeError, SINGValueError, expected

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ENDINGS", "NoPictureError", "Picture", "Pictures", "as_picture"]

_WHERE = "Pictures.of"
_IMAGE_KEYS = ("image", "img")
_LABEL_KEYS = ("label", "labels", "fine_label")

ENDINGS = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif",
           ".tiff", ".webp")  # fmt: skip
"""Files of a folder with these endings, in small or capital letters, are taken for pictures."""


class NoPictureError(SINGTypeError):
    """An item of a collection is something else than a picture.

    Args:
        name (str): which one.
        found (str): what it is.
    """

    def __init__(self, name: str, found: str) -> None:
        self.found = found
        super().__init__(
            expected(
                "Pictures",
                "images",
                'to be pictures: PIL images or paths, alone, in (picture, label) or under "image"',
                f"{name} as {found}",
                "Leave transforms out of the dataset: each network preprocesses for itself",
            )
        )


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        image (PIL.Image.Image): upright, mode RGB.
        name (str): its file, or its place.
        label (int, str or None): its class, where that is known.
    """

    image: Image.Image
    name: str
    label: int | str | None = None


@dataclass(frozen=True)
class Pictures:
    """A collection of pictures that have not been read yet.

    Attributes:
        items (sequence or iterable): what it was made of; see :meth:`of`.
        order (sequence of int or None): which items, in which order; None for a stream, whose
            items come as they come.
        limit (int or None): of a stream, how many.
        other_files (Counter): of a folder, the files that are not read, by their ending.
        class_names (sequence of str or None): of a dataset that names its classes (``classes`` of
            torchvision, a ``ClassLabel`` of Hugging Face): a label that is a number is one of them.
    """

    items: Any
    order: Sequence[int] | None
    limit: int | None = None
    other_files: Counter[str] = field(default_factory=Counter)
    class_names: Sequence[str] | None = None

    @classmethod
    def of(cls, images: Any, *, limit: int | None = None, seed: int = 0) -> Pictures:
        """Takes what one has.

        Args:
            images (str, Path, sequence or iterable): an image folder, searched through all of its
                subfolders, of which the first level gives the labels (hidden files are ignored);
                or a torchvision or Hugging Face dataset, a list, or a generator. Their items are
                pictures (PIL) or paths, alone, first in a tuple that goes on with a label, or in a
                dictionary under "image" or "img", with a "label". Of Pictures, ``limit`` is drawn.
            limit (int, optional): take so many only: drawn at random, but for a stream, of which
                the first are taken.
            seed (int, optional): of that draw. Default: 0

        Raises:
            SINGFileError: no folder, or no pictures in it.
            SINGTypeError, SINGValueError: something else, or nothing in it.

        Example::

            >>> from PIL import Image
            >>> pictures = Pictures.of([(Image.new("L", (8, 8)), 3), (Image.new("1", (9, 9)), 5)])
            >>> second = pictures.read(1)
            >>> pictures.count, second.name, second.label, second.image.mode
            (2, 'image 1', 5, 'RGB')
        """
        if limit is not None and limit < 1:
            raise SINGValueError(
                expected(_WHERE, "limit", "of at least 1", limit, "Use None for all of them")
            )
        if isinstance(images, Pictures):
            if images.order is not None:
                return replace(images, order=_drawn(images.order, limit, seed))
            return replace(images, limit=min((limit, images.limit), key=_or_infinity))
        others: Counter[str] = Counter()
        if isinstance(images, (str, Path)):
            images, others = _files_in(Path(images))
        names = _class_names(images)
        images = _files_of(images, names)
        indexed = hasattr(images, "__len__") and hasattr(images, "__getitem__")
        indexed = indexed and not isinstance(images, IterableDataset)
        if isinstance(images, Mapping) or not (indexed or isinstance(images, Iterable)):
            raise _no_images(images)
        if not indexed:
            return cls(images, None, limit, class_names=names)
        count = len(images)
        if not count:
            raise SINGValueError(
                expected(_WHERE, "images", "with one picture or more", "none", "Give some")
            )
        return cls(images, _drawn(range(count), limit, seed), limit, others, names)

    @property
    def count(self) -> int | None:
        """How many there are at most; None for a stream without an end in sight."""
        return self.limit if self.order is None else len(self.order)

    def read(self, place: int) -> Picture:
        """One picture of a collection that is no stream.

        Raises:
            NoPictureError: the item is something else than a picture.
            Exception: whatever the dataset raises where it cannot be read.
        """
        return self.named(as_picture(self.items[self._index(place)], self.name(place)))

    def named(self, picture: Picture) -> Picture:
        """With the name of its class, where the dataset has one: other numbers are the model's."""
        label, names = picture.label, self.class_names
        if names is None or not isinstance(label, int) or label >= len(names):
            return picture
        return replace(picture, label=names[label])

    def name(self, place: int) -> str:
        """The picture's file, where that is known without reading, or else its index."""
        index = self._index(place)
        item = self.items[index] if type(self.items) is list else None
        first = item[0] if isinstance(item, tuple) and item else item
        return str(first) if isinstance(first, (str, Path)) else f"image {index}"

    def _index(self, place: int) -> int:
        return place if self.order is None else self.order[place]

    def stream(self) -> Iterator[Any]:
        """The items of a stream, as they come."""
        return islice(self.items, self.limit)


def as_picture(item: Any, name: str) -> Picture:
    """A picture out of an item of a dataset; see :meth:`Pictures.of`.

    Raises:
        NoPictureError: there is none in it.
        SINGValueError: it is None.
        SINGFileError: a file that cannot be read.
    """
    from PIL import Image

    image, label = item, None
    if isinstance(item, Mapping):
        image, label = (
            next((item[key] for key in keys if key in item), None)
            for keys in (_IMAGE_KEYS, _LABEL_KEYS)
        )
    elif isinstance(item, (tuple, list)) and item:
        image, label = item[0], item[1] if len(item) > 1 else None
    if isinstance(image, (str, Path)):
        return Picture(load_image(image), str(image), _label(label))
    if isinstance(image, Image.Image):
        return Picture(as_rgb(image), name, _label(label))
    if isinstance(item, Mapping) and not {*item} & {*_IMAGE_KEYS}:
        raise NoPictureError(name, f"{type(item).__name__} of {', '.join(map(str, item))}")
    if image is None:
        raise SINGValueError(expected("Pictures", name, "to be there", image, "Leave it out"))
    raise NoPictureError(name, type(image).__name__)


def _class_names(images: Any) -> Sequence[str] | None:
    """What a dataset calls its classes, in the order of its own labels."""
    while hasattr(images, "dataset") and hasattr(images, "indices"):  # a subset
        images = images.dataset
    names = getattr(images, "classes", None)
    features = getattr(images, "features", None)
    if names is None and isinstance(features, Mapping):
        key = next((key for key in _LABEL_KEYS if key in features), None)
        names = None if key is None else getattr(features[key], "names", None)
    whole = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return tuple(names) if whole and names else None


def _files_of(images: Any, names: Sequence[str] | None) -> Any:
    """The files of a dataset that is a folder, so that they are known without being read."""
    samples = getattr(images, "samples", None)
    plain = all(getattr(images, kind, None) is None for kind in ("transform", "target_transform"))
    loader = getattr(getattr(images, "loader", None), "__name__", None)
    folder = type(images).__name__ == "ImageFolder" and loader == "default_loader"
    if not folder or names is None or not plain or not samples:
        return images
    return [(str(path), names[label]) for path, label in samples]


def _drawn(order: Sequence[int], limit: int | None, seed: int) -> Sequence[int]:
    """So many of them, at random, in their order."""
    if limit is None or limit >= len(order):
        return order
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(len(order), generator=generator)[:limit].sort().values
    return [order[place] for place in places.tolist()]


def _or_infinity(limit: int | None) -> float:
    return math.inf if limit is None else limit


def _label(value: Any) -> int | str | None:
    if isinstance(value, str):
        return value
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return None if number < 0 else number  # a test set's -1 is no class


def _no_images(images: Any) -> SINGTypeError:
    splits = f" of {', '.join(map(str, images))}" if isinstance(images, Mapping) else ""
    return SINGTypeError(
        expected(
            _WHERE,
            "images",
            "to be a folder, a dataset, a list of pictures or paths, or a generator of them",
            f"{type(images).__name__}{splits}",
            "Choose a split of it" if splits else "Give the folder that the pictures are in",
        )
    )


def _files_in(folder: Path) -> tuple[list[tuple[str, str | None]], Counter[str]]:
    """Paths of pictures with the first folder on their way, sorted, and what else there is."""
    if not folder.is_dir():
        actual = f"the file {folder}" if folder.exists() else f"{folder}, which does not exist"
        raise SINGFileError(
            expected(_WHERE, "images", "to be a folder of pictures", actual, "Check the path")
        )
    found: list[tuple[str, str | None]] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()  # a link may lead back
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = (name for name in folders if not name.startswith("."))
        here = Path(place)
        way, before = here.relative_to(folder).parts, str(here) if here.parts else ""
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if ending in ENDINGS:
                found.append((os.path.join(before, name), way[0] if way else None))
            else:
                others[ending or "none"] += 1
    if not found:
        raise SINGFileError(
            expected(
                _WHERE,
                "images",
                f"to be a folder with pictures ({', '.join(ENDINGS)}) in it or its subfolders",
                f"{folder} with {others.total()} other files",
                "Check the path, or convert the pictures to PNG or JPEG",
            )
        )
    return sorted(found, key=operator.itemgetter(0)), others
