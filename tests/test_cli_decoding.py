"""``captum-sing fit-decoder``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from torchvision.transforms.functional import to_pil_image
from typer.testing import CliRunner

from captum_sing.classifiers import load_classifier
from captum_sing.cli import app
from captum_sing.demo import load_translator, sample_scenes
from captum_sing.fitting.decoder import fit_decoder
from captum_sing.render.decoder import FeatureDecoder

MODEL = "demo/resnet/neck_color"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for place, image in enumerate(sample_scenes(40, 44_000_000).images):
        to_pil_image(image).save(folder / f"{place:02d}.png")
    return folder


def run(images: Path, *options: object) -> Result:
    given = ["--images", images, *options]
    given += [] if "--model" in options else ["--model", MODEL]
    given += [] if "--epochs" in options else ["--epochs", 1]
    return CliRunner().invoke(app, ["fit-decoder", *map(str, given)])


def test_writes_what_the_function_returns(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder"
    options = ("--held-out", 0.25, "--seed", 3, "--batch-size", 16, "--size", 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(pictures, "--output", output, *options)
    assert result.exit_code == 0, result.output
    assert {one.name for one in output.iterdir()} == {
        "whole.safetensors", "principal.safetensors", "decoded.png",
    }  # fmt: skip
    wanted = fit_decoder(
        load_classifier(MODEL), pictures, held_out=0.25, seed=3, batch_size=16, size=32, epochs=1,
        show_progress=False,
    )  # fmt: skip
    for part, decoder in wanted.items():
        found = FeatureDecoder.load(output / f"{part}.safetensors")
        rows = torch.ones(2, 64)
        assert torch.allclose(found(rows), decoder(rows), atol=1e-5)
        assert found.facts["model"] == MODEL and found.facts["layer"] == ["head"]
        found.check(load_translator("resnet/neck_color"))
    for text in ("10 held-out pictures", "whole", "principal", "mean picture", "Written: "):
        assert text in result.output
    assert np.asarray(Image.open(output / "decoded.png")).shape == (3 * 34 + 2, 8 * 34 + 2, 3)


@pytest.mark.slow
def test_a_head_without_a_null_space(tmp_path: Path) -> None:
    """The report says what the function warns of; nothing else is printed about it."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=120).eval()
    timm.models.save_for_hf(model, tmp_path / "model", safe_serialization=True)
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for count in range(30):
        noise = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160, 160)).save(folder / f"{count}.png")
    options = ("--model", tmp_path / "model", "--size", 32, "--output", tmp_path / "out")
    result = run(folder, *options)
    assert result.exit_code == 0, result.output
    assert "its principal part is the whole feature" in " ".join(result.output.split())
    assert not (tmp_path / "out" / "principal.safetensors").exists()
    result = run(folder, *options, "--part", "principal")
    assert result.exit_code == 1 and 'part "whole" for a head without' in result.output
    result = run(folder, *options, "--part", "principal", "--energy", 0.9)
    assert result.exit_code == 0, result.output
    facts = FeatureDecoder.load(tmp_path / "out" / "principal.safetensors").facts
    assert facts["energy"] == 0.9 and facts["frame"] == [160, 160]


def test_refusals(pictures: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    Image.new("RGB", (8, 8)).save(few / "one.png")
    for images, options, message in (
        (tmp_path / "none", (), "to be a folder"),
        (few, (), "16 or more to train on, and 2 or more to hold out, got 1 and 0"),
        (pictures, ("--output", "/proc/self"), "--output to be a folder that can be written"),
        (pictures, ("--model", "demo/none"), "name in"),
        (pictures, ("--device", "cuda:99"), "--device to be a device of this machine"),
        (pictures, ("--layer", "fc"), "layer to be the name of a layer of SceneClassifier"),
    ):
        result = run(images, "--output", tmp_path / "out", *options)
        assert result.exit_code == 1, options
        assert re.search(re.escape(message), result.output), result.output
        assert result.output.strip().count("\n") == 0


@pytest.mark.parametrize("options", [("--size", 48), ("--part", "null"), ("--epochs", 0)])
def test_options_are_checked(pictures: Path, tmp_path: Path, options: tuple[object]) -> None:
    result = run(pictures, "--output", tmp_path / "out", *options)
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
