"""CLIP and SigLIP of transformers, as encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_sing.devices import device_of
from captum_sing.encoders.texts import check_known, encode_in_batches
from captum_sing.errors import SINGValueError, expected
from captum_sing.pretrained import load_pretrained

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["TransformersEncoder"]


class TransformersEncoder:
    """A model of transformers with an image and a text tower: CLIP, SigLIP and their like.

    Args:
        source (str): the name of a repository on the hub, or a folder that ``save_pretrained``
            wrote, with model, image processor and tokenizer.
        device (str or torch.device, optional): where it runs. Default: the CPU

    Raises:
        SINGNameError: what is neither a folder nor a possible name.
        SINGFileError: weights that are missing, incomplete, pickled or cannot be downloaded; a
            model that needs code of its own.
        SINGValueError: a model without two towers into one space, or no such device.

    Example::

        >>> TransformersEncoder("no/such/folder")
        Traceback (most recent call last):
        captum_sing.errors.SINGNameError: TransformersEncoder: expected source to be a folder, ...
    """

    def __init__(self, source: str, *, device: str | torch.device | None = None) -> None:
        device = device_of(device, "TransformersEncoder", "device")
        self.model, (self._processor, self._tokenizer), name = load_pretrained(
            "TransformersEncoder", source, "AutoModel", ("AutoImageProcessor", "AutoTokenizer")
        )
        self.name = f"transformers/{name}"
        self.model.to(device)
        self.embedding_dim = self._width()

    @property
    def device(self) -> torch.device:
        """Where the encoder runs."""
        return next(self.model.parameters()).device

    def preprocess(self, image: Image.Image) -> Tensor:
        """One picture -> (3, H, W), resized and normalised as the weights were trained."""
        tensor: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return tensor

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), float32, not normalised."""
        model: Any = self.model
        return _pooled(model.get_image_features(pixel_values=images.to(self.device)))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """V texts -> (V, E), float32, not normalised; in batches.

        Raises:
            SINGValueError: no list, none in it, or a word that the tokenizer does not know.
        """
        return encode_in_batches("TransformersEncoder", texts, self._encode_batch)

    def _encode_batch(self, texts: list[str]) -> Tensor:
        model: Any = self.model
        length = model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            texts,
            padding="max_length",  # as SigLIP was trained; to CLIP it is all the same
            truncation=True,
            max_length=min(length, self._tokenizer.model_max_length),
            return_tensors="pt",
        )
        check_known("TransformersEncoder", self.name, texts, tokens["input_ids"], self._tokenizer)
        if model.config.model_type.startswith("siglip"):
            tokens.pop("attention_mask", None)  # it was trained to read its padding
        return _pooled(model.get_text_features(**tokens.to(self.device)))

    def _width(self) -> int:
        """E, by an image and a text of each tower."""
        from PIL import Image

        for tower in ("get_image_features", "get_text_features"):
            if not hasattr(self.model, tower):
                raise self._no_towers(f"which has no {tower}")
        picture = self.preprocess(Image.new("RGB", (64, 64)))
        if picture.dim() != 3:
            raise self._no_towers("which cuts images into a sequence of patches itself")
        image, text = self.encode_image(picture[None]), self._encode_batch([""])
        if not image.shape == text.shape == (1, image.shape[-1]):
            raise self._no_towers(f"with {tuple(image.shape)} and {tuple(text.shape)}")
        return int(text.shape[1])

    def _no_towers(self, actual: str) -> SINGValueError:
        return SINGValueError(
            expected(
                "TransformersEncoder",
                "source",
                "to embed an image and a text in one space, as CLIP and SigLIP do",
                f"{self.name} ({type(self.model).__name__}), {actual}",
                "Use another model",
            )
        )


def _pooled(features: Any) -> Tensor:
    """One row an image or text, which transformers 5 wraps and earlier ones do not."""
    rows: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return rows.float()
