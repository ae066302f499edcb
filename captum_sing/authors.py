"""The files of the SING authors' release, read without running anything that is in them."""

from __future__ import annotations

import pickletools
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.errors import SINGFileError, SINGNameError, expected

__all__ = ["KARLO_ENCODER", "check_layout", "read_bank", "read_translator", "strings_of"]

KARLO_ENCODER = "open_clip/ViT-L-14-quickgelu/openai"
"""The encoder whose space Karlo's image variations decode: OpenAI's CLIP ViT-L/14."""

_ENCODERS = {"kakao_karlo_v1_alpha_image_variations": KARLO_ENCODER}
_TEXTS = ("model_name", "architecture", "embedding_backend", "checkpoint_file")
_WIDTHS = ("in_dim", "out_dim", "hidden_dim")

# What numpy writes around the strings of an object array. None of it is ever called.
_NUMPY = (
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    "numpy ndarray",
    "numpy dtype",
)
_LARGEST = {"embeddings": 1 << 30, "classes": 1 << 24, "prompts": 1 << 24}
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_translator(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict of a translator of theirs, and its metadata.

    Args:
        folder (str or Path): with ``metadata.yaml`` and the checkpoint that it names.

    Returns:
        tuple: tensors by name; and the facts: ``metadata``, with ``model_name``,
        ``architecture``, ``embedding_backend``, ``in_dim``, ``out_dim``, ``hidden_dim`` and all
        other texts and numbers; ``encoder``, its name in this package; and ``source``.

    Raises:
        SINGFileError: a file is missing or damaged, the metadata lack something, the checkpoint
            lies elsewhere, or holds anything but tensors.
    """
    folder = Path(folder)
    metadata = _metadata(folder)
    path = _inside(folder, metadata["checkpoint_file"])
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes the reader raise
        reason = "which is damaged or holds more than tensors"  # torch's own advice is unsafe
        if isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
        raise _refusal("checkpoint_file", "a checkpoint of tensors alone", path, reason) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise _refusal("checkpoint_file", "a state dict of tensors", path, type(state).__name__)
    backend = metadata["embedding_backend"]
    return dict(state), {
        "metadata": {key: value for key, value in metadata.items() if _is_plain(key, value)},
        "encoder": _ENCODERS.get(backend, backend),
        "source": "the SING authors' release",
    }


def check_layout(
    state: dict[str, Tensor], layout: dict[str, tuple[int, ...]], where: str | Path
) -> None:
    """A state dict has exactly these tensors of finite real numbers, held in full.

    Raises:
        SINGFileError: it does not.
    """
    odd = [name for name, tensor in state.items() if not _is_held(tensor)]
    if odd:
        raise _refusal("checkpoint", "of real numbers, each held", where, f"others in {odd[:6]}")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes != layout:
        wrong = sorted({*shapes.items()} ^ {*layout.items()}, key=str)
        raise _refusal("checkpoint", f"with {layout}", where, f"differences in {wrong[:6]}")
    broken = [name for name, tensor in state.items() if not tensor.float().isfinite().all()]
    if broken:
        raise _refusal("checkpoint", "of finite numbers", where, f"NaN or infinity in {broken}")


def read_bank(path: str | Path, template: str) -> tuple[list[str], Tensor]:
    """A bank of text embeddings of theirs.

    Args:
        path (str or Path): an ``.npz`` file with ``classes`` (V names), ``prompts`` (P names) and
            ``embeddings`` (V, P, E).
        template (str): one of the prompts.

    Returns:
        tuple: the V names, and their embeddings through this prompt (V, E), float32.

    Raises:
        SINGFileError: the file is missing, damaged, of another layout, or holds anything but
            strings and numbers.
        SINGNameError: it has no such prompt.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            classes, prompts = (_names(archive, entry) for entry in ("classes", "prompts"))
            numbers = _numbers(archive, "embeddings")
    except Exception as error:  # as above
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise _refusal("path", "a whole bank of names and embeddings", path, reason) from error
    if numbers.ndim != 3 or numbers.shape[:2] != (len(classes), len(prompts)):
        layout = f"embeddings of shape ({len(classes)}, {len(prompts)}, E)"
        raise _refusal("path", f"to hold {layout}", path, numbers.shape)
    if template not in prompts:
        raise SINGNameError(
            expected("from_authors", "template", f"in {prompts}", repr(template), "Choose another")
        )
    return classes, torch.from_numpy(numbers[:, prompts.index(template)])


def strings_of(pickled: bytes) -> list[str]:
    """The strings of a pickled numpy array of strings; nothing is imported, called or built.

    The instructions that numpy writes are followed on plain lists and tuples. A function is a name
    that stays one, and any other instruction or name is an error.

    Raises:
        ValueError: the bytes are anything else.

    Example::

        >>> import pickle
        >>> import numpy as np
        >>> strings_of(pickle.dumps(np.array(["red", "blue"], dtype=object), protocol=4))
        ['red', 'blue']
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def above_mark() -> list[Any]:
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    def name(text: str) -> str:
        if text not in _NUMPY:
            raise ValueError(f"the name {text[:80]!r}, which no array of strings needs")
        return text

    texts = 0
    try:
        argument: Any
        for step, (code, argument, _) in enumerate(pickletools.genops(pickled)):
            texts += isinstance(argument, str) or code.name in {"BINGET", "LONG_BINGET"}
            if step > 100 + 4 * texts:  # of numpy's instructions, two write a string
                raise ValueError("more instructions than its strings need")
            match code.name:
                case "PROTO" | "FRAME" | "STOP":
                    pass
                case "BINUNICODE" | "SHORT_BINUNICODE" | "BININT" | "BININT1" | "BININT2":
                    stack.append(argument)
                case "SHORT_BINBYTES" | "NONE" | "NEWTRUE" | "NEWFALSE":
                    stack.append(argument)
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "MARK":
                    marks.append(len(stack))
                case "EMPTY_LIST":
                    stack.append([])
                case "APPEND":
                    stack[-2].append(stack.pop())
                case "APPENDS":
                    items = above_mark()
                    stack[-1].extend(items)
                case "TUPLE":
                    stack.append(tuple(above_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    size = int(code.name[-1])
                    stack[-size:] = [tuple(stack[-size:])]
                case "GLOBAL":
                    stack.append(name(argument))
                case "STACK_GLOBAL":
                    stack[-2:] = [name(" ".join(stack[-2:]))]
                case "REDUCE" | "BUILD":  # what would be called, or given a state: kept as a pair
                    stack[-2:] = [tuple(stack[-2:])]
                case other:
                    raise ValueError(f"the instruction {other}, which no array of strings needs")
        match stack:
            case [((_, made), (_, shape, _, _, strings))]:
                pass
            case _:
                raise TypeError
        if made[0] != "numpy ndarray" or shape != (len(strings),):
            raise ValueError("an array whose shape is not that of its entries")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError("a pickle that is no array of strings") from error
    if not isinstance(strings, list) or not all(isinstance(entry, str) for entry in strings):
        raise ValueError("an array with entries that are no strings")
    return strings


def _numbers(archive: zipfile.ZipFile, entry: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    array = _array(archive, entry)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{entry} that are no real numbers")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{entry} that float32 does not hold as finite numbers")
    return numbers


def _names(archive: zipfile.ZipFile, entry: str) -> list[str]:
    array = _array(archive, entry)
    if array.ndim != 1 or array.dtype.kind not in "OU":
        raise ValueError(f"{entry} of shape {array.shape} and type {array.dtype}")
    return [str(name) for name in array]


def _array(archive: zipfile.ZipFile, entry: str) -> np.ndarray[Any, np.dtype[Any]]:
    info = archive.getinfo(f"{entry}.npy")
    if info.file_size > _LARGEST[entry]:
        raise ValueError(f"{entry} of {info.file_size} bytes")
    with archive.open(info) as file:
        try:
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(file)]
            shape, fortran, dtype = read(file)
        except Exception as error:  # numpy's own advice is unsafe
            raise ValueError(f"{entry} with a damaged header") from error
        content = file.read()
    if dtype == np.dtype(object):
        return np.array(strings_of(content), dtype=object)
    if dtype.hasobject or len(content) != dtype.itemsize * prod(shape):
        raise ValueError(f"{entry} with {len(content)} bytes for {dtype} of shape {shape}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _metadata(folder: Path) -> dict[str, Any]:
    import yaml

    path = folder / "metadata.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("a short text with aliases may stand for an endless one")
        metadata = yaml.safe_load(text)
    except Exception as error:  # as above
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise _refusal("folder", "with a metadata.yaml", path, reason) from error
    if not isinstance(metadata, dict):
        raise _refusal("folder", "with metadata by name", path, type(metadata).__name__)
    for key in _TEXTS:
        if not isinstance(metadata.get(key), str):
            found = type(metadata.get(key)).__name__
            raise _refusal("metadata", f"with {key}, text", path, found)
    for key in _WIDTHS:
        width = metadata.get(key)
        if type(width) is not int or not 1 <= width < 1 << 31:
            found = str(width) if _is_plain(key, width) else type(width).__name__
            raise _refusal("metadata", f"with {key}, a width of at least 1", path, found)
    return metadata


def _inside(folder: Path, name: str) -> Path:
    """The file of this name in the folder, and nowhere else."""
    plain = name == Path(name).name and not set(name) & {"/", "\\", "\0"}
    path = folder / name if plain else folder
    try:
        inside = plain and path.resolve().parent == folder.resolve()
    except (OSError, RuntimeError):  # links in a circle
        inside = False
    if not inside:
        raise _refusal("checkpoint_file", "to be a file of the folder itself", folder, repr(name))
    return path


def _is_plain(key: object, value: object) -> bool:
    """Whether JSON can hold it, at a length that can be printed."""
    small = isinstance(value, (str, float)) or (isinstance(value, int) and abs(value) < 1 << 63)
    return isinstance(key, str) and small


def _is_held(tensor: Tensor) -> bool:
    """Whether these are real numbers, each in memory of its own."""
    if tensor.is_nested or tensor.is_quantized or tensor.layout != torch.strided:
        return False
    held = tensor.device.type == "cpu" and tensor.dtype in _REAL
    return held and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _refusal(argument: str, constraint: str, path: str | Path, actual: object) -> SINGFileError:
    return SINGFileError(
        expected("from_authors", argument, constraint, f"{path} ({actual})", "Get the file anew")
    )
