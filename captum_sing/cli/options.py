"""Options that several commands have, in one wording."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ENCODERS",
    "Axes",
    "Baseline",
    "BatchSize",
    "Cache",
    "Checkpoint",
    "Concepts",
    "Demo",
    "Device",
    "Donor",
    "Draws",
    "Encoder",
    "Energy",
    "HeldOut",
    "How",
    "Images",
    "Labels",
    "Layer",
    "Limit",
    "Output",
    "Seed",
    "Steer",
    "Translator",
    "Workers",
    "check_source",
]

ENCODERS = (
    "MODEL:TAG, local-dir:FOLDER or hf-hub:NAME of open_clip; transformers/NAME; or demo, the tiny "
    "CLIP of the embedded world."
)
"""What :func:`captum_sing.cli.encoders.encoder_of` takes."""


class Baseline(str, Enum):
    """What is put in the place of the ignored part."""

    none = "none"
    mean = "mean"
    conditional = "conditional"

    @property
    def baselines(self) -> str | None:
        """As :meth:`captum_sing.SING.attribute` takes it."""
        return None if self is Baseline.none else self.value


class How(str, Enum):
    """Four ways to a picture."""

    unclip = "unclip"
    nearest = "nearest"
    invert = "invert"
    decode = "decode"


Output = Annotated[
    Path, typer.Option(file_okay=False, metavar="DIR", help="Where results are written.")
]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Pictures, in subfolders by class or not.")
]
Translator = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|FOLDER",
        help="Of this model: a file of ours, or a folder of the SING authors' release.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The model's weights, instead of a download."),
]
Layer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="The head, found if it is not given; several times for the heads of a model that "
        "averages them.",
    ),
]
Concepts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES|FILE",
        help="Built-in words, such as colors,textures,imagenet (all attributes if none are "
        "given); a file of words: .txt with [bold]group: word, word[/bold] a line, .csv or "
        ".tsv with columns word and group, .json with {group: \\[words]}; or a saved "
        "ConceptBank. May be given several times.",
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help=f"{ENCODERS} Known where the name of the translator's encoder tells.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="What is in the pictures: a column path, and one for each group of words; what is "
        "unknown stays empty. Groups with labels are tested.",
    ),
]
HeldOut = Annotated[
    bool,
    typer.Option(
        "--held-out",
        help="The translator was fitted on none of these pictures, though it keeps no record of "
        "its own by which to tell.",
    ),
]
Donor = Annotated[
    str | None,
    typer.Option(metavar="IMAGE", help="Swap the ignored part of this picture into all."),
]
Energy = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Approximate null space, such as 0.99, for a head without one."
    ),
]
Steer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PROMPT...",
        help="Words or texts to steer all pictures towards, by steps calibrated to an angle.",
    ),
]
Axes = Annotated[
    int, typer.Option(min=0, help="Main directions inside the null space that are shown.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where features and embeddings are kept: the next call makes no second pass. "
        "Give one folder to calls with different outputs. "
        "[dim]\\[default: cache, in the output folder][/dim]",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures at once.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read pictures.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use so many pictures, drawn at random.")]
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="Of the draws.")]
Draws = Annotated[int, typer.Option(min=100, help="Bootstrap samples of an interval.")]
Device = Annotated[str, typer.Option(help="Where the networks run.")]
Demo = Annotated[
    bool,
    typer.Option(
        "--demo", help="Fresh scenes of the embedded world, with all that they need; offline."
    ),
]


def check_source(demo: bool, images: Path | None, **own: object) -> None:
    """Pictures come from a folder or from the demo, which brings all else itself.

    Args:
        demo (bool): whether the demo is asked for.
        images (Path or None): the folder.
        **own: what the demo brings itself, by the option's name.

    Raises:
        typer.BadParameter: both, or neither.
    """
    given = [f"--{name}" for name, value in {"images": images, **own}.items() if value]
    if demo and given:
        raise typer.BadParameter(f"--demo brings its own: leave out {' and '.join(given)}")
    if not demo and images is None:
        raise typer.BadParameter("give --images DIR, or --demo for the embedded world")
