"""Encoders of images and texts into one space, by name: open_clip's and those of transformers."""

from captum_sing.encoders.named import load_encoder
from captum_sing.encoders.open_clip import OpenCLIPEncoder
from captum_sing.encoders.protocol import ImageTextEncoder
from captum_sing.encoders.transformers import TransformersEncoder

__all__ = ["ImageTextEncoder", "OpenCLIPEncoder", "TransformersEncoder", "load_encoder"]
