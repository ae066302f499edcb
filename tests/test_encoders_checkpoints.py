"""The activation and the preprocessing of weights, where open_clip leaves them open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import save_file
from tiny_models import at_random, configuration

from captum_sing.encoders import OpenCLIPEncoder, load_encoder
from captum_sing.encoders.checkpoints import activation_of_file, canonical, preprocessing_of_file
from captum_sing.errors import SINGFileError, SINGValueError

PAIR = "captum-sing-pair"
TWIN = f"{PAIR}-quickgelu"
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
OPENAI = {"input_resolution": 16, "context_length": 16, "vocab_size": 49408}


@pytest.fixture(scope="module", autouse=True)
def pair(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An architecture and its twin."""
    folder = tmp_path_factory.mktemp("configurations")
    settings = configuration()
    settings["text_cfg"] |= {"vocab_size": 49408, "context_length": 16}
    del settings["text_cfg"]["hf_tokenizer_name"]
    for name, more in ((PAIR, {}), (TWIN, {"quick_gelu": True})):
        (folder / f"{name}.json").write_text(json.dumps(settings | more))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = at_random(open_clip.create_model(PAIR)).state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def reference(weights: dict[str, torch.Tensor], architecture: str) -> torch.Tensor:
    model = open_clip.create_model(architecture).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        return model.encode_image(IMAGES)


def activations(encoder: OpenCLIPEncoder) -> set[str]:
    kinds = (QuickGELU, torch.nn.GELU)
    return {type(m).__name__ for m in encoder.model.modules() if isinstance(m, kinds)}


class TestFile:
    def test_of_float32_runs_the_plain_one(
        self, weights: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        save_file(weights, tmp_path / "a.safetensors")
        encoder = OpenCLIPEncoder(PAIR, str(tmp_path / "a.safetensors"))
        assert activations(encoder) == {"GELU"}
        assert encoder.name.startswith(f"open_clip/{PAIR}@")
        assert torch.allclose(encoder.encode_image(IMAGES), reference(weights, PAIR), atol=1e-5)

    @pytest.mark.parametrize("as_tensors", [True, False])
    def test_of_openai_runs_its_approximation(
        self, weights: dict[str, torch.Tensor], as_tensors: bool, tmp_path: Path
    ) -> None:
        extra = {n: torch.tensor(v) if as_tensors else v for n, v in OPENAI.items()}
        torch.save({**weights, **extra}, tmp_path / "a.pt")
        encoder = OpenCLIPEncoder(PAIR, str(tmp_path / "a.pt"))
        assert activations(encoder) == {"QuickGELU"}
        assert encoder.name.startswith(f"open_clip/{TWIN}@")
        found = encoder.encode_image(IMAGES)
        assert torch.allclose(found, reference(weights, TWIN), atol=1e-5)
        assert (found - reference(weights, PAIR)).abs().max() > 1e-3  # the other one is wrong

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    def test_of_16_bits_has_to_be_told(
        self, weights: dict[str, torch.Tensor], dtype: torch.dtype, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.pt"
        torch.save({name: tensor.half().to(dtype) for name, tensor in weights.items()}, path)
        with pytest.raises(SINGValueError, match=rf"given for {PAIR} with .*a.pt, got None, whe"):
            OpenCLIPEncoder(PAIR, str(path))
        named = OpenCLIPEncoder(TWIN, str(path))
        told = OpenCLIPEncoder(PAIR, str(path), quick_gelu=True)
        plain = OpenCLIPEncoder(TWIN, str(path), quick_gelu=False)
        assert activations(named) == activations(told) == {"QuickGELU"}
        assert activations(plain) == {"GELU"}
        assert named.name == told.name != plain.name

    @pytest.mark.parametrize("wrap", ["module", "state_dict"])
    def test_of_a_training_script(
        self, weights: dict[str, torch.Tensor], wrap: str, tmp_path: Path
    ) -> None:
        state = {f"module.{n}": t for n, t in weights.items()}
        torch.save(
            state if wrap == "module" else {"state_dict": state, "epoch": 3}, tmp_path / "a.pt"
        )
        encoder = OpenCLIPEncoder(PAIR, str(tmp_path / "a.pt"))
        assert torch.allclose(encoder.encode_image(IMAGES), reference(weights, PAIR), atol=1e-5)

    def test_a_word_about_what_has_one_activation(self, tmp_path: Path) -> None:
        (tmp_path / "a.pt").touch()
        with pytest.raises(SINGValueError, match="None for ViT-B-16-SigLIP, which open_clip has w"):
            activation_of_file("ViT-B-16-SigLIP", tmp_path / "a.pt", {}, True)
        with pytest.raises(SINGValueError, match="quick_gelu only for a checkpoint file, got True"):
            OpenCLIPEncoder("ViT-B-32", "openai", quick_gelu=True)

    @pytest.mark.parametrize("damage", ["truncated", "lacks", "shape", "other", "no dict", "empty"])
    def test_damaged(self, weights: dict[str, torch.Tensor], damage: str, tmp_path: Path) -> None:
        state: Any = dict(weights)
        if damage == "lacks":
            del state["visual.proj"]
        elif damage == "shape":
            state["visual.positional_embedding"] = torch.randn(10, 16)
        elif damage == "other":
            state = torch.nn.Linear(2, 3).state_dict()
        elif damage == "no dict":
            state = torch.ones(3)
        path = tmp_path / "a.pt"
        torch.save({} if damage == "empty" else state, path)
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(SINGFileError, match="to name weights that can be loaded, got captum-"):
            OpenCLIPEncoder(PAIR, str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit")
def test_openais_archives_are_torchscript(tmp_path: Path) -> None:
    """As OpenAI publishes them; where their state dict is saved, it loads."""
    module = torch.nn.Linear(2, 3)
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 2)), tmp_path / "ViT-B-32.pt")
    message = r"a TorchScript archive .*Save its state_dict.*, or use the tag \(ViT-B-32:openai\)"
    with pytest.raises(SINGFileError, match=message) as caught:
        OpenCLIPEncoder("ViT-B-32", str(tmp_path / "ViT-B-32.pt"))
    assert "weights_only" not in str(caught.value)


class TestNames:
    """Of real architectures, without their weights."""

    @pytest.mark.parametrize(
        ("architecture", "tag", "expected"),
        [
            ("ViT-L-14", "openai", "ViT-L-14-quickgelu"),
            ("ViT-L-14-quickgelu", "openai", "ViT-L-14-quickgelu"),
            ("ViT-L-14", "laion2b_s32b_b82k", "ViT-L-14"),
            ("ViT-B-32", "laion400m_e32", "ViT-B-32-quickgelu"),
            ("ViT-B-16-SigLIP", "webli", "ViT-B-16-SigLIP"),
        ],
    )
    def test_a_tag_decides(self, architecture: str, tag: str, expected: str) -> None:
        assert canonical(architecture, tag) == expected

    def test_every_tag_runs_what_it_was_trained_with(self) -> None:
        for architecture, tag in open_clip.list_pretrained():
            wants = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
            runs = bool(open_clip.get_model_config(canonical(architecture, tag)).get("quick_gelu"))
            assert runs == wants or architecture == "roberta-ViT-B-32"  # whose tag says nothing

    @pytest.mark.parametrize(
        ("architecture", "path", "expected"),
        [
            ("ViT-L-14", "weights/openai.pt", "ViT-L-14-quickgelu"),
            ("ViT-L-14", "clip-vit-large-OpenAI/model.safetensors", "ViT-L-14-quickgelu"),
            ("ViT-L-14", "weights/metaclip-400m.pt", "ViT-L-14-quickgelu"),
            ("ViT-L-14", "weights/laion2b.pt", "ViT-L-14"),
            ("ViT-L-14", "dfn2b/a.pt", "ViT-L-14-quickgelu"),
            ("ViT-L-14", "dfn2b-s39b/a.pt", "ViT-L-14"),
            ("ViT-B-32", "laion400m/a.pt", "ViT-B-32-quickgelu"),
            ("ViT-L-14", "laion400m/a.pt", "ViT-L-14"),
            ("ViT-B-16-SigLIP", "anything/a.pt", "ViT-B-16-SigLIP"),
        ],
    )
    def test_a_path_decides(self, architecture: str, path: str, expected: str) -> None:
        half = {"w": torch.ones(2, 2)}  # of which nothing else can be told
        assert activation_of_file(architecture, Path(path), half, None) == expected

    def test_a_path_of_two_minds_does_not(self) -> None:
        weights = {"w": torch.rand(9, 9)}
        with pytest.raises(
            SINGValueError, match=r"or name ViT-L-14-quickgelu\), else quick_gelu=F"
        ):
            activation_of_file("ViT-L-14", Path("openai/laion2b.pt"), weights, None)

    def test_pictures_are_as_the_tags_have_them(self) -> None:
        siglip = preprocessing_of_file("ViT-B-16-SigLIP", Path("a.pt"))
        assert siglip == {
            "image_mean": (0.5, 0.5, 0.5),
            "image_std": (0.5, 0.5, 0.5),
            "image_interpolation": "bicubic",
            "image_resize_mode": "squash",
        }
        assert "image_mean" not in preprocessing_of_file("ViT-L-14", Path("a.pt"))  # they differ
        laion = preprocessing_of_file("ViT-L-14", Path("laion2b.pt"))
        assert laion["image_mean"] == (0.5, 0.5, 0.5)
        assert preprocessing_of_file(PAIR, Path("a.pt")) == {}


@pytest.mark.slow
def test_openais_weights_of_a_real_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RN50 by its tag, from a cache laid out as the hub lays it out, and by a file."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--timm--resnet50_clip.openai"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    torch.manual_seed(0)
    state = open_clip.create_model("RN50").state_dict()
    save_file(state, snapshot / "open_clip_model.safetensors")
    by_tag = load_encoder("RN50:openai")
    twin = load_encoder("RN50-quickgelu:openai")
    assert by_tag.name == twin.name == "open_clip/RN50-quickgelu/openai"
    assert isinstance(by_tag, OpenCLIPEncoder) and activations(by_tag) == {"QuickGELU"}
    file = tmp_path / "openai.pt"
    torch.save({name: tensor.half() for name, tensor in state.items()}, file)
    by_file = load_encoder(f"RN50:{file}")
    assert isinstance(by_file, OpenCLIPEncoder) and activations(by_file) == {"QuickGELU"}
    assert by_file.name.startswith("open_clip/RN50-quickgelu@")
    plain = OpenCLIPEncoder("RN50", str(file), quick_gelu=False)
    texts = ["a red star", "a blue moon"]
    gap = (by_file.encode_text(texts) - by_tag.encode_text(texts)).abs().max()
    wrong = (plain.encode_text(texts) - by_tag.encode_text(texts)).abs().max()
    assert gap < wrong / 3
    assert by_tag.preprocess(Image.new("RGB", (50, 60))).shape == (3, 224, 224)
