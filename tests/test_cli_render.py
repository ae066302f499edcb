"""`captum-sing render`: four ways, files that hold what is said, and options that go together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from command import run
from PIL import Image
from tiny_pipelines import write_karlo
from torchvision.transforms.functional import to_pil_image, to_tensor

from captum_sing import load_classifier
from captum_sing.demo import load_translator, sample_scenes
from captum_sing.render import FeatureDecoder
from captum_sing.render.frame import Frame

MODEL = "resnet/neck_color"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs, a donor, a gallery that holds one of them again, and a decoder."""
    folder = tmp_path_factory.mktemp("render")
    (folder / "gallery").mkdir()
    pictures = [to_pil_image(image) for image in sample_scenes(23, seed=3).images]
    for name, picture in zip("abd", pictures, strict=False):
        picture.save(folder / f"{name}.png")
    for number, picture in enumerate(pictures[3:]):
        picture.save(folder / "gallery" / f"{number}.png")
    pictures[0].save(folder / "gallery" / "again.bmp")
    torch.manual_seed(0)
    frame = Frame.of(load_classifier(f"demo/{MODEL}").preprocess)
    mean, reading = load_translator(MODEL).mean, torch.eye(64)
    FeatureDecoder(mean, reading, frame, facts={"model": f"demo/{MODEL}"}).save(
        folder / "decoder.safetensors"
    )
    return folder


def render(place: Path, output: Path, *arguments: object) -> tuple[str, dict[str, Any]]:
    given = ["render", place / "a.png", place / "b.png", "--model", f"demo/{MODEL}"]
    result = run(*given, *arguments, "--output", output)
    assert result.exit_code == 0, result.output
    return result.output, json.loads((output / "render.json").read_text())


WAYS = {
    "unclip": ("--pipeline", "demo"),
    "nearest": ("--gallery", Path("gallery")),
    "invert": ("--steps", 4),
    "decode": ("--decoder", Path("decoder.safetensors")),
}


@pytest.mark.parametrize("how", WAYS)
def test_numbers_are_those_of_the_saved_pictures(place: Path, tmp_path: Path, how: str) -> None:
    option, value = WAYS[how]
    said, found = render(
        place, tmp_path, "--how", how, option, place / value if isinstance(value, Path) else value,
        "--baseline", "mean", "--donor", place / "d.png", "--prompt", "red", "--image-score", 15,
    )  # fmt: skip
    loaded = load_classifier(f"demo/{MODEL}")

    def logits(path: Path) -> torch.Tensor:
        with torch.no_grad():
            return loaded.model(loaded.preprocess(Image.open(path))[None])[0]

    assert [row["picture"] for row in found["pictures"]] == [
        name
        for name in ("rendered original", "equivalent", "swap", "towards red")
        for _ in range(2)
    ]
    gaps: dict[str, float] = {}
    originals: dict[str, str] = {}
    for row in found["pictures"]:
        before, after = logits(place / row["photograph"]), logits(tmp_path / row["file"])
        gap = float((after - before).abs().max() / before.abs().max())
        assert row["gap"] == pytest.approx(gap, rel=1e-3, abs=1e-4)
        kept = bool(before.argmax() == after.argmax())
        assert row["prediction_kept"] is kept
        assert row["prediction"] == loaded.class_names[int(after.argmax())]  # type: ignore[index]
        assert f"{row['gap']:.1%}" in said
        if row["picture"] == "rendered original":
            originals[row["photograph"]] = Path(row["file"]).name
            gaps[row["photograph"]] = gap if kept and gap <= 0.5 else -1.0
            continue
        yardstick = gaps[row["photograph"]]
        first = tmp_path / "pictures" / originals[row["photograph"]]
        same = torch.equal(*(to_tensor(Image.open(p)) for p in (tmp_path / row["file"], first)))
        passed = kept and (gap <= 0.02 or gap <= yardstick)
        told = "verified" if passed else "not verified" if yardstick >= 0 else "no yardstick"
        assert row["verdict"] == ("unchanged" if same else told)
        assert row["verdict"] in said
    assert found["asked"]["baseline"] == "mean" and found["renderer"]["seeds"] == [0, 0]
    with Image.open(tmp_path / "render.png") as figure:
        assert min(figure.size) > 300
    assert "Written to" in said and "and 8 files in its folders" in said


def test_the_photograph_itself_is_no_neighbour(place: Path, tmp_path: Path) -> None:
    said, found = render(
        place, tmp_path, "--how", "nearest", "--gallery", place / "gallery", "--cache",
        tmp_path / "cache",
    )  # fmt: skip
    assert "Left out of the gallery: 1 of these very pictures." in said
    assert found["pictures"][0]["gap"] > 0.01
    assert list((tmp_path / "cache").iterdir())


def test_steered_away(place: Path, tmp_path: Path) -> None:
    _, found = render(
        place, tmp_path, "--how", "unclip", "--pipeline", "demo", "--away-from", "red",
    )  # fmt: skip
    names = {row["picture"] for row in found["pictures"]}
    assert names == {"rendered original", "equivalent", "away from red"}
    assert found["asked"]["image_score"] == 20.0


@pytest.mark.slow
@pytest.mark.parametrize("width", [64, 32])
def test_a_pipeline_of_the_width_draws_and_another_is_refused(
    place: Path, tmp_path: Path, width: int
) -> None:
    write_karlo(tmp_path / "karlo", width=width)
    result = run(
        "render", place / "a.png", "--model", f"demo/{MODEL}", "--how", "unclip", "--pipeline",
        tmp_path / "karlo", "--steps", 2, "--output", tmp_path / "out",
    )  # fmt: skip
    if width == 32:
        assert result.exit_code == 1 and not (tmp_path / "out").exists()
        assert re.search(
            "expected embeddings 32 wide.*got 64 wide", " ".join(result.output.split())
        )
        return
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "render.json").read_text())
    assert found["renderer"]["kind"] == "karlo" and found["renderer"]["steps"] == [2, 2]
    assert len(found["pictures"]) == 2 and found["pictures"][0]["verdict"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--how", "draw"), 2, "'draw' is not one of"),
        (("--how", "unclip"), 1, "--pipeline with --how unclip, got none. Give such as kakaobr"),
        (("--how", "nearest"), 1, "--gallery with --how nearest, got none. Give a folder"),
        (("--how", "decode"), 1, "--decoder with --how decode, got none. Give a file that"),
        (("--how", "invert", "--gallery", "."), 1, "--gallery with --how nearest alone"),
        (("--how", "invert", "--guidance", 0), 1, "--guidance with --how unclip alone"),
        (("--how", "invert", "--half"), 1, "--half with --how unclip alone"),
        (("--how", "unclip", "--pipeline", "demo", "--cache", "x"), 1, "--cache with --how near"),
        (("--how", "decode", "--decoder", "none.safetensors"), 1, "none.safetensors"),
        (("--how", "nearest", "--gallery", "nowhere"), 1, "nowhere"),
        (("--how", "invert", "--donor", "nowhere.png"), 1, "nowhere.png"),
        (("--how", "invert", "--image-score", 20), 2, "--image-score goes with --prompt"),
        (("--how", "invert", "--prompt", "red", "--image-score", 200), 1, "between 0 and 180"),
        (("--how", "invert", "--steps", 4, "--prompt", "x"), 1, "vocabulary of open_clip"),
    ],
)
def test_bad_input_is_one_line(
    place: Path, tmp_path: Path, arguments: tuple, code: int, message: str
) -> None:
    output = tmp_path / "out"
    given = ["render", place / "a.png", "--model", f"demo/{MODEL}", *arguments]
    result = run(*given, "--output", output)
    assert result.exit_code == code, result.output
    assert re.search(message, " ".join(result.output.replace("│", " ").split()))
    assert not output.exists()


@pytest.mark.filterwarnings("ignore:SING.attribute")
def test_an_angle_out_of_reach_writes_nothing(place: Path, tmp_path: Path) -> None:
    result = run(
        "render", place / "a.png", "--model", f"demo/{MODEL}", "--how", "unclip", "--pipeline",
        "demo", "--prompt", "red", "--image-score", 170, "--output", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    assert "'towards red', whose angle photographs [0] cannot reach" in " ".join(
        result.output.split()
    )
