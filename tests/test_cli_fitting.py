"""``captum-sing fit-translator``: what it prints and writes, what it refuses, how well it fits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torchvision.transforms.functional import to_pil_image
from typer.testing import CliRunner

from captum_sing import LinearTranslator, NullSpace, fit_translator
from captum_sing.classifiers import load_classifier
from captum_sing.cli import app
from captum_sing.cli.fitting import check_output
from captum_sing.demo import encode_scenes, load_encoder, load_translator, sample_scenes
from captum_sing.errors import SINGFileError
from captum_sing.hooks import read_features
from captum_sing.quality import Fit

MODEL = "demo/resnet/neck_color"


def save_scenes(folder: Path, count: int, seed: int) -> Path:
    """Scenes as files, sorted into folders by their shape."""
    for start in range(0, count, 512):
        scenes = sample_scenes(min(512, count - start), seed + start)
        for i, image in enumerate(scenes.images):
            path = folder / scenes.words(i)["shape"] / f"{start + i:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            to_pil_image(image).save(path)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scenes(tmp_path_factory.mktemp("scenes"), 120, seed=41_000_000)


def run(pictures: Path, output: Path, *options: object) -> Result:
    given = ["--images", pictures, "--output", output, *options]
    for option, value in (("--model", MODEL), ("--encoder", "demo")):
        if option not in options:
            given += [option, value]
    return CliRunner().invoke(app, ["fit-translator", *map(str, given)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and later
def test_prints_and_writes_what_the_function_returns(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.safetensors"
    options = ("--held-out", 0.4, "--seed", 3, "--batch-size", 50, "--workers", 1)
    result = run(pictures, output, *options, "--alpha", "cv")
    assert result.exit_code == 0, result.output
    found = LinearTranslator.load(output)
    wanted = fit_translator(
        load_classifier(MODEL), load_encoder(), pictures, held_out=0.4, seed=3, batch_size=50,
        show_progress=False,
    )  # fmt: skip
    assert torch.allclose(found.weight, wanted.weight, atol=1e-5)
    assert found.facts == wanted.facts
    assert found.model == MODEL and found.encoder == load_encoder().name
    assert found.facts["preprocessing"] == load_classifier(MODEL).preprocessing
    for line in (f"From {MODEL} to {load_encoder().name}: 72 images fitted, 48 held out",
                 "names the labels", "principal", "null", f"Written: {output}"):  # fmt: skip
        assert line in result.stdout
    whole = found.facts["report"]["translation"]["whole"]
    assert f"{whole['degrees']:.1f}" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_options_reach_the_fit(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "t"
    result = run(pictures, output, "--alpha", "2.5", "--layer", "head", "--limit", 60,
                 "--held-out", 0)  # fmt: skip
    assert result.exit_code == 0, result.output
    facts = LinearTranslator.load(output).facts
    assert facts["alpha"] == 2.5 and facts["images"]["fitted"] == 60
    assert "No images were held out" in result.stdout


def test_what_is_left_out_is_told_once(pictures: Path, tmp_path: Path) -> None:
    for path in pictures.rglob("*.png"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "z.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    result = run(tmp_path, tmp_path / "t")
    assert result.exit_code == 0, result.output
    printed = " ".join(result.stdout.split())
    assert re.search(r"Left out 1 of 121 pictures: \S*z.png \(cannot identify", printed), printed
    assert "by their endings: 1 .txt" in printed
    assert "UserWarning" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "FOLDER:empty"], "with 0 other files"),
        (["--images", "FOLDER:nowhere"], "nowhere, which does not exist"),
        (["--output", "FOLDER:nowhere/t"], "--output to be a file in a folder that can be written"),
        (["--output", "FOLDER:empty"], "--output to be a file in a folder that can be written"),
        (["--model", "demo/nothing"], "nothing"),
        (["--model", "timm/resnet5O"], "The nearest names are"),
        (["--encoder", "ViT-B-3:openai"], "ViT-B-3"),
        (["--checkpoint", "FOLDER:t"], "this source brings its own weights"),
        (["--layer", "haed"], "'haed'"),
        (["--device", "abacus"], "to be a device of this machine, got abacus"),
        (["--alpha", "-1"], "alpha"),
        (["--limit", "2"], "2 or more to hold out"),
    ],
)
def test_one_line_exit_code_one_and_nothing_written(
    pictures: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    option, value = options[0], options[1].replace("FOLDER:", f"{tmp_path}/")
    given = {"--images": pictures, "--output": tmp_path / "t"} | {option: value}
    further = [] if option in ("--images", "--output") else [option, value]
    result = run(given["--images"], given["--output"], *further)
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line and "image/s" not in line]
    assert len(lines) == 1 and re.search(message, lines[0]), result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_wrong_use_is_exit_code_two(pictures: Path, tmp_path: Path) -> None:
    for options in (("--alpha", "much"), ("--held-out", "0.9"), ("--batch-size", "0")):
        assert run(pictures, tmp_path / "t", *options).exit_code == 2


def test_the_cheapest_check_comes_first(pictures: Path, tmp_path: Path) -> None:
    wrong = ("--model", "nothing", "--encoder", "nothing")
    assert "--output" in run(tmp_path / "x", tmp_path / "y" / "t", *wrong).stderr
    assert "does not exist" in run(tmp_path / "x", tmp_path / "t", *wrong).stderr
    assert "got 'nothing'" in run(pictures, tmp_path / "t", *wrong).stderr


def test_an_output_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    check_output(tmp_path / "old")
    check_output(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(SINGFileError):
        check_output(Path("/proc/t"))


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(pictures: Path, tmp_path: Path) -> None:
    one = next(pictures.rglob("*.png"))
    (tmp_path / "many").mkdir()
    for i in range(5_000):
        os.link(one, tmp_path / "many" / f"{i}.png")
    command = [sys.executable, "-m", "captum_sing", "fit-translator", "--model", MODEL]
    command += ["--encoder", "demo", "--images", "many", "--output", "t"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE) as process:
        seen = b""
        while not re.search(rb"\| +[1-9]\d*/5000 ", seen):  # it is at work
            seen += (byte := process.stderr.read(1))
            assert byte, seen
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode != 0
    assert b"Traceback" not in rest
    assert [path.name for path in tmp_path.iterdir()] == ["many"]


@pytest.fixture(scope="module")
def many_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many as the shipped translators were fitted to, and one in ten more to hold out."""
    return save_scenes(tmp_path_factory.mktemp("many"), 11_112, seed=42_000_000)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("name", "own_penalty"), [("resnet/neck_color", False), ("plain", False), ("plain", True)]
)
def test_reaches_the_quality_of_the_shipped_translator(
    name: str, own_penalty: bool, many_pictures: Path, tmp_path: Path
) -> None:
    """On the same fresh images, which no file ever held, from files of 8 bits.

    With the penalty that cross-validation finds, the whole feature is translated as well; with
    the shipped one's, so is each part.
    """
    shipped = load_translator(name)
    alpha = shipped.facts["alpha"] if own_penalty else "cv"
    output = tmp_path / "t.safetensors"
    result = run(many_pictures, output, "--model", f"demo/{name}", "--alpha", alpha)
    assert result.exit_code == 0, result.output
    fitted = LinearTranslator.load(output)
    assert fitted.facts["images"]["fitted"] == 10_001

    model = load_classifier(f"demo/{name}").model
    images = sample_scenes(3_000, 43_000_000).images
    features = read_features(model, model.head, images, internal_batch_size=256)
    embeddings, space = encode_scenes(load_encoder(), images), NullSpace.from_layer(model.head)
    ours, theirs = (t.evaluate(features, embeddings, space) for t in (fitted, shipped))
    assert ours.in_sample == theirs.in_sample == 0
    print(f"\n{name}: alpha {fitted.facts['alpha']:.4g}, shipped {shipped.facts['alpha']:.4g}")
    for part in ("whole", "principal", "null"):
        own: Fit = getattr(ours, part)
        other: Fit = getattr(theirs, part)
        print(f"{part}: fitted {own}, shipped {other}")
        if part == "whole" or own_penalty:
            assert own.cosine > other.cosine - 0.003
            assert own.degrees < other.degrees + 0.2
            assert own.r2 > other.r2 - 0.005
