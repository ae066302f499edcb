"""`analyze` on what people have: the authors' files, other libraries' models, several heads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from command import EMBEDDING, WIDTH, analyze, numbers, run
from PIL import Image
from tiny_models import write_classifier

from captum_sing import SING, ConceptBank, LinearTranslator, NullSpace
from captum_sing.classifiers import load_classifier, load_image
from captum_sing.cli.analyzing import as_seen
from captum_sing.hooks import read_features

AUTHORS = Path(__file__).parents[2] / "shared" / "data" / "authors"
needs_authors = pytest.mark.skipif(
    not AUTHORS.is_dir(), reason="the authors' files are not in ../shared/data/authors"
)


def bare_translator(folder, width, **facts):
    """One without statistics, in the space of the place's words."""
    weight = torch.randn(EMBEDDING, width, generator=torch.Generator().manual_seed(0))
    translator = LinearTranslator(
        weight, torch.zeros(width), torch.ones(EMBEDDING), facts={"model": None, **facts}
    )
    return translator.save(folder / "bare.safetensors")


def on_one_line(result):
    return " ".join(result.output.split())


# --- a translator without statistics ------------------------------------------------------------


def test_without_statistics_what_is_missing_is_said(place, tmp_path):
    result = analyze(place, "--translator", bare_translator(tmp_path, WIDTH), output=tmp_path)
    assert result.exit_code == 0, result.output
    said = on_one_line(result)
    assert "Statistics: none, so there is no evidence, no centred score and no word." in said
    assert "--reference DIR" in said
    assert said.count("No word is named, for want of reference statistics") == 3
    assert "fitted to a model that is not recorded, in the space of an encoder that is" in said
    found = numbers(tmp_path, ".")
    assert found["translator"]["statistics"] is False and found["translator"]["reference"] is None
    assert found["translator"]["model"] == found["translator"]["encoder"] == "not recorded"
    for image in found["images"]:
        assert image["ignored"] is image["together"] is image["centred_image_score"] is None
        assert image["image_score"] > 0
        assert set(image["words"]["red"]) == {"attribute_score"}


def turned(pictures, folder, count=51):
    """So many different pictures out of a few, in a folder and a deeper one."""
    (folder / "deeper").mkdir(parents=True)
    whole = []
    for i in range(count):
        picture = load_image(pictures[i % len(pictures)]).rotate(7 * i)
        whole.append(folder / ("deeper" if i % 2 else "") / f"{i:02}.png")
        picture.save(whole[-1])
    return whole


def test_reference_images_give_them(place, tmp_path):
    """The same as by hand, from those of the folder's images that are whole."""
    folder = tmp_path / "reference"
    whole = turned([place / f"{letter}.png" for letter in "abc"], folder)
    (folder / "broken.jpeg").write_bytes(b"no picture")
    translator = bare_translator(tmp_path, WIDTH)
    result = analyze(
        place, "--translator", translator, "--reference", folder, output=tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    said = on_one_line(result)
    assert f"Statistics: of 51 images in {folder}, where 1 more could not be used; so few" in said
    found = numbers(tmp_path)
    assert found["translator"]["reference"]["images"] == 51
    assert "broken.jpeg" in found["translator"]["reference"]["left_out"][0]

    loaded = load_classifier(str(place / "model"))
    images = torch.stack([loaded.preprocess(load_image(path)) for path in sorted(whole)])
    features = read_features(loaded.model, loaded.model.fc, images)
    with_statistics = LinearTranslator.load(translator).with_statistics(features)
    bank = ConceptBank.load(place / "bank.safetensors")
    batch = torch.stack([loaded.preprocess(load_image(place / f"{i}.png")) for i in "abc"])
    sing = SING(loaded.model, "fc", with_statistics, bank)
    descriptions = sing.attribute(batch).descriptions
    few = descriptions.decompose()
    for i, image in enumerate(found["images"]):
        for t, word in enumerate(bank.names):
            expected = float(descriptions.ignored[i, t])
            assert image["words"][word]["ignored"] == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert [w["word"] for w in image["together"]["words"]] == list(few[i].words)
        assert image["together"]["explained"] == pytest.approx(few[i].explained, abs=1e-3)
        assert "alone explain" in said or "together explain" in said
    assert " common sd)" in said


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "with 0 other files"),
        ({"a.png": b"nothing"}, "50 readable images or more, got 0 in .*a.png: "),
        ({"a.png": None}, "50 readable images or more, got 1 in"),
        (None, "expected .* folder"),
    ],
)
def test_a_folder_that_gives_no_statistics(place, tmp_path, files, message):

    folder = tmp_path / "reference"
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            if content is None:
                Image.new("RGB", (9, 9)).save(folder / name)
            else:
                (folder / name).write_bytes(content)
    result = analyze(place, "--translator", bare_translator(tmp_path, WIDTH), "--reference", folder)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert re.search(message, result.stderr), result.stderr


def test_a_translator_with_statistics_keeps_them(place, tmp_path):
    turned([place / "a.png"], tmp_path / "reference")
    result = analyze(place, "--reference", tmp_path / "reference", output=tmp_path / "out")
    assert result.exit_code == 1
    assert "only for a translator without statistics, got one that has its own" in result.stderr
    assert not (tmp_path / "out").exists()


# --- pictures and their names -------------------------------------------------------------------


def test_names_that_are_no_formula_and_distinguish(place, tmp_path):
    for folder, name in (("cat", "price_$5^^_and_$6.png"), ("cat", "1.png"), ("dog", "1.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes((place / "a.png").read_bytes())
    images = sorted(tmp_path.glob("*/*.png"))
    result = analyze(place, images=images, output=tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in ("price_$5^^_and_$6.png: ", "cat/1.png: ", "dog/1.png: "):
        assert f"\n{name}" in result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "analysis.json", "analysis.png"
    }  # fmt: skip


def test_what_cannot_be_drawn_leaves_nothing_behind(place, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fails(*_, **__):
        raise RuntimeError("no ink")

    monkeypatch.setattr(Figure, "savefig", fails)
    analyze(place, output=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_picture_is_drawn_as_the_model_saw_it(place):
    loaded, picture = load_classifier(str(place / "model")), load_image(place / "a.png")
    seen = as_seen(loaded.preprocess(picture), picture, loaded.preprocess)
    steps = loaded.preprocess.transforms[:-1]  # but the normalisation
    expected = picture
    for step in steps:
        expected = step(expected)
    assert expected.dtype == torch.float32 and (seen - expected).abs().max() < 1e-5
    unknown = as_seen(torch.full((3, 4, 4), 2.0), picture, torch.nn.Identity())
    assert unknown is picture


# --- what belongs together ----------------------------------------------------------------------


def test_a_translator_of_other_preprocessing_is_refused(place, tmp_path):
    own = load_classifier(str(place / "model")).preprocessing
    path = bare_translator(tmp_path, WIDTH, preprocessing="Resize(5)")
    result = analyze(place, "--translator", path)
    assert result.exit_code == 1
    said = on_one_line(result)
    assert f"as this classifier does, {own}, got one for Resize(5)." in said
    path = bare_translator(tmp_path, WIDTH, preprocessing=own)
    result = analyze(place, "--translator", path, output=tmp_path)
    assert result.exit_code == 0, result.output
    assert numbers(tmp_path, ".")["model"]["preprocessing"] == own


def test_a_translator_of_another_layer_is_refused(place, tmp_path):
    result = analyze(place, "--translator", bare_translator(tmp_path, WIDTH, layer=["neck"]))
    assert result.exit_code == 1
    assert "reads, got one for neck. Name the layer it was fitted to" in on_one_line(result)


def test_a_translator_of_another_model_is_refused(place, tmp_path):
    result = analyze(place, "--translator", bare_translator(tmp_path, WIDTH, model="timm/other"))
    assert result.exit_code == 1
    assert "got one that was fitted to timm/other." in on_one_line(result)


def test_the_exact_weights_are_named(place, tmp_path):
    result = analyze(place, output=tmp_path)
    found, said = numbers(tmp_path, "."), on_one_line(result)
    translator = LinearTranslator.load(place / "translator.safetensors")
    assert found["model"]["name"] == load_classifier(str(place / "model")).name
    assert found["concepts"]["encoder"] == found["translator"]["encoder"] == translator.encoder
    for name in (found["model"]["name"], translator.encoder):
        assert name in said and "@" in name


def test_embedded_words_are_kept_for_the_next_time(place, tmp_path):
    words = ("--concepts", "colors", "--concepts", place / "words.txt")
    result = analyze(place, "--concepts", "seasons", "--encoder", f"local-dir:{place / 'clip'}",
                     output=tmp_path / "first")  # fmt: skip
    assert result.exit_code == 0, result.output
    saved = tmp_path / "first" / "concepts.safetensors"
    assert str(saved) in on_one_line(result)
    again = analyze(place, "--concepts", saved, output=tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert not (tmp_path / "again" / "concepts.safetensors").exists()
    first, second = numbers(tmp_path, "first"), numbers(tmp_path, "again")
    assert first["concepts"]["groups"] == {"season": ["spring", "summer", "autumn", "winter"]}
    assert first["images"] == second["images"]
    twice = analyze(place, *words, "--encoder", f"local-dir:{place / 'clip'}")
    assert "['blue', 'green', 'red'] again" in on_one_line(twice)


# --- several heads ------------------------------------------------------------------------------


def test_heads_that_are_averaged_are_analysed_jointly(place, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=20).eval()
    for head in (model.head, model.head_dist):
        torch.nn.init.normal_(head.weight)
    timm.models.save_for_hf(model, tmp_path / "model", safe_serialization=True)
    translator = bare_translator(tmp_path, 2 * 192)
    given = ("--model", tmp_path / "model", "--translator", translator)
    alone = analyze(place, *given, images=["a.png"])
    assert alone.exit_code == 1 and "['head', 'head_dist']" in on_one_line(alone)
    both = ("--layer", "head", "--layer", "head_dist")
    result = analyze(place, *given, *both, output=tmp_path / "out", images=["a.png"])
    assert result.exit_code == 0, result.output
    found = numbers(tmp_path)
    assert found["model"]["head"] == "head and head_dist"
    assert found["model"]["features"] == 384 and found["model"]["rank"] == 20
    assert "the mean of the heads head and head_dist" in on_one_line(result)
    drift = found["images"][0]["logit_drift"]
    assert drift["null"] < 1e-5 < 1e-3 < drift["random"]
    energy = analyze(place, *given, *both, "--energy", "0.5", images=["a.png"])
    assert energy.exit_code == 0, energy.output
    assert numbers(place)["model"]["rank"] < 20


# --- other libraries' models --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ViT", "ResNet"])
def test_a_classifier_of_transformers(place, tmp_path, kind):
    write_classifier(tmp_path / "model", kind)
    translator = bare_translator(tmp_path, 16)
    result = analyze(
        place, "--model", tmp_path / "model", "--translator", translator, output=tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    found = numbers(tmp_path)
    assert found["model"]["name"].startswith("transformers/model@")
    assert found["model"]["rank"] == 5 and found["model"]["nullity"] == 11
    assert all(image["logit_drift"]["null"] < 1e-5 for image in found["images"])


# --- the authors' files -------------------------------------------------------------------------


def authors(model, translator, output, *further):
    return run(
        "analyze", *sorted((AUTHORS / "samples").iterdir()), "--model", f"timm/{model}",
        "--checkpoint", output / "weights.pt", "--translator",
        AUTHORS / "translators" / translator / "linear", "--concepts",
        AUTHORS / "embeddings" / "attribute_embeddings_broden_style_fp16.npz",
        "--output", output, *further,
    )  # fmt: skip


def random_weights(model, folder):
    torch.manual_seed(0)
    made = timm.create_model(model)
    torch.save(made.state_dict(), folder / "weights.pt")
    return made


@needs_authors
@pytest.mark.slow
def test_four_photographs_and_the_authors_translator(tmp_path):
    """The full path; with random weights the numbers mean nothing."""
    model = random_weights("tf_efficientnet_b0", tmp_path)
    turned(sorted((AUTHORS / "samples").iterdir()), tmp_path / "reference", count=50)
    result = authors("tf_efficientnet_b0", "efficientnet", tmp_path, "--reference",
                     tmp_path / "reference")  # fmt: skip
    assert result.exit_code == 0, result.output
    found = numbers(tmp_path, ".")
    space = NullSpace.from_layer(model.classifier)
    assert found["model"]["nullity"] == space.nullity == 280
    assert found["translator"]["model"] == "not recorded"
    assert found["translator"]["encoder"] == found["concepts"]["encoder"]
    assert len(found["concepts"]["groups"]["words"]) == 173
    for image in found["images"]:
        assert len(image["words"]) == 173
        assert image["logit_drift"]["null"] < 1e-5 < 1e-2 < image["logit_drift"]["random"]
    images = found["images"]
    assert all(len(image["ignored"]) == 5 and image["together"] for image in images)
    totals = [w["seen"] + w["ignored"] for image in images for w in image["words"].values()]
    assert max(totals) > 0.5
    with Image.open(tmp_path / "analysis.png") as figure:
        assert figure.format == "PNG" and figure.height > figure.width


@needs_authors
@pytest.mark.slow
def test_the_authors_other_translator(tmp_path):
    random_weights("deit3_large_patch16_224", tmp_path)
    result = authors("deit3_large_patch16_224", "deit", tmp_path)
    assert result.exit_code == 0, result.output
    found = numbers(tmp_path, ".")
    assert found["model"]["nullity"] == 24
    assert all(image["ignored"] is None for image in found["images"])
    assert "Statistics: none" in result.output


@needs_authors
def test_an_authors_translator_of_another_width_is_refused(tmp_path):
    random_weights("resnet50", tmp_path)
    result = authors("resnet50", "efficientnet", tmp_path)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "head's input of width 2048, got one for width 1280." in result.stderr


@needs_authors
def test_the_authors_words_are_no_words_of_another_encoder(place):
    bank = AUTHORS / "embeddings" / "attribute_embeddings_broden_style_fp16.npz"
    result = analyze(place, "--concepts", bank)
    assert result.exit_code == 1
    assert f"of the translator's width {EMBEDDING}, got 768" in result.stderr
