"""Pictures of embeddings by tiny pipelines, loaded as the hub's are."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_models import write_two_towers

from captum_sing.encoders import TransformersEncoder
from captum_sing.errors import SINGFileError, SINGNameError, SINGRuntimeError, SINGTypeError
from captum_sing.errors import SINGValueError as Wrong
from captum_sing.render.protocol import Renderer
from captum_sing.render.spaces import known_encoder, largest_angle, same_space
from captum_sing.render.unclip import UnCLIP, blank_embedding
from captum_sing.translator import LinearTranslator

KARLO = "kakaobrain/karlo-v1-alpha-image-variations"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPENAI = "open_clip/ViT-L-14-quickgelu/openai"
NAMES = ("karlo", "karlo-own", "stable-unclip", "kandinsky", "sd", "sdxl")
EACH = [
    name if name in NAMES[::2] else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """One folder of each kind, and adapters."""
    place = tmp_path_factory.mktemp("pipelines")
    tiny.write_karlo(place / "karlo")
    tiny.write_karlo(place / "karlo-own", own=True)
    tiny.write_stable_unclip(place / "stable-unclip")
    tiny.write_kandinsky(place / "kandinsky")
    for name in ("sd", "sdxl"):
        tiny.write_stable_diffusion(place / name, xl=name == "sdxl")
        tiny.write_ip_adapter(place / f"ip-{name}" / "plain.safetensors", place / name)
    return place


def load(place: Path, name: str, **options) -> UnCLIP:
    if name in ("sd", "sdxl"):
        options = {"ip_adapter": str(place / f"ip-{name}" / "plain.safetensors"), **options}
    if name == "kandinsky":
        options = {"negative": torch.ones(tiny.WIDTH), **options}
    return UnCLIP.load(str(place / name), **{"steps": 2, **options})


class Loaded(dict):
    """Renderers by name, each loaded when it is first asked for."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place

    def __missing__(self, name: str) -> UnCLIP:
        self[name] = load(self.place, name)
        return self[name]


@pytest.fixture(scope="module")
def renderers(place) -> Loaded:
    return Loaded(place)


@pytest.fixture
def copied(place, tmp_path) -> Path:
    """Karlo, to be damaged."""
    return Path(shutil.copytree(place / "karlo", tmp_path / "karlo"))


def wanted(count: int, seed: int = 0) -> torch.Tensor:
    return 5 * torch.randn(count, tiny.WIDTH, generator=torch.Generator().manual_seed(seed))


def translator(width: int = tiny.WIDTH, encoder: str | None = None) -> LinearTranslator:
    facts = {"encoder": encoder}
    return LinearTranslator(torch.ones(width, 3), torch.zeros(3), torch.zeros(width), facts=facts)


def pixels(pictures) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in pictures]).astype(int)


@pytest.mark.parametrize("name", EACH)
def test_a_picture_follows_from_embedding_and_seed_to_the_bit(renderers, name):
    a, b = wanted(2)
    renderer = renderers[name]
    assert isinstance(renderer, Renderer)
    first = renderer.render(a[None], 3)
    assert first[0].mode == "RGB" and first[0].size == (32, 32)
    torch.manual_seed(11)  # the global generator has no part in it
    several = pixels(renderer.render(torch.stack([b, a, a, 2 * a, a]), [3, 3, 3, 3, 4]))
    other, again, same, longer, reseeded = several
    assert np.array_equal(pixels(first)[0], again) and np.array_equal(again, same)
    for changed in (other, longer, reseeded):
        assert not np.array_equal(again, changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_seed_is_the_same_noise_for_all(renderers, name):
    """What is drawn changes little where embeddings differ little, much where seeds differ."""
    renderer = renderers[name]
    a = wanted(1)
    near = pixels(renderer.render(torch.cat([a, a + 1e-4]), 0))
    far = pixels(renderer.render(torch.cat([a, a]), [0, 1]))
    assert np.abs(near[0] - near[1]).mean() < 0.1 * np.abs(far[0] - far[1]).mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_batches_agree_with_single_pictures_up_to_rounding(place, renderers, name):
    rows = wanted(3)
    several = load(place, name, batch_size=3)
    assert several.facts["batch_size"] == (1 if name in ("sd", "sdxl") else 3)
    together = several.render(rows, [0, 1, 2])
    assert np.abs(pixels(together) - pixels(renderers[name].render(rows, [0, 1, 2]))).max() <= 1


@pytest.mark.slow
def test_both_layouts_of_karlo_are_one_pipeline(renderers):
    rows = wanted(2)
    one, other = (pixels(renderers[name].render(rows)) for name in ("karlo", "karlo-own"))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("karlo", lambda pipe, e, g: pipe(
            image_embeddings=e, decoder_num_inference_steps=3, super_res_num_inference_steps=2,
            generator=g)),
        ("stable-unclip", lambda pipe, e, g: pipe(
            image_embeds=e, num_inference_steps=2, generator=g)),
        ("kandinsky", lambda pipe, e, g: pipe(
            image_embeds=e, negative_image_embeds=torch.ones_like(e), height=32, width=32,
            num_inference_steps=2, generator=g)),
        ("sd", lambda pipe, e, g: pipe(
            prompt="", ip_adapter_image_embeds=[torch.stack([0 * e, e])], num_inference_steps=2,
            generator=g)),
        ("sdxl", lambda pipe, e, g: pipe(
            prompt="", ip_adapter_image_embeds=[torch.stack([0 * e, e])], num_inference_steps=2,
            generator=g)),
    ],
)  # fmt: skip
def test_pictures_are_those_of_a_plain_call_of_diffusers(renderers, name, call):
    renderer = load(renderers.place, name, steps=(3, 2)) if name == "karlo" else renderers[name]
    plain = call(renderer.pipeline, wanted(1), torch.Generator().manual_seed(5)).images
    assert np.array_equal(pixels(plain), pixels(renderer.render(wanted(1), 5)))


@pytest.mark.slow
def test_steps_and_guidance_and_negative_matter_and_are_recorded(place, renderers):
    rows = wanted(1)
    shared = pixels(renderers["kandinsky"].render(rows))
    for options in ({"steps": 3}, {"guidance": 2.0}, {"negative": -torch.ones(tiny.WIDTH)}):
        assert not np.array_equal(shared, pixels(load(place, "kandinsky", **options).render(rows)))
    unguided = [load(place, "kandinsky", guidance=1, negative=n) for n in (None, torch.ones(16))]
    assert np.array_equal(*(pixels(renderer.render(rows)) for renderer in unguided))
    unguided = load(place, "sd", guidance=1)
    plain = unguided.pipeline(
        prompt="", ip_adapter_image_embeds=[rows[None]], guidance_scale=1, num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert np.array_equal(pixels(plain.images), pixels(unguided.render(rows)))
    facts = load(place, "karlo", steps=(3, 2), guidance=2).facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["steps"] == [3, 2] and facts["guidance"] == 2.0
    assert facts["source"].startswith("karlo@") and facts["diffusers"] == diffusers.__version__
    assert facts["schedulers"] == dict.fromkeys(
        ("decoder_scheduler", "super_res_scheduler"), "UnCLIPScheduler"
    )
    assert renderers["sd"].facts["ip_adapter"].startswith("plain.safetensors@")


@pytest.mark.slow
def test_defaults_are_those_of_diffusers(place):
    from inspect import signature

    for name in NAMES:
        renderer = load(place, name, steps=None)
        defaults = {
            key: value.default
            for key, value in signature(renderer.pipeline.__call__).parameters.items()
        }
        steps = [value for key, value in defaults.items() if key.endswith("num_inference_steps")]
        (guidance,) = (v for key, v in defaults.items() if key.endswith("guidance_scale"))
        assert (renderer.facts["steps"], renderer.facts["guidance"]) == (steps, guidance)


@pytest.mark.slow
def test_nothing_trains_and_nothing_censors(renderers):
    for renderer in map(renderers.__getitem__, NAMES):
        parts = [p for p in renderer.pipeline.components.values() if isinstance(p, torch.nn.Module)]
        assert parts and not any(part.training for part in parts)
        assert getattr(renderer.pipeline, "safety_checker", None) is None
        assert getattr(renderer.pipeline, "watermark", None) is None
    row = wanted(1).requires_grad_()
    renderers["stable-unclip"].render(row)
    assert row.grad is None and torch.is_grad_enabled()


@pytest.mark.parametrize("name", EACH)
def test_nothing_is_printed_and_logs_are_left_as_found(place, capfd, name):
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    logs = (of_diffusers, of_transformers)
    for log in logs:  # as they are without anybody's doing
        log.set_verbosity_warning()
        log.enable_progress_bar()
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    load(place, name).render(wanted(1))
    assert capfd.readouterr() == ("", "")
    assert [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs] == before


def test_progress_is_shown_if_asked_for(place, capfd):
    load(place, "karlo", show_progress=True).render(wanted(2))
    shown = capfd.readouterr()
    assert "2/2" in shown.err and not shown.out


# the encoder


def test_a_translator_of_another_width_or_encoder_is_refused(place):
    renderer = load(place, "karlo", encoder=OPENAI)
    renderer.check(translator(encoder="transformers/openai/clip-vit-large-patch14@32bd64288804"))
    renderer.check(translator())  # unknown: the width alone is checked
    load(place, "karlo").check(translator(encoder="toy/16"))
    with pytest.raises(Wrong, match=r"16 wide, of open_clip/ViT-L-14-quickgelu/openai .* got 8 w"):
        renderer.check(translator(8, OPENAI))
    with pytest.raises(Wrong, match=r"got open_clip/ViT-L-14/laion2b_s32b_b82k\. Fit a transl"):
        renderer.check(translator(encoder="open_clip/ViT-L-14/laion2b_s32b_b82k"))
    with pytest.raises(SINGTypeError, match="expected translator to be a translator of this pack"):
        renderer.check(torch.nn.Linear(3, 16))


def test_published_pipelines_are_known_with_their_encoders():
    assert known_encoder(KARLO) == OPENAI
    assert known_encoder("stabilityai/stable-diffusion-2-1-unclip-small") == OPENAI
    assert "ViT-H-14" in str(known_encoder("stabilityai/stable-diffusion-2-1-unclip"))
    assert known_encoder("somebody/else") is None
    large = "open_clip/ViT-H-14/laion2b_s32b_b79k"
    assert same_space(large, "transformers/laion/CLIP-ViT-H-14-laion2B-s32B-b79K@1c2b8495b28150b8")
    assert not same_space(large, OPENAI)
    assert same_space("open_clip/a@1", "open_clip/a@1") and same_space(
        "open_clip/a@1", "open_clip/a"
    )
    assert not same_space("open_clip/a@1", "open_clip/a@2")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two CLIPs of one width, and a maker of pipelines whose image encoder is the first's."""
    from transformers import CLIPVisionModelWithProjection

    place = tmp_path_factory.mktemp("clip")
    model, _ = (write_two_towers(place / str(seed), "clip", seed) for seed in (0, 1))
    right, other = (TransformersEncoder(str(place / str(seed))) for seed in (0, 1))
    config = model.config.vision_config
    config.projection_dim = right.embedding_dim
    tower = CLIPVisionModelWithProjection(config).eval()
    tower.load_state_dict(model.state_dict(), strict=False)  # it has no texts
    return SimpleNamespace(right=right, other=other, tower=tower, width=right.embedding_dim)


@pytest.mark.parametrize("name", ["karlo", "stable-unclip", "sd"])
def test_encoders_are_compared_by_what_they_say(clip, tmp_path, name):
    folder = tmp_path / name
    options = {"steps": 2}
    if name == "sd":
        tiny.write_stable_diffusion(folder)
        file = tiny.write_ip_adapter(tmp_path / "ip" / "a.safetensors", folder, width=clip.width)
        clip.tower.save_pretrained(file.parent / "image_encoder")
        options["ip_adapter"] = str(file)
    else:
        write = {"karlo": tiny.write_karlo, "stable-unclip": tiny.write_stable_unclip}[name]
        clip.tower.save_pretrained(write(folder, width=clip.width) / "image_encoder")
    renderer = UnCLIP.load(str(folder), **options)
    assert renderer.compare_encoder(clip.right) < 0.1
    assert renderer.facts["encoders"] == [clip.right.name]
    renderer.check(translator(clip.width, clip.right.name))
    with pytest.raises(Wrong, match="got transformers/1@"):
        renderer.check(translator(clip.width, clip.other.name))
    with pytest.raises(Wrong, match=r"got transformers/1@\w+, up to \d+\.\d degrees away\. Fit a"):
        renderer.compare_encoder(clip.other)


def test_the_largest_angle_counts():
    def turned(pictures):
        rows = torch.eye(len(pictures))
        rows[-1] = rows[0]
        return rows

    assert largest_angle(lambda pictures: torch.eye(len(pictures)), turned, 16) == 90.0


@pytest.mark.slow
def test_what_has_no_image_encoder_cannot_be_compared(place, clip, tmp_path):
    tiny.write_kandinsky(tmp_path / "kandinsky", width=clip.width)
    negative = blank_embedding(clip.right)
    renderer = UnCLIP.load(str(tmp_path / "kandinsky"), negative=negative, steps=2)
    with pytest.raises(
        Wrong, match="expected the pipeline to have an image encoder, got kandinsky@"
    ):
        renderer.compare_encoder(clip.right)
    with pytest.raises(Wrong, match="expected embeddings 16 wide, .* got 12 wide"):
        load(place, "kandinsky").compare_encoder(clip.right)


def test_blank_is_what_the_prior_of_kandinsky_steers_away_from(clip):
    prior = SimpleNamespace(image_encoder=clip.tower, device="cpu")
    with torch.no_grad():
        theirs = diffusers.KandinskyV22PriorPipeline.get_zero_embed(prior)[0]
    assert torch.allclose(blank_embedding(clip.right), theirs, atol=1e-5)
    assert theirs.norm() > 0.1


# the hub


@pytest.fixture
def cache(place, tmp_path, monkeypatch) -> Path:
    """Karlo and an adapter in the hub's cache, which is all there is of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for repository, inside, source in (
        (KARLO, "", place / "karlo"),
        ("h94/IP-Adapter", "models", place / "ip-sd"),
    ):
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        shutil.copytree(source, folder / "snapshots" / COMMIT / inside)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT)
    adapter = folder / "snapshots" / COMMIT / "models"
    (adapter / "plain.safetensors").rename(adapter / "ip-adapter_sd15.safetensors")
    return tmp_path / "hub"


def test_a_name_of_the_hub_gives_the_same_pictures(cache, place, renderers):
    earlier = cache / f"models--{KARLO.replace('/', '--')}" / "snapshots" / ("f" * 40)
    shutil.copytree(place / "karlo-own", earlier)
    for name, commit in ((KARLO, COMMIT), (f"{KARLO}@{earlier.name}", earlier.name)):
        renderer = UnCLIP.load(name, "karlo", steps=2)
        assert renderer.facts["source"] == f"{KARLO}@{commit}"
        assert renderer.encoders == (OPENAI,)
        rows = wanted(1)
        assert np.array_equal(*(pixels(r.render(rows)) for r in (renderer, renderers["karlo"])))
    adapted = load(place, "sd", ip_adapter="h94/IP-Adapter")
    assert adapted.facts["ip_adapter"] == (
        f"h94/IP-Adapter/models/ip-adapter_sd15.safetensors@{COMMIT}"
    )
    assert adapted.encoders == ("open_clip/ViT-H-14/laion2b_s32b_b79k",)
    with pytest.raises(Wrong, match="degrees away"):
        adapted.compare_encoder(_Noise())
    assert np.array_equal(*(pixels(r.render(rows)) for r in (adapted, renderers["sd"])))


class _Noise:
    """An encoder of the right width, and of nothing else."""

    name, embedding_dim = "noise", tiny.WIDTH

    def preprocess(self, image):
        return torch.zeros(3, 4, 4)

    def encode_image(self, images):
        return torch.randn(len(images), tiny.WIDTH, generator=torch.Generator().manual_seed(0))

    def encode_text(self, texts):
        return self.encode_image(texts)


def test_what_is_not_in_the_cache_is_named(cache):
    with pytest.raises(SINGFileError, match=r"or on a hub that can be reached, got some/thing \("):
        UnCLIP.load("some/thing")
    snapshot = cache / f"models--{KARLO.replace('/', '--')}" / "snapshots" / COMMIT
    (snapshot / "decoder" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(Wrong, match="expected steps"):  # before parts are looked for
        UnCLIP.load(KARLO, steps=1)
    with pytest.raises(SINGFileError, match=r"decoder \(no diffusion_pytorch_model.safetensors\)"):
        UnCLIP.load(KARLO)


# refusals, before any weight is read


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dalle"}, r"expected kind None or one of \('karlo', 'stable-unclip', 'kandin"),
        ({"kind": "kandinsky"}, "expected kind None or 'karlo' for .*, got 'kandinsky'"),
        ({"ip_adapter": "h94/IP-Adapter"}, "expected ip_adapter None for a UnCLIPImageVariationP"),
        ({"steps": 1}, r"expected steps an integer from 2 to 1000 for each of 2 stages of karlo"),
        ({"steps": (2, 1)}, "expected steps an integer from 2"),
        ({"steps": (2, 2, 2)}, "expected steps an integer from 2"),
        ({"steps": True}, "expected steps an integer from 2"),
        ({"guidance": 0.5}, "expected guidance a number from 1, which is none, got 0.5"),
        ({"guidance": float("nan")}, "expected guidance a number from 1"),
        ({"negative": torch.ones(16)}, "expected negative None for karlo"),
        ({"dtype": torch.float16}, "expected dtype None or torch.float32 on the CPU, got torch.fl"),
        ({"dtype": torch.bfloat16}, "expected dtype None or torch.float32 on the CPU"),
        ({"dtype": torch.int8}, "expected dtype None or one of .*, got torch.int8"),
        ({"device": "nowhere"}, "expected device to be a device of this machine"),
        ({"offload": "disk"}, r"expected offload None or one of \('model', 'sequential'\)"),
        ({"batch_size": 0}, "expected batch_size an integer from 1, got 0"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(copied, options, message):
    for file in copied.rglob("*.safetensors"):
        file.write_bytes(b"not read")
    with pytest.raises(Wrong, match=message):
        UnCLIP.load(str(copied), **options)


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_wants_accelerate_and_a_gpu(place, offload):
    if importlib.util.find_spec("accelerate") is None:
        message = "to be installed for offload='.*', got no such package. pip install accelerate"
    else:
        message = "expected offload None on the CPU"
    with pytest.raises((SINGRuntimeError, Wrong), match=message):
        load(place, "karlo", offload=offload)


def test_kandinsky_is_not_steered_away_from_anything_by_default(place):
    with pytest.raises(Wrong, match="expected negative to be given for kandinsky"):
        load(place, "kandinsky", negative=None)
    for negative in (torch.ones(8), torch.full((16,), torch.nan), [0.0] * 16):
        with pytest.raises(Wrong, match=r"expected negative a finite tensor of shape \(16,\)"):
            load(place, "kandinsky", negative=negative)


def test_other_sources_are_refused(place, tmp_path):
    for source in ("", "no/such/folder/at/all", "nothing"):
        with pytest.raises(SINGNameError, match="expected source to be a folder, or OWNER/NAME"):
            UnCLIP.load(source)
    with pytest.raises(SINGFileError, match="to hold a model_index.json that can be read"):
        UnCLIP.load(str(tmp_path))
    for text in ("{", "[]"):
        (tmp_path / "model_index.json").write_text(text)
        with pytest.raises(SINGFileError, match="to hold a model_index.json that can be read"):
            UnCLIP.load(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(
        Wrong, match=r"to hold one of \('UnCLIPImage.*with 'FluxPipeline'\. Other p"
    ):
        UnCLIP.load(str(tmp_path))
    with pytest.raises(Wrong, match="expected ip_adapter to be given for a StableDiffusionPipel"):
        load(place, "sd", ip_adapter=None)


@pytest.mark.parametrize("part", ["text_proj", "super_res_last", "tokenizer", "decoder_scheduler"])
def test_a_missing_part_is_named_before_any_weight_is_read(copied, part):
    for file in copied.rglob("*.safetensors"):
        file.write_bytes(b"not read")
    shutil.rmtree(copied / part)
    with pytest.raises(
        SINGFileError, match=rf"to hold all parts of a UnCLIP.* without {part} \(no"
    ):
        UnCLIP.load(str(copied))


def test_damaged_and_incomplete_parts_are_named(copied):
    weights = copied / "decoder" / "diffusion_pytorch_model.safetensors"
    whole = load_file(weights)
    save_file({key: value for key, value in whole.items() if key != "conv_in.bias"}, weights)
    with pytest.raises(SINGFileError, match=r"a decoder that UNet2D.*missing_keys \['conv_in.bias"):
        UnCLIP.load(str(copied))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(SINGFileError, match="to hold a decoder that UNet2DConditionModel can load"):
        UnCLIP.load(str(copied))
    save_file(whole, weights)
    text = copied / "text_encoder" / "model.safetensors"
    save_file(dict(list(load_file(text).items())[1:]), text)
    with pytest.raises(SINGFileError, match=r"to hold a text_encoder that CLIPText.* missing_keys"):
        UnCLIP.load(str(copied))


@pytest.mark.slow
def test_a_scheduler_is_one_of_diffusers(copied):
    path = copied / "decoder_scheduler" / "scheduler_config.json"
    for name in ("os.system", "randn_tensor", "NoScheduler"):
        path.write_text(json.dumps({"_class_name": name}))
        with pytest.raises(SINGFileError, match=f"diffusers has no scheduler {name}"):
            UnCLIP.load(str(copied))


def test_a_width_that_is_not_told_is_refused(copied):
    (copied / "text_proj" / "config.json").write_text("{}")
    with pytest.raises(SINGFileError, match="clip_embeddings_dim of text_proj/config.json, got"):
        UnCLIP.load(str(copied))


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("part", ["decoder", "image_encoder"])
def test_pickled_weights_are_read_and_pickled_code_is_not(copied, renderers, part):
    tiny.pickled(copied, part)
    rows = wanted(1)
    drawn = UnCLIP.load(str(copied), steps=2).render(rows)
    assert np.array_equal(pixels(drawn), pixels(renderers["karlo"].render(rows)))
    mark = copied / "executed"
    (file,) = (copied / part).glob("*.bin")
    torch.save({"weight": _Hostile(mark)}, file)
    with pytest.raises(SINGFileError, match=f"to hold a {part} that .* can load, whole"):
        UnCLIP.load(str(copied))
    assert not mark.exists()


def test_adapters_that_take_something_else_are_refused(place, tmp_path):
    plus = tmp_path / "plus.safetensors"
    save_file({"image_proj.latents": torch.ones(1, 16, 8)}, plus)
    with pytest.raises(Wrong, match=r"plus.safetensors with \['image_proj.latents'\], which takes"):
        load(place, "sd", ip_adapter=str(plus))
    save_file({"unet": torch.ones(1)}, plus)
    with pytest.raises(Wrong, match="plus.safetensors with no image_proj. Use a plain one"):
        load(place, "sd", ip_adapter=str(plus))
    plus.write_bytes(b"broken")
    with pytest.raises(SINGFileError, match="expected ip_adapter to be a whole safetensors file"):
        load(place, "sd", ip_adapter=str(plus))
    for name in ("nothing", str(tmp_path), "h94/IP-Adapter/models/ip-adapter_sd15.bin"):
        with pytest.raises(
            SINGNameError, match="expected ip_adapter to be a .safetensors file, or"
        ):
            load(place, "sd", ip_adapter=name)
    small = str(place / "ip-sd" / "plain.safetensors")
    with pytest.raises(SINGFileError, match="expected ip_adapter to fit this StableDiffusionXLP"):
        load(place, "sdxl", ip_adapter=small)


# refusals of what is drawn


def test_embeddings_that_cannot_be_drawn_are_refused(renderers):
    renderer = renderers["karlo"]
    lost = wanted(3)
    lost[1, 4] = torch.nan
    with pytest.raises(Wrong, match=r"UnCLIP.render: .*finite, got NaN or infinity in rows \[1\]"):
        renderer.render(lost)
    with pytest.raises(Wrong, match=r"expected wanted of shape \(B, 16\), not empty, got \(1, 8\)"):
        renderer.render(torch.ones(1, 8))
    with pytest.raises(Wrong, match="expected seeds one integer from 0, or 3 of them"):
        renderer.render(wanted(3), [1, 2])


@pytest.mark.parametrize(("size", "advice"), [(1, "a smaller pipeline"), (2, "batch_size below 2")])
def test_what_needs_less_memory_is_named(place, size, advice):
    renderer = load(place, "karlo", batch_size=size)
    renderer.pipeline.decoder.register_to_config(sample_size=2**22)  # 200 TB of noise
    with pytest.raises(SINGRuntimeError, match=rf"memory to suffice on cpu, .*\. Use .*{advice}"):
        renderer.render(wanted(2))


def test_a_part_that_is_too_large_is_not_called_damaged(copied):
    path = copied / "text_proj" / "config.json"
    settings = json.loads(path.read_text()) | {"time_embed_dim": 2**42}  # 280 TB of weights
    path.write_text(json.dumps(settings))
    message = "UnCLIP.load: expected memory to suffice on cpu, got"
    with pytest.raises(SINGRuntimeError, match=message):
        UnCLIP.load(str(copied))


def test_other_failures_are_not_called_a_lack_of_memory(place):
    renderer = load(place, "karlo")
    narrow = dict(renderer.pipeline.text_proj.config, clip_embeddings_dim=8)
    renderer.pipeline.text_proj = type(renderer.pipeline.text_proj).from_config(narrow)
    with pytest.raises(RuntimeError) as caught:
        renderer.render(wanted(1))
    assert type(caught.value) is RuntimeError
