"""Tensors with a few facts about them in one safetensors file: written whole, read strictly."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from captum_sing.errors import SINGFileError, expected

__all__ = ["digest", "load_tensors", "made", "save_tensors", "write_whole"]

_KEY = "captum_sing"


def write_whole(path: str | Path, write: Any) -> Path:
    """Call ``write(temporary_path)``, then rename: the file is there whole or not at all.

    Raises:
        SINGFileError: the folder does not exist or cannot be written, or the path is a folder.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise SINGFileError(
            expected(
                "save", "path", "a file in a folder that can be written", path, "Make the folder"
            )
        ) from error
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def save_tensors(
    path: str | Path, kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> Path:
    """Save tensors and JSON facts to one safetensors file, atomically.

    Args:
        path (str or Path): the file; an existing one is replaced.
        kind (str): what the file is, checked when it is read.
        tensors (mapping of str to Tensor): what to save.
        facts (mapping): anything JSON can hold.

    Returns:
        Path: ``path``.
    """
    metadata = {_KEY: json.dumps({"kind": kind, **facts})}
    # clones, since safetensors refuses tensors that share memory
    stored = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return write_whole(path, lambda temporary: save_file(stored, temporary, metadata))


def load_tensors(
    path: str | Path, kind: str, required: Collection[str], optional: Collection[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote; nothing in the file is ever executed.

    Returns:
        tuple: tensors by name, and the facts.

    Raises:
        SINGFileError: the file is missing, truncated, no safetensors file, of another kind, or
            its entries are not those expected.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        actual = f"{path} ({error})" if path.exists() else f"{path}, which does not exist"
        raise SINGFileError(
            expected(
                f"load {kind}", "path", "to be a whole safetensors file", actual, "Make it again"
            )
        ) from error
    if not isinstance(facts, dict) or facts.get("kind") != kind:
        found = facts.get("kind") if isinstance(facts, dict) else None
        raise SINGFileError(
            expected(
                f"load {kind}",
                "path",
                f"to hold a {kind}",
                f"{path} with {found or 'no such record'}",
                "Pass the file that its save() wrote",
            )
        )
    wrong = sorted(set(required) - set(tensors)) + sorted(
        set(tensors) - set(required) - set(optional)
    )
    if wrong:
        raise SINGFileError(
            expected(
                f"load {kind}",
                "path",
                f"to hold {sorted(required)}",
                f"{path} with missing or unknown entries {wrong}",
                "Make it again",
            )
        )
    return tensors, facts


def digest(files: Sequence[Path]) -> str:
    """Twelve digits that tell files apart by their content."""
    sha = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()[:12]


def made(folder: str | Path) -> Path:
    """A folder, made if it was not there.

    Raises:
        SINGFileError: it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SINGFileError(
            expected(
                "captum_sing",
                "output",
                "to be a folder that can be made",
                f"{folder} ({error.strerror})",
                "Choose another place",
            )
        ) from error
    return folder
