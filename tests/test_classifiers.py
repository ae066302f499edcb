"""Classifiers by name and file, and pictures of every kind: loaded right, or refused in words."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from captum_sing.classifiers import (
    find_classifier,
    load_classifier,
)
from captum_sing.errors import SINGFileError, SINGNameError, SINGValueError

NAME = "test_resnet"  # timm's smallest
WORDS = tuple(f"kind {i}" for i in range(20))


@pytest.fixture(scope="module")
def model():
    """A timm ResNet of 20 classes with random weights."""
    torch.manual_seed(0)
    return timm.create_model(NAME, num_classes=20).eval()


@pytest.fixture
def folder(model, tmp_path):
    """The same, as timm saves it."""
    folder = tmp_path / "mine"
    timm.models.save_for_hf(
        model, folder, model_config={"label_names": WORDS}, safe_serialization=True
    )
    return folder


def same(one, other):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.equal(one(images), other(images))


# --- local weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", ["safetensors", "pt", "state_dict", "model", "DataParallel"])
def test_a_checkpoint_of_a_timm_model(model, wrap, tmp_path):
    path, state = tmp_path / "weights.pt", model.state_dict()
    if wrap == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    elif wrap == "DataParallel":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save(state if wrap == "pt" else {wrap: state, "epoch": 3}, path)
    loaded = load_classifier(f"timm/{NAME}", checkpoint=path)
    assert same(loaded.model, model)
    assert loaded.class_names is None
    assert loaded.name.startswith(f"timm/{NAME}@")
    assert "state_dict" not in loaded.model.pretrained_cfg
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_a_checkpoint_of_a_torchvision_model(tmp_path):
    torch.manual_seed(0)
    for classes, names in ((7, None), (1000, "goldfish")):
        model = models.shufflenet_v2_x0_5(weights=None, num_classes=classes).eval()
        path = tmp_path / f"{classes}.safetensors"
        save_file(model.state_dict(), path)
        loaded = load_classifier("torchvision/shufflenet_v2_x0_5", checkpoint=path)
        assert same(loaded.model, model)
        assert (loaded.class_names or (None, None))[1] == names
        assert loaded.preprocess(Image.new("RGB", (300, 200))).shape == (3, 224, 224)


def test_as_many_classes_as_the_named_weights_have_their_names(tmp_path):
    torch.save(timm.create_model(NAME).state_dict(), tmp_path / "a.pt")
    loaded = load_classifier(NAME, checkpoint=tmp_path / "a.pt")
    assert len(loaded.class_names) == 1000
    assert loaded.class_names[1].startswith("goldfish")


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder_that_timm_saved(model, folder, prefix):
    loaded = load_classifier(f"{prefix}{folder}")
    assert same(loaded.model, model)
    assert loaded.class_names == WORDS
    assert loaded.name.startswith("timm/mine@")


def test_a_picture_is_preprocessed_as_the_weights_were_trained(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    config = timm.create_model(NAME).pretrained_cfg
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)
    picture = Image.fromarray(pixels).resize((168, 168))  # crop_pct .95: 160 of 168
    found = load_classifier(str(folder)).preprocess(picture)
    middle = np.asarray(picture)[4:164, 4:164]
    assert found.shape == (3, 160, 160)
    assert np.abs(found.movedim(0, -1).numpy() - (middle / 127.5 - 1)).max() < 1e-6


def test_the_name_tells_other_weights_apart(model, folder, tmp_path):
    names = [load_classifier(str(folder)).name]
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.fc.bias.add_(1e-3)
    other = tmp_path / "again" / "mine"
    timm.models.save_for_hf(changed, other, safe_serialization=True)
    names += [load_classifier(str(other)).name, load_classifier(str(folder)).name]
    assert names[0] == names[2] != names[1]


def test_a_classifier_of_the_demo():
    loaded = load_classifier("demo/plain")
    assert loaded.class_names[:2] == ("circle", "square")
    found = loaded.preprocess(Image.new("RGB", (200, 100), (255, 0, 0)))
    assert found.shape == (3, 64, 64)
    assert found.amax(dim=(1, 2)).tolist() == [1.0, 0.0, 0.0]


# --- what goes wrong -----------------------------------------------------------------------------


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    torch.save({"state_dict": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    torch.load(tmp_path / "trap.pt", weights_only=False)
    (tmp_path / "sprung").unlink()  # it would have
    with pytest.raises(SINGFileError, match="got .*trap.pt, which .* holds code .it was not run"):
        load_classifier(NAME, checkpoint=tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("source", [f"timm/{NAME}", "torchvision/shufflenet_v2_x0_5"])
@pytest.mark.parametrize("damage", ["truncated", "renamed", "missing key", "list", "text"])
def test_damaged_checkpoints(model, source, damage, tmp_path):
    path, state = tmp_path / "weights.pt", dict(model.state_dict())
    if damage == "renamed":
        state["more"] = state.pop("fc.bias")
    elif damage == "missing key":
        del state["conv1.0.weight"]
    torch.save([1, 2] if damage == "list" else state, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5000])
    elif damage == "text":
        path.write_text("weights")
    remedy = "plain state dict" if damage == "text" else "Check that they are whole, and of this"
    with pytest.raises(SINGFileError, match=remedy):
        load_classifier(source, checkpoint=path)


def test_a_truncated_folder(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SINGFileError, match=r"local-dir:.*in the folder, got Safetensor"):
        load_classifier(str(folder))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("timm/resnet5O", SINGNameError, "The nearest names are .*timm/resnet50"),
        ("resnet5O", SINGNameError, "The nearest names are .*resnet50"),
        ("timm/resnet50.a1_in2k", SINGNameError, r"nearest names are timm/resnet50\.a1_in1k"),
        ("resnet50.IMAGENET1K_V2", SINGNameError, "got 'timm/resnet50.IMAGENET1K_V2'"),
        ("torchvision/resnet50.V7", SINGNameError, "torchvision/resnet50.IMAGENET1K_V1"),
        ("torchvision/fcn_resnet50", SINGNameError, "nearest names are .*torchvision/resnet50"),
        ("qqqqqqq", SINGNameError, "No name is near it"),
        ("demo/plane", SINGNameError, "'plain'.*got 'plane'"),
        (
            "timm/ghostnet_050",
            SINGFileError,
            r"got timm/ghostnet_050, which has none.*--checkpoint",
        ),
        ("local-dir:/nowhere", SINGFileError, "without config.json and model.safetensors"),
        (__file__, SINGNameError, r"got the file .*--checkpoint FILE"),
    ],
)
def test_sources_that_do_not_exist(source, error, message):
    with pytest.raises(error, match=message):
        find_classifier(source)


def test_checkpoints_that_do_not_exist_or_have_no_place(folder, tmp_path):
    with pytest.raises(SINGFileError, match="checkpoint to be a file, got .*nothing.pt"):
        find_classifier(NAME, tmp_path / "nothing.pt")
    for source in (str(folder), "demo/plain"):
        with pytest.raises(SINGValueError, match="this source brings its own weights"):
            find_classifier(source, __file__)


def test_names_are_found_without_loading():
    assert str(find_classifier("resnet50")) == "timm/resnet50"
    assert str(find_classifier("vit_b_16")) == "torchvision/vit_b_16"
    assert str(find_classifier("torchvision/resnet50.IMAGENET1K_V1")).endswith("_V1")


OFFLINE = """
import sys, time
from transformers import AutoImageProcessor, AutoModelForImageClassification
from captum_sing.classifiers import find_classifier
from captum_sing.errors import SINGFileError
for source in ("timm/resnet18.a1_in1k", "torchvision/resnet18", "transformers/google/vit-base"):
    found, start = find_classifier(source), time.monotonic()
    try:
        found.load()
    except SINGFileError as error:
        print(round(time.monotonic() - start, 1), error)
"""


@pytest.mark.slow
def test_without_a_connection_it_says_what_and_what_to_do_and_soon(tmp_path):
    """A hub that refuses all connections, with the user's own settings and an empty cache."""
    ours = {"HF_HUB_OFFLINE", "HF_TOKEN", "no_proxy", "NO_PROXY"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    refusing = "http://127.0.0.1:9"
    env |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), refusing)
    env |= {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=120, env=env
    )
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [line for line in run.stdout.splitlines() if line[0].isdigit()]
    assert len(lines) == 3
    seconds, message = lines.pop().split(" ", 1)
    assert float(seconds) < 15
    assert "source google/vit-base to hold" in message and "save_pretrained wrote" in message
    for line, name in zip(lines, ("timm/resnet18.a1_in1k", "torchvision/resnet18"), strict=True):
        seconds, message = line.split(" ", 1)
        assert float(seconds) < 15
        assert f"the weights of {name} in the cache, or a connection" in message
        assert "Give them as a file (--checkpoint FILE)" in message
    assert "Retrying" not in run.stderr
