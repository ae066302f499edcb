"""A translator for one's own model, from a folder of pictures."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from captum_sing.classifiers import find_classifier
from captum_sing.cli.encoders import encoder_of
from captum_sing.datasets import Pictures
from captum_sing.devices import device_of
from captum_sing.errors import SINGFileError, expected
from captum_sing.fitting import FitReport, fit_translator
from captum_sing.fitting.fit import check_settings

__all__ = ["check_output", "fit_from_folder"]


def fit_from_folder(
    images: Path,
    model: str,
    encoder: str,
    output: Path,
    *,
    checkpoint: Path | None = None,
    layer: Sequence[str] = (),
    alpha: float | Literal["cv"] = "cv",
    held_out: float = 0.1,
    batch_size: int = 32,
    num_workers: int = 0,
    seed: int = 0,
    device: str = "cpu",
    limit: int | None = None,
) -> None:
    """Fit, print the report, and write the translator; arguments as :func:`fit_translator` has.

    Whatever can be checked without loading anything is checked first.

    Args:
        images (Path): a folder.
        model (str), checkpoint (Path or None): see :func:`captum_sing.classifiers.load_classifier`.
        encoder (str): see :func:`captum_sing.cli.encoders.encoder_of`.
        output (Path): the file, written whole or not at all.
        layer (sequence of str, optional): one name, or those of averaged heads. Default: found
    """
    check_output(output)
    pictures = Pictures.of(images, limit=limit, seed=seed)
    check_settings(pictures, alpha, held_out, seed)
    source = find_classifier(model, checkpoint)
    place = device_of(device)
    console = Console()
    with console.status(f"Loading {encoder}"):
        embedder = encoder_of(encoder, place)
    with console.status(f"Loading {source}"):
        classifier = source.load(place)
    with warnings.catch_warnings():
        # the report says it
        warnings.filterwarnings("ignore", "fit_translator: Left out", UserWarning)
        translator = fit_translator(
            classifier,
            embedder,
            pictures,
            layer=layer[0] if len(layer) == 1 else layer or None,
            alpha=alpha,
            held_out=held_out,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
        )
    translator.save(output)
    facts = translator.facts
    console.print(
        f"From {classifier.name} to {embedder.name}: {facts['images']['fitted']:,} images fitted, "
        f"{facts['images']['held_out']:,} held out, alpha {facts['alpha']:.3g}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print(FitReport.from_dict(facts["report"]))
    console.print(f"\nWritten: {output}", soft_wrap=True, highlight=False, markup=False)


def check_output(path: Path) -> None:
    """A file can be written there; nothing is left behind.

    Raises:
        SINGFileError: no folder to write it to, or a folder in its place.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(path)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SINGFileError(
            expected(
                "captum-sing fit-translator",
                "--output",
                "to be a file in a folder that can be written",
                path,
                "Make the folder, or choose another place",
            )
        ) from error
