"""Any open_clip model, known by its weights; what cannot be loaded is said, and never executed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import WORDS, at_random, configuration, random_clip, write_open_clip

from captum_sing.concepts import ConceptBank
from captum_sing.encoders import ImageTextEncoder, OpenCLIPEncoder
from captum_sing.errors import SINGError, SINGFileError, SINGNameError, SINGValueError
from captum_sing.testing import ToyEncoder

ARCHITECTURE = "captum-sing-tiny"
IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("clips") / "tiny", seed=0)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> OpenCLIPEncoder:
    return OpenCLIPEncoder(f"local-dir:{folder}")


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("configurations") / f"{ARCHITECTURE}.json"
    settings = configuration()
    settings["text_cfg"] |= {"vocab_size": 49408, "context_length": 16}
    del settings["text_cfg"]["hf_tokenizer_name"]
    path.write_text(json.dumps(settings))
    open_clip.add_model_config(path)
    return ARCHITECTURE


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "elsewhere" / folder.name))


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


class TestFolder:
    def test_gives_open_clips_embeddings(self, folder: Path, encoder: OpenCLIPEncoder) -> None:
        reference = random_clip()
        reference.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a red star", "blue moon"])
        images = encoder.encode_image(IMAGES)
        texts = encoder.encode_text(["a red star", "blue moon"])
        with torch.no_grad():
            assert torch.allclose(images, reference.encode_image(IMAGES), atol=1e-5)
            assert torch.allclose(texts, reference.encode_text(tokens), atol=1e-5)
        assert encoder.embedding_dim == 12
        for embeddings in (images, texts):
            assert embeddings.dtype == torch.float32 and not embeddings.requires_grad
            assert ((embeddings.norm(dim=1) - 1).abs() > 1e-3).all()  # not normalised

    def test_is_an_encoder_at_rest(self, encoder: OpenCLIPEncoder) -> None:
        assert isinstance(encoder, ImageTextEncoder)
        assert isinstance(ToyEncoder(), ImageTextEncoder)
        assert not isinstance(encoder.model, ImageTextEncoder)
        assert not any(module.training for module in encoder.model.modules())
        assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
        assert encoder.device == torch.device("cpu")

    def test_preprocesses_as_configured(self, encoder: OpenCLIPEncoder) -> None:
        ramp = Image.linear_gradient("L").resize((40, 20))
        assert encoder.preprocess(ramp).shape == (3, 16, 16)
        white = encoder.preprocess(Image.new("RGB", (20, 20), "white"))
        assert torch.allclose(white, torch.ones(3, 16, 16))  # (1 - 0.5) / 0.5

    def test_texts_depend_on_words_and_their_order(self, encoder: OpenCLIPEncoder) -> None:
        one, other, swapped = encoder.encode_text(["red star", "red moon", "star red"])
        assert (one - other).norm() > 1e-2
        assert (one - swapped).norm() > 1e-3

    def test_many_texts_are_as_one_by_one(self, encoder: OpenCLIPEncoder) -> None:
        texts = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS]  # over two batches
        together = encoder.encode_text(texts)
        alone = torch.cat([encoder.encode_text([text]) for text in texts[250:262]])
        assert together.shape == (512, 12)
        assert torch.allclose(together[250:262], alone, atol=1e-5)

    def test_makes_concepts(self, encoder: OpenCLIPEncoder) -> None:
        bank = ConceptBank.from_words(["red", "blue"], encoder, ["a photo of a {}"])
        expected = encoder.encode_text(["a photo of a red", "a photo of a blue"])
        assert bank.encoder == encoder.name
        assert torch.allclose(bank.embeddings, torch.nn.functional.normalize(expected), atol=1e-6)

    @pytest.mark.parametrize("text", ["a crimson star", "Red", "red,blue"])
    def test_refuses_words_that_mean_nothing_to_it(
        self, encoder: OpenCLIPEncoder, text: str
    ) -> None:
        with pytest.raises(SINGValueError, match=rf"vocabulary of open_clip/tiny.* got '{text}'"):
            encoder.encode_text(["a red star", text])

    @pytest.mark.parametrize("texts", ["red", [], ()])
    def test_refuses_what_is_no_list_of_texts(self, encoder: OpenCLIPEncoder, texts: Any) -> None:
        with pytest.raises(SINGValueError, match="texts to be a list of one text or more"):
            encoder.encode_text(texts)


def test_siglip_in_a_folder(tmp_path: Path) -> None:
    """Its text tower reads both ways and pools the last token; its logits have a bias."""
    text = configuration()["text_cfg"] | {"no_causal_mask": True, "pool_type": "last"}
    folder = write_open_clip(tmp_path / "siglip", 0)
    settings = configuration() | {"text_cfg": text, "init_logit_bias": -10.0}
    path = folder / "open_clip_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"model_cfg": settings | {"custom_text": True}})
    )
    reference = at_random(open_clip.CustomTextCLIP(**settings))
    save_file(reference.state_dict(), folder / "open_clip_model.safetensors")
    encoder = OpenCLIPEncoder(f"local-dir:{folder}")
    texts = ["a red star", "blue moon"]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    with torch.no_grad():
        assert torch.allclose(encoder.encode_text(texts), reference.encode_text(tokens), atol=1e-5)
        assert torch.allclose(
            encoder.encode_image(IMAGES), reference.encode_image(IMAGES), atol=1e-5
        )


class TestName:
    def test_is_the_content_of_the_weights(
        self, encoder: OpenCLIPEncoder, copied: Path, tmp_path: Path
    ) -> None:
        assert encoder.name.startswith("open_clip/tiny@")
        assert OpenCLIPEncoder(f"local-dir:{copied}").name == encoder.name
        other = write_open_clip(tmp_path / "tiny", seed=1)
        assert OpenCLIPEncoder(f"local-dir:{other}").name != encoder.name

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("open_clip_config.json", '"bicubic"', '"bilinear"'),
            ("tokenizer.json", '"red"', '"rot"'),
        ],
    )
    def test_is_what_reads_pictures_and_words_too(
        self, encoder: OpenCLIPEncoder, copied: Path, file: str, old: str, new: str
    ) -> None:
        text = (copied / file).read_text()
        (copied / file).write_bytes(text.replace("\n", "\r\n").encode())
        assert OpenCLIPEncoder(f"local-dir:{copied}").name == encoder.name  # the same JSON
        assert old in text
        (copied / file).write_text(text.replace(old, new))
        assert OpenCLIPEncoder(f"local-dir:{copied}").name != encoder.name

    def test_is_nothing_else(self, encoder: OpenCLIPEncoder, copied: Path) -> None:
        (copied / "notes.txt").write_text("of no account")
        (copied / "trainer_state.json").write_text("{")
        save_file({"words": torch.ones(2)}, copied / "words.safetensors")
        assert OpenCLIPEncoder(f"local-dir:{copied}").name == encoder.name

    def test_of_weights_under_any_name(self, copied: Path) -> None:
        names = set()
        state = load_file(copied / "open_clip_model.safetensors")
        (copied / "open_clip_model.safetensors").unlink()
        for factor in (1, 2):
            state["visual.proj"] *= factor
            torch.save(state, copied / "mine.bin")
            names.add(OpenCLIPEncoder(f"local-dir:{copied}").name)
        assert len(names) == 2

    def test_of_a_repository_is_its_commit(
        self, encoder: OpenCLIPEncoder, copied: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a cache laid out as the hub's client lays it out."""
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(copied.parent))
        config = copied / "open_clip_config.json"
        text = config.read_text().replace("tokenizer-of-this-folder", "somebody/clip")
        config.write_text(text)
        repository, commit = copied.parent / "models--somebody--clip", "0123456789" * 4
        snapshot = repository / "snapshots" / commit
        shutil.copytree(copied, snapshot)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        (repository / ".no_exist" / commit).mkdir(parents=True)
        (repository / ".no_exist" / commit / "config.json").touch()  # it was asked for in vain
        found = OpenCLIPEncoder("hf-hub:somebody/clip")
        assert found.name == "open_clip/hf-hub:somebody/clip@012345678901"
        assert torch.equal(found.encode_text(["a red star"]), encoder.encode_text(["a red star"]))
        (snapshot / "open_clip_model.safetensors").unlink()
        with pytest.raises(SINGFileError, match="hf-hub:somebody/clip .*or the connection"):
            OpenCLIPEncoder("hf-hub:somebody/clip")

    def test_of_a_checkpoint_too(self, architecture: str, tmp_path: Path) -> None:
        names = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = open_clip.create_model(architecture).eval()
            path = tmp_path / f"{seed}.pt"
            torch.save(
                {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path
            )
            encoder = OpenCLIPEncoder(architecture, str(path))
            names.append(encoder.name)
            with torch.no_grad():
                expected = model.encode_image(IMAGES)
            assert torch.allclose(encoder.encode_image(IMAGES), expected, atol=1e-5)
            assert encoder.encode_text(["any word is known to bytes"]).shape == (1, 12)
        assert names[0] != names[1]
        assert names[0].startswith(f"open_clip/{ARCHITECTURE}@")


class TestRefusals:
    def test_unknown_architecture(self) -> None:
        with pytest.raises(SINGNameError, match=r"an open_clip architecture.* got 'ViT-Z-99'\. "):
            OpenCLIPEncoder("ViT-Z-99", "openai")

    @pytest.mark.parametrize("tag", ["openay", None, "no/such/file.pt"])
    def test_unknown_weights(self, tag: str | None) -> None:
        with pytest.raises(SINGNameError, match=rf"one of \['openai',.* got {tag!r}\. An encoder"):
            OpenCLIPEncoder("ViT-B-32", tag)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SINGFileError, match=f"got local-dir:{tmp_path}/none .*Check the path"):
            OpenCLIPEncoder(f"local-dir:{tmp_path}/none")

    @pytest.mark.parametrize("missing", ["open_clip_model.safetensors", "open_clip_config.json"])
    def test_a_file_is_missing(self, copied: Path, missing: str) -> None:
        """Weights that are not there must not be replaced by random ones."""
        (copied / missing).unlink()
        with pytest.raises(SINGFileError, match="expected model_name and pretrained to name weig"):
            OpenCLIPEncoder(f"local-dir:{copied}")

    @pytest.mark.parametrize("keep", [0, 100, 0.5, 0.999])
    def test_truncated_weights(self, copied: Path, keep: float) -> None:
        path = copied / "open_clip_model.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
        with pytest.raises(SINGFileError, match="name weights that can be loaded"):
            OpenCLIPEncoder(f"local-dir:{copied}")

    def test_weights_of_another_architecture(self, copied: Path) -> None:
        weights = load_file(copied / "open_clip_model.safetensors")
        weights["text_projection"] = torch.zeros(16, 13)
        save_file(weights, copied / "open_clip_model.safetensors")
        with pytest.raises(SINGFileError, match="RuntimeError"):
            OpenCLIPEncoder(f"local-dir:{copied}")

    @pytest.mark.parametrize("name", ["visual.positional_embedding", "positional_embedding"])
    def test_weights_of_another_size_are_not_resized(self, copied: Path, name: str) -> None:
        """Open_clip would interpolate positions, in silence."""
        weights = load_file(copied / "open_clip_model.safetensors")
        rows = 10 if name.startswith("visual") else 20  # of a grid of 3 by 3 and a class token
        weights[name] = torch.randn(rows, 16)
        save_file(weights, copied / "open_clip_model.safetensors")
        with pytest.raises(SINGFileError, match=rf"{name} is of shape \({rows}, 16\), not"):
            OpenCLIPEncoder(f"local-dir:{copied}")

    def test_nor_are_those_that_are_no_safetensors(self, copied: Path) -> None:
        weights = load_file(copied / "open_clip_model.safetensors")
        (copied / "open_clip_model.safetensors").unlink()
        weights["positional_embedding"] = torch.randn(20, 16)
        torch.save(weights, copied / "mine.bin")
        with pytest.raises(SINGFileError, match=r"positional_embedding is of shape \(20, 16\)"):
            OpenCLIPEncoder(f"local-dir:{copied}")

    def test_a_folder_brings_its_own_weights(self, copied: Path) -> None:
        message = r"pretrained None for local-dir:.*own weights, got 'openai'\. Leave it out"
        with pytest.raises(SINGValueError, match=message):
            OpenCLIPEncoder(f"local-dir:{copied}", "openai")

    def test_weights_that_lack_a_part(self, copied: Path) -> None:
        weights = load_file(copied / "open_clip_model.safetensors")
        del weights["visual.proj"]
        save_file(weights, copied / "open_clip_model.safetensors")
        with pytest.raises(SINGFileError, match="RuntimeError"):
            OpenCLIPEncoder(f"local-dir:{copied}")

    @pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_model.pth"])
    def test_a_hostile_file_in_a_folder_is_not_executed(
        self, copied: Path, tmp_path: Path, name: str
    ) -> None:
        (copied / "open_clip_model.safetensors").unlink()
        torch.save({"text_projection": Bomb(tmp_path / "executed")}, copied / name)
        with pytest.raises(
            SINGFileError, match=f"{name}, which .* holds code .it was not run"
        ) as e:
            OpenCLIPEncoder(f"local-dir:{copied}")
        assert "weights_only" not in str(e.value) and "\x1b" not in str(e.value)
        assert not (tmp_path / "executed").exists()

    def test_a_hostile_checkpoint_is_not_executed(self, architecture: str, tmp_path: Path) -> None:
        path, marker = tmp_path / "weights.pt", tmp_path / "executed"
        torch.save({"text_projection": Bomb(marker)}, path)
        with pytest.raises(SINGFileError, match="weights.pt, which .* holds code .it was not run"):
            OpenCLIPEncoder(architecture, str(path))
        assert not marker.exists()
        torch.load(path, weights_only=False)
        assert marker.exists()  # it would have gone off

    def test_no_connection(self) -> None:
        with pytest.raises(SINGFileError, match="got hf-hub:nobody/nothing .*or the connection"):
            OpenCLIPEncoder("hf-hub:nobody/nothing")

    def test_every_refusal_is_one_of_ours(self, tmp_path: Path) -> None:
        for name in ("", "local-dir:", f"local-dir:{tmp_path}", str(tmp_path)):
            with pytest.raises(SINGError):
                OpenCLIPEncoder(name)
