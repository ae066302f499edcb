"""A study's rows are the numbers of ``SING.attribute``; its names those of the controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from study_toys import ENCODER, folder_of_pictures, pictures, toy_classifier, whole
from study_world import NAME, scenes_extraction, scenes_study

from captum_sing import SING, ConceptBank, LinearTranslator, NullSpace, TranslatorFitter
from captum_sing.angles import angle
from captum_sing.classifiers import LoadedClassifier, load_classifier
from captum_sing.controls import name, naming_sources
from captum_sing.demo import load_concepts, load_encoder, load_translator
from captum_sing.errors import (
    NoNullSpaceError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.study import Extraction, Study, run_study, study_of
from captum_sing.study.labels import label_names
from captum_sing.testing import ToyClassifier, ToyEncoder

BANK = ConceptBank.from_words(
    ["cat", "dog", "red", "blue"],
    ENCODER,
    groups={"animal": ("cat", "dog"), "color": ("red", "blue")},
)


def toy_translator(count: int = 60, first: int = 1000, **options: Any) -> LinearTranslator:
    """Fitted to the toy classifier, on pictures that no study sees unless asked."""
    batch = torch.stack([ENCODER.preprocess(picture) for picture in pictures(count, first)])
    features = toy_classifier().model.features(batch)
    return (
        TranslatorFitter(encoder=ENCODER.name, **options)
        .update(features, ENCODER.encode_image(batch))
        .fit()
    )


def toy_study(images: Any, **options: Any) -> Study:
    given = {"translator": toy_translator(), "encoder": ENCODER, "show_progress": False, **options}
    model = given.pop("model", None) or toy_classifier()
    return run_study(model, images, given.pop("concepts", BANK), **given)


@pytest.fixture(scope="module")
def demo() -> Any:
    extraction, words = scenes_extraction(70)
    bank, translator = load_concepts(load_encoder()), load_translator(NAME)
    donor = extraction.names[3]
    study = study_of(extraction, bank, translator, word_labels=words, donor=donor, draws=200)
    return extraction, bank, translator, study


@pytest.mark.parametrize("baseline", ["none", "mean", "conditional", "swap"])
def test_rows_are_those_of_attribute(demo: Any, baseline: str) -> None:
    """From the pictures themselves, through the model, in one batch."""
    from torchvision.transforms.functional import to_pil_image

    from captum_sing.demo import sample_scenes

    _, bank, translator, study = demo
    loaded = load_classifier(f"demo/{NAME}")
    scenes = sample_scenes(70, seed=5)
    batch = torch.stack([loaded.preprocess(to_pil_image(image)) for image in scenes.images])
    sing = SING(loaded.model, "head", translator, bank)
    given = {"none": None, "swap": batch[3:4]}.get(baseline, baseline)
    found = sing.attribute(batch, given).descriptions
    start = "" if baseline == "none" else f"{baseline}_"
    table = study.table

    def near(column: str, wanted: Any, atol: float) -> None:
        np.testing.assert_allclose(table[column], wanted.numpy(), atol=atol, rtol=0)

    near(f"{start}image_score", found.image_score, 1e-5)
    near(f"{start}null_energy", found.null_energy, 1e-6)
    shapes = [bank.names.index(word) for word in table["label"]]
    near(f"{start}attribute_score", found.attribute_score[range(70), shapes], 1e-5)
    start = start if baseline in ("conditional", "swap") else ""
    for i, word in enumerate(bank.names):
        near(f"{start}ignored_{word}", found.ignored[:, i], 1e-5)
        near(f"{start}seen_{word}", found.seen[:, i], 1e-5)
    if baseline == "none":
        original = translator(loaded.model.features(batch))
        for i, word in enumerate(bank.names):
            near(f"attribute_score_{word}", found.attribute_score[:, i], 1e-5)
            near(f"angle_{word}", angle(original, bank.embeddings[i]), 1e-4)
    assert (table["in_sample"].to_numpy() == found.in_sample.numpy()).all() or baseline == "swap"


def test_names_are_those_of_the_controls(demo: Any) -> None:
    extraction, bank, translator, study = demo
    block = whole(extraction)
    space = NullSpace.from_weight(extraction.head.weight())
    sources = naming_sources(block.features, space, translator)
    sources["encoder"] = block.embeddings.double()
    for group, words in bank.groups.items():
        texts = bank.embeddings[bank.indices(words)]
        for source, translated in sources.items():
            wanted = [words[i] for i in name(translated, texts)]
            key = f"named_{group}_{source.replace(', ', '_')}"
            assert study.table[key].tolist() == wanted, key
    assert (study.table["named_color_ignored"] == study.table["own_color"]).mean() > 0.9
    assert (study.table["named_color_seen"] == study.table["own_color"]).mean() < 0.4


def test_finds_what_is_planted_and_nothing_else() -> None:
    study = scenes_study(240)
    groups = study.groups[study.groups["level"] == "(model)"].set_index("group")
    assert groups["starred"].to_dict() == {"shape": False, "color": True, "background": False}
    assert groups.loc["color", "share"] > 0.9 and groups.loc["shape", "share"] < 0.2
    assert groups.loc["background", "share_note"].startswith("no share: the total contrast")
    assert (groups["chance"] == study.facts["nullity"] / 64).all()
    starred = study.word_tests[study.word_tests["starred"]]
    assert set(starred["group"]) == {"color"} and len(starred) == 8
    assert study.facts["quality"]["whole"]["r2"] > study.facts["quality"]["null"]["r2"]
    assert "color: " in str(study) and "z = " in str(study)


def test_says_paths_labels_and_predictions(tmp_path: Path) -> None:
    """Of folders named as words, with a broken file among them."""
    root = folder_of_pictures(tmp_path / "images", 12)
    (root / "cat" / "00004.png").write_bytes(b"")
    study = toy_study(root)
    assert len(study) == 11 and len(study.facts["unusable"]) == 1
    assert [Path(path).name for path in study.table["path"][:3]] == [
        "00000.png",
        "00002.png",
        "00006.png",
    ]
    assert study.table["label"].tolist() == ["cat"] * 5 + ["dog"] * 6
    assert study.table["own_animal"].tolist() == study.table["label"].tolist()
    assert set(study.table["prediction"]) <= {"a", "b", "c", "d"}
    assert study.table["attribute_score"].notna().all()
    assert "own_color" not in study.table


def test_a_sing_brings_its_parts(tmp_path: Path) -> None:
    """Also another null space than the exact one."""
    root, loaded = folder_of_pictures(tmp_path / "images", 10), toy_classifier()
    translator = toy_translator()
    plain = toy_study(root, translator=translator)
    sing = SING(loaded.model, None, translator, BANK, encoder=ENCODER)
    options = {"preprocess": loaded.preprocess, "show_progress": False}
    study = run_study(sing, root, **options)
    np.testing.assert_array_equal(study.table["image_score"], plain.table["image_score"])
    space = NullSpace.from_layer(loaded.model.head, classes=[0])
    wider = SING(loaded.model, "head", translator, BANK, encoder=ENCODER, null_space=space)
    kept = run_study(wider, root, **options)
    assert (
        kept.facts["nullity"] == 11
        and (kept.table["null_energy"] > plain.table["null_energy"]).all()
    )
    assert "Only the logits of classes [0] are kept." in kept.facts["notes"]


def test_words_that_were_not_asked_are_left_out(tmp_path: Path) -> None:
    study = toy_study(folder_of_pictures(tmp_path / "images", 10), words=["cat", "dog", "red"])
    assert "ignored_red" in study.table and "ignored_blue" not in study.table
    assert set(study.words["word"]) == {"cat", "dog", "red"}
    assert set(study.groups["group"]) == {"animal"}


def test_the_translators_own_images_are_marked(tmp_path: Path) -> None:
    """By content, though the translator saw them in another batch."""
    root = folder_of_pictures(tmp_path / "images", 30)
    study = toy_study(root, translator=toy_translator(count=20, first=0))
    own = {f"{number:05d}.png" for number in range(20)}
    assert {Path(p).name for p in study.table["path"][study.table["in_sample"]]} == own
    assert study.groups["n"].max() == 10 and study.statistics["n"].max() == 10
    assert study.facts["quality"]["count"] == 10
    assert "fitted on 20 of 30 images" in study.facts["notes"][0]
    silent = toy_study(root, translator=toy_translator(count=20, first=0, remember=False))
    assert "keeps no record" in silent.facts["notes"][0]
    everything = toy_study(root, translator=toy_translator(count=30, first=0))
    assert everything.facts["notes"][0].startswith("In-sample, not tested")
    assert everything.groups["p"].isna().all() and everything.facts["quality"] is None


def test_without_labels_there_is_no_class_level() -> None:
    study = toy_study(pictures(12))
    assert set(study.statistics["level"]) == {"(model)"} == set(study.words["level"])
    assert not len(study.groups) and not len(study.naming) and not len(study.word_tests)
    said = [note for note in study.facts["notes"] if "no labels" in note]
    assert len(said) == 1
    assert "evidence is in the table, and nothing is tested" in " ".join(study.facts["notes"])


def test_without_statistics_there_are_angles_alone(tmp_path: Path) -> None:
    fitted = toy_translator()
    bare = LinearTranslator(fitted.weight, fitted.origin, fitted.image)
    study = toy_study(folder_of_pictures(tmp_path / "images", 10), translator=bare)
    assert study.facts["baselines"] == ["none"] and not any("ignored_" in c for c in study.table)
    assert not len(study.groups) and not len(study.words)
    assert "no statistics" in " ".join(study.facts["notes"])


def test_labels_have_unique_names() -> None:
    assert label_names([0, 2, -1, "owl", None], ["a", "b", "c"]) == ["a", "c", None, "owl", None]
    with pytest.raises(SINGValueError, match=r"labels from -1 \(unknown\) to 3, .* got 0 to 7"):
        toy_study([(picture, 7 * place) for place, picture in enumerate(pictures(2))])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoder": None}, SINGTypeError, "expected encoder to be given"),
        ({"translator": None}, SINGTypeError, "expected translator to be given"),
        ({"encoder": ToyEncoder(seed=1)}, SINGValueError, "Two encoders are two spaces"),
        ({"words": ["cow"]}, SINGNameError, "expected words among"),
        ({"word_labels": {"size": []}}, SINGNameError, "for groups among"),
        ({"word_labels": {"color": ["red"]}}, SINGValueError, "for 4 images, got 1"),
        ({"word_labels": {"color": ["red", "cat", "blue", None]}}, SINGValueError, "got .'cat'"),
        ({"donor": "nobody"}, SINGNameError, "a usable image of the collection"),
        ({"donor": torch.zeros(3)}, SINGValueError, "expected donor finite and of shape"),
        ({"model": ToyClassifier()}, SINGTypeError, "expected preprocess to be given"),
        ({"model": "toy"}, SINGTypeError, "expected model to be a LoadedClassifier"),
        ({"draws": 5}, SINGValueError, "expected draws of at least 100"),
    ],
)
def test_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        toy_study(pictures(4), **options)


def test_refuses_a_translator_of_another_model_or_preprocessing() -> None:
    for fact in ("model", "preprocessing"):
        translator = toy_translator()
        translator.facts[fact] = "another"
        with pytest.raises(SINGValueError, match=f"translator of {fact} .* got one of another"):
            toy_study(pictures(4), translator=translator)


def test_refuses_a_head_that_sees_everything_before_any_network_runs() -> None:
    class Full(ToyClassifier):
        def forward(self, images: Any) -> Any:
            raise AssertionError("the model ran")

    model = LoadedClassifier(Full(classes=20).eval(), ENCODER.preprocess, None, "full")
    with pytest.raises(NoNullSpaceError, match="rank 12"):
        toy_study(pictures(4), model=model, layer="head")


def untouched() -> LoadedClassifier:
    """A classifier that must not run."""

    class Still(ToyClassifier):
        def forward(self, images: Any) -> Any:
            raise AssertionError("the model ran")

    return LoadedClassifier(Still().eval(), ENCODER.preprocess, ("a", "b", "c", "d"), "toy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 5}, "expected draws of at least 100"),
        ({"words": ["cow"]}, "expected words among"),
        ({"word_labels": {"size": []}}, "for groups among"),
        ({"word_labels": {"color": ["red"]}}, "for 4 images, got 1"),
        ({"word_labels": {"color": ["red", "cat", "blue", None]}}, "got .'cat'"),
        ({"donor": "nobody"}, "a usable image of the collection"),
        ({"images": [(picture, 77) for picture in pictures(4)]}, "got 77 to 77"),
    ],
)
def test_refuses_before_any_network_runs(options: dict[str, Any], message: str) -> None:
    options = dict(options)
    images = options.pop("images", pictures(4))
    with pytest.raises((SINGNameError, SINGValueError), match=message):
        toy_study(images, model=untouched(), layer="head", **options)
    wrong = toy_translator()
    wrong.facts["model"] = "another"
    with pytest.raises(SINGValueError, match="translator of model toy, got one of another"):
        toy_study(pictures(4), model=untouched(), layer="head", translator=wrong)


@pytest.mark.parametrize("kind", ["no record", "float16"])
@pytest.mark.slow
def test_no_stars_where_it_is_not_known_what_the_translator_saw(kind: str) -> None:
    extraction, words = scenes_extraction(600)
    bank, translator = load_concepts(load_encoder()), load_translator(NAME)
    if kind == "no record":
        translator.record = None
    else:
        block = whole(extraction)
        extraction = Extraction.from_tensors(
            block.features.half(), block.embeddings, extraction.head, labels=extraction.labels,
            class_names=extraction.class_names, encoder=extraction.facts["encoder"],
        )  # fmt: skip
        translator.facts["model"] = translator.facts["preprocessing"] = None
    options: dict[str, Any] = {"word_labels": words, "draws": 100}
    silent = study_of(extraction, bank, translator, **options)
    told = study_of(extraction, bank, translator, held_out=True, **options)
    for frame in ("groups", "shares", "beyond", "word_tests", "naming"):
        assert not getattr(silent, frame)["starred"].any(), frame
        assert getattr(silent, frame)["note"].notna().all(), frame
    assert (silent.image_tests["starred"] == "").all()
    assert any(note.startswith("No stars: ") for note in silent.facts["notes"])
    assert told.groups["starred"].any() and told.word_tests["starred"].sum() >= 8
    assert (told.image_tests["starred"] != "").any() and told.facts["not_held_out"] is None


def test_quality_is_that_of_images_from_all_over_the_collection() -> None:
    """Folders come in the order of their classes."""
    generator = torch.Generator().manual_seed(0)
    features, embeddings = (torch.randn(6000, w, generator=generator) for w in (12, 6))
    embeddings[3000:, :] = features[3000:, :6]  # what the second half tells
    translator = TranslatorFitter(encoder="e").update(features + 1, features[:, :6]).fit()
    extraction = Extraction.from_tensors(features, embeddings, torch.eye(4, 12), encoder="e")
    bank = ConceptBank(("a", "b"), torch.randn(2, 6, generator=generator), {"g": ("a", "b")})
    quality = study_of(extraction, bank, translator, draws=100).facts["quality"]
    assert quality["count"] == 2000
    wanted = translator.evaluate(features[::3], embeddings[::3])
    assert quality["whole"]["r2"] == pytest.approx(wanted.whole.r2)


@pytest.mark.parametrize(
    ("count", "colors"),
    [
        (1, ["red"]),
        (2, ["red", "red"]),
        (12, ["red"] * 12),
        (8, ["red", *[None] * 7]),
        (4, [None] * 4),
    ],
)
def test_whatever_is_studied_can_be_saved(tmp_path: Path, count: int, colors: Any) -> None:
    """JSON holds no NaN and no infinity; what is read back says the same."""
    labelled = [(picture, i % 4) for i, picture in enumerate(pictures(count))]
    study = toy_study(labelled, word_labels={"color": colors})
    again = Study.load(study.save(tmp_path))
    assert again.to_dict() == study.to_dict()
    assert again.table["own_color"].tolist() == study.table["own_color"].tolist() or None in colors
    assert len(json.loads((tmp_path / "study.json").read_text())["statistics"]) > 0
