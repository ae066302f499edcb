"""CLIP and SigLIP of transformers behind the same protocol, loaded whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import write_classifier, write_open_clip, write_two_towers
from torch import Tensor
from torch.nn.functional import normalize

from captum_sing import SING, ConceptBank, LinearTranslator, TranslatorFitter
from captum_sing.encoders import ImageTextEncoder, OpenCLIPEncoder, TransformersEncoder
from captum_sing.errors import SINGFileError, SINGNameError, SINGValueError

TEXTS = ["a red star", "blue moon", "photo"]
IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", params=["clip", "siglip"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A folder, and the model that was saved there."""
    folder = tmp_path_factory.mktemp(request.param) / "tiny"
    return folder, write_two_towers(folder, request.param)


@pytest.fixture(scope="module")
def encoder(made: tuple[Path, Any]) -> TransformersEncoder:
    return TransformersEncoder(str(made[0]))


@pytest.fixture
def copied(made: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "elsewhere" / "tiny"))


def test_gives_the_embeddings_of_transformers(
    made: tuple[Path, Any], encoder: TransformersEncoder
) -> None:
    """The whole model's own cosines, which it computes from the embeddings it normalises."""
    model = made[1]
    tokens = encoder._tokenizer(TEXTS, padding="max_length", max_length=10, return_tensors="pt")
    with torch.no_grad():
        out = model(input_ids=tokens["input_ids"], pixel_values=IMAGES)
    images, texts = encoder.encode_image(IMAGES), encoder.encode_text(TEXTS)
    for found, expected in ((images, out.image_embeds), (texts, out.text_embeds)):
        assert found.shape == (3, encoder.embedding_dim)
        assert found.dtype == torch.float32 and not found.requires_grad
        assert torch.allclose(normalize(found), expected, atol=1e-5)
        assert ((found.norm(dim=1) - 1).abs() > 1e-3).all()  # not normalised


def test_is_an_encoder_at_rest(encoder: TransformersEncoder) -> None:
    assert isinstance(encoder, ImageTextEncoder)
    assert not any(module.training for module in encoder.model.modules())
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert encoder.device == torch.device("cpu")


def test_preprocesses_as_its_processor(encoder: TransformersEncoder) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = encoder.preprocess(Image.fromarray(pixels))
    mean, std = (torch.tensor(getattr(encoder._processor, f"image_{k}")) for k in ("mean", "std"))
    expected = (torch.from_numpy(pixels) / 255 - mean) / std
    assert torch.allclose(found, expected.movedim(-1, 0), atol=1e-5)
    assert encoder.preprocess(Image.new("RGB", (40, 20))).shape == (3, 16, 16)


def test_half_weights_are_computed_in_float32(copied: Path) -> None:
    weights = {name: t.half() for name, t in load_file(copied / WEIGHTS).items()}
    save_file(weights, copied / WEIGHTS, {"format": "pt"})
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(settings | {"dtype": "float16"}))
    encoder = TransformersEncoder(str(copied))
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}
    assert encoder.encode_text(TEXTS).isfinite().all()


def test_long_texts_are_cut(encoder: TransformersEncoder) -> None:
    long = " ".join(["a red star"] * 10)
    assert encoder.encode_text([long]).isfinite().all()


@pytest.mark.parametrize("text", ["a crimson star", "Red"])
def test_refuses_words_that_mean_nothing_to_it(encoder: TransformersEncoder, text: str) -> None:
    with pytest.raises(SINGValueError, match=rf"in the vocabulary of transf.* got '{text}'"):
        encoder.encode_text(["a red star", text])


@pytest.mark.parametrize("texts", ["red", [], [1]])
def test_refuses_what_is_no_list_of_texts(encoder: TransformersEncoder, texts: Any) -> None:
    with pytest.raises(SINGValueError, match="TransformersEncoder.encode_text: expected texts"):
        encoder.encode_text(texts)


def test_the_name_is_the_content(made: tuple[Path, Any], copied: Path) -> None:
    name = TransformersEncoder(str(made[0])).name
    assert name.startswith("transformers/tiny@")
    assert TransformersEncoder(str(copied)).name == name
    weights = load_file(copied / WEIGHTS)
    weights["logit_scale"] = weights["logit_scale"] + 1
    save_file(weights, copied / WEIGHTS, {"format": "pt"})
    assert TransformersEncoder(str(copied)).name != name


# --- what goes wrong -----------------------------------------------------------------------------


def test_weights_that_lack_a_part(copied: Path) -> None:
    """Transformers warns, and goes on with random numbers."""
    weights = load_file(copied / WEIGHTS)
    missing = "text_model.final_layer_norm.weight"
    del weights[missing]
    save_file(weights, copied / WEIGHTS, {"format": "pt"})
    with pytest.raises(SINGFileError, match=rf"missing_keys \['{missing}'\]\. Check the files"):
        TransformersEncoder(str(copied))


def test_weights_of_another_architecture(copied: Path, tmp_path: Path) -> None:
    write_classifier(tmp_path / "vit", "ViT")
    shutil.copy(tmp_path / "vit" / WEIGHTS, copied / WEIGHTS)
    with pytest.raises(SINGFileError, match="missing_keys"):
        TransformersEncoder(str(copied))


def test_no_two_towers(tmp_path: Path, copied: Path) -> None:
    write_classifier(tmp_path / "resnet", "ResNet")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(copied / name, tmp_path / "resnet" / name)
    with pytest.raises(SINGValueError, match=r"\(ResNetModel\), which has no get_image_features"):
        TransformersEncoder(str(tmp_path / "resnet"))


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS])
def test_a_file_is_missing(copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    with pytest.raises(SINGFileError, match=rf"elsewhere/tiny without {missing}\. model.save_pre"):
        TransformersEncoder(str(copied))


def test_no_image_processor(copied: Path) -> None:
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(SINGFileError, match="to hold what AutoImageProcessor needs, got OSE"):
        TransformersEncoder(str(copied))


@pytest.mark.parametrize("source", ["no/such/folder", "/nowhere", "", "../tiny"])
def test_no_folder_and_no_name(source: str) -> None:
    with pytest.raises(SINGNameError, match="to be a folder, or the name of a repository"):
        TransformersEncoder(source)


def test_no_connection() -> None:
    with pytest.raises(SINGFileError, match="source nobody/nothing to .*and the connection"):
        TransformersEncoder("nobody/nothing")


# --- beside open_clip ----------------------------------------------------------------------------


def as_open_clip(model: Any) -> dict[str, Tensor]:
    """The weights of CLIP of transformers, as open_clip names them."""
    own, found = model.state_dict(), {}
    for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
        for i in range(1):
            layer, block = f"{tower}.encoder.layers.{i}.", f"{prefix}transformer.resblocks.{i}."
            for kind in ("weight", "bias"):
                parts = [own[f"{layer}self_attn.{x}_proj.{kind}"] for x in "qkv"]
                found[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
                for theirs, ours in (
                    ("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"),
                    ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
                ):  # fmt: skip
                    found[f"{block}{ours}.{kind}"] = own[f"{layer}{theirs}.{kind}"]
    for kind in ("weight", "bias"):
        found[f"visual.ln_pre.{kind}"] = own[f"vision_model.pre_layrnorm.{kind}"]
        found[f"visual.ln_post.{kind}"] = own[f"vision_model.post_layernorm.{kind}"]
        found[f"ln_final.{kind}"] = own[f"text_model.final_layer_norm.{kind}"]
    embeddings = "vision_model.embeddings."
    return found | {
        "visual.class_embedding": own[f"{embeddings}class_embedding"],
        "visual.positional_embedding": own[f"{embeddings}position_embedding.weight"],
        "visual.conv1.weight": own[f"{embeddings}patch_embedding.weight"],
        "visual.proj": own["visual_projection.weight"].T,
        "token_embedding.weight": own["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": own["text_model.embeddings.position_embedding.weight"],
        "text_projection": own["text_projection.weight"].T,
        "logit_scale": own["logit_scale"],
    }


def test_equals_open_clip_with_the_same_weights(tmp_path: Path) -> None:
    """With OpenAI's activation in both; and with the other one in open_clip it does not."""
    model = write_two_towers(tmp_path / "theirs", "clip", activation="quick_gelu")
    weights = {name: t.contiguous() for name, t in as_open_clip(model).items()}
    found = TransformersEncoder(str(tmp_path / "theirs"))
    gaps = {}
    for quick in (True, False):
        folder = write_open_clip(tmp_path / f"ours-{quick}", 1, quick_gelu=quick)
        save_file(weights, folder / "open_clip_model.safetensors")
        ours = OpenCLIPEncoder(f"local-dir:{folder}")
        gaps[quick] = max(
            (found.encode_image(IMAGES) - ours.encode_image(IMAGES)).abs().max(),
            (found.encode_text(TEXTS) - ours.encode_text(TEXTS)).abs().max(),
        )
    assert gaps[True] < 1e-4 and gaps[False] > 1e-2


def test_a_bank_of_one_library_is_refused_beside_a_translator_of_the_other(tmp_path: Path) -> None:
    write_two_towers(tmp_path / "clip", "clip")
    clips = (
        TransformersEncoder(str(tmp_path / "clip")),
        OpenCLIPEncoder(f"local-dir:{write_open_clip(tmp_path / 'open', 0)}"),
    )
    assert clips[0].embedding_dim == clips[1].embedding_dim == 12
    banks = [ConceptBank.from_words(["red", "blue"], clip, ["a {}"]) for clip in clips]
    translators = [translator_into(clip) for clip in clips]
    for i in (0, 1):
        SING(torch.nn.Linear(8, 3), None, translators[i], banks[i], encoder=clips[i])
        with pytest.raises(SINGValueError, match=f"{clips[i].name}, got {clips[1 - i].name}"):
            SING(torch.nn.Linear(8, 3), None, translators[i], banks[1 - i])
        with pytest.raises(SINGValueError, match="Two encoders are two spaces"):
            SING(torch.nn.Linear(8, 3), None, translators[i], banks[i], encoder=clips[1 - i])


def translator_into(encoder: ImageTextEncoder) -> LinearTranslator:
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    features = images.flatten(1)[:, :8]
    fitter = TranslatorFitter(alpha=1.0, encoder=encoder.name)
    return fitter.update(features, encoder.encode_image(images)).fit()
