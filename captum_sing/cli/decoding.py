"""``captum-sing fit-decoder``: its options, and what it does."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captum_sing.cli import options as given
from captum_sing.errors import SINGFileError, expected

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from captum_sing.render.decoder import FeatureDecoder

__all__ = ["fit_decoder"]

_SHOWN = 8  # pictures of the figure


class Part(str, Enum):
    """What a decoder reads."""

    whole = "whole"
    principal = "principal"
    both = "both"


class Size(str, Enum):
    """Pixels of the longer side of a picture."""

    small = "32"
    middle = "64"
    large = "128"


def fit_decoder(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Pictures, in subfolders by class or not.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME|FOLDER", help="As of [bold]analyze[/bold].")],
    checkpoint: given.Checkpoint = None,
    layer: given.Layer = None,
    part: Annotated[Part, typer.Option(help="What is drawn.")] = Part.both,
    energy: given.Energy = None,
    size: Annotated[
        Size | None,
        typer.Option(
            help="Pixels of the longer side. [dim]\\[default: 64, or 32 for a model that sees "
            "less than 64][/dim]",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures in memory.")] = 8,
    batch_size: given.BatchSize = 32,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of the pictures that judge the result.")
    ] = 0.1,
    workers: given.Workers = 0,
    limit: given.Limit = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
    output: given.Output = Path("captum-sing-decoder"),
) -> None:
    """Train networks that draw features of your own model, on a folder of your own pictures.

    One draws all that the classifier holds, one what its head can use. Writes
    [bold]whole.safetensors[/bold] and [bold]principal.safetensors[/bold], and
    [bold]decoded.png[/bold] with pictures above what is drawn of their features.
    """
    from rich.console import Console

    from captum_sing.classifiers import find_classifier
    from captum_sing.datasets import Pictures
    from captum_sing.devices import device_of
    from captum_sing.files import made, write_whole
    from captum_sing.fitting.decoder import check_decoding, held_out_examples
    from captum_sing.fitting.decoder import fit_decoder as fit
    from captum_sing.fitting.decoder_report import DecoderReport

    pictures = Pictures.of(images, limit=limit, seed=seed)
    side = None if size is None else int(size.value)
    check_decoding(pictures, part.value, side, epochs, batch_size, held_out, seed)
    source = find_classifier(model, checkpoint)
    place = device_of(device)
    folder = _writable(made(output))
    console = Console()
    with console.status(f"Loading {source}"):
        classifier = source.load(place)
    heads = layer[0] if layer and len(layer) == 1 else layer or None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fit_decoder: ", UserWarning)  # the report says it
        decoders = fit(
            classifier,
            pictures,
            part=part.value,
            layer=heads,
            energy=energy,
            size=side,
            epochs=epochs,
            batch_size=batch_size,
            held_out=held_out,
            num_workers=workers,
            seed=seed,
        )
    files = [one.save(folder / f"{name}.safetensors") for name, one in decoders.items()]
    features, seen = held_out_examples(classifier, pictures, heads, held_out, seed, _SHOWN)
    if len(features):
        figure = _figure(features, seen, decoders)
        files.append(write_whole(folder / "decoded.png", lambda path: figure.save(path, "PNG")))
    report = DecoderReport.from_dict(next(iter(decoders.values())).facts["report"])
    console.print(report)
    written = ", ".join(map(str, files))
    console.print(f"\nWritten: {written}", soft_wrap=True, highlight=False, markup=False)


def _writable(folder: Path) -> Path:
    """The folder, where files can be written to it; nothing is left behind."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise SINGFileError(
            expected(
                "captum-sing fit-decoder",
                "--output",
                "to be a folder that can be written",
                f"{folder} ({error.strerror})",
                "Choose another place",
            )
        ) from error


def _figure(features: Tensor, seen: Tensor, decoders: Mapping[str, FeatureDecoder]) -> Image.Image:
    """Pictures as the classifier sees them, above what each decoder draws of their features."""
    import torch
    from torchvision.transforms.functional import to_pil_image, to_tensor
    from torchvision.utils import make_grid

    from captum_sing.render.frame import resized

    rows = [seen]
    for decoder in decoders.values():
        drawn = decoder.render(features.to(decoder.mean.device))
        rows.append(torch.stack([to_tensor(picture) for picture in drawn]))
    rows[0] = resized(seen, (rows[-1].shape[2], rows[-1].shape[3]))
    return to_pil_image(make_grid(torch.cat(rows), nrow=len(seen)))
