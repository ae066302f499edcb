"""Checkpoint files make the models they came from: of every architecture, and as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from architectures import ARCHITECTURES
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from captum_sing.classifiers import load_classifier
from captum_sing.errors import SINGFileError, SINGNameError, SINGTypeError
from captum_sing.forward_pass import logits_of

IMAGES = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
LIBRARIES = ("timm", "torchvision", "transformers")
EVERY = [a for a in ARCHITECTURES if a.name.split("/")[0] in LIBRARIES]


def random(model: nn.Module) -> nn.Module:
    """With statistics of batches that are not those of every new model."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) / 10)
    return model.eval()


def logits(model: nn.Module, images: Tensor = IMAGES) -> Tensor:
    with torch.no_grad():
        return logits_of(model(images))


def built(name: str, **options: Any) -> nn.Module:
    """As torchvision builds it without weights, so drawn that its logits depend on the images."""
    torch.manual_seed(0)
    model = models.get_model(name, weights=None, init_weights=False, **options)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return random(model)


@pytest.mark.architectures
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("architecture", EVERY, ids=[a.name for a in EVERY])
def test_every_architecture(architecture: Any, tmp_path: Path) -> None:
    model, images = architecture.as_built()
    expected = logits(model, images)
    if architecture.name.startswith("transformers/"):
        import transformers

        model.save_pretrained(tmp_path)
        transformers.ViTImageProcessor().save_pretrained(tmp_path)
        del model
        loaded = load_classifier(str(tmp_path))
    else:
        torch.save(model.state_dict(), tmp_path / "a.pt")
        del model
        loaded = load_classifier(architecture.name, checkpoint=tmp_path / "a.pt")
    for file in tmp_path.iterdir():
        file.unlink()
    assert torch.allclose(logits(loaded.model, images), expected, rtol=1e-4, atol=1e-5)


# --- torchvision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "auxiliary", "classes"),
    [
        ("googlenet", True, 1000),
        ("googlenet", False, 1000),
        ("googlenet", False, 7),
        ("inception_v3", True, 7),
    ],
)
def test_the_input_is_transformed_as_with_the_weights(
    name: str, auxiliary: bool, classes: int, tmp_path: Path
) -> None:
    """With auxiliary heads, as published, or without, as a loaded model is saved again."""
    model = built(name, num_classes=classes)
    state = model.state_dict()
    if not auxiliary:
        state = {n: t for n, t in state.items() if not n.lower().startswith("aux")}
    save_file(state, tmp_path / "a.safetensors")
    loaded = load_classifier(f"torchvision/{name}", checkpoint=tmp_path / "a.safetensors")
    untransformed = logits(model)
    model.transform_input = True
    assert torch.equal(logits(loaded.model), logits(model))
    assert not torch.allclose(logits(model), untransformed)
    assert (loaded.class_names is None) == (classes == 7)


def old_names(model: nn.Module) -> dict[str, Tensor]:
    """As DenseNet's published files have it."""
    state = {}
    for name, tensor in model.state_dict().items():
        for part in ("norm", "conv"):
            for number in "12":
                name = name.replace(f".{part}{number}.", f".{part}.{number}.")
        state[name] = tensor
    return {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}


@pytest.fixture
def densenet() -> nn.Module:
    torch.manual_seed(0)
    return random(models.densenet121(weights=None))


def test_names_in_published_files(densenet: nn.Module, tmp_path: Path) -> None:
    state = old_names(densenet)
    assert any(".norm.1." in name for name in state)
    torch.save(state, tmp_path / "a.pt")
    loaded = load_classifier("torchvision/densenet121", checkpoint=tmp_path / "a.pt")
    assert torch.equal(logits(loaded.model), logits(densenet))


@pytest.mark.slow
def test_weights_of_a_larger_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = models.vit_b_16(weights=None, image_size=384).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    name = "torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1"
    loaded = load_classifier(name, checkpoint=tmp_path / "a.safetensors")
    assert loaded.model.image_size == 384
    with pytest.raises(SINGFileError, match="the weights of torchvision/vit_b_16 in"):
        load_classifier("torchvision/vit_b_16", checkpoint=tmp_path / "a.safetensors")


def test_the_enumeration_of_weights_stays_as_it_is(tmp_path: Path) -> None:
    weights = models.ShuffleNet_V2_X0_5_Weights.DEFAULT
    before = dict(vars(weights)), len(weights.meta["categories"])
    state = models.shufflenet_v2_x0_5(weights=None, num_classes=7).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    load_classifier("torchvision/shufflenet_v2_x0_5", checkpoint=tmp_path / "a.safetensors")
    assert (dict(vars(weights)), len(weights.meta["categories"])) == before


def test_a_file_in_torchs_cache(
    densenet: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = Path(models.DenseNet121_Weights.DEFAULT.url).name
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(old_names(densenet), tmp_path / "hub" / "checkpoints" / file)
    loaded = load_classifier("torchvision/densenet121")
    assert torch.equal(logits(loaded.model), logits(densenet))
    assert loaded.name == "torchvision/densenet121.IMAGENET1K_V1"


# --- timm ----------------------------------------------------------------------------------------


def test_a_file_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    torch.manual_seed(0)
    model = timm.create_model("test_resnet").eval()
    commit = "0123456789" * 4
    repository = tmp_path / f"models--{model.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    save_file(model.state_dict(), repository / "snapshots" / commit / "model.safetensors")
    loaded = load_classifier("timm/test_resnet")
    assert torch.equal(logits(loaded.model), logits(model))
    assert len(loaded.class_names or ()) == 1000


@pytest.mark.parametrize("folder", [True, False])
def test_positions_are_not_resized(folder: bool, tmp_path: Path) -> None:
    small = timm.create_model("test_vit", num_classes=5)
    state = timm.create_model("test_vit", num_classes=5, img_size=320).state_dict()
    assert state["pos_embed"].shape != small.pos_embed.shape
    path = tmp_path / "model.safetensors"
    if folder:
        timm.models.save_for_hf(small, tmp_path, safe_serialization=True)
    save_file(state, path)
    with pytest.raises(SINGFileError, match=r"pos_embed is of shape \(1, 401, 64\), not \(1, 101"):
        load_classifier(*((str(tmp_path),) if folder else ("test_vit",)),
                        checkpoint=None if folder else path)  # fmt: skip


def test_the_name_of_a_folder_is_of_its_configuration_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, names = timm.create_model("test_resnet", num_classes=3), []
    for mean in (0.5, 0.5, 0.4):
        model.pretrained_cfg["mean"] = (0.5, 0.5, mean)
        timm.models.save_for_hf(model, tmp_path / "mine", safe_serialization=True)
        names.append(load_classifier(str(tmp_path / "mine")).name)
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("labels", ["abc", {"a": "one", "b": "two", "c": "three"}])
def test_labels_that_are_no_list_name_no_classes(labels: Any, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=3)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": labels}))
    assert load_classifier(str(tmp_path)).class_names is None


# --- no names ------------------------------------------------------------------------------------


def test_what_is_no_name() -> None:
    with pytest.raises(SINGNameError, match="or a folder, got ''"):
        load_classifier("")
    none: Any = None
    with pytest.raises(SINGTypeError, match="source to be a str, got NoneType"):
        load_classifier(none)
