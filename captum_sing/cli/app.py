"""The commands and their options; an error of ours is one line, and exit code 1."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from captum_sing import __version__
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


class Baseline(str, Enum):
    """What is put in the place of the ignored part."""

    none = "none"
    mean = "mean"
    conditional = "conditional"


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
    output: Annotated[
        Path, typer.Option(file_okay=False, metavar="DIR", help="Where results are written.")
    ] = Path("captum-sing-demo"),
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
    translator: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Of this model: a file of ours, or a folder of the SING authors' release.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's weights, instead of a download."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The head, found if it is not given; several times for the heads of a model that "
            "averages them.",
        ),
    ] = None,
    concepts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES|FILE",
            help="Built-in words, such as colors,textures,imagenet (all attributes if none are "
            "given); a file of words: .txt with [bold]group: word, word[/bold] a line, .csv or "
            ".tsv with columns word and group, .json with {group: \\[words]}; or a saved "
            "ConceptBank. May be given several times.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL:TAG|local-dir:FOLDER|transformers/NAME",
            help="What embeds the words; known where the name of the translator's encoder tells.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of 50 images or more, better hundreds, for the statistics of a "
            "translator that has none.",
        ),
    ] = None,
    baseline: Annotated[
        Baseline, typer.Option(help="What is put in the place of the ignored part.")
    ] = Baseline.none,
    target: Annotated[
        int | None, typer.Option(min=0, help="Keep the logit of this class alone.")
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Approximate null space, such as 0.99, for a head without one."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Words that are named.")] = 5,
    output: Annotated[
        Path, typer.Option(file_okay=False, metavar="DIR", help="Where results are written.")
    ] = Path("captum-sing-analysis"),
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
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
            baseline=None if baseline is Baseline.none else baseline.value,
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
            help="MODEL:TAG, local-dir:FOLDER or hf-hub:NAME of open_clip; transformers/NAME; or "
            "demo, the tiny CLIP of the embedded world.",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where the translator is written.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's weights, instead of a download."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The head, found if it is not given; several times for heads that the model "
            "averages.",
        ),
    ] = None,
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
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Of the draws.")] = 0,
    device: Annotated[str, typer.Option(help="Where model and encoder run.")] = "cpu",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use so many pictures, drawn at random.")
    ] = None,
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
