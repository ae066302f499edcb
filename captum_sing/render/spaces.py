"""Whose image embeddings a pipeline was trained on, told by name and by content."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_sing.angles import angle
from captum_sing.authors import KARLO_ENCODER
from captum_sing.encoders.protocol import ImageTextEncoder

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["blank_embedding", "known_encoder", "largest_angle", "same_space"]

_OPENAI_L = (
    KARLO_ENCODER,
    "open_clip/ViT-L-14/openai",
    "open_clip/hf-hub:timm/vit_large_patch14_clip_224.openai",
    "transformers/openai/clip-vit-large-patch14",
)
_LAION_H = (
    "open_clip/ViT-H-14/laion2b_s32b_b79k",
    "open_clip/hf-hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "transformers/laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
)
_LAION_G = (
    "open_clip/ViT-bigG-14/laion2b_s39b_b160k",
    "open_clip/hf-hub:laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    "transformers/laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
)
_SPACES = (_OPENAI_L, _LAION_H, _LAION_G)

_OF = {  # repositories of the hub, and files in them
    "kakaobrain/karlo-v1-alpha-image-variations": _OPENAI_L,
    "stabilityai/stable-diffusion-2-1-unclip": _LAION_H,
    "stabilityai/stable-diffusion-2-1-unclip-small": _OPENAI_L,
    "kandinsky-community/kandinsky-2-2-decoder": _LAION_G,
    "h94/IP-Adapter/models/ip-adapter_sd15.safetensors": _LAION_H,
    "h94/IP-Adapter/models/ip-adapter_sd15_light.safetensors": _LAION_H,
    "h94/IP-Adapter/models/ip-adapter_sd15_vit-G.safetensors": _LAION_G,
    "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors": _LAION_G,
    "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors": _LAION_H,
}


def known_encoder(published: str) -> str | None:
    """The encoder of a pipeline or an adapter of the hub, where it is known.

    Example::

        >>> known_encoder("kandinsky-community/kandinsky-2-2-decoder")
        'open_clip/ViT-bigG-14/laion2b_s39b_b160k'
    """
    return _OF.get(published, (None,))[0]


def same_space(one: str, other: str) -> bool:
    """Whether two names are of the same weights, as far as names tell.

    What follows an @, a commit or a digest, is compared where both have it; the names that
    open_clip and transformers give to one published encoder are equal.

    Example::

        >>> same_space("transformers/openai/clip-vit-large-patch14@32bd64288804",
        ...            "open_clip/ViT-L-14-quickgelu/openai")
        True
        >>> same_space("open_clip/ViT-L-14/laion2b_s32b_b82k", "open_clip/ViT-L-14/openai")
        False
    """
    (a, _, exact_a), (b, _, exact_b) = one.partition("@"), other.partition("@")
    if any(a in space and b in space for space in _SPACES):
        return True
    return a == b and (exact_a == exact_b or not (exact_a and exact_b))


@torch.no_grad()
def blank_embedding(encoder: ImageTextEncoder) -> Tensor:
    """What an encoder says to a picture of nothing: each pixel the mean of all its pictures.

    It is what Kandinsky is steered away from (``get_zero_embed`` of diffusers' prior pipeline,
    which is not black: zero is the mean of preprocessed pixels).

    Args:
        encoder (ImageTextEncoder): the pipeline's own.

    Returns:
        Tensor: shape (E,), on the CPU.
    """
    from PIL import Image

    pixels = encoder.preprocess(Image.new("RGB", (224, 224)))
    return encoder.encode_image(torch.zeros_like(pixels)[None])[0].float().cpu()


Encode = Callable[["list[Image.Image]"], Tensor]


@torch.no_grad()
def largest_angle(one: Encode, other: Encode, size: int) -> float:
    """The largest angle between what two encoders say to the same pictures, in degrees.

    Args:
        one (callable): pictures -> their embeddings, shape (B, E), not normalised.
        other (callable): the same, of the other encoder.
        size (int): of the pictures, in pixels; at the size of an encoder's input, it does not
            matter how it makes pictures smaller.
    """
    pictures = _pictures(size)
    return float(angle(one(pictures).double().cpu(), other(pictures).double().cpu()).max())


def _pictures(size: int) -> list[Image.Image]:
    """Coloured noise, from a few large patches to many small ones; the same on every call."""
    from torchvision.transforms.functional import to_pil_image

    generator = torch.Generator().manual_seed(0)
    noise = (torch.rand(1, 3, cells, cells, generator=generator) for cells in (1, 2, 4, 8, 16, 32))
    return [to_pil_image(interpolate(n, size=(size, size), mode="nearest")[0]) for n in noise]
