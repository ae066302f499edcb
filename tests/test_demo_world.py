"""The embedded world's shipped weights: what they reach, and what happens without them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
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
    sample_scenes,
)
from captum_sing.demo.captions import captions
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


def named(embeddings, bank, factor):
    return (embeddings @ bank.embeddings[bank.indices(FACTORS[factor])].T).argmax(1)


def accuracy(named_, label):
    return (named_ == label).float().mean().item()


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


def test_the_encoder_knows_every_caption(scenes, encoder):
    labels = {f: label.tolist() for f, label in scenes.labels.items()}
    texts = captions(labels, random.Random(3))  # an unknown word would be an error
    assert encoder.encode_text([*texts, "A photo of a red."]).shape == (FRESH + 1, 64)


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
def test_necks_see_seven_of_64_directions(name):
    null_space = NullSpace.from_layer(load_classifier(name).head)
    assert (null_space.rank, null_space.nullity) == (7, 57)


def test_decoded_pictures_are_recognised(scenes, embeddings, encoder, bank):
    again = encode_scenes(encoder, load_decoder()(embeddings))
    for factor in FACTORS:
        least = 0.8 if factor == "texture" else 0.9
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


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 3, 64, 100), (2, 1, 64, 64), (3, 64, 64)])
def test_images_of_another_size(shape):
    with pytest.raises(SINGValueError, match=r"\(B, 3, 64, 64\), or a mosaic .*, got \("):
        load_classifier("plain")(torch.zeros(shape))


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
