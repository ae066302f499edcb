"""The commands and their options; an error of ours is one line, and exit code 1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from captum_sing import __version__
from captum_sing.cli import commands, decoding, picture_commands
from captum_sing.cli import options as given
from captum_sing.cli.several import SeveralValues
from captum_sing.errors import SINGError

__all__ = ["app", "main"]


class _OneLineErrors(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SINGError as error:
            line = " ".join(str(error).split())
            console = Console(stderr=True, soft_wrap=True)
            console.print(line, style="red", markup=False, highlight=False)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_OneLineErrors,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """The entry point of ``captum-sing``."""
    app(prog_name="captum-sing")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What does a classifier's linear head ignore? In words, angles and pictures."""


@app.command()
def demo(
    output: given.Output = Path("captum-sing-demo"),
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=2**62, help="Of the test images; may be given several times."),
    ] = None,
) -> None:
    """The whole method on a small world whose truth is known; offline, within a minute."""
    from captum_sing.demo.report import TEST_SEEDS, print_report, run_demo

    print_report(run_demo(output, seeds=tuple(seed or TEST_SEEDS)))


@app.command()
def analyze(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FOLDER",
            help="timm/NAME, torchvision/NAME, transformers/NAME, demo/NAME, or a folder.",
        ),
    ],
    translator: given.Translator = None,
    checkpoint: given.Checkpoint = None,
    layer: given.Layer = None,
    concepts: given.Concepts = None,
    encoder: given.Encoder = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of 50 images or more, better hundreds, for the statistics of a "
            "translator that has none.",
        ),
    ] = None,
    baseline: Annotated[
        given.Baseline, typer.Option(help="What is put in the place of the ignored part.")
    ] = given.Baseline.none,
    target: Annotated[
        int | None, typer.Option(min=0, help="Keep the logit of this class alone.")
    ] = None,
    energy: given.Energy = None,
    top_k: Annotated[int, typer.Option(min=1, help="Words that are named.")] = 5,
    output: given.Output = Path("captum-sing-analysis"),
    device: given.Device = "cpu",
) -> None:
    """What the head of your own model ignores in your own images.

    Prints a description of each, and writes [bold]analysis.json[/bold] and
    [bold]analysis.png[/bold], with each picture as the model saw it, and the words' embeddings for
    the next time. With a demo/NAME model,
    nothing else is needed.
    """
    if target is not None and energy is not None:
        raise typer.BadParameter("--target and --energy are two null spaces: give one of them")

    from captum_sing.classifiers import find_classifier, load_image
    from captum_sing.cli.analyzing import analyze_pictures, check_reference
    from captum_sing.cli.words import load_meaning
    from captum_sing.datasets import Pictures
    from captum_sing.devices import device_of
    from captum_sing.files import made

    pictures = {str(path): load_image(path) for path in images}
    source = find_classifier(model, checkpoint)
    place = device_of(device)
    console = Console()
    with console.status("Loading translator and words"):
        if reference is not None:
            Pictures.of(reference)  # refuses a folder without images
        meaning = load_meaning(source, translator, concepts or (), encoder)
        if reference is not None:
            check_reference(meaning.translator)
    with console.status(f"Loading {source}"):
        classifier = source.load(place)
    folder = made(output)
    with console.status("Analysing"):
        analysis = analyze_pictures(
            pictures,
            classifier,
            meaning.translator,
            meaning.concepts,
            layers=layer or (),
            baseline=baseline.baselines,
            target=target,
            energy=energy,
            top_k=top_k,
            reference=reference,
        )
    analysis.show(console)
    files = analysis.save(folder)
    if meaning.embedded:
        files.append(meaning.concepts.save(folder / "concepts.safetensors"))
    written = ", ".join(map(str, files))
    console.print(f"\nWritten: {written}", soft_wrap=True, highlight=False, markup=False)


@app.command("fit-translator")
def fit_translator(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Pictures, in subfolders by class or not.")
    ],
    model: Annotated[
        str,
        typer.Option(metavar="NAME|FOLDER", help="As of [bold]analyze[/bold]."),
    ],
    encoder: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help=given.ENCODERS,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where the translator is written.")],
    checkpoint: given.Checkpoint = None,
    layer: given.Layer = None,
    alpha: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|cv",
            help="The penalty; cv is cross-validation, which tears near-duplicates apart.",
        ),
    ] = "cv",
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of the pictures that judge the result.")
    ] = 0.1,
    batch_size: given.BatchSize = 32,
    workers: given.Workers = 0,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
    limit: given.Limit = None,
) -> None:
    """Fit the translator of your own model to a folder of your own pictures.

    One pass. Prints how well it translates pictures that were held out.
    """
    try:
        penalty = None if alpha == "cv" else float(alpha)
    except ValueError as error:
        raise typer.BadParameter(f"--alpha is a number or cv, not {alpha}") from error

    from captum_sing.cli.fitting import fit_from_folder

    fit_from_folder(
        images,
        model,
        encoder,
        output,
        checkpoint=checkpoint,
        layer=layer or (),
        alpha="cv" if penalty is None else penalty,
        held_out=held_out,
        batch_size=batch_size,
        num_workers=workers,
        seed=seed,
        device=device,
        limit=limit,
    )


app.command()(decoding.fit_decoder)
app.command(cls=SeveralValues)(commands.study)
app.command(cls=SeveralValues)(commands.compare)
app.command()(picture_commands.steer)
app.command()(picture_commands.render)
