"""An encoder from one line of text, as commands take it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch

from captum_sing.encoders.open_clip import OpenCLIPEncoder
from captum_sing.encoders.protocol import ImageTextEncoder
from captum_sing.encoders.transformers import TransformersEncoder
from captum_sing.errors import SINGNameError, expected

__all__ = ["load_encoder"]

_TRANSFORMERS = "transformers/"
_BRING_WEIGHTS = ("local-dir:", "hf-hub:")


def load_encoder(spec: str, device: str | torch.device | None = None) -> ImageTextEncoder:
    """An encoder by its name.

    Args:
        spec (str): ``"ARCHITECTURE:TAG"`` of ``open_clip.list_pretrained()``, such as
            ``"ViT-L-14:openai"``, or ``"ARCHITECTURE:FILE"`` with a checkpoint;
            ``"local-dir:FOLDER"`` or ``"hf-hub:NAME"`` of open_clip; or
            ``"transformers/NAME"`` or ``"transformers/FOLDER"``.
        device (str or torch.device, optional): where it runs. Default: the CPU

    Returns:
        ImageTextEncoder

    Raises:
        SINGNameError: a name that neither library has.
        SINGFileError: weights that are missing, incomplete or cannot be downloaded.

    Example::

        >>> load_encoder("ViT-L-15:openai")
        Traceback (most recent call last):
        captum_sing.errors.SINGNameError: load_encoder: expected spec to be ... \
got 'ViT-L-15:openai'. The nearest are ViT-L-14:openai, ...
    """
    if spec.startswith(_TRANSFORMERS):
        return TransformersEncoder(spec.removeprefix(_TRANSFORMERS), device=device)
    if spec.startswith(_BRING_WEIGHTS):
        return OpenCLIPEncoder(spec, device=device)
    architecture, _, weights = spec.partition(":")
    _check(spec, architecture, weights)
    return OpenCLIPEncoder(architecture, weights, device=device)


def _check(spec: str, architecture: str, weights: str) -> None:
    import open_clip

    if weights and architecture in open_clip.list_models():
        return
    known = [f"{name}:{tag}" for name, tag in open_clip.list_pretrained()]
    raise SINGNameError(
        expected(
            "load_encoder",
            "spec",
            'to be "ARCHITECTURE:TAG" of open_clip, "local-dir:FOLDER", "hf-hub:NAME" or '
            '"transformers/NAME"',
            repr(spec),
            _nearest(spec, known),
        )
    )


def _nearest(spec: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(spec, known, n=5, cutoff=0.5)
    return f"The nearest are {', '.join(close)}" if close else "open_clip.list_pretrained() has all"
