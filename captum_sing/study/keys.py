"""What an extraction depends on, by content: equal keys mean equal numbers."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.datasets import Pictures
from captum_sing.errors import SINGTypeError

__all__ = [
    "key_of",
    "known_pictures",
    "preprocessing_digest",
    "tensors_digest",
    "weights_digest",
]

_PLAIN = (bool, int, float, str)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def key_of(*parts: Any) -> str:
    """One name, of 32 digits, for anything that JSON can hold.

    Example::

        >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})
        True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """One name for named tensors: their names, types, shapes and every bit of them.

    Example::

        >>> import torch
        >>> zeros = torch.zeros(2)
        >>> tensors_digest([("a", zeros)]) == tensors_digest([("a", -zeros)])
        False
    """
    sha = hashlib.sha256()
    for name, tensor in tensors:
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:32]


def weights_digest(model: nn.Module) -> str:
    """One name for a model: every parameter and buffer, and what its layers do with them.

    Weights alone would not tell a ReLU from a GELU: what ``repr`` says of a layer counts, its plain
    attributes, and the code of its ``forward``, though not of what that calls.
    """
    weights = itertools.chain(model.named_parameters(), model.named_buffers())
    layers = [[name, _plain(layer)] for name, layer in model.named_modules()]
    kinds = {type(layer) for layer in model.modules()}
    codes = sorted(f"{kind.__qualname__} {_code_of(kind.forward)}" for kind in kinds)
    told = _ADDRESS.sub("", repr(model))
    return key_of(told, repr(layers), codes, tensors_digest(weights))


def preprocessing_digest(preprocess: Callable[..., Any]) -> str:
    """One name for what a preprocessing makes of a picture: two that say the same may differ.

    One that draws at random has another name each time, and is never found again.
    """
    from PIL import Image

    noise = torch.randint(256, (96, 80, 3), generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.to(torch.uint8).numpy())
    try:
        return tensors_digest([("picture", torch.as_tensor(preprocess(picture)))])
    except Exception as error:  # it may want other pictures; reading says what is wrong
        return type(error).__name__


def _plain(layer: nn.Module) -> dict[str, Any]:
    """Numbers and words that somebody gave a layer; not torch's own, nor its mode."""
    own = {name: value for name, value in vars(layer).items() if type(value) in _PLAIN}
    return {name: own[name] for name in own if name != "training" and not name.startswith("_")}


def _code_of(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return "" if code is None else hashlib.sha256(code.co_code).hexdigest() + repr(code.co_names)


def known_pictures(pictures: Pictures) -> tuple[list[str], list[str]]:
    """The names of pictures, and what tells whether they are still the same.

    A file is known by its path, size and time of change, as to make and rsync: its content would
    have to be read, which for large collections takes longer than all else that a second run does.
    A file that is moved or touched is therefore read again; one that is replaced by another of its
    size *and* its time to the nanosecond is not noticed. Any other picture is read, and known by
    its pixels.

    Args:
        pictures (Pictures): a collection, no stream.

    Returns:
        tuple of two lists of str: for each place its name and its identity.

    Raises:
        SINGTypeError: an item is no picture.
    """
    known = [_known(pictures, place) for place in range(len(pictures.order or ()))]
    return [name for name, _ in known], [identity for _, identity in known]


def _known(pictures: Pictures, place: int) -> tuple[str, str]:
    item, label = _item(pictures, place), None
    if isinstance(item, tuple) and item:
        item, label = item[0], str(item[1:])
    if isinstance(item, (str, Path)):
        path = os.path.abspath(item)
        try:
            status = os.stat(path)
        except OSError:
            return str(item), f"{path}/{label}"
        return str(item), f"{path}/{label}/{status.st_size}/{status.st_mtime_ns}"
    name = pictures.name(place)
    try:
        picture = pictures.read(place)
    except SINGTypeError:
        raise
    except Exception as error:  # it may be readable next time
        return name, key_of("unreadable", str(error))
    pixels = hashlib.sha256(picture.image.tobytes()).hexdigest()
    return picture.name, key_of(picture.image.size, pixels, picture.label)


def _item(pictures: Pictures, place: int) -> Any:
    """What stands in a list; nothing of a dataset, which would have to read it."""
    if pictures.order is None or not isinstance(pictures.items, (list, tuple)):
        return None
    return pictures.items[pictures.order[place]]
