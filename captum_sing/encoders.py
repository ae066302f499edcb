"""Encoders of images and texts into one space; the one lazy door to open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from captum_sing.errors import SINGFileError, SINGNameError, SINGValueError, expected
from captum_sing.files import digest
from captum_sing.hub import quick_when_offline

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageTextEncoder", "OpenCLIPEncoder"]

_LOCAL = "local-dir:"
_TEXT_BATCH = 256


@runtime_checkable
class ImageTextEncoder(Protocol):
    """What this package asks of a vision-language model.

    Attributes:
        name (str): architecture and exact weights; two encoders of one name make one space.
        embedding_dim (int): E.
    """

    name: str
    embedding_dim: int

    def preprocess(self, image: Image.Image) -> Tensor:
        """One picture -> (3, H, W), as :meth:`encode_image` wants it."""
        ...

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), not normalised."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """V texts -> (V, E), not normalised."""
        ...


class OpenCLIPEncoder:
    """Any open_clip model.

    Args:
        model_name (str): an architecture of ``open_clip.list_models()``, or ``"local-dir:FOLDER"``
            with ``open_clip_config.json`` and weights in it, or ``"hf-hub:..."``.
        pretrained (str, optional): a tag of ``open_clip.list_pretrained()`` or a checkpoint file;
            not for folders and the hub, which bring their own.
        device (str or torch.device, optional): where it runs. Default: the CPU

    Raises:
        SINGNameError: an architecture or tag that open_clip does not have.
        SINGFileError: weights that are missing, incomplete or cannot be downloaded.

    Example::

        >>> from captum_sing.demo import load_encoder
        >>> encoder = load_encoder()
        >>> encoder.encode_text(["a red star"]).shape == (1, encoder.embedding_dim)
        True
    """

    def __init__(
        self,
        model_name: str,
        pretrained: str | None = None,
        *,
        device: str | torch.device | None = None,
    ) -> None:
        import open_clip

        brings_weights = model_name.startswith((_LOCAL, "hf-hub:"))
        if not brings_weights:
            _check_names(open_clip, model_name, pretrained)
        on_disk = model_name.startswith(_LOCAL)
        try:
            with nullcontext() if on_disk else quick_when_offline():
                model, preprocess = open_clip.create_model_from_pretrained(model_name, pretrained)
                tokenizer = open_clip.get_tokenizer(model_name)
        except Exception as error:  # each kind of missing weights raises an error of its own
            what = model_name if pretrained is None else f"{model_name} with {pretrained}"
            raise SINGFileError(
                expected(
                    "OpenCLIPEncoder",
                    "model_name and pretrained",
                    "to name weights that can be loaded",
                    f"{what} ({type(error).__name__}: {_first_line(error)})",
                    "Check the path, or the connection if they have to be downloaded first",
                )
            ) from error
        self.model = model.eval().requires_grad_(False)
        if device is not None:
            self.model.to(device)
        self._preprocess = preprocess
        self._tokenizer = tokenizer
        self.name = _identity(model_name, pretrained)
        self.embedding_dim = int(self.encode_text([""]).shape[1])

    @property
    def device(self) -> torch.device:
        """Where the encoder runs."""
        return next(self.model.parameters()).device

    def preprocess(self, image: Image.Image) -> Tensor:
        """One picture -> (3, H, W), resized and normalised as the weights were trained."""
        tensor: Tensor = self._preprocess(image)
        return tensor

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), float32, not normalised."""
        embeddings: Tensor = self.model.encode_image(images.to(self.device), normalize=False)
        return embeddings.float()

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """V texts -> (V, E), float32, not normalised; in batches.

        Raises:
            SINGValueError: no list, none in it, or a word that the tokenizer does not know.
        """
        if isinstance(texts, str) or not texts:
            raise SINGValueError(
                expected(
                    "OpenCLIPEncoder.encode_text",
                    "texts",
                    "to be a list of one text or more",
                    repr(texts),
                    "Write [text, ...]",
                )
            )
        texts = list(texts)
        batches = [texts[i : i + _TEXT_BATCH] for i in range(0, len(texts), _TEXT_BATCH)]
        return torch.cat([self._encode_batch(batch) for batch in batches])

    def _encode_batch(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(texts)
        self._check_known(texts, tokens)
        embeddings: Tensor = self.model.encode_text(tokens.to(self.device), normalize=False)
        return embeddings.float()

    def _check_known(self, texts: list[str], tokens: Tensor) -> None:
        inner: Any = getattr(self._tokenizer, "tokenizer", None)
        unknown = getattr(inner, "unk_token_id", None)
        if unknown is None or unknown in (inner.eos_token_id, inner.pad_token_id):
            return  # a byte-level vocabulary: every word is known
        strange = (tokens == unknown).any(dim=1).tolist()
        if any(strange):
            raise SINGValueError(
                expected(
                    "OpenCLIPEncoder.encode_text",
                    "texts",
                    f"in the vocabulary of {self.name}",
                    repr(texts[strange.index(True)]),
                    "Use other words: to this encoder an unknown one means nothing",
                )
            )


def _check_names(open_clip: Any, model_name: str, pretrained: str | None) -> None:
    if model_name not in open_clip.list_models():
        raise SINGNameError(
            expected(
                "OpenCLIPEncoder",
                "model_name",
                'to be an open_clip architecture, "local-dir:FOLDER" or "hf-hub:NAME"',
                repr(model_name),
                "open_clip.list_models() names them",
            )
        )
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if pretrained is None or not (pretrained in tags or Path(pretrained).is_file()):
        raise SINGNameError(
            expected(
                "OpenCLIPEncoder",
                "pretrained",
                f"to be a file or one of {tags}",
                repr(pretrained),
                "An encoder with random weights describes nothing",
            )
        )


def _identity(model_name: str, pretrained: str | None) -> str:
    """Architecture and exact weights: a tag names them, local files are known by their content."""
    if model_name.startswith(_LOCAL):
        folder = Path(model_name.removeprefix(_LOCAL))
        files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".pth"))
        return f"open_clip/{folder.name}@{digest(files)}"
    if pretrained is not None and Path(pretrained).is_file():
        return f"open_clip/{model_name}@{digest([Path(pretrained)])}"
    return f"open_clip/{model_name}" + (f"/{pretrained}" if pretrained else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")
