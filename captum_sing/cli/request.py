"""What ``study`` and ``compare`` were asked for, checked as far as that needs no network."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from captum_sing.classifiers import ClassifierSource, find_classifier
from captum_sing.errors import SINGFileError, SINGValueError, expected

__all__ = ["NONE", "Request", "Wanted", "check_folder"]

_WHERE = "captum-sing"

NONE = "none"
"""What stands for a model without a checkpoint, or a layer to name, among models that have one."""


class Wanted(NamedTuple):
    """One model, and what belongs to it alone."""

    source: ClassifierSource
    translator: Path | None
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """The options of a command; see :mod:`captum_sing.cli.options` for what they mean.

    ``models``, ``translators``, ``checkpoints`` and ``layers`` belong together; of the last three
    there may be none. Heads that a model averages are joined by a plus.
    """

    models: Sequence[str]
    output: Path
    images: Path | None = None
    translators: Sequence[Path] = ()
    checkpoints: Sequence[str | Path] = ()
    layers: Sequence[str] = ()
    concepts: Sequence[str] = ()
    encoder: str | None = None
    labels: Path | None = None
    held_out: bool = False
    donor: str | None = None
    energy: float | None = None
    steer: Sequence[str] = ()
    axes: int = 5
    cache: Path | None = None
    batch_size: int = 32
    workers: int = 0
    limit: int | None = None
    seed: int = 0
    draws: int = 1000
    device: str = "cpu"

    @property
    def demo(self) -> bool:
        """Whether pictures come from the embedded world."""
        return self.images is None

    @property
    def kept(self) -> Path:
        """Where features and embeddings are kept."""
        return self.cache or self.output / "cache"

    def wanted(self) -> list[Wanted]:
        """Each model with what belongs to it.

        Raises:
            SINGFileError: a folder that cannot be written.
            SINGValueError: a model twice, or another number of translators, checkpoints or layers.
            SINGNameError: no such model.
        """
        check_folder(self.output, "--output")
        check_folder(self.kept, "--cache")
        for option, values in (
            ("--translators", self.translators),
            ("--checkpoints", self.checkpoints),
            ("--layers", self.layers),
        ):
            if len(values) not in (0, len(self.models)):
                raise SINGValueError(
                    expected(
                        _WHERE,
                        option,
                        f"one for each of {len(self.models)} models, or none",
                        f"{len(values)}",
                        "Give them in the order of the models"
                        + ("" if option == "--translators" else f"; {NONE} stands for none"),
                    )
                )
        checkpoints = [None if str(one) == NONE else Path(one) for one in self.checkpoints]
        layers = [() if one == NONE else tuple(one.split("+")) for one in self.layers]
        found = [
            Wanted(find_classifier(model, checkpoint), translator, of_model)
            for model, translator, checkpoint, of_model in zip(
                self.models,
                self.translators or itertools.repeat(None),
                checkpoints or itertools.repeat(None),
                layers or itertools.repeat(()),
                strict=False,
            )
        ]
        sources = [one.source for one in found]
        if twice := next((one for one in sources if sources.count(one) > 1), None):
            raise SINGValueError(
                expected(_WHERE, "--models", "of different models", f"{twice} twice", "Drop one")
            )
        for source in sources:
            if self.demo and source.kind != "demo":
                raise SINGValueError(
                    expected(
                        _WHERE,
                        "--demo",
                        "with models of the embedded world, demo/NAME",
                        source,
                        "Give --images DIR for a model of your own",
                    )
                )
        return found


def check_folder(folder: Path, option: str) -> None:
    """It can be written, or made; nothing is left behind.

    Raises:
        SINGFileError: it cannot.
    """
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SINGFileError(
            expected(
                _WHERE,
                option,
                "to be a folder that can be made and written",
                f"{folder} ({error.strerror})",
                "Choose another place",
            )
        ) from error
