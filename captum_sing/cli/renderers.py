"""The way of drawing that a command was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from captum_sing.cli.options import How
from captum_sing.cli.pictured import Pictured
from captum_sing.datasets import Pictures
from captum_sing.devices import device_of
from captum_sing.errors import SINGValueError, expected
from captum_sing.files import made
from captum_sing.render import FeatureDecoder, Inversion, Nearest, Renderer, UnCLIP
from captum_sing.render.frame import Frame
from captum_sing.render.pipelines import identify
from captum_sing.render.unclip import blank_embedding
from captum_sing.study import extract

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Way", "check_way", "renderer_of"]

_WHERE = "captum-sing render"
_DEMO = "demo"
_SAME = 1e-4  # of two embeddings: one picture, perhaps as another file


@dataclass(frozen=True)
class Way:
    """How pictures are drawn; see ``captum-sing render --help``."""

    how: How
    pipeline: str | None = None
    ip_adapter: str | None = None
    guidance: float | None = None
    half: bool = False
    offload: str | None = None
    gallery: Path | None = None
    cache: Path | None = None
    decoder: Path | None = None
    steps: int | None = None
    batch_size: int = 32
    device: str = "cpu"


_NEEDS = {
    How.unclip: ("pipeline", "such as kakaobrain/karlo-v1-alpha-image-variations, or demo"),
    How.nearest: ("gallery", "a folder of real pictures"),
    How.decode: ("decoder", "a file that captum-sing fit-decoder wrote"),
}
_OF = {
    "pipeline": (How.unclip,),
    "ip_adapter": (How.unclip,),
    "guidance": (How.unclip,),
    "half": (How.unclip,),
    "offload": (How.unclip,),
    "gallery": (How.nearest,),
    "cache": (How.nearest,),
    "decoder": (How.decode,),
    "steps": (How.unclip, How.invert),
}


def check_way(way: Way) -> FeatureDecoder | None:
    """The options go together, and files that they name are there.

    Returns:
        FeatureDecoder or None: it is read at once where one is named.

    Raises:
        SINGValueError: an option that is missing, or that belongs to another way.
        SINGFileError: a gallery or a decoder that is missing or damaged.
    """
    needed, remedy = _NEEDS.get(way.how, ("how", ""))
    if getattr(way, needed) is None:
        constraint = f"with --how {way.how.value}"
        raise SINGValueError(expected(_WHERE, f"--{needed}", constraint, "none", f"Give {remedy}"))
    for field in fields(way):
        ways = _OF.get(field.name, (way.how,))
        if way.how not in ways and getattr(way, field.name) != field.default:
            option = f"--{field.name.replace('_', '-')}"
            constraint = f"with --how {' or '.join(one.value for one in ways)} alone"
            actual = f"--how {way.how.value}"
            raise SINGValueError(expected(_WHERE, option, constraint, actual, "Leave it out"))
    if way.gallery is not None:
        Pictures.of(way.gallery)  # refuses a folder without images
    return None if way.decoder is None else FeatureDecoder.load(way.decoder)


def renderer_of(
    way: Way, pictured: Pictured, donors: Sequence[Image.Image], console: Console
) -> Renderer:
    """Make it; pipelines are loaded, and a gallery is read, with bars.

    Args:
        way (Way): which, but a decoder.
        pictured (Pictured): the photographs, and the model.
        donors (sequence of PIL.Image.Image): pictures that a gallery is to leave out, too.
        console (Console): where it is told what is done.

    Raises:
        SINGError: what cannot be loaded, or does not belong to the model.
    """
    if way.how is How.unclip:
        return _unclip(way, pictured)
    if way.how is How.nearest:
        return _nearest(way, pictured, donors, console)
    classifier = pictured.part.classifier
    frame = Frame.of(classifier.preprocess)
    steps: dict[str, Any] = {} if way.steps is None else {"steps": way.steps}
    return Inversion(
        classifier.model,
        list(pictured.part.layers),
        frame.normalize,
        frame.size,
        start=frame.pictures(pictured.inputs()),
        translator=pictured.part.sing.translator,
        null_space=pictured.part.space,
        batch_size=way.batch_size,
        name=classifier.name,
        show_progress=True,
        **steps,
    )


def _unclip(way: Way, pictured: Pictured) -> Renderer:
    if way.pipeline == _DEMO:
        from captum_sing.demo.renderer import SceneRenderer

        return SceneRenderer()
    source = str(way.pipeline)
    kind = identify(_WHERE, source, None, way.ip_adapter).kind
    guided = kind.name == "kandinsky" and way.guidance != 1
    return UnCLIP.load(
        source,
        ip_adapter=way.ip_adapter,
        negative=blank_embedding(pictured.encoder) if guided else None,
        steps=way.steps,
        guidance=way.guidance,
        dtype=torch.float16 if way.half else None,
        device=device_of(way.device),
        offload=way.offload,
        show_progress=True,
    )


def _nearest(
    way: Way, pictured: Pictured, donors: Sequence[Image.Image], console: Console
) -> Renderer:
    """Read through the study's cache, so that a second call makes no second pass."""
    pictures, part, encoder = Pictures.of(way.gallery), pictured.part, pictured.encoder
    extraction = extract(
        part.classifier,
        encoder,
        pictures,
        folder=None if way.cache is None else made(way.cache),
        layer=list(part.layers),
        batch_size=way.batch_size,
    )
    blocks = list(extraction.blocks())
    rows = torch.cat([block.embeddings for block in blocks])
    places = torch.cat([block.rows for block in blocks]).tolist()
    shown = [encoder.preprocess(one) for one in (*pictured.images.values(), *donors)]
    with torch.no_grad():
        own = encoder.encode_image(torch.stack(shown)).to(rows)
    apart = torch.cdist(rows, own, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
    near = apart <= _SAME * rows.norm(dim=1)
    without = near.nonzero().flatten().tolist()
    if without:
        console.print(f"Left out of the gallery: {len(without)} of these very pictures.")
    return Nearest(
        rows,
        lambda row: pictures.read(places[row]).image,
        names=[pictures.name(place) for place in places],
        encoder=encoder.name,
        without=without,
    )
