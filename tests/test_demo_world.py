"""The embedded world: its generator, its words, its shipped weights."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch

from captum_sing.demo import (
    CLASSIFIERS,
    FACTORS,
    encode_scenes,
    load_classifier,
    load_concepts,
    load_decoder,
    load_encoder,
    load_translator,
    render_expected,
    sample_scenes,
)
from captum_sing.demo.captions import PROMPTS, caption, captions, vocabulary
from captum_sing.demo.models import make_backbone
from captum_sing.demo.world import WEIGHTS
from captum_sing.errors import SINGFileError, SINGNameError, SINGValueError
from captum_sing.null_space import NullSpace

FRESH = 500


@pytest.fixture(scope="module")
def scenes():
    return sample_scenes(FRESH, seed=4711)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def bank(encoder):
    return load_concepts(encoder)


@pytest.fixture(scope="module")
def embeddings(scenes, encoder):
    return encode_scenes(encoder, scenes.images)


def certain(labels):
    return {f: torch.eye(len(words))[labels[f]] for f, words in FACTORS.items()}


def named(embeddings, bank, factor):
    return (embeddings @ bank.embeddings[bank.indices(FACTORS[factor])].T).argmax(1)


def accuracy(named_, label):
    return (named_ == label).float().mean().item()


# --- the generator -------------------------------------------------------------------------------


def test_same_seed_same_images_other_seed_other_images():
    first, again, other = sample_scenes(300, 1), sample_scenes(300, 1), sample_scenes(300, 2)
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.labels[f], again.labels[f]) for f in FACTORS)
    assert not torch.equal(first.images, other.images)


def test_images_are_float32_in_the_unit_interval():
    images = sample_scenes(7, 3).images
    assert images.shape == (7, 3, 64, 64) and images.dtype == torch.float32
    assert 0.0 <= images.min() and images.max() <= 1.0


def test_no_word_belongs_to_two_factors():
    words = [word for values in FACTORS.values() for word in values]
    assert len(words) == len(set(words)) == 31


@pytest.mark.parametrize(("one", "other"), list(combinations(FACTORS, 2)))
def test_factors_are_uniform_and_independent(one, other):
    labels = sample_scenes(2000, 5).labels
    counts = torch.zeros(len(FACTORS[one]), len(FACTORS[other]))
    counts.index_put_((labels[one], labels[other]), torch.ones(2000), accumulate=True)
    expected = 2000 / counts.numel()
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    freedom = counts.numel() - 1
    assert abs(chi_squared - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("factor", FACTORS)
def test_every_label_changes_the_picture_and_nothing_else_does(factor):
    pictures = [
        sample_scenes(8, 11, labels={factor: value}) for value in range(len(FACTORS[factor]))
    ]
    for one, other in combinations(pictures, 2):
        difference = (one.images - other.images).abs().amax(dim=(1, 2, 3))
        assert (difference > 0.15).all()
        for unchanged in set(FACTORS) - {factor}:
            assert torch.equal(one.labels[unchanged], other.labels[unchanged])
    again = sample_scenes(8, 11, labels={factor: 0})
    assert torch.equal(pictures[0].images, again.images)


def test_expected_rendering_is_the_mean_over_independent_factors():
    labels = {f: torch.zeros(1, dtype=torch.long) for f in FACTORS}
    posteriors = certain(labels)
    posteriors["position"] = torch.tensor([[0.0, 0.3, 0.7, 0.0, 0.0]])
    posteriors["texture"] = torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    posteriors["color"] = torch.tensor([[0.2] + [0.0] * 6 + [0.8]])
    slow = torch.zeros(1, 3, 64, 64)
    for position in (1, 2):
        for texture in (0, 2):
            for color in (0, 7):
                one = labels | {
                    "position": torch.tensor([position]),
                    "texture": torch.tensor([texture]),
                    "color": torch.tensor([color]),
                }
                weight = (
                    posteriors["position"][0, position]
                    * posteriors["texture"][0, texture]
                    * posteriors["color"][0, color]
                )
                slow += weight * render_expected(certain(one))
    assert torch.allclose(render_expected(posteriors), slow, atol=1e-5)


def test_expected_rendering_of_certain_labels_looks_like_the_scene(scenes):
    drawn = render_expected(certain(scenes.labels))
    own = (drawn - scenes.images).abs().mean()
    others = (drawn.roll(1, 0) - scenes.images).abs().mean()
    assert own < 0.3 * others


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 0}, SINGValueError, r"count to be at least 1, got 0"),
        ({"labels": {"flavor": 0}}, SINGNameError, r"factors in \['shape'.*got 'flavor'"),
        ({"labels": {"color": 8}}, SINGValueError, r"labels\['color'\].*below 8.*values \[8\]"),
        ({"labels": {"color": torch.zeros(3)}}, SINGValueError, r"of shape \(4,\).*\(3,\)"),
    ],
)
def test_bad_requests_for_scenes(arguments, error, message):
    with pytest.raises(error, match=message):
        sample_scenes(**({"count": 4, "seed": 0} | arguments))


# --- the words -----------------------------------------------------------------------------------


def test_captions_say_what_is_true_in_known_words(scenes):
    rng = random.Random(0)
    known, every = set(vocabulary()), {w for values in FACTORS.values() for w in values}
    for index in range(FRESH):
        truth = scenes.words(index)
        said = caption(truth, rng).split()
        assert set(said) <= known
        assert set(said) & every <= set(truth.values())


def test_captions_leave_attributes_out_and_often_name_one_alone(scenes):
    labels = {f: label.tolist() for f, label in scenes.labels.items()}
    every = {w for values in FACTORS.values() for w in values}
    counts = [len(set(c.split()) & every) for c in captions(labels, random.Random(1))]
    assert set(counts) >= {1, 2, 3, 4, 5, 6}
    assert 0.1 < counts.count(1) / len(counts) < 0.5


def test_articles_agree():
    rng = random.Random(2)
    said = [caption(dict.fromkeys(FACTORS, "") | {"color": "orange"}, rng) for _ in range(200)]
    assert any("an orange shape" in text for text in said)
    assert not any("a orange" in text for text in said)


def test_prompts_use_known_words():
    words = {w for templates in PROMPTS.values() for t in templates for w in t.split()}
    assert words - {"{}"} <= set(vocabulary())


# --- the shipped weights -------------------------------------------------------------------------


def test_weights_are_small():
    assert sum(p.stat().st_size for p in WEIGHTS.rglob("*") if p.is_file()) < 10_000_000


@pytest.mark.parametrize(
    ("factor", "least"),
    [
        ("shape", 0.97),
        ("color", 0.97),
        ("background", 0.97),
        ("size", 0.97),
        ("texture", 0.95),
        ("position", 0.95),
    ],
)
def test_clip_names_every_factor(scenes, embeddings, bank, factor, least):
    assert accuracy(named(embeddings, bank, factor), scenes.labels[factor]) >= least


def test_swapped_words_are_wrong(scenes, embeddings, encoder):
    swapped = {"red": "blue", "blue": "red"}
    bank = load_concepts(encoder)
    rows = bank.indices([swapped.get(word, word) for word in FACTORS["color"]])
    wrong = (embeddings @ bank.embeddings[rows].T).argmax(1)
    assert 0.6 < accuracy(wrong, scenes.labels["color"]) < 0.9


def test_an_unknown_word_is_refused(encoder):
    with pytest.raises(SINGValueError, match="'a crimson star'"):
        encoder.encode_text(["a crimson star"])


LEAST = {"spurious": 0.2, "color_hidden": 0.9, "plain": 0.93, "plain_convnext": 0.93}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_load_and_name_shapes(name, scenes):
    model = load_classifier(name)
    with torch.no_grad():
        logits = model(scenes.images)
    assert not model.training and logits.dtype == torch.float32
    assert accuracy(logits.argmax(1), scenes.labels["shape"]) >= LEAST.get(name, 0.9)
    assert isinstance(model.head, torch.nn.Linear)


def test_the_spurious_classifier_goes_by_color(scenes):
    model = load_classifier("spurious")
    with torch.no_grad():
        tied = sample_scenes(
            FRESH, 12, labels={f: torch.arange(FRESH) % 8 for f in ("shape", "color")}
        )
        easy = accuracy(model(tied.images).argmax(1), tied.labels["shape"])
        hard = accuracy(model(scenes.images).argmax(1), scenes.labels["shape"])
    assert easy > 0.95 and hard < easy - 0.15


@pytest.mark.parametrize("name", [n for n, c in CLASSIFIERS.items() if c.planted is not None])
def test_ignored_evidence_is_exactly_what_was_planted(name, scenes, bank):
    """After a swap of null parts the planted factors are named as the donor's; shape stays."""
    model, translator = load_classifier(name), load_translator(name)
    null_space = NullSpace.from_layer(model.head)
    assert (null_space.rank, null_space.nullity) == (7, 57)
    with torch.no_grad():
        features = model.features(scenes.images).double()
    donor = features.roll(1, 0)
    swapped = features - null_space.project(features - donor)
    before, after = translator(features), translator(swapped)
    for factor in CLASSIFIERS[name].planted:
        truth = scenes.labels[factor].roll(1, 0)
        assert accuracy(named(after.float(), bank, factor), truth) >= 0.95
    shape = scenes.labels["shape"]
    kept = [accuracy(named(z.float(), bank, "shape"), shape) for z in (before, after)]
    assert abs(kept[0] - kept[1]) <= 0.02


def test_decoded_pictures_are_recognised(scenes, embeddings, encoder, bank):
    again = encode_scenes(encoder, load_decoder()(embeddings))
    for factor in FACTORS:
        least = 0.85 if factor == "texture" else 0.9
        assert accuracy(named(again, bank, factor), scenes.labels[factor]) >= least


def test_the_mean_embedding_tells_nothing():
    decoder = load_decoder()
    for name, posterior in decoder.posteriors(decoder.mean[None]).items():
        assert torch.allclose(posterior, torch.full_like(posterior, 1 / len(FACTORS[name])))


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_classifier, load_translator])
def test_unknown_names_are_answered_with_the_choices(load):
    with pytest.raises(SINGNameError, match=r"'resnet/neck_color'.*got 'resnet50'"):
        load("resnet50")


def test_unknown_architecture():
    with pytest.raises(SINGNameError, match=r"in \['resnet', 'convnext'\], got 'vgg'"):
        make_backbone("vgg")


def test_images_of_another_size():
    with pytest.raises(SINGValueError, match=r"\(B, 3, 64, 64\), got \(2, 3, 32, 32\)"):
        load_classifier("plain")(torch.zeros(2, 3, 32, 32))


def test_embeddings_of_another_width():
    with pytest.raises(SINGValueError, match=r"\(B, 64\), got \(1, 512\)"):
        load_decoder()(torch.zeros(1, 512))


LOADERS = {
    "plain.safetensors": lambda folder: load_classifier("plain", folder=folder),
    "resnet/backbone.safetensors": lambda f: load_classifier("resnet/neck_size", folder=f),
    "resnet/neck_size.safetensors": lambda f: load_classifier("resnet/neck_size", folder=f),
    "translators/plain.safetensors": lambda folder: load_translator("plain", folder=folder),
    "decoder.safetensors": lambda folder: load_decoder(folder=folder),
    "clip/open_clip_model.safetensors": lambda folder: load_encoder(folder=folder),
}


@pytest.fixture
def folder(tmp_path):
    """The shipped weights as links, for a test to replace some of them."""
    return Path(shutil.copytree(WEIGHTS, tmp_path / "weights", copy_function=os.symlink))


@pytest.mark.parametrize("damage", ["missing", "truncated", "another"])
@pytest.mark.parametrize("file", LOADERS)
def test_missing_truncated_and_mistaken_files(file, damage, folder):
    path = folder / file
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-1000])
    elif damage == "another":
        mistaken = "spurious" if file.startswith("translators") else "translators/spurious"
        os.symlink(WEIGHTS / f"{mistaken}.safetensors", path)
    with pytest.raises(SINGFileError, match="expected"):
        LOADERS[file](folder)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    LOADERS[file](folder)


def test_weights_of_another_model(folder):
    path = folder / "plain.safetensors"
    path.unlink()
    os.symlink(WEIGHTS / "plain_convnext.safetensors", path)
    with pytest.raises(SINGFileError, match="missing or unknown entries"):
        load_classifier("plain", folder=folder)


def test_importing_the_world_is_light():
    code = (
        "import sys, captum_sing.demo; "
        "print([m for m in ('timm', 'open_clip', 'transformers') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
