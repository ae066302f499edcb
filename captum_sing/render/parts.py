"""The parts of a pipeline, each read from its folder: all of them, whole, and nothing executed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from captum_sing.errors import SINGFileError, expected
from captum_sing.pretrained import first_line
from captum_sing.render.settings import lacks_memory

__all__ = ["check_parts", "has_safetensors", "load_part", "pipeline_class", "quietly", "weights_of"]

_DIFFUSERS, _TRANSFORMERS = "diffusion_pytorch_model", "model"
_CONFIGURATIONS = {
    "scheduler": ("scheduler_config.json",),
    "CLIPTokenizer": ("tokenizer.json", "vocab.json"),
    "CLIPImageProcessor": ("preprocessor_config.json", "processor_config.json"),
}
_WRONG = ("missing_keys", "mismatched_keys", "error_msgs")


def weights_of(entry: str, pickled: bool = False) -> tuple[str, ...]:
    """The names that the weights of a part may have: whole, or the index of several files.

    Args:
        entry (str): the part's class, as in :class:`Kind`.
        pickled (bool, optional): what ``torch.save`` wrote, rather than safetensors.
    """
    if _kind_of(entry) in _CONFIGURATIONS:
        return ()
    stem = _TRANSFORMERS if entry.startswith("transformers.") else _DIFFUSERS
    if pickled:
        stem = "pytorch_model" if stem == _TRANSFORMERS else stem
        return f"{stem}.bin", f"{stem}.bin.index.json"
    return f"{stem}.safetensors", f"{stem}.safetensors.index.json"


def has_safetensors(folder: Path, entry: str) -> bool:
    """Whether a part has weights as safetensors, or needs none."""
    names = weights_of(entry)
    return not names or any((folder / name).is_file() for name in names)


def check_parts(where: str, folder: Path, pipeline: str, parts: Mapping[str, str]) -> None:
    """Refuse a folder in which a part is missing, before anything in it is loaded.

    Raises:
        SINGFileError: with each part that is missing, and what it lacks.
    """
    missing = [
        f"{part} ({lacks})"
        for part, entry in parts.items()
        if (lacks := _lacks(folder / part, entry))
    ]
    if missing:
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to hold all parts of a {pipeline}: {', '.join(parts)}",
                f"{folder} without {', '.join(missing)}",
                "Download it again, or save it with save_pretrained",
            )
        )


def load_part(where: str, folder: Path, part: str, entry: str, dtype: torch.dtype) -> Any:
    """One part of a pipeline.

    Weights are read from safetensors where there are any, else from a .bin file, of which both
    libraries take the tensors alone (``weights_only=True``).

    Args:
        where (str): who complains.
        folder (Path): the pipeline's.
        part (str): its name, and that of its folder.
        entry (str): its class, as in :class:`Kind`.
        dtype (torch.dtype): of the weights.

    Raises:
        SINGFileError: damaged, incomplete or hostile files.
    """
    try:
        made = _class_of(folder, part, entry)
        options: dict[str, Any] = {"subfolder": part, "local_files_only": True}
        if not weights_of(entry):
            return made.from_pretrained(str(folder), **options)
        options["use_safetensors"] = has_safetensors(folder / part, entry)
        if not entry.startswith("transformers."):  # those have had two names for it
            options["torch_dtype"] = dtype
        model, found = made.from_pretrained(str(folder), output_loading_info=True, **options)
        wrong = {what: sorted(map(str, found[what])) for what in _WRONG if found.get(what)}
        if wrong:
            raise ValueError(", ".join(f"{what} {names[:3]}" for what, names in wrong.items()))
        return model.to(torch.device("cpu"), dtype)
    except Exception as error:  # each kind of damage raises an error of its own
        if lacks_memory(error):
            raise
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to hold a {part} that {_kind_of(entry)} can load, whole",
                f"{folder / part} ({type(error).__name__}: {first_line(error)})",
                "Download it again, or save it with save_pretrained",
            )
        ) from error


def pipeline_class(name: str) -> Any:
    """A pipeline of diffusers; Karlo's is among its deprecated ones from 0.38 on."""
    return getattr(importlib.import_module("diffusers"), name)


@contextmanager
def quietly() -> Iterator[None]:
    """Without what the libraries print while they load: bars, deprecations, advice."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    logs = (of_diffusers, of_transformers)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity(log.CRITICAL)
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, bars) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()


def _class_of(folder: Path, part: str, entry: str) -> Any:
    """The class of a part; only schedulers are taken from what the folder says."""
    if entry == "scheduler":
        text = (folder / part / _CONFIGURATIONS[entry][0]).read_text(encoding="utf-8")
        name = json.loads(text)["_class_name"]
        made = getattr(importlib.import_module("diffusers.schedulers"), name, None)
        if made is None:
            raise ValueError(f"diffusers has no scheduler {name}")
        return made
    head, *between, name = entry.split(".")
    if head not in ("diffusers", "transformers"):
        package = pipeline_class(head).__module__.rpartition(".")[0]
        return getattr(importlib.import_module(".".join([package, *between])), name)
    return getattr(importlib.import_module(head), name)


def _kind_of(entry: str) -> str:
    return entry.rpartition(".")[2]


def _lacks(folder: Path, entry: str) -> str | None:
    """What a part's folder has not, None if nothing."""
    needed = [_CONFIGURATIONS.get(_kind_of(entry), ("config.json",))]
    if weights := weights_of(entry):
        needed.append((*weights, *weights_of(entry, pickled=True)))
    for names in needed:
        if not any((folder / name).is_file() for name in names):
            return f"no {names[0]}"
    return None
