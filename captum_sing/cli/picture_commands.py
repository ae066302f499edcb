"""``captum-sing render`` and ``captum-sing steer``, as options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captum_sing.cli import options as given

if TYPE_CHECKING:
    from captum_sing.cli.request import Request

__all__ = ["render", "steer"]

_DEGREES = 20.0

Photographs = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FOLDER",
        help="timm/NAME, torchvision/NAME, transformers/NAME, demo/NAME, or a folder.",
    ),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="Steer towards it; may be given several times."),
]
AwayFrom = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Steer away from it; with --prompt, from it to that one."),
]


def steer(
    images: Photographs,
    model: Model,
    prompt: Prompt = None,
    away_from: AwayFrom = None,
    image_score: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DEGREES",
            help="How far the translation turns; may be given several times. "
            "[dim]\\[default: 20][/dim]",
            show_default=False,
        ),
    ] = None,
    translator: given.Translator = None,
    checkpoint: given.Checkpoint = None,
    layer: given.Layer = None,
    concepts: given.Concepts = None,
    encoder: given.Encoder = None,
    energy: given.Energy = None,
    device: given.Device = "cpu",
    output: given.Output = Path("captum-sing-steer"),
) -> None:
    """Move pictures' features towards a text, with the same logits, by an angle.

    Prints what that takes, in norms of the feature, and what the model says to it. Writes
    [bold]steer.json[/bold] and [bold]steer.safetensors[/bold], with the steered features;
    [bold]render[/bold] draws them.
    """
    if not prompt and away_from is None:
        raise typer.BadParameter("give --prompt TEXT, --away-from TEXT, or both")

    from rich.console import Console

    from captum_sing.cli.pictured import load_pictured
    from captum_sing.cli.steering import steer_pictures, write_steering
    from captum_sing.cli.writing import tell
    from captum_sing.files import made
    from captum_sing.headings import check_angles

    degrees = image_score or [_DEGREES]
    for angle in degrees:
        check_angles(angle, 1)
    console = Console()
    request = _request(
        images, model, translator, checkpoint, layer, concepts, encoder, energy, device, output
    )
    pictured = load_pictured(images, request, console)
    with console.status("Steering"):
        found, told = steer_pictures(pictured, prompt or [None], away_from, degrees)
    tell(console, write_steering(pictured, found, told, made(output)))


def render(
    images: Photographs,
    model: Model,
    how: Annotated[
        given.How,
        typer.Option(
            help="A diffusers pipeline; the nearest real picture; a picture found by gradient; "
            "or a decoder of [bold]fit-decoder[/bold].",
        ),
    ],
    baseline: Annotated[
        given.Baseline, typer.Option(help="What the equivalent has in the ignored part's place.")
    ] = given.Baseline.none,
    donor: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Draw the swap with this picture's ignored part, too."),
    ] = None,
    prompt: Prompt = None,
    away_from: AwayFrom = None,
    image_score: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES",
            help="How far prompts turn the translation. [dim]\\[default: 20][/dim]",
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Of unclip: Karlo, Stable UnCLIP, Kandinsky 2.2, or Stable Diffusion with "
            "--ip-adapter; demo for the embedded world.",
        ),
    ] = None,
    ip_adapter: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Of a Stable Diffusion pipeline.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of nearest: a folder of real pictures.")
    ] = None,
    decoder: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of decode: what fit-decoder wrote.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of denoising (unclip), or of the search (invert).")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Of unclip: how closely the embedding is followed.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Of unclip: half precision, on a GPU.")
    ] = False,
    offload: Annotated[
        str | None,
        typer.Option(
            metavar="model|sequential", help="Of unclip: keep on the GPU only what is running."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Of nearest: where the gallery's features are kept, as by study."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="A relative logit gap that passes by itself.")
    ] = 0.02,
    translator: given.Translator = None,
    checkpoint: given.Checkpoint = None,
    layer: given.Layer = None,
    concepts: given.Concepts = None,
    encoder: given.Encoder = None,
    energy: given.Energy = None,
    seed: given.Seed = 0,
    batch_size: given.BatchSize = 32,
    device: given.Device = "cpu",
    output: given.Output = Path("captum-sing-render"),
) -> None:
    """Draw pictures and their equivalents alike, and ask the classifier about each again.

    Writes [bold]render.png[/bold], with the verdict under each picture, [bold]render.json[/bold],
    and every picture as a file.
    """
    if image_score is not None and not prompt and away_from is None:
        raise typer.BadParameter("--image-score goes with --prompt or --away-from")

    from rich.console import Console

    from captum_sing.classifiers import load_image
    from captum_sing.cli.pictured import load_pictured
    from captum_sing.cli.renderers import Way, check_way, renderer_of
    from captum_sing.cli.rendering import changes_of, render_pictures, write_rendered
    from captum_sing.cli.writing import tell
    from captum_sing.files import made
    from captum_sing.headings import check_angles

    degrees = _DEGREES if image_score is None else image_score
    check_angles(degrees, 1)
    way = Way(
        how, pipeline, ip_adapter, guidance, half, offload, gallery, cache, decoder, steps,
        batch_size, device,
    )  # fmt: skip
    trained = check_way(way)
    given_donor = None if donor is None else load_image(donor)
    console = Console()
    request = _request(
        images, model, translator, checkpoint, layer, concepts, encoder, energy, device, output
    )
    pictured = load_pictured(images, request, console)
    changes = changes_of(
        pictured, baseline.baselines, given_donor, prompt or (), away_from, degrees
    )
    donors = [] if given_donor is None else [given_donor]
    renderer = trained or renderer_of(way, pictured, donors, console)
    rendered = render_pictures(
        pictured, renderer, changes, seed=seed, tolerance=tolerance, batch_size=batch_size
    )
    asked = {
        "baseline": baseline.value,
        "donor": None if donor is None else str(donor),
        "prompts": prompt or [],
        "away_from": away_from,
        "image_score": degrees if prompt or away_from else None,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "gallery": None if gallery is None else str(gallery),
        "decoder": None if decoder is None else str(decoder),
    }
    tell(console, write_rendered(pictured, rendered, asked, made(output)))


def _request(
    images: list[Path],
    model: str,
    translator: Path | None,
    checkpoint: Path | None,
    layer: list[str] | None,
    concepts: list[str] | None,
    encoder: str | None,
    energy: float | None,
    device: str,
    output: Path,
) -> Request:
    """The parts of both commands that say with what."""
    from captum_sing.cli.request import NONE, Request

    return Request(
        models=[model],
        images=images[0],
        translators=[translator] if translator else [],
        checkpoints=[checkpoint or NONE],
        layers=["+".join(layer or []) or NONE],
        concepts=concepts or (),
        encoder=encoder,
        energy=energy,
        device=device,
        output=output,
    )
