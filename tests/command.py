"""A place with everything that the command line wants, and calls of it."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from captum_sing import ConceptBank, OpenCLIPEncoder, TranslatorFitter
from captum_sing.classifiers import load_classifier
from captum_sing.cli import app
from captum_sing.hooks import read_features

__all__ = ["CLASSES", "EMBEDDING", "GROUPS", "NAME", "WIDTH", "WORDS", "analyze", "furnish",
           "numbers", "run"]  # fmt: skip

NAME, CLASSES, WIDTH, EMBEDDING = "test_resnet", 20, 96, 16
WORDS = "color: red, green, blue\n\nplace: beach, forest\n sky\nsea\n"
GROUPS = {"color": ("red", "green", "blue"), "place": ("beach", "forest"), "words": ("sky", "sea")}


def tiny_clip(folder):
    """A CLIP of random weights in a folder, as open_clip saves one."""
    torch.manual_seed(0)
    config = {
        "embed_dim": EMBEDDING,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2,
                     "layers": 1},
    }  # fmt: skip
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"size": [32, 32]}})
    )
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return OpenCLIPEncoder(f"local-dir:{folder}")


def furnish(place):
    """Pictures, a classifier, an encoder, a translator that was fitted to both, and words."""
    torch.manual_seed(0)
    model = timm.create_model(NAME, num_classes=CLASSES).eval()
    timm.models.save_for_hf(model, place / "model", safe_serialization=True)
    torch.save(model.state_dict(), place / "weights.pt")
    torch.save(timm.create_model(NAME).state_dict(), place / "thousand.pt")
    encoder = tiny_clip(place / "clip")

    generator = np.random.default_rng(0)
    pictures = [
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((180, 180))
        for _ in range(120)
    ]
    for i, picture in enumerate(pictures[-3:]):
        picture.save(place / f"{'abc'[i]}.png")
    load = load_classifier(str(place / "model"))
    images = torch.stack([load.preprocess(picture) for picture in pictures[:-3]])
    features = read_features(load.model, load.model.fc, images, internal_batch_size=32)
    embeddings = encoder.encode_image(torch.stack([encoder.preprocess(p) for p in pictures[:-3]]))
    fitter = TranslatorFitter(encoder=encoder.name)
    fitter.update(features, embeddings).fit().save(place / "translator.safetensors")
    ConceptBank.from_words(
        [word for words in GROUPS.values() for word in words], encoder, groups=GROUPS
    ).save(place / "bank.safetensors")
    (place / "words.txt").write_text(WORDS)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def analyze(place, *arguments, output=None, images=("a.png", "b.png", "c.png")):
    given = [
        "analyze",
        *(place / image for image in images),
        "--output",
        output or place / "out",
        *arguments,
    ]
    for option, file in (("--model", "model"), ("--translator", "translator.safetensors")):
        if option not in arguments:
            given += [option, place / file]
    if "--concepts" not in arguments:
        given += ["--concepts", place / "bank.safetensors"]
    return run(*given)


def numbers(place, folder="out"):
    return json.loads((place / folder / "analysis.json").read_text())
