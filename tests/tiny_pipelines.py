"""Tiny pipelines of diffusers with random weights, saved as the hub has them."""

from __future__ import annotations

import importlib
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_models import at_random

WIDTH = 16  # of the image embeddings
SEED = 0
_TEXT = 16  # width of the texts
_PUBLISHED = {  # what the hub's model_index.json say otherwise than a pipeline that is saved today
    "karlo": {"text_proj": ["unclip", "UnCLIPTextProjModel"]},
    "stable-unclip": {"feature_extractor": ["transformers", "CLIPFeatureExtractor"]},
}


def write_karlo(folder: Path, *, width: int = WIDTH, own: bool = False) -> Path:
    """Karlo: pictures of 16 pixels, made larger to 32.

    Args:
        own (bool, optional): with the model_index.json of its own ``save_pretrained``, rather than
            in the layout of the published one.
    """
    import diffusers as d

    torch.manual_seed(SEED)
    made = d.UnCLIPImageVariationPipeline
    package = made.__module__.rpartition(".")[0]
    text_proj = importlib.import_module(f"{package}.text_proj").UnCLIPTextProjModel
    pipeline = made(
        decoder=d.UNet2DConditionModel(
            sample_size=16, in_channels=3, out_channels=6, block_out_channels=(8, 8),
            layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=8,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn", class_embed_type="identity",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            resnet_time_scale_shift="scale_shift",
        ),
        text_encoder=_text_encoder(projected=True, width=width),
        tokenizer=_tokenizer(),
        text_proj=text_proj(clip_embeddings_dim=width, time_embed_dim=32, cross_attention_dim=8,
                            clip_extra_context_tokens=2),
        feature_extractor=_image_processor(),
        image_encoder=_image_encoder(width),
        super_res_first=_super_resolution(),
        super_res_last=_super_resolution(),
        decoder_scheduler=d.UnCLIPScheduler(variance_type="learned_range"),
        super_res_scheduler=d.UnCLIPScheduler(variance_type="fixed_small_log"),
    )  # fmt: skip
    for part in (pipeline.text_encoder, pipeline.text_proj, pipeline.image_encoder):
        at_random(part)
    return _saved(pipeline, folder, {} if own else _PUBLISHED["karlo"])


def write_stable_unclip(folder: Path, *, width: int = WIDTH) -> Path:
    """Stable UnCLIP: pictures of 32 pixels."""
    import diffusers as d
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )

    torch.manual_seed(SEED)
    pipeline = StableUnCLIPImg2ImgPipeline(
        feature_extractor=_image_processor(),
        image_encoder=at_random(_image_encoder(width)),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=width),
        image_noising_scheduler=d.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=_tokenizer(),
        text_encoder=_text_encoder(),
        unet=_unet(class_embed_type="projection", projection_class_embeddings_input_dim=2 * width),
        scheduler=_pndm(),
        vae=_vae(),
    )
    with torch.no_grad():  # trained ones are no identity
        pipeline.image_normalizer.mean.normal_()
        pipeline.image_normalizer.std.uniform_(0.5, 2.0)
    return _saved(pipeline, folder, _PUBLISHED["stable-unclip"])


def write_kandinsky(folder: Path, *, width: int = WIDTH) -> Path:
    """The decoder of Kandinsky 2.2: pictures of 32 pixels."""
    import diffusers as d

    torch.manual_seed(SEED)
    pipeline = d.KandinskyV22Pipeline(
        unet=d.UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=8, block_out_channels=(8, 8),
            layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=8,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn", addition_embed_type="image",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            addition_embed_type_num_heads=2, encoder_hid_dim=width,
            encoder_hid_dim_type="image_proj", resnet_time_scale_shift="scale_shift",
        ),
        scheduler=d.DDPMScheduler(variance_type="learned_range"),
        movq=d.VQModel(
            block_out_channels=(32, 32), norm_num_groups=8, layers_per_block=1, latent_channels=4,
            num_vq_embeddings=12, vq_embed_dim=4, norm_type="spatial",
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        ),
    )  # fmt: skip
    return _saved(pipeline, folder, {})


def write_stable_diffusion(folder: Path, *, xl: bool = False) -> Path:
    """Stable Diffusion, small or XL: pictures of 32 pixels."""
    import diffusers as d

    torch.manual_seed(SEED)
    shared = {"vae": _vae(), "tokenizer": _tokenizer(), "scheduler": _pndm()}
    if not xl:
        pipeline = d.StableDiffusionPipeline(
            **shared, text_encoder=_text_encoder(), unet=_unet(), safety_checker=None,
            feature_extractor=_image_processor(), requires_safety_checker=False,
        )  # fmt: skip
        return _saved(pipeline, folder, {"safety_checker": ["stable_diffusion", "Checker"]})
    # texts of 16 and 16 together, and a pooled one of 16 beside six sizes of 8 each
    pipeline = d.StableDiffusionXLPipeline(
        **shared, text_encoder=_text_encoder(), text_encoder_2=_text_encoder(projected=True),
        tokenizer_2=_tokenizer(), add_watermarker=False,
        unet=_unet(cross_attention_dim=2 * _TEXT, addition_embed_type="text_time",
                   addition_time_embed_dim=8, projection_class_embeddings_input_dim=64),
    )  # fmt: skip
    return _saved(pipeline, folder, {})


def write_ip_adapter(
    file: Path, diffusion: Path, *, width: int = WIDTH, encoder: bool = True
) -> Path:
    """An IP-Adapter's safetensors file for a pipeline, with an image encoder in a folder beside."""
    import diffusers as d

    unet = d.UNet2DConditionModel.from_pretrained(diffusion, subfolder="unet")
    texts = unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(SEED)
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * texts, width, generator=generator),
        "image_proj.proj.bias": torch.randn(4 * texts, generator=generator),
        "image_proj.norm.weight": torch.ones(texts),
        "image_proj.norm.bias": torch.zeros(texts),
    }
    at = [name for name in unet.attn_processors if "attn2" in name]
    for i, name in enumerate(at):
        query = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for which in ("k", "v"):
            key = f"ip_adapter.{2 * i + 1}.to_{which}_ip.weight"
            tensors[key] = torch.randn(query, texts, generator=generator)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    if encoder:
        torch.manual_seed(SEED)
        at_random(_image_encoder(width)).save_pretrained(file.parent / "image_encoder")
    return file


def pickled(folder: Path, part: str) -> None:
    """Turn the weights of one part into what ``torch.save`` writes."""
    from safetensors.torch import load_file

    (weights,) = (folder / part).glob("*.safetensors")
    stem = {"model": "pytorch_model"}.get(weights.stem, weights.stem)
    torch.save(load_file(weights), weights.with_name(f"{stem}.bin"))
    weights.unlink()


def _saved(pipeline: Any, folder: Path, published: dict[str, Any]) -> Path:
    pipeline.save_pretrained(folder)
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | published))
    if published:  # those of the hub have files of the old kind
        (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
        _write_vocabulary(folder / "tokenizer")
    return folder


def _write_vocabulary(folder: Path) -> None:
    """Letters and two ends, so that every text is a few tokens."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *ends]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def _tokenizer() -> Any:
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        _write_vocabulary(Path(folder))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=8)


def _text_encoder(*, projected: bool = False, width: int = _TEXT) -> Any:
    import transformers as t

    config = t.CLIPTextConfig(
        vocab_size=54, hidden_size=width if projected else _TEXT, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=8,
        projection_dim=width, bos_token_id=52, eos_token_id=53, pad_token_id=53,
    )  # fmt: skip
    return (t.CLIPTextModelWithProjection if projected else t.CLIPTextModel)(config).eval()


def _image_encoder(width: int) -> Any:
    import transformers as t

    config = t.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8, projection_dim=width,
    )  # fmt: skip
    return t.CLIPVisionModelWithProjection(config).eval()


def _image_processor() -> Any:
    import transformers as t

    return t.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def _super_resolution() -> Any:
    import diffusers as d

    return d.UNet2DModel(
        sample_size=32, in_channels=6, out_channels=3, block_out_channels=(8, 8),
        layers_per_block=1, norm_num_groups=4, down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip


def _unet(*, cross_attention_dim: int = _TEXT, **settings: Any) -> Any:
    import diffusers as d

    return d.UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 8),
        layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
        cross_attention_dim=cross_attention_dim,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **settings,
    )  # fmt: skip


def _vae() -> Any:
    import diffusers as d

    return d.AutoencoderKL(
        sample_size=32, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def _pndm() -> Any:
    import diffusers as d

    return d.PNDMScheduler(skip_prk_steps=True, steps_offset=1)
