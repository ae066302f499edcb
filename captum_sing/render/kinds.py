"""The kinds of pipeline that draw an image embedding: parts, defaults, and how each is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["KINDS", "PIPELINES", "Kind", "Order"]


class Order(NamedTuple):
    """What a pipeline is called with.

    Attributes:
        embeddings (Tensor): shape (B, E), of the pipeline's device and precision.
        negative (Tensor): what guidance steers away from, shape (B, E).
        generators (list of torch.Generator): B of them.
        steps (tuple of int): of each stage.
        guidance (float): 1 is none.
    """

    embeddings: Tensor
    negative: Tensor
    generators: list[torch.Generator]
    steps: tuple[int, ...]
    guidance: float


@dataclass(frozen=True)
class Kind:
    """One kind of pipeline.

    Attributes:
        name (str): of the kind.
        pipeline (str): its class, by its name in diffusers.
        parts (mapping of str to str): its parts, and the class of each: of transformers, of
            diffusers, of the package in diffusers that a pipeline is in
            (``"Pipeline.module.Class"``), or ``"scheduler"`` for any of diffusers.
        width (tuple of str): the part, and the entry of its configuration, that tell E.
        steps (tuple of int): diffusers' default for each stage.
        guidance (float): diffusers' default.
        call (callable): pipeline and order -> B pictures.
        negative (bool): whether guidance steers away from an embedding.
        together (bool): whether one call can draw several embeddings.
        options (mapping): what its class takes besides parts.
    """

    name: str
    pipeline: str
    parts: Mapping[str, str]
    width: tuple[str, str]
    steps: tuple[int, ...]
    guidance: float
    call: Callable[[Any, Order], Any]
    negative: bool = False
    together: bool = True
    options: Mapping[str, Any] | None = None


def _karlo(pipeline: Any, order: Order) -> Any:
    decoder, super_resolution = order.steps
    return pipeline(
        image_embeddings=order.embeddings,
        decoder_num_inference_steps=decoder,
        super_res_num_inference_steps=super_resolution,
        decoder_guidance_scale=order.guidance,
        generator=order.generators,
    )


def _stable_unclip(pipeline: Any, order: Order) -> Any:
    return pipeline(
        prompt=[""] * len(order.embeddings),
        image_embeds=order.embeddings,
        noise_level=0,  # of the noise that is put on embeddings; a little remains
        num_inference_steps=order.steps[0],
        guidance_scale=order.guidance,
        generator=order.generators,
    )


def _kandinsky(pipeline: Any, order: Order) -> Any:
    size = pipeline.unet.config.sample_size * pipeline.movq_scale_factor
    return pipeline(
        image_embeds=order.embeddings,
        negative_image_embeds=order.negative,
        height=size,
        width=size,
        num_inference_steps=order.steps[0],
        guidance_scale=order.guidance,
        generator=order.generators,
    )


def _ip_adapter(pipeline: Any, order: Order) -> Any:
    """One picture: of several embeddings, diffusers gives each picture parts of all."""
    guided = [order.negative, order.embeddings] if order.guidance > 1 else [order.embeddings]
    return pipeline(
        prompt="",
        ip_adapter_image_embeds=[torch.stack(guided)],
        num_inference_steps=order.steps[0],
        guidance_scale=order.guidance,
        generator=order.generators,
    )


_TEXT = {"tokenizer": "transformers.CLIPTokenizer", "text_encoder": "transformers.CLIPTextModel"}
_VISION = {
    "feature_extractor": "transformers.CLIPImageProcessor",
    "image_encoder": "transformers.CLIPVisionModelWithProjection",
}
_DIFFUSION = {
    "vae": "diffusers.AutoencoderKL",
    "unet": "diffusers.UNet2DConditionModel",
    "scheduler": "scheduler",
}

_ALL = (
    Kind(
        "karlo",
        "UnCLIPImageVariationPipeline",
        {
            **_TEXT,
            **_VISION,
            "text_encoder": "transformers.CLIPTextModelWithProjection",
            "text_proj": "UnCLIPImageVariationPipeline.text_proj.UnCLIPTextProjModel",
            "decoder": "diffusers.UNet2DConditionModel",
            "super_res_first": "diffusers.UNet2DModel",
            "super_res_last": "diffusers.UNet2DModel",
            "decoder_scheduler": "scheduler",
            "super_res_scheduler": "scheduler",
        },
        width=("text_proj", "clip_embeddings_dim"),
        steps=(25, 7),
        guidance=8.0,
        call=_karlo,
    ),
    Kind(
        "stable-unclip",
        "StableUnCLIPImg2ImgPipeline",
        {
            **_TEXT,
            **_VISION,
            **_DIFFUSION,
            "image_normalizer": "StableUnCLIPImg2ImgPipeline.stable_unclip_image_normalizer"
            ".StableUnCLIPImageNormalizer",
            "image_noising_scheduler": "scheduler",
        },
        width=("image_normalizer", "embedding_dim"),
        steps=(20,),
        guidance=10.0,
        call=_stable_unclip,
    ),
    Kind(
        "kandinsky",
        "KandinskyV22Pipeline",
        {
            "unet": "diffusers.UNet2DConditionModel",
            "scheduler": "scheduler",
            "movq": "diffusers.VQModel",
        },
        width=("unet", "encoder_hid_dim"),
        steps=(100,),
        guidance=4.0,
        call=_kandinsky,
        negative=True,
    ),
    Kind(
        "ip-adapter",
        "StableDiffusionPipeline",
        {**_TEXT, **_DIFFUSION},
        width=("ip_adapter", "image_proj.proj.weight"),
        steps=(50,),
        guidance=7.5,
        call=_ip_adapter,
        negative=True,
        together=False,
        options={
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        },
    ),
    Kind(
        "ip-adapter",
        "StableDiffusionXLPipeline",
        {
            **_TEXT,
            **_DIFFUSION,
            "tokenizer_2": "transformers.CLIPTokenizer",
            "text_encoder_2": "transformers.CLIPTextModelWithProjection",
        },
        width=("ip_adapter", "image_proj.proj.weight"),
        steps=(50,),
        guidance=5.0,
        call=_ip_adapter,
        negative=True,
        together=False,
        options={"add_watermarker": False},
    ),
)

PIPELINES = {kind.pipeline: kind for kind in _ALL}
"""The kinds by the ``_class_name`` of their model_index.json."""

KINDS = tuple(dict.fromkeys(kind.name for kind in _ALL))
"""Their names."""
