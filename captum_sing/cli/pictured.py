"""A few pictures, the model that looks at them, and the words, for ``render`` and ``steer``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import Tensor

from captum_sing.classifiers import load_image
from captum_sing.cli.parts import Part, load_part, read_meanings
from captum_sing.cli.request import Request
from captum_sing.datasets import Pictures
from captum_sing.devices import device_of
from captum_sing.encoders import ImageTextEncoder
from captum_sing.render.sight import Sight

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Pictured", "load_pictured"]


@dataclass(frozen=True)
class Pictured:
    """Pictures in front of a model.

    Attributes:
        images (dict of str to PIL.Image.Image): by name, B of them.
        part (Part): the model with its SING.
        encoder (ImageTextEncoder): of the translator's space.
    """

    images: dict[str, Image.Image]
    part: Part
    encoder: ImageTextEncoder

    def inputs(self, images: Sequence[Image.Image] | None = None) -> Tensor:
        """Pictures, of these or others, as the model takes them, shape (B, 3, H, W)."""
        sight = Sight(self.part.sing, self.part.classifier.preprocess)
        return sight.inputs(list(self.images.values()) if images is None else images)

    @property
    def facts(self) -> dict[str, Any]:
        """With what, in the types that JSON holds."""
        part = self.part
        return {
            "model": part.classifier.name,
            "encoder": self.encoder.name,
            "translator": part.sing.translator.model,
            "layers": list(part.layers),
            "rank": part.space.rank,
            "nullity": part.space.nullity,
            "energy": part.space.energy,
        }

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, or their numbers."""
        known = self.part.classes
        return [f"class {k}" for k in range(known)] if isinstance(known, int) else known


def load_pictured(paths: Sequence[Path], request: Request, console: Console) -> Pictured:
    """Read the pictures, and load everything, cheapest first.

    Args:
        paths (sequence of Path): the pictures.
        request (Request): of one model.
        console (Console): where it is told what is loading.

    Raises:
        SINGError: what is missing, or does not fit.
    """
    images = {str(path): load_image(path) for path in paths}
    (wanted,) = request.wanted()
    device = device_of(request.device)
    with console.status("Reading the translator and the words"):
        meanings = read_meanings(request, [wanted])
    with console.status(f"Loading {meanings.spec}"):
        encoder, bank = meanings.load(device)
    with console.status(f"Loading {wanted.source}"):
        part = load_part(
            wanted, meanings.translators[0], bank, encoder, Pictures.of(list(images.values())),
            energy=request.energy, device=device,
        )  # fmt: skip
    return Pictured(images, part, encoder)
