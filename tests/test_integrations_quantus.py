"""Quantus's metrics run on maps of what is ignored, which are Captum's to the bit."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import captum.attr
import numpy as np
import pytest
import quantus  # not skipped where it is missing: the metrics are what is promised
import torch
from builders import redrawn
from captum.attr import (
    Attribution,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from scripts import load_script
from torch import Tensor, nn
from toys import BANK, IMAGES, WORDS, normal, toy_sing, untouched

from captum_sing import SING, SINGScore, TranslatorFitter
from captum_sing.demo import FACTORS, load_demo, sample_scenes
from captum_sing.errors import SINGError, SINGNameError, SINGTypeError, SINGValueError
from captum_sing.hooks import read_features
from captum_sing.integrations import quantus as ours
from captum_sing.integrations.quantus import SIGNS, explain
from captum_sing.testing import ToyClassifier, ToyEncoder

TARGETS = torch.tensor([0, 3, 1, 2, 0])
STEPS = {"n_steps": 4}


@pytest.fixture(params=["ignored", "classes"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    score = toy_sing().score("ignored").eval()
    return score if request.param == "ignored" else score.model


def by_hand(model: nn.Module, method: Any, targets: Any = TARGETS, **options: Any) -> Tensor:
    made = getattr(captum.attr, method) if isinstance(method, str) else method
    return made(model).attribute(IMAGES.clone().requires_grad_(), target=targets, **options)


def maps_of(model: nn.Module, **options: Any) -> np.ndarray:
    return explain(model, IMAGES.numpy(), TARGETS.numpy(), device="cpu", **options)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("IntegratedGradients", {"n_steps": 7, "baselines": normal(5, 3, 8, 8, seed=5)}),
        (captum.attr.Saliency, {"abs": False}),
        ("InputXGradient", {}),
        ("Occlusion", {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2)}),
        (lambda model: NoiseTunnel(Saliency(model)), {"stdevs": 0.0, "nt_samples": 2}),
    ],
    ids=["integrated", "class", "name", "occlusion", "factory"],
)
def test_maps_are_captums(
    model: nn.Module, method: str | Callable[..., Any], options: dict[str, Any]
) -> None:
    with untouched(model):
        found = maps_of(model, method=method, **options)
    assert found.dtype == np.float32 and found.shape == (5, 1, 8, 8)
    wanted = by_hand(model, method, **options).sum(dim=1, keepdim=True)
    assert np.array_equal(found, wanted.detach().float().numpy())


def test_integrated_gradients_unless_told(model: nn.Module) -> None:
    wanted = by_hand(model, IntegratedGradients).sum(dim=1, keepdim=True)
    assert np.array_equal(maps_of(model), wanted.detach().float().numpy())


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_layers_are_found_in_the_copy(ignored: bool, mode: str) -> None:
    """A name is looked up in the model at hand, the classifier's names in a score too."""
    scenes = demo()
    model = copy.deepcopy(scenes.score if ignored else scenes.score.model)
    classifier = model.model if ignored else model
    for module in classifier.backbone.layer3.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    layer = classifier.backbone.layer3
    found, original = (
        explain(
            one,
            scenes.images,
            scenes.targets,
            method="LayerGradCam",
            layer="backbone.layer3",
            interpolate_mode=mode,
        )
        for one in (model, scenes.score if ignored else scenes.score.model)
    )
    images = torch.from_numpy(scenes.images)
    small = LayerGradCam(model, layer).attribute(images, target=torch.tensor(scenes.targets))
    assert small.shape[2:] < (64, 64)
    wanted = LayerAttribution.interpolate(small, (64, 64), mode).detach().numpy()
    assert found.shape == (3, 1, 64, 64) and np.array_equal(found, wanted)
    assert not np.allclose(found, original)
    with pytest.raises(SINGValueError, match=r"layer to be a part of the model.*randomises too"):
        explain(
            copy.deepcopy(model), scenes.images, scenes.targets, method=LayerGradCam, layer=layer
        )


def test_signs_are_of_the_sum_over_channels(model: nn.Module) -> None:
    whole = by_hand(model, Saliency, abs=False).sum(dim=1, keepdim=True).numpy()
    assert (whole > 0).any() and (whole < 0).any()
    wanted = {
        "all": whole,
        "positive": np.where(whole > 0, whole, 0),
        "negative": np.where(whole < 0, -whole, 0),
        "absolute_value": abs(whole),
    }
    assert wanted.keys() == SIGNS.keys()
    for sign, maps in wanted.items():
        assert np.array_equal(maps_of(model, method="Saliency", abs=False, sign=sign), maps)


def test_arrays_and_tensors_alike(model: nn.Module) -> None:
    wanted = maps_of(model, baselines=np.float64(IMAGES.flip(0)), **STEPS)
    tensors = explain(model, IMAGES.double(), TARGETS, baselines=IMAGES.flip(0), **STEPS)
    assert np.array_equal(wanted, tensors)
    one = explain(model, IMAGES, 3, **STEPS)
    for many in (np.array([3]), np.array([3] * 5, dtype=np.int32), [3] * 5):
        assert np.array_equal(one, explain(model, IMAGES, many, **STEPS))


@pytest.mark.parametrize("method", ["IntegratedGradients", "Occlusion"])
def test_parts_of_a_batch(
    model: nn.Module, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image keeps its own target and baseline; the second method has no batches itself."""
    options: dict[str, Any] = {"method": method, "baselines": normal(5, 3, 8, 8, seed=6)}
    if method == "Occlusion":
        options["sliding_window_shapes"] = (3, 4, 4)
    whole = maps_of(model, **options)
    assert "explain" not in capsys.readouterr().err
    parts = maps_of(model, internal_batch_size=2, show_progress=True, **options)
    assert np.allclose(whole, parts, atol=1e-6)
    assert "3/3" in capsys.readouterr().err
    with pytest.raises(SINGValueError, match="internal_batch_size of at least 1, got -1"):
        maps_of(model, internal_batch_size=-1)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_off(model: nn.Module, context: Callable[[], Any]) -> None:
    wanted = maps_of(model)
    with context():
        assert np.array_equal(maps_of(model), wanted)
        assert np.array_equal(explain(model, IMAGES * 1.0, TARGETS), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_the_models(model: nn.Module, dtype: torch.dtype) -> None:
    wanted = maps_of(model, baselines=normal(5, 3, 8, 8, seed=6))
    model = copy.deepcopy(model).to(dtype)
    found = maps_of(model, baselines=normal(5, 3, 8, 8, seed=6))
    assert found.dtype == np.float32 and next(model.parameters()).dtype == dtype
    error = abs(found - wanted).max() / abs(wanted).max()
    assert error < {torch.float16: 2e-2, torch.bfloat16: 2e-1, torch.float64: 1e-6}[dtype]


def test_explained_in_evaluation_mode(model: nn.Module) -> None:
    wanted = maps_of(model)
    with untouched(model.train()):
        assert np.array_equal(maps_of(model), wanted)
    assert model.training


def test_a_model_without_weights_goes_where_it_is_told() -> None:
    class Bright(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.square().mean(dim=(2, 3))

    channels = torch.tensor([0, 2, 1, 1, 0])
    found = explain(Bright(), IMAGES, channels, method="Saliency", abs=False, device="cpu")
    assert np.allclose(found[:, 0], 2 * IMAGES[torch.arange(5), channels] / 64)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        explain(Bright(), IMAGES, channels, method="Saliency", device="meta")


REFUSED: dict[str, tuple[dict[str, Any], type[SINGError], str]] = {
    "sign": ({"sign": "both"}, SINGValueError, r"expected sign in \['all', .*got 'both'"),
    "name": ({"method": "Gradients"}, SINGNameError, "name of an attribution .* got 'Gradients'"),
    "no attribution": ({"method": "visualization"}, SINGNameError, "got 'visualization'"),
    "made already": (
        {"method": Saliency(nn.Identity())},
        SINGTypeError,
        "factory of the model, got Saliency. Pass IntegratedGradients, not one made with a model",
    ),
    "maps of a factory": (
        {"method": lambda model: model(IMAGES)},
        SINGTypeError,
        "method to make an attribution of Captum's, got Tensor",
    ),
    "layer wanted": ({"method": LayerGradCam}, SINGValueError, "to be named for LayerGradCam, got"),
    "layer too many": (
        {"method": "Saliency", "layer": "head"},
        SINGValueError,
        "expected layer None for Saliency, got 'head'. Leave it out",
    ),
    "layer unknown": (
        {"method": "LayerGradCam", "layer": "block"},
        SINGNameError,
        "name of a layer of ToyClassifier, got 'block'",
    ),
    "no places": (
        {"method": "LayerGradCam", "layer": "head"},
        SINGValueError,
        r"method to return 5 maps with the proportions of the images: .* got \(5, 1\)",
    ),
    "not of these images": (
        {"method": lambda model: SING(model, "head", toy_sing().translator, BANK)},
        SINGTypeError,
        "method to return one tensor, got SINGAttribution",
    ),
    "channels last": (
        {"method": lambda model: Sideways(model)},
        SINGValueError,
        r"proportions of the images: .* got \(5, 1, 8, 96\). Bring tokens",
    ),
}


class Sideways(Attribution):
    """A layer's map with its channels last, as Swin's are."""

    def attribute(self, inputs: Tensor, **_: Any) -> Tensor:
        return inputs.new_ones(len(inputs), 1, 8, 96)


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_options(case: str) -> None:
    options, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        explain(ToyClassifier().eval(), IMAGES, TARGETS, **options)


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "message"),
    [
        (IMAGES[0], 0, SINGValueError, r"inputs of shape \(B, C, H, W\), got \(3, 8, 8\)"),
        (IMAGES.tolist(), 0, SINGTypeError, "inputs to be a tensor"),
        (IMAGES * np.nan, 0, SINGValueError, "inputs finite"),
        (IMAGES, TARGETS[:3], SINGValueError, r"shape \(5,\), or one, got torch.int64 of .*\(3,\)"),
        (IMAGES, TARGETS.float(), SINGValueError, "targets to be whole numbers .* torch.float32"),
        (IMAGES, 5, SINGValueError, "targets from 0 to 4, the words of this score, got 5 to 5"),
        (IMAGES, TARGETS - 1, SINGValueError, "targets from 0 to 4, .* got -1 to 2"),
    ],
)
def test_refuses_inputs(inputs: Any, targets: Any, error: type[SINGError], message: str) -> None:
    with pytest.raises(error, match=message):
        explain(toy_sing().score("ignored", WORDS), inputs, targets)


class Painted(nn.Module):
    """Its Saliency with ``abs=False`` is the picture it was painted with."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.picture = nn.Parameter(picture)

    def forward(self, images: Tensor) -> Tensor:
        return (images.sum(dim=1) * self.picture).sum(dim=(1, 2)).unsqueeze(1) / 3


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.full((8, 8), torch.nan), "method to return finite numbers, got NaN or infinity"),
        (torch.zeros(8, 8), "got 0.0 at every pixel of every image. Choose another method"),
        (torch.ones(8, 8), "got 1.0 at every pixel of every image"),
        (-torch.rand(8, 8) - 0.1, 'got negative values alone. Pass sign="absolute_value"'),
    ],
)
def test_refuses_what_quantus_refuses(picture: Tensor, message: str) -> None:
    options = {"method": "Saliency", "abs": False}
    with pytest.raises(SINGValueError, match=message):
        explain(Painted(picture), IMAGES, 0, **options)
    if "Pass sign" in message:
        for sign in ("absolute_value", "negative"):
            found = explain(Painted(picture), IMAGES, 0, sign=sign, **options)
            assert np.allclose(found[:, 0], -picture)


def test_needs_no_quantus_and_hides_none() -> None:
    tree = ast.parse(Path(ours.__file__).read_text(encoding="utf-8"))
    named = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {alias.name for node in named for alias in node.names}
    modules |= {node.module for node in named if isinstance(node, ast.ImportFrom)}
    assert "torch" in modules and not {name for name in modules if name.startswith("quantus")}
    assert quantus is not ours and quantus.MPRT is not None


class Scored(NamedTuple):
    """A score, images and the number of a word for each."""

    score: SINGScore
    images: np.ndarray
    targets: np.ndarray


@cache
def demo() -> Scored:
    model, translator, concepts, _ = load_demo("resnet/neck_color")
    scenes = sample_scenes(3, 10_000_000)
    score = SING(model, "head", translator, concepts).score("ignored", FACTORS["color"])
    return Scored(score.eval(), scenes.images.numpy(), scenes.labels["color"].numpy())


@cache
def transformer() -> Scored:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_vit", pretrained=False, img_size=32, num_classes=5)
        redrawn(model.eval(), 5)
    images, encoder = normal(200, 3, 32, 32, seed=7), ToyEncoder(image_size=32)
    features = read_features(model, model.head, images)
    translator = TranslatorFitter().update(features, encoder.encode_image(images)).fit()
    score = SING(model, "head", translator, BANK).score("ignored").eval()
    return Scored(score, normal(3, 3, 32, 32, seed=8).numpy(), np.array([0, 2, 4]))


BACKBONES = {"a CNN": demo, "a ViT": transformer}
QUIET = {"disable_warnings": True}
METRICS: dict[str, Callable[[int], Any]] = {
    "MaxSensitivity": lambda words: quantus.MaxSensitivity(nr_samples=2, **QUIET),
    "FaithfulnessCorrelation": lambda words: quantus.FaithfulnessCorrelation(
        nr_runs=4, subset_size=100, return_aggregate=False, **QUIET
    ),
    "PixelFlipping": lambda words: quantus.PixelFlipping(features_in_step=256, **QUIET),
    "RandomLogit": lambda words: quantus.RandomLogit(num_classes=words, **QUIET),
    "Sparseness": lambda words: quantus.Sparseness(**QUIET),
}


def evaluated(metric: Any, scored: Scored, explain_func: Any = explain, **options: Any) -> Any:
    return metric(
        model=scored.score,
        x_batch=scored.images,
        y_batch=scored.targets,
        explain_func=explain_func,
        explain_func_kwargs=options,
        channel_first=True,
        softmax=False,
        device="cpu",
    )


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", METRICS)
def test_metrics_run_on_a_score(backbone: str, name: str) -> None:
    scored = BACKBONES[backbone]()
    metric = METRICS[name](len(scored.score.names))
    with untouched(scored.score):
        found = np.array(evaluated(metric, scored, **STEPS))
    assert len(found) == 3 and np.isfinite(found).all()
    assert found.std() > 0


def brightness(model: Any, inputs: np.ndarray, targets: Any, **_: Any) -> np.ndarray:
    return inputs.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_maps_change_with_the_weights(backbone: str) -> None:
    """MPRT: ours keep nothing once all weights are randomised; a map without weights all of it."""
    scored = BACKBONES[backbone]()
    metric = quantus.MPRT(abs=False, skip_layers=True, **QUIET)
    with untouched(scored.score):
        original, last = evaluated(metric, scored, **STEPS).values()
    assert np.allclose(original, 1) and np.mean(last) < 0.3
    original, last = evaluated(metric, scored, brightness).values()
    assert np.allclose(original, 1) and np.allclose(last, 1)


def test_each_layer_is_randomised_in_turn() -> None:
    """The head first, and with it the null space; the original stays what it was."""
    scored = demo()
    layers = evaluated(quantus.MPRT(abs=False, **QUIET), scored, method="Saliency", abs=False)
    assert list(layers)[:3] == ["original", "model.head", "model.neck"] and len(layers) == 33
    assert 0.2 < np.mean(layers["model.head"]) < 0.99
    copied = copy.deepcopy(scored.score)
    torch.manual_seed(43)  # as Quantus does, one above its own
    copied.model.head.reset_parameters()
    maps = (
        explain(score, scored.images, scored.targets, method="Saliency", abs=False)
        for score in (scored.score, copied)
    )
    wanted = quantus.similarity_func.correlation_spearman(
        *(one.reshape(3, -1) for one in maps), batched=True
    )
    assert np.allclose(layers["model.head"], wanted)


def test_says_what_a_random_logit_wants() -> None:
    with pytest.raises(SINGValueError, match=r"RandomLogit wants num_classes=len\(score.names\)"):
        evaluated(quantus.RandomLogit(**QUIET), demo(), method="Saliency")


@pytest.mark.slow
def test_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pandas as pd

    main = load_script("quantus_table").main
    monkeypatch.chdir(tmp_path)
    few = ["--images", "2", "--steps", "2", "--samples", "1", "--classifiers", "resnet/neck_color"]
    main(few)
    printed = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    main([*few, "--output", "made/table"])
    assert capsys.readouterr().out == printed
    assert (tmp_path / "made/table.md").read_text(encoding="utf-8").strip() == printed.strip()
    table = pd.read_csv(tmp_path / "made/table.csv")
    last = table[table.metric == "MPRT, signed: all layers"].set_index("map")["mean"]
    assert abs(last["own color"]) < 0.1 and abs(last["own shape"]) < 0.1
    verdicts = table.dropna(subset="verdict").set_index("map").verdict
    assert verdicts[["own color", "own shape"]].eq("changes").all()
    weightless = [name for name in verdicts.index if name.endswith("no weights")]
    assert len(weightless) == 3 and verdicts[weightless].eq("FAILS").all()
    assert np.allclose(last[weightless], 1)
    silent = table[table.reading == "not meaningful"]
    assert set(silent["map"]) == {"own color"} and set(silent["of"]) == {"class logit"}
    assert len(table[table.metric.str.startswith("MPRT, signed: backbone")]) == 5 * 30
    for wrong, message in ((["--classifiers", "nothing"], "nothing"), (["--images", "1"], "2")):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)
        assert message in capsys.readouterr().err
