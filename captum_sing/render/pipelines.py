"""Pipelines of diffusers that draw image embeddings, found and then put together part by part.

``DiffusionPipeline.from_pretrained`` cannot load Karlo since diffusers 0.38, nor with transformers
5 what names the class CLIPFeatureExtractor, and it fills weights that are missing at random. So
each part is loaded by its own ``from_pretrained`` and handed to the constructor, from the hub and
from a folder alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from captum_sing.errors import SINGFileError, SINGValueError, expected
from captum_sing.files import digest
from captum_sing.pretrained import first_line
from captum_sing.render.adapters import Adapter, find_adapter
from captum_sing.render.kinds import KINDS, PIPELINES, Kind
from captum_sing.render.parts import (
    check_parts,
    has_safetensors,
    load_part,
    pipeline_class,
    quietly,
    weights_of,
)
from captum_sing.render.sources import Source, fetched, source_of
from captum_sing.render.spaces import known_encoder

__all__ = ["Found", "Identified", "find_pipeline", "identify", "load_pipeline"]

_INDEX = "model_index.json"


class Identified(NamedTuple):
    """What a source is, told by its model_index.json alone.

    Attributes:
        kind (Kind): what it is.
        place (Path or Source): where it is.
        options (dict): what its class takes besides parts.
    """

    kind: Kind
    place: Path | Source
    options: dict[str, Any]


class Found(NamedTuple):
    """A pipeline of which all parts are there, and no weights have been read.

    Attributes:
        kind (Kind): what it is.
        folder (Path): with all its parts.
        name (str): ``repository@commit``, or ``folder@digest``.
        adapter (Adapter or None): for Stable Diffusion.
        embedding_dim (int): E.
        encoder (str or None): whose embeddings it draws, where it is known.
        options (dict): what its class takes besides parts.
    """

    kind: Kind
    folder: Path
    name: str
    adapter: Adapter | None
    embedding_dim: int
    encoder: str | None
    options: dict[str, Any]


def identify(
    where: str, source: str, kind: str | None, ip_adapter: str | None, bars: bool = False
) -> Identified:
    """What a source is.

    Args:
        where (str): who complains.
        source (str): a folder, ``"OWNER/NAME"`` or ``"OWNER/NAME@REVISION"``.
        kind (str or None): one of :data:`KINDS`, to be sure.
        ip_adapter (str or None): as in :func:`find_adapter`; whether there is one is checked.
        bars (bool, optional): whether downloads show theirs.

    Raises:
        SINGNameError: what is neither a folder nor a possible name.
        SINGFileError: no model_index.json.
        SINGValueError: a pipeline of another kind; Stable Diffusion without an adapter, or an
            adapter for something else.
    """
    if kind is not None and kind not in KINDS:
        raise SINGValueError(
            expected(where, "kind", f"None or one of {KINDS}", repr(kind), "Leave it out")
        )
    place = source_of(where, source)
    folder = place if isinstance(place, Path) else fetched(where, place, [_INDEX], bars)
    index = _read(where, folder / _INDEX)
    found = _known(where, source, index, kind)
    if (ip_adapter is not None) != (found.name == "ip-adapter"):
        raise SINGValueError(
            expected(
                where,
                "ip_adapter",
                f"{'to be given' if ip_adapter is None else 'None'} for a {found.pipeline}",
                repr(ip_adapter),
                'Stable Diffusion draws image embeddings through one, such as "h94/IP-Adapter"'
                if ip_adapter is None
                else "Leave it out: this pipeline draws image embeddings itself",
            )
        )
    saved = {key: index[key] for key in ("force_zeros_for_empty_prompt",) if key in index}
    return Identified(found, place, {**saved, **(found.options or {})})


def find_pipeline(
    where: str, identified: Identified, ip_adapter: str | None, bars: bool = False
) -> Found:
    """A pipeline whose parts are all there; what has to be downloaded is.

    Args:
        where (str): who complains.
        identified (Identified): what :func:`identify` returned.
        ip_adapter (str or None): as in :func:`find_adapter`.
        bars (bool, optional): whether downloads show theirs.

    Raises:
        SINGNameError: an adapter that is neither a file nor a possible name.
        SINGFileError: what cannot be downloaded; missing parts.
        SINGValueError: an adapter that takes no pooled embedding.
    """
    kind, place, options = identified
    folder = place if isinstance(place, Path) else _fetch_parts(where, place, kind, bars)
    check_parts(where, folder, kind.pipeline, kind.parts)
    adapter = None if ip_adapter is None else find_adapter(where, ip_adapter, kind.pipeline, bars)
    published = "" if isinstance(place, Path) else place.repository
    return Found(
        kind,
        folder,
        f"{published}@{folder.name}"
        if published
        else f"{folder.resolve().name}@{_digest(folder, kind)}",
        adapter,
        adapter.embedding_dim if adapter else _width(where, folder, kind),
        known_encoder(adapter.published if adapter else published),
        options,
    )


def load_pipeline(where: str, found: Found, dtype: torch.dtype) -> Any:
    """The pipeline, on the CPU, in evaluation mode, silent, without a safety checker.

    Args:
        where (str): who complains.
        found (Found): what :func:`find_pipeline` returned.
        dtype (torch.dtype): of its weights.

    Raises:
        SINGFileError: damaged, incomplete or hostile files.
    """
    kind, adapter = found.kind, found.adapter
    with quietly():
        parts = {
            part: load_part(where, found.folder, part, entry, dtype)
            for part, entry in kind.parts.items()
        }
        pipeline = pipeline_class(kind.pipeline)(**parts, **found.options)
        if adapter is not None:
            try:
                pipeline.load_ip_adapter(
                    str(adapter.file.parent),
                    subfolder="",
                    weight_name=adapter.file.name,
                    image_encoder_folder=None,
                    local_files_only=True,
                )
            except (KeyError, ValueError, RuntimeError) as error:  # of another pipeline
                raise SINGFileError(
                    expected(
                        where,
                        "ip_adapter",
                        f"to fit this {kind.pipeline}",
                        f"{adapter.name} ({type(error).__name__}: {first_line(error)})",
                        "Use the one that was made for it",
                    )
                ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _known(where: str, source: str, index: dict[str, Any], kind: str | None) -> Kind:
    """The kind that a model_index.json tells."""
    name = index.get("_class_name")
    found = PIPELINES.get(name) if isinstance(name, str) else None
    if found is None:
        raise SINGValueError(
            expected(
                where,
                "source",
                f"to hold one of {tuple(PIPELINES)}",
                f"{source} with {name!r}",
                "Other pipelines do not draw image embeddings",
            )
        )
    if kind not in (None, found.name):
        raise SINGValueError(
            expected(
                where,
                "kind",
                f"None or {found.name!r} for {source}",
                repr(kind),
                f"Its {_INDEX} says {name}",
            )
        )
    return found


def _fetch_parts(where: str, place: Source, kind: Kind, bars: bool) -> Path:
    """All parts: weights as safetensors, and pickled only for parts that have no others."""
    wanted = [_INDEX]
    for part, entry in kind.parts.items():
        names = ["*.json", "*.txt", *weights_of(entry)[:1], "*-of-*.safetensors"]
        wanted += [f"{part}/{name}" for name in names]
    folder = fetched(where, place, wanted, bars)
    pickled = [
        f"{part}/{name}"
        for part, entry in kind.parts.items()
        if not has_safetensors(folder / part, entry)
        for name in (weights_of(entry, pickled=True)[0], "*-of-*.bin")
    ]
    return (
        fetched(where, place._replace(revision=folder.name), pickled, bars) if pickled else folder
    )


def _width(where: str, folder: Path, kind: Kind) -> int:
    part, key = kind.width
    width = _read(where, folder / part / "config.json").get(key)
    if not isinstance(width, int):
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to tell the width of its embeddings, {key} of {part}/config.json",
                f"{folder} with {width!r}",
                "Download it again, or save it with save_pretrained",
            )
        )
    return width


def _digest(folder: Path, kind: Kind) -> str:
    """Twelve digits that tell pipelines in folders apart: all files of their parts."""
    files = [path for part in kind.parts for path in (folder / part).iterdir() if path.is_file()]
    return digest(sorted(files))


def _read(where: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to hold a {path.name} that can be read",
                f"{path} ({type(error).__name__}: {first_line(error)})",
                "Give the folder of a whole pipeline, as save_pretrained writes it",
            )
        ) from error
