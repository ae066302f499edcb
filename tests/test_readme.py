"""The README's part that needs downloads, as typed, with small local files in their place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).parents[1]
DOWNLOADS = {
    '"timm/resnet50.a1_in1k"': "'{classifier}'",
    'OpenCLIPEncoder("ViT-L-14", "openai")': "OpenCLIPEncoder('local-dir:{clip}')",
}


@pytest.fixture
def clip_folder(tmp_path):
    """A tiny CLIP with random weights and CLIP's own tokenizer."""
    towers = {
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 16,
            "patch_size": 8,
            "head_width": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(12, **towers)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path / "clip"
    folder.mkdir()
    settings = {"model_cfg": {"embed_dim": 12, **towers}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def test_own_model_from_images_to_words(clip_folder, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    classifier = tmp_path / "classifier"
    model = timm.create_model("test_resnet", num_classes=20)
    timm.models.save_for_hf(model, classifier, safe_serialization=True)
    for download, local in DOWNLOADS.items():
        assert download in code
        code = code.replace(download, local.format(clip=clip_folder, classifier=classifier))
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for path in [*(tmp_path / "photos" / f"{i}.png" for i in range(40)), tmp_path / "photo.jpg"]:
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    said = capsys.readouterr().out
    assert said.count("What the head ignores points at") == 1
    assert "nothing is claimed" not in said
    assert "relative logit drift: null" in said
    assert (tmp_path / "translator.safetensors").is_file()
