"""The README's part that needs downloads, as typed, with small local files in their place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from tiny_models import write_worded_clip

ROOT = Path(__file__).parents[1]
DOWNLOADS = {
    '"timm/resnet50.a1_in1k"': "'{classifier}'",
    'OpenCLIPEncoder("ViT-L-14", "openai")': "OpenCLIPEncoder('local-dir:{clip}')",
}


@pytest.fixture
def clip_folder(tmp_path):
    return write_worded_clip(tmp_path / "clip")


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
