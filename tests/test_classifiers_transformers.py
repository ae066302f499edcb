"""Classifiers of transformers, by folder and from a hub's cache, by the calls a user makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import write_classifier, write_two_towers

from captum_sing import NullSpace, find_head
from captum_sing.classifiers import find_classifier, load_classifier
from captum_sing.errors import SINGError, SINGFileError, SINGNameError, SINGValueError

WEIGHTS = "model.safetensors"
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
KINDS = ("ViT", "ConvNext", "ResNet")


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param) / "mine"
    return folder, write_classifier(folder, request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_classifier(tmp_path / "mine", "ViT")
    return tmp_path / "mine"


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("form", ["{}", "transformers/{}", "local-dir:{}"])
def test_a_folder_that_save_pretrained_wrote(made: tuple[Path, Any], form: str) -> None:
    folder, model = made
    found = find_classifier(form.format(folder))
    assert (found.kind, found.offline) == ("transformers", True)
    loaded = found.load("cpu")
    with torch.no_grad():
        assert torch.equal(loaded.model(IMAGES).logits, model(IMAGES).logits)
    assert loaded.class_names is None  # LABEL_0 says nothing
    assert loaded.name.startswith("transformers/mine@")
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_its_head_and_null_space_are_found(made: tuple[Path, Any]) -> None:
    model = load_classifier(str(made[0])).model
    head = find_head(model, IMAGES)
    assert head.name.startswith("classifier")
    assert NullSpace.from_layer(head.module).nullity == 16 - 5


def test_class_names_and_preprocessing(tmp_path: Path) -> None:
    names = ("cat", "dog", "LABEL_2")
    folder = tmp_path / "mine"
    write_classifier(folder, "ViT", id2label=dict(enumerate(names)), num_labels=3)
    loaded = load_classifier(str(folder))
    assert loaded.class_names == names
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = loaded.preprocess(Image.fromarray(pixels))
    expected = torch.from_numpy(pixels).movedim(-1, 0) / 127.5 - 1
    assert found.shape == (3, 32, 32) and torch.allclose(found, expected, atol=1e-5)
    assert loaded.preprocess(Image.new("RGB", (50, 40))).shape == (3, 32, 32)


def test_sharded_and_half_weights(tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "whole", "ViT")
    model.half().save_pretrained(tmp_path / "mine", max_shard_size="10KB")
    shutil.copy(tmp_path / "whole" / "preprocessor_config.json", tmp_path / "mine")
    assert not (tmp_path / "mine" / WEIGHTS).exists()
    loaded = load_classifier(str(tmp_path / "mine")).model
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert all(
        torch.equal(one, other.float())
        for one, other in zip(loaded.parameters(), model.parameters(), strict=True)
    )


def test_a_repository_in_the_cache_is_named_by_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--somebody--something"
    commit = "0123456789abcdef" * 2 + "01234567"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    source = find_classifier("transformers/somebody/something")
    assert not source.offline  # it may be there, or not
    assert source.load().name == "transformers/somebody/something@0123456789ab"


def test_the_name_tells_other_weights_apart(folder: Path, tmp_path: Path) -> None:
    write_classifier(tmp_path / "again" / "mine", "ViT")
    write_classifier(tmp_path / "other" / "mine", "ViT", seed=1)
    paths = (folder, tmp_path / "again" / "mine", tmp_path / "other" / "mine")
    names = [load_classifier(str(path)).name for path in paths]
    assert names[0] == names[1] != names[2]


# --- preprocessing in words ----------------------------------------------------------------------


def test_preprocessing_is_told_apart_by_its_description(folder: Path, tmp_path: Path) -> None:
    twice = [load_classifier(str(folder)).preprocessing for _ in range(2)]
    shutil.copytree(folder, tmp_path / "other")
    edit(tmp_path / "other" / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.4])
    other = load_classifier(str(tmp_path / "other")).preprocessing
    assert twice[0] == twice[1] != other
    assert '"image_mean": [0.5, 0.5, 0.4]' in other


def test_so_is_that_of_the_other_libraries(tmp_path: Path) -> None:
    described = []
    for mean in (0.5, 0.5, 0.4):
        model = timm.create_model("test_resnet", num_classes=3)
        model.pretrained_cfg["mean"] = (0.5, 0.5, mean)
        folder = tmp_path / f"{len(described)}"
        timm.models.save_for_hf(model, folder, safe_serialization=True)
        described.append(load_classifier(str(folder)).preprocessing)
    assert described[0] == described[1] != described[2]
    assert not any("0x" in text or "\n" in text for text in described)
    assert "Resize(size=64" in load_classifier("demo/plain").preprocessing


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS])
def test_a_file_is_missing(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    for source in (f"transformers/{folder}", str(folder)):
        with pytest.raises(SINGFileError, match=rf"mine without {missing}\. model.save_pret"):
            find_classifier(source)


def test_no_image_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(SINGFileError, match=f"source {folder} to hold what AutoImageProcessor n"):
        load_classifier(str(folder))


@pytest.mark.parametrize("damage", ["lacks", "shape", "truncated"])
def test_damaged_weights(folder: Path, damage: str) -> None:
    """Transformers would go on with random numbers where one is missing."""
    state = load_file(folder / WEIGHTS)
    if damage == "lacks":
        del state["classifier.bias"]
    elif damage == "shape":
        state["classifier.bias"] = torch.zeros(6)
    save_file(state, folder / WEIGHTS, {"format": "pt"})
    if damage == "truncated":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-500])
    message = r"missing_keys \['classifier.bias'\]" if damage == "lacks" else "Check the files"
    with pytest.raises(SINGFileError, match=message):
        load_classifier(str(folder))


def test_a_model_that_classifies_no_images(tmp_path: Path) -> None:
    write_two_towers(tmp_path / "clip", "clip")
    with pytest.raises(SINGFileError, match=r"missing_keys \['classifier\."):
        load_classifier(str(tmp_path / "clip"))
    edit(tmp_path / "clip" / "config.json", model_type="bert", architectures=["BertModel"])
    with pytest.raises(SINGFileError, match="AutoModelForImageClassification can load.* got Val"):
        load_classifier(str(tmp_path / "clip"))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"classifier.bias": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    with pytest.raises(SINGFileError, match=r"pickled weights, in .bin files, are not read"):
        load_classifier(str(folder))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("model_type", ["vit", "mine"])
def test_code_in_a_folder_is_not_run(folder: Path, tmp_path: Path, model_type: str) -> None:
    code = f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\n"
    code += "class Config: pass\nclass Model: pass\n"
    (folder / "mine.py").write_text(code)
    classes = {"AutoConfig": "mine.Config", "AutoModelForImageClassification": "mine.Model"}
    edit(folder / "config.json", auto_map=classes, model_type=model_type)
    with pytest.raises(SINGFileError, match="to hold weights that AutoModelForImageClass"):
        load_classifier(str(folder))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("transformers/no/such/folder", SINGNameError, "folder, or the name of a repository"),
        ("transformers//nowhere", SINGNameError, "folder, or the name of a repository"),
        ("transformers", SINGNameError, '"transformers/NAME"'),
        ("transformers/nobody/nothing", SINGFileError, "and the connection if it is not in the"),
    ],
)
def test_sources_that_do_not_exist(source: str, error: type[SINGError], message: str) -> None:
    with pytest.raises(error, match=message):
        load_classifier(source)


def test_a_checkpoint_has_no_place(folder: Path) -> None:
    with pytest.raises(SINGValueError, match="a folder with these weights that save_pretrained"):
        find_classifier("transformers/nobody/nothing", __file__)
    with pytest.raises(SINGValueError, match="this source brings its own weights"):
        find_classifier(str(folder), __file__)


def test_classes_numbered_from_one(folder: Path) -> None:
    edit(folder / "config.json", id2label={str(i): f"class {i}" for i in range(1, 6)})
    with pytest.raises(SINGFileError, match=r"classes from 0 to 4, got \[1, 2, 3\]\.\.\. in the"):
        load_classifier(str(folder))
