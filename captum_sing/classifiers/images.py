"""Pictures from files of all kinds, as the RGB that classifiers were trained on."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captum_sing.errors import SINGFileError, expected

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["as_rgb", "load_image"]

_OF_16_BITS = ("PNG", "PPM")  # which Pillow may give as mode I


def load_image(path: str | Path) -> Image.Image:
    """A picture from a file, upright and in RGB; what is transparent becomes white.

    Args:
        path (str or Path): any format that Pillow reads; of several frames the first.

    Returns:
        PIL.Image.Image: mode RGB. 16-bit gray values are scaled, not cut off.

    Raises:
        SINGFileError: the file is missing, truncated, or no picture.
    """
    from PIL import Image

    path = Path(path)
    try:
        with Image.open(path) as file:
            file.load()
            return as_rgb(file)
    except Exception as error:  # decoders raise whatever the damage makes them trip over
        reason = textwrap.shorten(str(error), 200).rstrip(".") if path.exists() else "no such file"
        raise SINGFileError(
            expected(
                "load_image",
                "path",
                "to be a whole picture",
                f"{path} ({reason})",
                "Check the path, or convert it to PNG or JPEG",
            )
        ) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture in memory, made upright and RGB as :func:`load_image` does it.

    Raises:
        ValueError: gray values of unknown range, which could only be guessed.
    """
    from PIL import Image, ImageOps

    if image.mode == "F":
        raise ValueError("floating-point numbers of unknown range")
    if image.mode == "I" and image.format not in _OF_16_BITS:
        raise ValueError("integers of unknown range")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
        values = np.asarray(image)
        gray = (values / 257).round().clip(0, 255)
        gray[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
