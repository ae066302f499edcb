"""The tiny CLIP: open_clip's own classes in a folder that open_clip loads as ``local-dir:``."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as unit

from captum_sing.demo.captions import captions, vocabulary
from captum_sing.demo.models import MEAN, STD, normalize
from captum_sing.demo.scenes import IMAGE_SIZE
from captum_sing.demo.training.common import Job, Progress, Report, make_optimizer
from captum_sing.demo.training.factors import FactorHeads
from captum_sing.demo.world import save_state

_CONTEXT = 20
_SPECIAL = ("<pad>", "<unk>")


def clip_config() -> dict[str, dict[str, Any]]:
    """The ``open_clip_config.json`` of the tiny CLIP."""
    return {
        "model_cfg": {
            "embed_dim": 64,
            "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 12},
            "text_cfg": {
                "context_length": _CONTEXT,
                "vocab_size": len(_SPECIAL) + len(vocabulary()) + 2,
                "hf_tokenizer_name": "tokenizer-of-this-folder",
                "width": 64,
                "heads": 2,
                "layers": 2,
            },
        },
        "preprocess_cfg": {
            "size": IMAGE_SIZE,
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bilinear",
            "resize_mode": "squash",
        },
    }


def write_tokenizer(folder: Path) -> None:
    """One token for each word; ``<eos>`` has the highest id, where CLIP reads the sentence."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from tokenizers.normalizers import Lowercase, Replace, Sequence

    words = [*_SPECIAL, *vocabulary(), "<bos>", "<eos>"]
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = Sequence([Lowercase(), Replace(".", " "), Replace(",", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(t, ids[t]) for t in ("<bos>", "<eos>")]
    )
    tokenizer.add_special_tokens([*_SPECIAL, "<bos>", "<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": _CONTEXT,
                "pad_token": "<pad>",
                "unk_token": "<unk>",
                "bos_token": "<bos>",
                "eos_token": "<eos>",
            },
            indent=2,
        )
    )


def train_clip(folder: Path, job: Job, report: Report) -> None:
    """Trains image and text tower together and writes the ``local-dir:`` folder.

    The loss is CLIP's, plus cross-entropy heads on the image embedding that fade out over the
    first four fifths and are dropped afterwards.
    """
    from open_clip import CLIP
    from open_clip.tokenizer import HFTokenizer

    torch.manual_seed(job.seed)
    rng = random.Random(job.seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = clip_config()
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
    write_tokenizer(folder)
    tokenizer = HFTokenizer(str(folder), context_length=_CONTEXT)
    model = CLIP(**config["model_cfg"])
    model.visual.to(memory_format=torch.channels_last)
    auxiliary = FactorHeads(config["model_cfg"]["embed_dim"])
    optimizer, advance = make_optimizer(nn.ModuleList([model, auxiliary]), job)
    progress = Progress(job, report)
    model.train()
    for step, scenes in job.batches():
        texts = tokenizer(captions({f: v.tolist() for f, v in scenes.labels.items()}, rng))
        images = model.encode_image(normalize(scenes.images))
        cosines = unit(images, dim=-1) @ model.encode_text(texts, normalize=True).T
        logits = model.logit_scale.exp() * cosines
        own = torch.arange(len(logits))
        contrastive = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
        fading = max(0.0, 1 - step / (0.8 * job.steps))
        factors = auxiliary(images, scenes)
        optimizer.zero_grad(set_to_none=True)
        (contrastive + fading * factors).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        advance()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)  # a temperature of 0.01, as in CLIP
        progress(step, contrastive=contrastive, factors=factors)
    save_state(model, folder / "open_clip_model.safetensors")
