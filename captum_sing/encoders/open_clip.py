"""Any open_clip model as an encoder: the one lazy door to open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from captum_sing.devices import device_of
from captum_sing.encoders.checkpoints import (
    activation_of_file,
    canonical,
    loadable,
    preprocessing_of_file,
)
from captum_sing.encoders.texts import check_known, encode_in_batches
from captum_sing.errors import SINGError, SINGFileError, SINGNameError, SINGValueError, expected
from captum_sing.files import digest
from captum_sing.hub import quick_when_offline
from captum_sing.pretrained import commit_of, digest_of_folder, first_line
from captum_sing.state_dicts import check_sizes, read_state

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["OpenCLIPEncoder"]

_LOCAL, _HUB = "local-dir:", "hf-hub:"
_NUMPY = (".npz", ".npy")  # SigLIP as its authors gave it, which open_clip converts


class OpenCLIPEncoder:
    """Any open_clip model, with the activation and the preprocessing its weights were trained with.

    Args:
        model_name (str): an architecture of ``open_clip.list_models()``, or ``"local-dir:FOLDER"``
            with ``open_clip_config.json`` and weights in it, or ``"hf-hub:..."``.
        pretrained (str, optional): a tag of ``open_clip.list_pretrained()`` or a checkpoint file;
            not for folders and the hub, which bring their own.
        quick_gelu (bool, optional): for a checkpoint file of an architecture that has a
            ``-quickgelu`` twin, which of them it belongs to. None: the twin that was named, that
            of a tag in the name of the file or its folder, or that of the state dict of OpenAI's
            archives; else the plain one, if 16 bits would not hold the weights. Default: None
        device (str or torch.device, optional): where it runs. Default: the CPU

    Raises:
        SINGNameError: an architecture or tag that open_clip does not have.
        SINGFileError: weights that are missing, incomplete or cannot be downloaded.
        SINGValueError: a file whose activation cannot be told, ``quick_gelu`` without a file,
            ``pretrained`` for what brings its own weights, or no such device.

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
        quick_gelu: bool | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        brings_weights = model_name.startswith((_LOCAL, _HUB))
        if not brings_weights:
            _check_names(model_name, pretrained)
        elif pretrained is not None:
            raise SINGValueError(
                expected(
                    "OpenCLIPEncoder",
                    "pretrained",
                    f"None for {model_name}, which brings its own weights",
                    repr(pretrained),
                    "Leave it out, or name an architecture",
                )
            )
        device = device_of(device, "OpenCLIPEncoder", "device")
        file = pretrained is not None and Path(pretrained).is_file()
        if quick_gelu is not None and not file:
            raise SINGValueError(
                expected(
                    "OpenCLIPEncoder",
                    "quick_gelu",
                    "only for a checkpoint file",
                    f"{quick_gelu} for {_named(model_name, pretrained)}",
                    "Leave it out: tags and folders say it themselves",
                )
            )
        try:
            if file:
                made = _from_file(model_name, Path(str(pretrained)), quick_gelu)
            elif model_name.startswith(_LOCAL):
                made = _from_folder(model_name)
            else:
                made = _from_hub(model_name, pretrained)
        except SINGError:
            raise
        except Exception as error:  # each kind of missing weights raises an error of its own
            raise SINGFileError(
                expected(
                    "OpenCLIPEncoder",
                    "model_name and pretrained",
                    "to name weights that can be loaded",
                    f"{_named(model_name, pretrained)} "
                    f"({type(error).__name__}: {first_line(error)})",
                    "Check the path, or the connection if they have to be downloaded first",
                )
            ) from error
        model, self._preprocess, self._tokenizer, name = made
        self.model = model.eval().requires_grad_(False)
        self.model.to(device)
        self.name = f"open_clip/{name}"
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
        return encode_in_batches("OpenCLIPEncoder", texts, self._encode_batch)

    def _encode_batch(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(texts)
        inner = getattr(self._tokenizer, "tokenizer", None)
        check_known("OpenCLIPEncoder", self.name, texts, tokens, inner)
        embeddings: Tensor = self.model.encode_text(tokens.to(self.device), normalize=False)
        return embeddings.float()


class _Made(NamedTuple):
    model: Any
    preprocess: Any
    tokenizer: Any
    name: str  # architecture and exact weights


def _from_hub(model_name: str, tag: str | None) -> _Made:
    import open_clip

    is_tag = tag is not None and not model_name.startswith(_HUB)
    name = canonical(model_name, str(tag)) if is_tag else model_name
    with quick_when_offline():
        model, preprocess = open_clip.create_model_from_pretrained(name, tag)
        tokenizer = open_clip.get_tokenizer(name)
    repository = name.removeprefix(_HUB)
    exact = f"/{tag}" if is_tag else f"@{commit_of(repository, 'open_clip_config.json')}"
    return _Made(model, preprocess, tokenizer, f"{name}{exact}")


def _from_folder(model_name: str) -> _Made:
    import open_clip
    from open_clip.factory import _find_checkpoint_in_dir

    folder = Path(model_name.removeprefix(_LOCAL))
    chosen = Path(_find_checkpoint_in_dir(folder) or "")  # without, open_clip complains itself
    state = read_state("OpenCLIPEncoder", chosen) if chosen.name else {}
    model, preprocess = open_clip.create_model_from_pretrained(model_name)
    check_sizes(model, state)
    tokenizer = open_clip.get_tokenizer(model_name)
    name = f"{folder.resolve().name}@{digest_of_folder(folder, chosen.name)}"
    return _Made(model, preprocess, tokenizer, name)


def _from_file(architecture: str, path: Path, quick_gelu: bool | None) -> _Made:
    import open_clip

    use_tag = f", or use the tag ({architecture}:openai) for the weights of OpenAI"
    state = {} if path.suffix in _NUMPY else read_state("OpenCLIPEncoder", path, use_tag)
    architecture = activation_of_file(architecture, path, state, quick_gelu)
    pictures = preprocessing_of_file(architecture, path)
    with loadable(path, state) as weights:
        model, preprocess = open_clip.create_model_from_pretrained(
            architecture, str(weights), **pictures
        )
    check_sizes(model, state)
    with quick_when_offline():
        tokenizer = open_clip.get_tokenizer(architecture)
    return _Made(model, preprocess, tokenizer, f"{architecture}@{digest([path])}")


def _check_names(model_name: str, pretrained: str | None) -> None:
    import open_clip

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


def _named(model_name: str, pretrained: str | None) -> str:
    return model_name if pretrained is None else f"{model_name} with {pretrained}"
