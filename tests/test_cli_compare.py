"""``captum-sing compare``, end to end on real files: what it prints and writes, how it refuses."""

from __future__ import annotations

import json
import re

import pytest
import timm
import torch
from command import CLASSES, NAME, run
from test_cli_study import COUNT, draw_folder, plots_in, told

from captum_sing.cli import writing
from captum_sing.cli.comparing import DEMO_MODELS
from captum_sing.demo import sample_scenes
from captum_sing.study import Study, compare_models

FORESTS = {"image_score", "abs_attribute_score", "image_over_attribute", "null_energy"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Other weights of the place's architecture, for which its translator will do."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("other") / "other.pt"
    torch.save(timm.create_model(NAME, num_classes=CLASSES).state_dict(), path)
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Plots of single models are drawn in the tests of the study."""
    monkeypatch.setattr(writing, "study_plots", lambda _: [])


def compare(place, images, output, *options):
    """As one writes it: several values after one option."""
    translator = place / "translator.safetensors"
    given = ["compare", "--images", images, "--output", output, "--draws", 100, *options]
    for option, values in (
        ("--models", [place / "model", f"timm/{NAME}"]),
        ("--translators", [translator, translator]),
        ("--checkpoints", ["none", place / "weights.pt"]),
        ("--concepts", [place / "bank.safetensors"]),
        ("--encoder", [f"local-dir:{place / 'clip'}"]),
    ):
        if option not in options:
            given += [option, *values]
    return run(*given)


@pytest.mark.slow
def test_prints_and_writes_what_compare_models_finds(place, pictures, other, tmp_path):
    result = compare(place, pictures, tmp_path, "--checkpoints", "none", other, "--layers", "none",
                     "fc", "--axes", 0)  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "comparison.json").read_text())
    folders = [tmp_path / name for name in found["studies"].values()]
    wanted = compare_models([Study.load(folder) for folder in folders], draws=100)
    as_json = json.loads(wanted.models.to_json(orient="records", double_precision=15))
    for one, by_hand in zip(found["models"], as_json, strict=True):
        assert one.keys() == by_hand.keys()
        for key, value in by_hand.items():
            assert one[key] == (pytest.approx(value) if isinstance(value, float) else value)
    assert len(found["pairs"]) == len(wanted.pairs) and found["notes"] == list(wanted.notes)
    measures = set(wanted.pairs["measure"])
    assert FORESTS < measures and "share of color" in measures
    for measure in measures:
        assert [tuple(pair) for pair in found["rankings"][measure]] == wanted.ranking(measure)
    # other weights do differ in this
    assert len(wanted.ranking("null_energy")) == 1
    forests = {f"forest-{measure.replace(' ', '-')}.png" for measure in measures}
    assert plots_in(tmp_path) == {"joint.png", "drift.png", *forests}
    for folder in folders:
        assert (folder / "study.txt").is_file() and "joint.png" in plots_in(folder)
    printed = told(result)
    for line in (*wanted.notes, "2 models on the same images", "IS, degrees", *found["studies"]):
        assert line in printed
    text = (tmp_path / "comparison.txt").read_text()
    assert max(map(len, text.splitlines())) <= 88
    energy = text[text.index("energy ignored") :].splitlines()
    above = [energy[3 + i].split()[-1] for i in range(2)]
    best = wanted.ranking("null_energy")[0][0]
    assert above == (["2", "-"] if next(iter(found["studies"])) == best else ["-", "1"])


@pytest.mark.slow
def test_equal_models_are_not_ranked(place, pictures, tmp_path, undrawn):
    """The same weights twice, under two names."""
    result = compare(place, pictures, tmp_path, "--axes", 0)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["model"].partition("@")[0] for row in found["models"]} == {
        "timm/model", f"timm/{NAME}"}  # fmt: skip
    assert not any(found["rankings"].values())
    assert told(result).count("No ranking: no pair's interval excludes zero.") == len(
        found["rankings"]
    )
    assert all(row["difference"] == 0 for row in found["pairs"] if row["difference"] is not None)


def scenes(folder, count=40):
    """Scenes in folders by their shape."""
    from torchvision.transforms.functional import to_pil_image

    drawn = sample_scenes(count, seed=42_000_000)
    for i, image in enumerate(drawn.images):
        path = folder / drawn.words(i)["shape"] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(path)
    return folder


@pytest.mark.slow
def test_models_may_be_repeated_options_and_one_cache_serves_all(tmp_path, undrawn):
    folder = scenes(tmp_path / "scenes")
    outputs = []
    for models in (
        ["--models", "demo/plain", "demo/spurious"],
        ["--models=demo/plain", "--models", "demo/spurious"],
    ):
        outputs.append(tmp_path / str(len(outputs)))
        result = run("compare", *models, "--images", folder, "--output", outputs[-1],
                     "--cache", tmp_path / "cache", "--draws", 100, "--axes", 0)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert ("extract" in result.stderr) == (len(outputs) == 1)
    one, two = (json.loads((output / "comparison.json").read_text()) for output in outputs)
    assert one == two and list(one["studies"]) == ["demo/plain", "demo/spurious"]
    assert not (outputs[0] / "cache").exists()
    assert "planted.png" not in plots_in(outputs[0])


@pytest.mark.slow
def test_the_demo_shows_what_was_planted(tmp_path, undrawn):
    models = ["demo/resnet/neck_none", "demo/resnet/neck_color", "demo/plain"]
    result = run("compare", "--demo", "--models", *models, "--limit", 300, "--draws", 100,
                 "--axes", 1, "--output", tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {"planted.png", "joint.png", "drift.png", "forest-share-of-color.png"} <= plots_in(
        tmp_path
    )
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert list(found["studies"]) == models
    shares = {row["model"]: row for row in found["models"] if row["measure"] == "share of color"}
    assert shares[models[1]]["low"] > 0.95
    assert shares[models[0]]["value"] is None and "no share" in shares[models[0]]["note"]
    assert not any(models[0] in pair for pair in found["rankings"]["share of color"])
    assert "fresh scenes of the embedded world" in told(result)


@pytest.mark.slow
def test_words_of_no_factor_have_no_truth_and_brackets_are_letters(tmp_path, undrawn):
    """A group that looks like the markup of a terminal is printed as it is."""
    words = tmp_path / "words.csv"
    words.write_text("word,group\nred,[/b] hue\nblue,[/b] hue\ngreen,[/b] hue\n", encoding="utf-8")
    result = run("compare", "--demo", "--models", "demo/plain", "demo/spurious", "--limit", 60,
                 "--draws", 100, "--axes", 0, "--concepts", words,
                 "--output", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "planted.png" not in plots_in(tmp_path / "out")
    study = (tmp_path / "out" / "demo-plain" / "study.json").read_text(encoding="utf-8")
    assert json.loads(study)["groups"] == [] and "[/b] hue" in study


def test_the_demo_has_models_whose_truth_is_known_and_trained_ones():
    from captum_sing.demo.world import CLASSIFIERS

    truth = [CLASSIFIERS[name.removeprefix("demo/")].planted for name in DEMO_MODELS]
    assert truth.count(None) == 3 and () in truth and ("color",) in truth


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "PLACE:model"], "--models of two or more, got 1. For one, there is captum-s"),
        (["--translators", "PLACE:translator.safetensors"], "--translators one for each of 2 mod"),
        (["--checkpoints", "none"], "--checkpoints one for each of 2 models, or none, got 1"),
        (["--layers", "fc", "fc", "fc"], "--layers one for each of 2 models, or none, got 3"),
        (["--models", "PLACE:model", "PLACE:model", "--checkpoints", "none", "none"],
         "of different models, got local-dir:.*model twice"),
        (["--models", "PLACE:model", "demo/plain", "--checkpoints", "none", "none"],
         "expected translator for the head's input"),
        (["--models", "PLACE:model", "timm/resnet5O"], "The nearest names are"),
        (["--translators", "PLACE:translator.safetensors", "nothing"], "nothing, which does not e"),
        (["--checkpoints", "none", "PLACE:thousand.pt", "--energy", "0.9"],
         "of one list of classes, got 20 classes of .* and 1000 of"),
        (["--output", "PLACE:words.txt/out"], "--output to be a folder that can be made and"),
        (["--labels", "PLACE:nowhere.csv"], "nowhere.csv: No such file"),
        (["--layers", "none", "head"], r"Its last linear layers are .*'fc'"),
    ],
)  # fmt: skip
def test_one_line_exit_code_one_and_nothing_read(place, pictures, tmp_path, options, message):
    options = [
        str(place / one.removeprefix("PLACE:")) if one.startswith("PLACE:") else one
        for one in options
    ]
    result = compare(place, pictures, tmp_path / "out", *options)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert re.search(message, result.stderr), result.stderr
    assert not (tmp_path / "out").exists()


def test_models_without_translators_are_refused(place, pictures, tmp_path):
    result = run("compare", "--images", pictures, "--output", tmp_path, "--models",
                 place / "model", "demo/plain")  # fmt: skip
    assert result.exit_code == 1 and "Fit one with captum-sing fit-translator" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --images DIR, or --demo"),
        (["--images", "x"], "give --models A B"),
        (["--demo", "--translators", "x", "y"], "--demo brings its own: leave out --translators"),
        (["--demo", "--output", "x", "y"], "unexpected extra argument"),
    ],
)
def test_wrong_use_is_exit_code_two(options, message):
    result = run("compare", *options)
    assert result.exit_code == 2
    assert message in re.sub(r"\x1b\[[\d;]*m|[│\s]+", " ", result.stderr)


@pytest.mark.slow
def test_a_picture_is_known_in_every_study(place, pictures, tmp_path, undrawn):
    result = compare(place, pictures, tmp_path, "--limit", 20, "--axes", 0)
    assert result.exit_code == 0, result.output
    names = json.loads((tmp_path / "comparison.json").read_text())["studies"].values()
    tables = [Study.load(tmp_path / name).table for name in names]
    assert len(tables[0]) == 20 < COUNT
    assert tables[0]["path"].equals(tables[1]["path"])
