"""``captum-sing study`` and ``captum-sing compare``, as options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captum_sing.cli import options as given

__all__ = ["compare", "study"]


def study(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="timm/NAME, torchvision/NAME, transformers/NAME, demo/NAME, or a folder. "
            "[dim]\\[with --demo: demo/plain][/dim]",
            show_default=False,
        ),
    ] = None,
    images: given.Images = None,
    translator: given.Translator = None,
    concepts: given.Concepts = None,
    encoder: given.Encoder = None,
    checkpoint: given.Checkpoint = None,
    layer: given.Layer = None,
    labels: given.Labels = None,
    held_out: given.HeldOut = False,
    donor: given.Donor = None,
    energy: given.Energy = None,
    steer: given.Steer = None,
    axes: given.Axes = 5,
    cache: given.Cache = None,
    batch_size: given.BatchSize = 32,
    workers: given.Workers = 0,
    limit: given.Limit = None,
    seed: given.Seed = 0,
    draws: given.Draws = 1000,
    device: given.Device = "cpu",
    demo: given.Demo = False,
    output: given.Output = Path("captum-sing-study"),
) -> None:
    """What the head of your own model ignores in a whole collection, its classes and each image.

    One pass over the pictures, which is kept: the same call with other words makes no second, and
    an interrupted one goes on. Writes [bold]table.parquet[/bold], with a row an image,
    [bold]study.json[/bold], [bold]study.txt[/bold] and the plots.
    """
    given.check_source(
        demo, images, translator=translator, encoder=encoder, checkpoint=checkpoint, labels=labels
    )
    if model is None and not demo:
        raise typer.BadParameter("give --model NAME, or --demo for the embedded world")

    from rich.console import Console

    from captum_sing.cli.request import NONE, Request
    from captum_sing.cli.studying import prepare, study_part
    from captum_sing.cli.writing import save_finding, tell
    from captum_sing.files import made

    request = Request(
        models=[model or "demo/plain"],
        images=images,
        translators=[translator] if translator else [],
        checkpoints=[checkpoint or NONE],
        layers=["+".join(layer or []) or NONE],
        concepts=concepts or (),
        encoder=encoder,
        labels=labels,
        held_out=held_out,
        donor=donor,
        energy=energy,
        steer=steer or (),
        axes=axes,
        cache=cache,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        seed=seed,
        draws=draws,
        device=device,
        output=output,
    )
    console = Console()
    prepared = prepare(request, console)
    found = study_part(prepared.parts[0], prepared, request, console)
    tell(console, save_finding(found, made(output)))


def compare(
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FOLDER...",
            help="Two or more, as of [bold]study[/bold]. "
            "[dim]\\[with --demo: six of the embedded world][/dim]",
            show_default=False,
        ),
    ] = None,
    images: given.Images = None,
    translators: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE|FOLDER...", help="One for each model, in their order."),
    ] = None,
    concepts: given.Concepts = None,
    encoder: given.Encoder = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|none...",
            help="Their weights, one for each model; none for one with weights of its own.",
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|none...",
            help="Their heads, one for each model; none for one to be found, and A+B for heads "
            "that are averaged.",
        ),
    ] = None,
    labels: given.Labels = None,
    held_out: given.HeldOut = False,
    donor: given.Donor = None,
    energy: given.Energy = None,
    steer: given.Steer = None,
    axes: given.Axes = 5,
    cache: given.Cache = None,
    batch_size: given.BatchSize = 32,
    workers: given.Workers = 0,
    limit: given.Limit = None,
    seed: given.Seed = 0,
    draws: given.Draws = 1000,
    device: given.Device = "cpu",
    demo: given.Demo = False,
    output: given.Output = Path("captum-sing-comparison"),
) -> None:
    """Do the heads of several models ignore more than each other, on the same pictures?

    Paired differences with intervals; a pair is ranked only where its interval excludes zero.
    Writes [bold]comparison.json[/bold], [bold]comparison.txt[/bold], plots, and each model's own
    study in a folder of its own.
    """
    given.check_source(
        demo, images, translators=translators, encoder=encoder, checkpoints=checkpoints,
        labels=labels,
    )  # fmt: skip
    if not models and not demo:
        raise typer.BadParameter("give --models A B ..., or --demo for the embedded world")

    from rich.console import Console

    from captum_sing.cli.comparing import DEMO_MODELS, compare_pictures
    from captum_sing.cli.request import Request
    from captum_sing.cli.writing import tell

    request = Request(
        models=models or DEMO_MODELS,
        images=images,
        translators=translators or (),
        checkpoints=checkpoints or (),
        layers=layers or (),
        concepts=concepts or (),
        encoder=encoder,
        labels=labels,
        held_out=held_out,
        donor=donor,
        energy=energy,
        steer=steer or (),
        axes=axes,
        cache=cache,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        seed=seed,
        draws=draws,
        device=device,
        output=output,
    )
    console = Console()
    tell(console, compare_pictures(request, console))
