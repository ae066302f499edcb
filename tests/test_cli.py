"""The command line, end to end on real files: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch
import typer
from command import CLASSES, EMBEDDING, GROUPS, NAME, WIDTH, analyze, numbers, run
from PIL import Image
from typer.testing import CliRunner

import captum_sing
from captum_sing import SING, ConceptBank, LinearTranslator, TranslatorFitter
from captum_sing.classifiers import load_classifier, load_image
from captum_sing.cli import analysis
from captum_sing.cli.app import _OneLineErrors
from captum_sing.errors import SINGValueError
from captum_sing.hooks import read_features


def by_hand(place, **arguments):
    """The same through the class."""
    model = load_classifier(str(place / "model"))
    batch = torch.stack([model.preprocess(load_image(place / f"{i}.png")) for i in "abc"])
    sing = SING(
        model.model,
        "fc",
        LinearTranslator.load(place / "translator.safetensors"),
        ConceptBank.load(place / "bank.safetensors"),
    )
    descriptions = sing.attribute(batch, **arguments).descriptions
    arguments.pop("top_k", None)
    return descriptions, sing.verify(batch, **arguments), model.model(batch).softmax(dim=1)


# --- what it does -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["bank", "text", "json"])
def test_analyze_prints_and_writes_what_the_class_finds(place, words):
    options = []
    if words != "bank":
        path = place / "words.txt"
        if words == "json":
            path = place / "words.json"
            path.write_text(json.dumps(GROUPS))
        options = ["--concepts", path, "--encoder", f"local-dir:{place / 'clip'}"]
    result = analyze(place, *options, output=place / words)
    assert result.exit_code == 0, result.output
    found, (descriptions, drift, probabilities) = numbers(place, words), by_hand(place)
    assert found["model"]["rank"] == CLASSES and found["model"]["nullity"] == WIDTH - CLASSES
    assert found["model"]["name"] == load_classifier(str(place / "model")).name
    assert found["model"]["head"] == "fc"
    assert len(found["images"]) == 3
    for i, image in enumerate(found["images"]):
        assert image["file"] == str(place / f"{'abc'[i]}.png")
        assert image["prediction"]["class"] == int(probabilities[i].argmax())
        assert math.isclose(
            image["prediction"]["probability"], probabilities[i].max(), abs_tol=1e-6
        )
        assert math.isclose(image["image_score"], descriptions.image_score[i], abs_tol=1e-4)
        assert image["sentence"] == str(descriptions[i])
        assert str(descriptions[i]) in result.stdout
        for t, word in enumerate(descriptions.concepts.names):
            for kind in ("seen", "ignored", "attribute_score", "centred_attribute_score"):
                expected = getattr(descriptions, kind)[i, t]
                assert math.isclose(image["words"][word][kind], expected, abs_tol=1e-4)
        assert math.isclose(image["logit_drift"]["random"], drift.random[i], rel_tol=1e-4)
        assert image["logit_drift"]["null"] < 1e-5
        assert image["logit_drift"]["random"] > 1000 * image["logit_drift"]["null"]
    assert f"Rank {CLASSES} of {WIDTH} features: {WIDTH - CLASSES} directions" in result.stdout
    with Image.open(place / words / "analysis.png") as figure:
        assert figure.format == "PNG" and min(figure.size) > 500
    assert not list((place / words).glob(".*"))


def test_a_checkpoint_a_baseline_and_a_target(place):
    result = analyze(
        place, "--model", f"timm/{NAME}", "--checkpoint", place / "weights.pt",
        "--layer", "fc", "--baseline", "mean", "--target", "3", "--top-k", "2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = numbers(place)
    descriptions, drift, _ = by_hand(place, baselines="mean", target=3, top_k=2)
    assert found["model"]["nullity"] == WIDTH - 1 and found["model"]["classes"] == [3]
    assert found["settings"]["baseline"] == "mean" and found["settings"]["target"] == 3
    assert [image["sentence"] for image in found["images"]] == [str(d) for d in descriptions]
    for image, random in zip(found["images"], drift.random, strict=True):
        assert math.isclose(image["logit_drift"]["random"], random, rel_tol=1e-4)
    assert all(len(image["ignored"]) <= 2 for image in found["images"])
    assert "probabilities and the prediction may move" in result.stdout


def test_a_head_without_a_null_space_is_answered_and_can_be_approximated(place):
    thousand = ("--model", f"timm/{NAME}", "--checkpoint", place / "thousand.pt")
    result = analyze(place, *thousand)
    assert result.exit_code == 1
    assert f"of a rank below its width of {WIDTH}" in result.stderr
    result = analyze(place, *thousand, "--energy", "0.9")
    assert result.exit_code == 0, result.output
    found = numbers(place)
    assert 0 < found["model"]["nullity"] < WIDTH and found["model"]["energy"] == 0.9
    assert found["images"][0]["prediction"]["name"] is not None
    assert "The null space is approximate" in result.stdout


def test_an_image_of_the_translator_is_not_described(place, tmp_path):
    model = load_classifier(str(place / "model"))
    images = [load_image(place / f"{i}.png") for i in "abc"]
    features = read_features(
        model.model, model.model.fc, torch.stack([model.preprocess(i) for i in images])
    )
    TranslatorFitter().update(features, torch.randn(3, EMBEDDING)).fit().save(tmp_path / "t")
    result = analyze(place, "--translator", tmp_path / "t", images=["b.png"])
    assert result.exit_code == 0, result.output
    assert "fitted on this very image, so nothing is claimed" in result.stdout
    assert "together explain" not in result.stdout
    assert numbers(place)["images"][0]["together"] is None


def test_more_pictures_than_the_figure_holds(place, monkeypatch):
    heights = []
    for most in (2, 3):
        monkeypatch.setattr(analysis, "_FIGURED", most)
        result = analyze(place)
        assert result.exit_code == 0, result.output
        assert len(numbers(place)["images"]) == 3
        assert ("The figure shows the first 2 images." in result.stdout) == (most == 2)
        with Image.open(place / "out" / "analysis.png") as figure:
            heights.append(figure.height)
    assert heights[0] < 0.8 * heights[1]


def test_a_demo_model_needs_nothing_else(tmp_path):
    from captum_sing.demo import sample_scenes

    scenes = sample_scenes(1, seed=5)
    pixels = (scenes.images[0] * 255).byte().movedim(0, -1).numpy()
    Image.fromarray(pixels).resize((128, 128)).save(tmp_path / "a.png")
    result = run(
        "analyze",
        tmp_path / "a.png",
        "--model",
        "demo/resnet/neck_color",
        "--output",
        tmp_path,
        "--baseline",
        "mean",
    )
    assert result.exit_code == 0, result.output
    found = numbers(tmp_path, ".")
    assert found["concepts"]["groups"]["size"] == ["small", "large"]
    truth = scenes.words(0)
    assert found["images"][0]["prediction"]["name"] == truth["shape"]
    assert found["images"][0]["ignored"][0]["word"] == truth["color"]


@pytest.mark.slow
def test_the_module_and_its_process(place):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-m", "captum_sing"]
    arguments = ["analyze", "a.png", "--model", "model", "--translator", "translator.safetensors"]
    done = subprocess.run(
        [*command, *arguments, "--concepts", "bank.safetensors"],
        capture_output=True, text=True, cwd=place, env=env, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert (place / "captum-sing-analysis" / "analysis.json").is_file()


def test_version():
    assert run("--version").stdout.strip() == captum_sing.__version__


# --- what it refuses ----------------------------------------------------------------------------


def foreign(place, name):
    """Files that belong to something else."""
    if name == "other bank":
        bank = ConceptBank.load(place / "bank.safetensors")
        other = ConceptBank(bank.names, bank.embeddings, bank.groups, "open_clip/other")
        return other.save(place / "other.safetensors")
    if name == "other width":
        made = TranslatorFitter().update(torch.randn(9, 5), torch.randn(9, EMBEDDING)).fit()
    elif name == "no record":
        made = TranslatorFitter().update(torch.randn(9, WIDTH), torch.randn(9, EMBEDDING)).fit()
    else:
        path = place / name
        path.write_bytes(b"\x80 no text")
        return path
    return made.save(place / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "timm/resnet5O"], "The nearest names are"),
        (["--model", "timm/resnet18"], "in the cache, or a connection to download them"),
        (["--checkpoint", "FILE"], "this source brings its own weights"),
        (["--translator", "nothing"], "nothing, which does not exist"),
        (["--translator", "FILE:words.txt"], "expected path to be a whole safetensors file"),
        (["--translator", "FOREIGN:other width"], "expected translator for the head's input"),
        (["--concepts", "FOREIGN:bytes.txt"], "line 1, column 1: byte 0x80 is no UTF-8"),
        (["--concepts", "FOREIGN:bytes.csv"], 'a word or "group: word, word" a line in .txt'),
        (["--concepts", "colours"], "to be a file, or among attributes, imagenet, .*got 'colours'"),
        (["--concepts", "FOREIGN:other bank"], "of the translator's encoder"),
        (["--concepts", "FILE:words.txt"], "--encoder MODEL:TAG, local-dir:FOLDER or tran"),
        (["--encoder", "ViT-B-32:openai"], "only with words, not with a saved bank"),
        (["--concepts", "FILE:words.txt", "--encoder", "ViT-B-3:openai"], "ViT-B-3"),
        (["--concepts", "FILE:words.txt", "--encoder", "ViT-B-32"], "got 'ViT-B-32'.*:openai"),
        (["--layer", "head"], r"Its last linear layers are .*'fc'"),
        (["--layer", "layer1"], "to be a linear map"),
        (["--target", "20"], r"in \[0, 19\], got \[20\]"),
        (["--energy", "1.5"], r"energy in \(0, 1\], got 1.5"),
        (["--device", "abacus"], "to be a device of this machine, got abacus"),
        (["--output", "FILE:words.txt/out"], "to be a folder that can be made"),
    ],
)  # fmt: skip
def test_one_line_and_exit_code_one(place, options, message):
    def given(option):
        kind, _, name = option.partition(":")
        return {"FILE": lambda: place / name, "FOREIGN": lambda: foreign(place, name)}.get(
            kind, lambda: option
        )()

    options = [given(option) for option in options]
    if "--output" in options:
        result = analyze(place, output=options[1])
    else:
        result = analyze(place, *options)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.output


def test_the_cheapest_check_comes_first(place):
    """A missing picture is told before a model of no such name, and that before its translator."""
    result = analyze(place, "--model", "nothing", "--translator", "nothing", images=["z.png"])
    assert "z.png (no such file)" in result.stderr
    result = analyze(place, "--model", "nothing", "--translator", "nothing")
    assert "got 'nothing'" in result.stderr
    result = analyze(place, "--model", "timm/resnet18", "--translator", "nothing")
    assert "nothing, which does not exist" in result.stderr
    other = foreign(place, "other bank")
    result = analyze(place, "--model", "timm/resnet18", "--concepts", other)
    assert "of the translator's encoder" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", "0"], "top-k"),
        (["--baseline", "zero"], "baseline"),
        (["--target", "-1"], "target"),
        (["--target", "1", "--energy", "0.9"], "two null spaces"),
        (["--tpo-k", "1"], "tpo-k"),
    ],
)
def test_wrong_use_is_exit_code_two(place, options, message):
    result = analyze(place, *options)
    assert result.exit_code == 2
    assert message in re.sub(r"\x1b\[[\d;]*m|[│\s]+", " ", result.stderr)


def test_a_translator_of_the_models_own_is_needed(place):
    result = run("analyze", place / "a.png", "--model", place / "model")
    assert result.exit_code == 1
    assert "Fit one with captum-sing fit-translator" in result.stderr


def test_our_errors_alone_are_one_line():
    broken = typer.Typer(cls=_OneLineErrors, pretty_exceptions_enable=False)

    @broken.command()
    def other():
        raise ZeroDivisionError

    @broken.command()
    def ours():
        raise SINGValueError("[red]two\nlines[/red]")

    assert isinstance(CliRunner().invoke(broken, ["other"]).exception, ZeroDivisionError)
    assert CliRunner().invoke(broken, ["ours"]).stderr == "[red]two lines[/red]\n"
