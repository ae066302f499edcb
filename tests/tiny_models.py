"""Tiny models with random weights, saved as their libraries save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ("a", "photo", "of", "red", "blue", "green", "star", "moon")
VOCABULARY = {w: i for i, w in enumerate(("<pad>", "<unk>", *WORDS, "<bos>", "<eos>"))}
LENGTH = 10


def write_tokenizer(folder: Path) -> None:
    """One token a word; the highest id ends a text, where CLIP reads it."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, VOCABULARY[token]) for token in ("<bos>", "<eos>")]
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A <eos>", None, ends)
    tokenizer.add_special_tokens(["<pad>", "<unk>", "<bos>", "<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {f"{kind}_token": f"<{kind}>" for kind in ("pad", "unk", "bos", "eos")}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": LENGTH, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def configuration() -> dict[str, Any]:
    """Of a tiny model of open_clip."""
    return {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8,
                       "head_width": 8},
        "text_cfg": {"context_length": LENGTH, "vocab_size": len(VOCABULARY), "width": 16,
                     "heads": 2, "layers": 1, "hf_tokenizer_name": "tokenizer-of-this-folder"},
    }  # fmt: skip


def random_clip(**options: Any) -> open_clip.CLIP:
    settings = configuration()
    model = open_clip.CLIP(
        settings["embed_dim"], settings["vision_cfg"], settings["text_cfg"], **options
    )
    return at_random(model)


def at_random(model: Any) -> Any:
    """Weights so large that texts and images differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def write_open_clip(folder: Path, seed: int, **options: Any) -> Path:
    """A folder for ``local-dir:``."""
    folder.mkdir(parents=True)
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
                     "resize_mode": "shortest"}  # fmt: skip
    settings = {"model_cfg": configuration() | options, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    write_tokenizer(folder)
    torch.manual_seed(seed)
    save_file(random_clip(**options).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_worded_clip(folder: Path) -> Path:
    """A folder for ``local-dir:`` of a tiny CLIP at random with CLIP's own tokenizer."""
    vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    towers = {"vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    model = at_random(open_clip.CLIP(12, **towers))
    folder.mkdir()
    settings = {"model_cfg": {"embed_dim": 12, **towers}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_two_towers(folder: Path, kind: str, seed: int = 0, activation: str | None = None) -> Any:
    """CLIP or SigLIP of transformers, with image processor and tokenizer; returns the model."""
    import transformers as t

    sizes = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1,
             "num_attention_heads": 2, "hidden_act": activation or "gelu_pytorch_tanh"}  # fmt: skip
    ends = {f"{kind}_token_id": VOCABULARY[f"<{kind}>"] for kind in ("pad", "bos", "eos")}
    text = {**sizes, **ends, "vocab_size": len(VOCABULARY), "max_position_embeddings": LENGTH}
    image = {**sizes, "image_size": 16, "patch_size": 8}
    torch.manual_seed(seed)
    if kind == "clip":
        config = t.CLIPConfig(text_config=text, vision_config=image, projection_dim=12)
        model = at_random(t.CLIPModel(config))
        processor = t.CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        )
    else:
        config = t.SiglipConfig(text_config=text, vision_config=image)
        model = at_random(t.SiglipModel(config))
        processor = t.SiglipImageProcessor(size={"height": 16, "width": 16})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_classifier(folder: Path, kind: str, seed: int = 0, **settings: Any) -> Any:
    """A ViT, ConvNeXt or ResNet of transformers with its image processor; returns the model."""
    import transformers as t

    small = {
        "ViT": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        "ConvNext": {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]},
        "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1],
                   "layer_type": "basic"},
    }[kind]  # fmt: skip
    torch.manual_seed(seed)
    config = getattr(t, f"{kind}Config")(**{"num_labels": 5, **small, **settings})
    model = getattr(t, f"{kind}ForImageClassification")(config).eval()
    model.save_pretrained(folder)
    t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model
