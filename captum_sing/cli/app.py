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
            help="timm/NAME, torchvision/NAME, demo/NAME, or a folder that timm saved.",
        ),
    ],
    translator: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of this model, from LinearTranslator.save."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's weights, instead of a download."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="The head; found if it is not given.")
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A saved ConceptBank; or words: JSON {group: \\[words]}, or text with a word or "
            "'group: word, word' a line.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL:TAG|local-dir:FOLDER",
            help="The open_clip model that embeds the words; known where the translator's "
            "encoder has a tag.",
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
    [bold]analysis.png[/bold]. With a demo/NAME model, nothing else is needed.
    """
    if target is not None and energy is not None:
        raise typer.BadParameter("--target and --energy are two null spaces: give one of them")

    from captum_sing.classifiers import find_classifier, load_image
    from captum_sing.cli.analysis import analyze_pictures, device_of
    from captum_sing.cli.words import load_meaning
    from captum_sing.files import made

    pictures = {str(path): load_image(path) for path in images}
    source = find_classifier(model, checkpoint)
    place = device_of(device)
    console = Console()
    with console.status("Loading translator and words"):
        meaning = load_meaning(source, translator, concepts, encoder)
    folder = made(output)
    with console.status(f"Loading {source}"):
        classifier = source.load(place)
    with console.status("Analysing"):
        analysis = analyze_pictures(
            pictures,
            classifier,
            *meaning,
            layer=layer,
            baseline=None if baseline is Baseline.none else baseline.value,
            target=target,
            energy=energy,
            top_k=top_k,
        )
    analysis.show(console)
    written = ", ".join(str(path) for path in analysis.save(folder))
    console.print(f"\nWritten: {written}", soft_wrap=True, highlight=False, markup=False)
