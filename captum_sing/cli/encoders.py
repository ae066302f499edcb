"""Encoders as options of commands name them."""

from __future__ import annotations

import torch

from captum_sing.devices import device_of
from captum_sing.encoders import ImageTextEncoder, load_encoder

__all__ = ["encoder_of"]

_DEMO = "demo"


def encoder_of(spec: str, device: str | torch.device | None = None) -> ImageTextEncoder:
    """The encoder of :func:`captum_sing.encoders.load_encoder`, or "demo", the tiny CLIP.

    Args:
        spec (str): "demo", or what ``load_encoder`` takes.
        device (str or torch.device, optional): where it runs. Default: the CPU

    Raises:
        SINGNameError: no encoder of that name.
        SINGFileError: weights that are missing, incomplete or cannot be downloaded.
        SINGValueError: no such device.

    Example::

        >>> encoder_of("demo").embedding_dim
        64
    """
    if spec == _DEMO:
        from captum_sing.demo import world

        device = device_of(device, "encoder_of", "device")
        encoder = world.load_encoder()
        encoder.model.to(device)
        return encoder
    return load_encoder(spec, device)
