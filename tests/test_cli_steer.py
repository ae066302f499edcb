"""`captum-sing steer`: what it prints and writes is what SING says of the same pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from command import run
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from captum_sing import SING, load_classifier
from captum_sing.demo import load_demo, load_encoder, sample_scenes
from captum_sing.files import load_tensors

MODEL = "resnet/neck_color"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scenes")
    paths = [folder / f"{name}.png" for name in "ab"]
    for path, image in zip(paths, sample_scenes(2, seed=3).images, strict=True):
        to_pil_image(image).save(path)
    return paths


def steer(*arguments: object, output: Path) -> str:
    result = run("steer", *arguments, "--model", f"demo/{MODEL}", "--output", output)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_numbers_are_those_of_sing(scenes: list[Path], tmp_path: Path) -> None:
    said = steer(
        *scenes,
        "--prompt",
        "red",
        "--prompt",
        "the green shape",
        "--image-score",
        5,
        "--image-score",
        20,
        output=tmp_path,
    )
    found = json.loads((tmp_path / "steer.json").read_text())
    tensors, facts = load_tensors(
        tmp_path / "steer.safetensors", "steered features", ["0", "1", "2", "3"]
    )
    loaded = load_classifier(f"demo/{MODEL}")
    inputs = torch.stack([loaded.preprocess(Image.open(path)) for path in scenes])
    _, translator, concepts, _ = load_demo(MODEL)
    sing = SING(loaded.model, "head", translator, concepts, encoder=load_encoder())
    features = loaded.model.features(inputs).detach()
    rows = iter(found["steered"])
    for place, one in enumerate(facts["steered"]):
        moved, descriptions = sing.attribute(
            inputs, prompt=one["prompt"], image_score=one["degrees"]
        )
        torch.testing.assert_close(tensors[str(place)], features + moved)
        for number in range(2):
            row = next(rows)
            assert row["image"] == "ab"[number] + ".png" and row["prompt"] == one["prompt"]
            assert row["image_score"] == pytest.approx(one["degrees"])
            assert row["step"] == pytest.approx(float(descriptions.step[number]), rel=1e-5)
            assert row["logit_drift"] < 1e-5 and row["prediction_kept"] is True
            if one["prompt"] == "red":
                score = descriptions.attribute_score[number, concepts.names.index("red")]
                assert row["attribute_score"]["prompt"] == pytest.approx(float(score), abs=1e-4)
            step = f"{row['step']:.3g}"
            assert f"{row['image']} towards {one['prompt']} {one['degrees']:.2f}°" in said
            assert step in said
    assert found["rank"] == 7 and found["nullity"] == 57 and not found["notes"]


def test_what_cannot_be_reached_is_named(scenes: list[Path], tmp_path: Path) -> None:
    said = steer(
        *scenes, "--prompt", "red", "--away-from", "blue", "--image-score", 120, output=tmp_path
    )
    assert said.count("120° is beyond ") == 2
    assert "Beyond: no step inside the null space turns the translation so far." in said
    found = json.loads((tmp_path / "steer.json").read_text())
    row, other = found["steered"]
    assert row["step"] is row["image_score"] is row["logit_drift"] is None
    assert row["prediction_kept"] is None
    for one in (row, other):
        assert 30 < one["largest_angle"] < 120
        assert f"120° is beyond {one['largest_angle']:.1f}°" in said


def test_away_from_a_text_alone(scenes: list[Path], tmp_path: Path) -> None:
    said = steer(scenes[0], "--away-from", "red", output=tmp_path)
    assert "a.png away from red 20.00°" in said and "AS to" not in said
    (row,) = json.loads((tmp_path / "steer.json").read_text())["steered"]
    assert row["attribute_score"]["away_from"] < -5 and row["prompt"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give --prompt TEXT, --away-from TEXT, or both"),
        (("--prompt", "red", "--image-score", 190), 1, "between 0 and 180 degrees, got 190"),
        (("--prompt", "jellyfish"), 1, "texts in the vocabulary of open_clip/clip.*'jellyfish'"),
        (("--prompt", "red", "--away-from", "red"), 1, "another text than prompt, got 'red' twice"),
        (("--prompt", "red", "--model", "demo/nothing"), 1, "got .nothing.. Choose one"),
    ],
)
def test_bad_input_is_one_line(
    scenes: list[Path], tmp_path: Path, arguments: tuple, code: int, message: str
) -> None:
    output = tmp_path / "out"
    result = run("steer", scenes[0], "--model", f"demo/{MODEL}", *arguments, "--output", output)
    assert result.exit_code == code
    assert re.search(message, " ".join(result.output.replace("│", " ").split()))
    assert not output.exists()
