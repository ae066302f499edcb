"""``captum-sing study``, end to end on real files: what it prints and writes, how it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from command import GROUPS, WIDTH, run
from PIL import Image

from captum_sing import ConceptBank, LinearTranslator, OpenCLIPEncoder, TranslatorFitter
from captum_sing.classifiers import load_classifier, load_image
from captum_sing.cli import studying, writing
from captum_sing.cli.several import spread
from captum_sing.hooks import read_features
from captum_sing.study import Study, run_study

COUNT = 66
OF_LABELS = {"classes.png"}
OF_ALL = {"joint.png", "arrows.png", "drift.png", "axes.png"}


def draw_folder(folder, count=COUNT, labels=GROUPS["color"], seed=1):
    """Pictures in subfolders by a color, which they do not have."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        path = folder / (labels[number % len(labels)] if labels else "") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((180, 180)).save(path)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of the calls whose pictures and networks are alike: only the first reads them."""
    return tmp_path_factory.mktemp("cache")


def study(place, images, output, *options):
    given = ["study", "--images", images, "--output", output, "--draws", 100, *options]
    for option, value in (
        ("--model", place / "model"),
        ("--translator", place / "translator.safetensors"),
        ("--concepts", place / "bank.safetensors"),
        ("--encoder", f"local-dir:{place / 'clip'}"),
    ):
        if option not in options:
            given += [option, value]
    return run(*given)


def told(result):
    """What was printed, without the places where lines were broken."""
    return " ".join(result.stdout.split())


def by_hand(place, images, **options):
    return run_study(
        load_classifier(str(place / "model")), images,
        ConceptBank.load(place / "bank.safetensors"),
        translator=LinearTranslator.load(place / "translator.safetensors"),
        encoder=OpenCLIPEncoder(f"local-dir:{place / 'clip'}"),
        draws=100, show_progress=False, **options,
    )  # fmt: skip


def plots_in(folder):
    found = {path.name for path in folder.glob("*.png")}
    for name in found:
        with Image.open(folder / name) as figure:
            assert figure.format == "PNG" and min(figure.size) > 100, name
    return found


# --- what it does -------------------------------------------------------------------------------


@pytest.mark.slow
def test_prints_and_writes_what_run_study_finds(place, pictures, cache, tmp_path):
    labels = tmp_path / "labels.csv"
    places = [GROUPS["place"][i % 2] if i % 5 else "" for i in range(COUNT)]
    names = sorted(pictures.rglob("*.png"))
    labels.write_text(
        "place;path\n"
        + "".join(f"{p};{n.relative_to(pictures)}\n" for p, n in zip(places, names, strict=True))
    )
    result = study(
        place, pictures, tmp_path / "out", "--cache", cache, "--labels", labels, "--seed", 3,
        "--donor", f"{GROUPS['color'][0]}/000.png", "--steer", "red", "a wide sea", "--axes", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = Study.load(tmp_path / "out")
    wanted = by_hand(
        place, pictures, word_labels={"place": [p or None for p in places]}, seed=3,
        donor=str(pictures / GROUPS["color"][0] / "000.png"),
    )  # fmt: skip
    pd.testing.assert_frame_equal(found.table, wanted.table)
    assert set(found.facts["baselines"]) == {"none", "mean", "conditional", "swap"}
    told_as_json = json.loads((tmp_path / "out" / "study.json").read_text())
    of_class = wanted.to_dict()
    for level in ("statistics", "groups", "naming", "words"):
        assert told_as_json[level] == json.loads(json.dumps(of_class[level]))
    drift = told_as_json["drift"]
    assert drift["images"] == 64
    assert drift["null"]["mean"] <= drift["null"]["largest"] < 1e-4 < drift["random"]["mean"]
    assert len(told_as_json["axes"]) == 2 and len(told_as_json["axes"][0]["low"]) == 9
    assert {row["prompt"] for row in told_as_json["steered"]} == {"red", "a wide sea"}
    evidence = {f"evidence-{color}.png" for color in GROUPS["color"]}
    plots = {*OF_LABELS, *OF_ALL, *evidence, "evidence.png", "steered.png"}
    assert plots_in(tmp_path / "out") == plots
    text = (tmp_path / "out" / "study.txt").read_text()
    assert max(map(len, text.splitlines())) <= 88
    printed = told(result)
    for line in (f"Images: {COUNT} that the translator was not fitted on", "Rank 20 of 96",
                 "What is ignored of each group", "a wide sea", "the donor's"):  # fmt: skip
        assert line in printed and line in " ".join(text.split())
    assert not list((tmp_path / "out").glob(".*"))


@pytest.fixture
def undrawn(monkeypatch):
    """Most plots take longer than all else, and are drawn in other tests."""
    monkeypatch.setattr(writing, "study_plots", lambda _: [])


def kept(cache):
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_second_call_reads_nothing_again(place, pictures, cache, tmp_path, undrawn):
    """The progress bar shows the pass, and files of the cache are not touched."""
    first = study(place, pictures, tmp_path / "a", "--cache", cache)
    before = kept(cache)
    assert first.exit_code == 0 and len(before) == 3  # a shard, the manifest, the drift
    (tmp_path / "few.txt").write_text("color: red, green, blue\nplace: beach, forest")
    again = study(
        place, pictures, tmp_path / "b", "--cache", cache, "--concepts", tmp_path / "few.txt"
    )
    assert again.exit_code == 0, again.output
    assert "extract" not in again.stderr and kept(cache) == before
    assert list(Study.load(tmp_path / "b").facts["groups"]) == ["color", "place"]
    drifts = [json.loads((tmp_path / f / "study.json").read_text())["drift"] for f in "ab"]
    assert drifts[0] == drifts[1]
    fresh = study(place, pictures, tmp_path / "c", "--limit", 40)
    assert "extract" in fresh.stderr and len(Study.load(tmp_path / "c")) == 40
    assert (tmp_path / "c" / "cache").is_dir()


@pytest.mark.slow
def test_a_damaged_shard_is_told_in_a_line_and_read_anew(place, pictures, tmp_path, undrawn):
    options = ("--limit", 20, "--axes", 0)
    study(place, pictures, tmp_path, *options)
    (shard,) = (tmp_path / "cache").glob("*/*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    before = Study.load(tmp_path).table
    shard.write_bytes(data)
    result = study(place, pictures, tmp_path, *options)
    assert result.exit_code == 0, result.output
    assert "cannot be used, and will be computed again" in told(result)
    pd.testing.assert_frame_equal(Study.load(tmp_path).table, before)


@pytest.mark.slow
def test_ctrl_c_is_a_line_and_the_next_call_goes_on(
    place, pictures, tmp_path, monkeypatch, undrawn
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    options = ("--limit", 20, "--axes", 0)
    with monkeypatch.context() as patch:
        patch.setattr(studying, "study_of", interrupted)
        result = study(place, pictures, tmp_path, *options)
    assert result.exit_code == 130
    assert f"Interrupted. What was read is in {tmp_path / 'cache'}" in result.stderr
    assert not (tmp_path / "study.json").exists()
    result = study(place, pictures, tmp_path, *options)
    assert result.exit_code == 0 and "extract" not in result.stderr


@pytest.mark.slow
def test_interrupted_for_real_and_resumed(tmp_path):
    """Three shards: the first is there when the signal comes."""
    command = [sys.executable, "-m", "captum_sing", "study", "--demo", "--limit", "1100",
               "--draws", "100", "--axes", "1", "--output"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*command, str(tmp_path / "a")], env=env, stderr=subprocess.PIPE, text=True
    )
    while not list((tmp_path / "a").glob("cache/*/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in error
    assert "Interrupted. What was read is in" in error
    assert 0 < len(list((tmp_path / "a").glob("cache/*/*.safetensors"))) < 3
    for folder in ("a", "b"):
        subprocess.run([*command, str(tmp_path / folder)], env=env, check=True, timeout=300)
    tables = [Study.load(tmp_path / folder).table for folder in ("a", "b")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.slow
def test_pictures_without_labels_have_no_class_level_and_that_is_said_once(place, tmp_path):
    folder = draw_folder(tmp_path / "pictures", 12, labels=())
    result = study(place, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert told(result).count("there is no class level") == 1
    assert told(result).count("the images have no labels") == 1
    assert plots_in(tmp_path / "out") == OF_ALL
    assert "evidence is in the table, and nothing is tested" in told(result)


@pytest.mark.slow
def test_plots_of_a_former_call_do_not_stay(place, pictures, cache, tmp_path):
    (tmp_path / "out").mkdir()
    for former in ("steered.png", "evidence-other.png", "axes.png", "my own.png"):
        Image.new("RGB", (200, 200)).save(tmp_path / "out" / former)
    result = study(place, pictures, tmp_path / "out", "--cache", cache, "--axes", 0)
    assert result.exit_code == 0
    left = plots_in(tmp_path / "out")
    assert not {"steered.png", "axes.png", "evidence-other.png"} & left
    assert {"joint.png", "my own.png"} <= left
    assert told(result).count("No steered.png") == 1


def own_translator(place, images, path, **facts):
    """Fitted on these very pictures."""
    classifier = load_classifier(str(place / "model"))
    paths = sorted(images.rglob("*.png"))
    inputs = torch.stack([classifier.preprocess(load_image(path)) for path in paths])
    features = read_features(classifier.model, classifier.model.fc, inputs)
    embeddings = torch.randn(len(paths), 16, generator=torch.Generator().manual_seed(0))
    return TranslatorFitter(**facts).update(features, embeddings).fit().save(path)


@pytest.mark.slow
def test_pictures_of_the_translator_are_in_no_number(place, tmp_path):
    folder = draw_folder(tmp_path / "pictures", 12)
    own = own_translator(place, folder, tmp_path / "t")
    result = study(place, folder, tmp_path / "out", "--translator", own, "--steer", "red")
    assert result.exit_code == 0, result.output
    assert "In-sample, not tested" in told(result)
    assert "Images: 0 that the translator was not fitted on" in told(result)
    assert "*" not in (tmp_path / "out" / "study.txt").read_text().replace("*: fewer", "")


@pytest.mark.slow
def test_a_translator_without_statistics_gives_angles_alone(place, pictures, cache, tmp_path):
    own = LinearTranslator.load(place / "translator.safetensors")
    bare = LinearTranslator(own.weight, torch.zeros(WIDTH), own.bias).save(tmp_path / "bare")
    result = study(place, pictures, tmp_path / "out", "--translator", bare, "--cache", cache)
    assert result.exit_code == 0, result.output
    assert "there is no evidence" in told(result)
    assert {"joint.png", "drift.png"} <= plots_in(tmp_path / "out")
    assert "evidence.png" not in plots_in(tmp_path / "out")


@pytest.mark.slow
def test_what_only_the_user_knows_of_the_translator(place, pictures, cache, tmp_path, undrawn):
    """One without a record may have been fitted on these pictures: no star, unless one says so."""
    own = LinearTranslator.load(place / "translator.safetensors")
    tensors = own.state_dict()
    rest = {key: tensors[key] for key in ("covariance", "embedding_covariance") if key in tensors}
    silent = LinearTranslator(own.weight, own.origin, own.image, **rest).save(tmp_path / "silent")
    for option, said in (((), True), (("--held-out",), False)):
        result = study(
            place, pictures, tmp_path / "out", "--translator", silent, "--cache", cache, *option
        )
        assert result.exit_code == 0, result.output
        assert ("No stars: " in told(result)) == said


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.slow
def test_a_class_of_one_picture_and_a_broken_one(place, tmp_path, count):
    folder = draw_folder(tmp_path / "pictures", count)
    (folder / "red" / "z.png").write_bytes(b"no picture")
    result = study(place, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 more could not be used, such as" in told(result)


def test_a_head_without_a_null_space_is_refused_before_the_pass(place, pictures, tmp_path, undrawn):
    options = ("--model", "timm/test_resnet", "--checkpoint", place / "thousand.pt")
    result = study(place, pictures, tmp_path, *options, "--limit", 9)
    assert result.exit_code == 1 and f"of a rank below its width of {WIDTH}" in result.stderr
    assert "extract" not in result.stderr and not list(tmp_path.iterdir())
    result = study(place, pictures, tmp_path, *options, "--limit", 9, "--energy", 0.9)
    assert result.exit_code == 0, result.output
    assert "approximate" in told(result)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo")
    result = run("study", "--demo", "--model", "demo/resnet/neck_color", "--limit", 300,
                 "--draws", 100, "--output", output)  # fmt: skip
    assert result.exit_code == 0, result.output
    return result, output


def test_the_demo_finds_what_was_planted(demo):
    result, output = demo
    found = Study.load(output)
    assert len(found) == 300 and found.in_sample == 0
    groups = found.groups[found.groups["level"] == "(model)"].set_index("group")
    assert list(groups.index[groups["starred"]]) == ["color"]
    assert set(groups.index) == {"shape", "color", "background", "texture", "size", "position"}
    plots = {*OF_LABELS, *OF_ALL, "evidence.png", "steered.png"}
    assert plots <= plots_in(output)
    row = next(line for line in result.stdout.splitlines() if line.startswith("color"))
    assert "1.00 [" in row and "0.89" in row and "*" in row


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "PLACE:nowhere"], "nowhere, which does not exist"),
        (["--images", "PLACE:model"], "with 2 other files"),
        (["--output", "PLACE:words.txt/out"], "--output to be a folder that can be made and"),
        (["--cache", "PLACE:words.txt"], "--cache to be a folder that can be made and written"),
        (["--model", "timm/resnet5O"], "The nearest names are"),
        (["--translator", "nothing"], "nothing, which does not exist"),
        (["--concepts", "colours"], "to be a file, or among attributes, imagenet, .*got 'colours'"),
        (["--encoder", "ViT-B-3:openai"], "ViT-B-3"),
        (["--encoder", "demo"], "of the translator's encoder|encoder that of the translator"),
        (["--layer", "head"], r"Its last linear layers are .*'fc'"),
        (["--donor", "red/999.png"], r"--donor to be one of the 66 pictures, got red/999.png"),
        (["--energy", "1.5"], r"energy in \(0, 1\], got 1.5"),
        (["--device", "abacus"], "to be a device of this machine, got abacus"),
        (["--labels", "PLACE:nowhere.csv"], "--labels .*nowhere.csv: No such file"),
    ],
)
def test_one_line_exit_code_one_and_nothing_read(place, pictures, tmp_path, options, message):
    options = [
        str(place / one.removeprefix("PLACE:")) if one.startswith("PLACE:") else one
        for one in options
    ]
    result = study(place, pictures, tmp_path / "out", *options)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert re.search(message, result.stderr), result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the header has to name the column path, and one group or more"),
        ("path\nred/000.png", "line 1: the header has to name the column path, and one group"),
        ("path,taste\nred/000.png,sweet", "line 1, column 2: 'taste' is none of the groups color,"),
        ("path,place,place\na,b,c", "line 1, column 3: 'place' again"),
        ("path,place\nred/999.png,sea", "line 2, column 1: 'red/999.png' is no picture in"),
        ("place,path\n,red/000.png\nsky,red/003.png", "line 3, column 1: 'sky' is none of the wor"),
        ("path,place\nred/000.png,\nred/000.png,", "line 3, column 1: .* again, after line 2"),
        ("path,place\nred/000.png", "line 2: 1 columns, where the header has 2"),
        (b"path,place\nred/000.png,\xe9", "line 2, column 13: byte 0xe9 is no UTF-8"),
    ],
)
def test_what_is_wrong_in_labels_is_told_by_its_place(place, pictures, tmp_path, content, message):
    file = tmp_path / "labels.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = study(place, pictures, tmp_path / "out", "--labels", file)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert re.search(message, result.stderr), result.stderr


def test_a_translator_and_its_encoder_are_needed(place, pictures, tmp_path):
    given = ["study", "--images", pictures, "--output", tmp_path, "--model", place / "model"]
    result = run(*given)
    assert result.exit_code == 1 and "Fit one with captum-sing fit-translator" in result.stderr
    result = run(*given, "--translator", place / "translator.safetensors")
    assert result.exit_code == 1 and "Give --encoder MODEL:TAG" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --images DIR, or --demo"),
        (["--images", "x"], "give --model NAME, or --demo"),
        (["--demo", "--images", "x"], "--demo brings its own: leave out --images"),
        (["--demo", "--translator", "x"], "leave out --translator"),
        (["--demo", "--encoder", "demo", "--labels", "x"], "leave out --encoder and --labels"),
        (["--demo", "--draws", "9"], "--draws"),
        (["--demo", "--model", "demo/plain", "demo/spurious"], "unexpected extra argument"),
    ],
)
def test_wrong_use_is_exit_code_two(options, message, tmp_path):
    result = run("study", "--output", tmp_path, *options)
    assert result.exit_code == 2
    assert message in re.sub(r"\x1b\[[\d;]*m|[│\s]+", " ", result.stderr)


def test_the_demo_studies_models_of_its_world_alone(tmp_path):
    result = run("study", "--demo", "--model", "timm/test_resnet", "--output", tmp_path)
    assert result.exit_code == 1 and "models of the embedded world" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("--a 1 2 --b 3", "--a 1 --a 2 --b 3"),
        ("--a 1 --a 2", "--a 1 --a 2"),
        ("--a=1 2 --b=3 4", "--a=1 --a 2 --b=3 4"),
        ("--b 3 --a 1 2 3", "--b 3 --a 1 --a 2 --a 3"),
        ("--a --b 3 4", "--a --b 3 4"),
        ("0 --a 1", "0 --a 1"),
    ],
)
def test_several_values_after_one_option(arguments, wanted):
    assert spread(arguments.split(), {"--a"}) == wanted.split()
