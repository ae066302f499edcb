"""A collection of pictures through one model: the study, and what goes beyond its table."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from torch import Tensor

from captum_sing.cli.collection import Collection, collect
from captum_sing.cli.parts import Part, first_images, load_part, read_meanings
from captum_sing.cli.request import Request
from captum_sing.descriptions import number
from captum_sing.devices import device_of
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGFileError
from captum_sing.files import load_tensors, made, save_tensors
from captum_sing.study import Extraction, NullAxis, Study, extract, null_axes, study_of
from captum_sing.study.keys import key_of
from captum_sing.study.shards import writing
from captum_sing.study.steered import steered
from captum_sing.verification import Verification

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

__all__ = ["Finding", "Prepared", "prepare", "records", "study_part"]

_VERIFIED = 64  # pictures that are sent through the model with the head's input replaced
_STEERED = ("red", "large")  # of the embedded world, where no prompt is asked for
_SHOWN = 224  # pixels of a picture at the end of an axis
_OF_AXES = ("spread", "share", "low", "high", "low_mean", "high_mean", "words")
_PARTS = ("null", "random", "principal", "residual")


@dataclass(frozen=True)
class Prepared:
    """All that a study wants, checked: what can go wrong now is the disk, or a picture."""

    parts: list[Part]
    encoder: ImageTextEncoder
    collection: Collection
    prompts: dict[str, Tensor]


@dataclass(frozen=True)
class Finding:
    """What was found with one model.

    Attributes:
        part (Part): the model.
        study (Study): its facts hold the drift, the axes and the steered table, too.
        drift (Verification): of the first pictures.
        axes (list of NullAxis): the widest directions inside the null space.
        ends (dict of str to PIL.Image.Image): the pictures at their ends, by name.
        steered (pandas.DataFrame or None): the paper's Table 1, where prompts were asked for.
    """

    part: Part
    study: Study
    drift: Verification
    axes: list[NullAxis]
    ends: Mapping[str, Image.Image]
    steered: pd.DataFrame | None


def prepare(request: Request, console: Console) -> Prepared:
    """Load everything, cheapest first, and check that it belongs together.

    Raises:
        SINGError: what is missing, or does not fit: before a pass begins.
    """
    wanted = request.wanted()
    device = device_of(request.device)
    with console.status("Reading translators, words and the list of pictures"):
        meanings = read_meanings(request, wanted)
        collection = collect(request, meanings.groups)
    with console.status(f"Loading {meanings.spec}"):
        encoder, bank = meanings.load(device)
        asked = request.steer
        if request.demo and not asked:
            asked = [word for word in _STEERED if word in bank.names]
        prompts = {prompt: bank.embed(prompt, encoder) for prompt in asked}
    parts = []
    for one, translator in zip(wanted, meanings.translators, strict=True):
        with console.status(f"Loading {one.source}"):
            parts.append(
                load_part(
                    one, translator, bank, encoder, collection.pictures,
                    energy=request.energy, device=device,
                )
            )  # fmt: skip
    return Prepared(parts, encoder, collection, prompts)


def study_part(part: Part, prepared: Prepared, request: Request, console: Console) -> Finding:
    """One pass, or none where it is kept already, and what it says.

    Raises:
        SINGFileError: the cache cannot be written.
        typer.Exit: interrupted, with code 130, as shells have it.
    """
    collection = prepared.collection
    with _going_on(request, console):
        extraction = extract(
            part.classifier,
            prepared.encoder,
            collection.pictures,
            folder=made(request.kept),
            layer=list(part.layers),
            batch_size=request.batch_size,
            num_workers=request.workers,
        )
        with console.status(f"What {part.classifier.name} ignores"):
            return _found(part, extraction, collection, prepared.prompts, request)


def _found(
    part: Part,
    extraction: Extraction,
    collection: Collection,
    prompts: Mapping[str, Tensor],
    request: Request,
) -> Finding:
    translator = part.sing.translator
    study = study_of(
        extraction,
        part.sing.concepts,
        translator,
        null_space=part.space,
        word_labels=collection.word_labels or None,
        donor=collection.donor,
        held_out=request.held_out,
        draws=request.draws,
        seed=request.seed,
    )
    axes: list[NullAxis] = []
    if request.axes and translator.has_statistics and extraction.valid.sum() > 1:
        axes = null_axes(
            extraction, translator, part.sing.concepts, null_space=part.space, axes=request.axes
        )
    table = None
    if prompts and len(study.tested):
        table = steered(
            extraction, translator, prompts,
            null_space=part.space, draws=request.draws, seed=request.seed,
        )  # fmt: skip
    drift = _drift(part, extraction, collection, request)
    facts = {
        **study.facts,
        "images_from": collection.place,
        "drift": _told(drift),
        "axes": [{key: getattr(axis, key) for key in _OF_AXES} for axis in axes],
        "steered": [] if table is None else records(table),
    }
    ends = {name for axis in axes for name in (*axis.low, *axis.high)}
    return Finding(part, replace(study, facts=facts), drift, axes, _shown(ends, collection), table)


def _drift(
    part: Part, extraction: Extraction, collection: Collection, request: Request
) -> Verification:
    """Through the real model, once: kept beside what was read of the same pictures."""
    places = extraction.valid.nonzero().flatten()[:_VERIFIED].tolist()
    key = key_of(extraction.key, list(part.layers), request.energy, _VERIFIED)
    path = request.kept / f"drift-{key}.safetensors"
    try:
        kept, facts = load_tensors(path, "logit drift", _PARTS)
        return Verification(
            kept["null"], kept["random"], kept["principal"], kept["residual"],
            facts["rounding"], facts["tied"],
        )  # fmt: skip
    except SINGFileError:
        pass
    images = first_images(collection.pictures, part.classifier, len(places), places)
    drift = part.sing.verify(images, internal_batch_size=request.batch_size)
    measured = {name: getattr(drift, name) for name in _PARTS}
    further = {"rounding": drift.rounding, "tied": drift.tied}
    with writing(request.kept):
        save_tensors(path, "logit drift", measured, further)
    return drift


@contextmanager
def _going_on(request: Request, console: Console) -> Iterator[None]:
    """Say in a line what is read anew, and where an interrupted call goes on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "extract: ", UserWarning)
        try:
            yield
        except KeyboardInterrupt:
            told = f"Interrupted. What was read is in {request.kept}: the same call goes on there."
            Console(stderr=True, soft_wrap=True).print(told, markup=False, highlight=False)
            raise typer.Exit(130) from None
    for one in caught:
        if str(one.message).startswith("extract: "):
            console.print(str(one.message), style="yellow", markup=False, highlight=False)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _shown(names: set[str], collection: Collection) -> dict[str, Image.Image]:
    """These pictures, small."""
    shown = {}
    for place, name in enumerate(collection.names):
        if name in names:
            picture = collection.pictures.read(place).image.copy()
            picture.thumbnail((_SHOWN, _SHOWN))
            shown[name] = picture
    return shown


def _told(drift: Verification) -> dict[str, Any]:
    """The drift as JSON holds it."""
    numbers = {name: getattr(drift, name) for name in _PARTS}
    return {
        "images": len(drift.null),
        **{
            name: {"mean": number(values.nanmean()), "largest": number(values.max())}
            for name, values in numbers.items()
        },
        "tied": drift.tied,
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON holds them, None where no finite number is."""
    return [
        {key: number(value) if isinstance(value, float) else value for key, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]
