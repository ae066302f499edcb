"""Photographs and equivalents, drawn alike in the demo world, against each step done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image, to_tensor

from captum_sing import SING, NullSpace, load_classifier
from captum_sing.classifiers import LoadedClassifier
from captum_sing.demo import load_demo, load_encoder, sample_scenes
from captum_sing.demo.renderer import SceneRenderer
from captum_sing.errors import NoNullSpaceError, SINGTypeError, SINGValueError
from captum_sing.render import Renderer, render_equivalents
from captum_sing.testing import ToyEncoder

B = 5
SCENES = sample_scenes(B, seed=3)
PHOTOGRAPHS = [to_pil_image(image) for image in SCENES.images]
ENCODER = load_encoder()
CHANGES: dict[str, dict[str, Any]] = {
    "mean": {"baselines": "mean"},
    "swap": {"baselines": SCENES.images.roll(1, 0)},
    "red": {"prompt": "red", "image_score": 15.0},
    "one class": {"target": 2},
}


class Recording(SceneRenderer):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Any]] = []

    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        self.asked.append((wanted, seeds))
        return super().render(wanted, seeds)


class Echo:
    """Draws features as the photographs that it was given: a perfect renderer of originals."""

    takes, restores_norm = "features", False

    def __init__(self, normalize: Any = None) -> None:
        self.facts: dict[str, Any] = {"renderer": "Echo"}
        self.normalize = normalize

    def check(self, translator: Any) -> None: ...

    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        return PHOTOGRAPHS


@pytest.fixture(scope="module")
def classifier() -> LoadedClassifier:
    return load_classifier("demo/resnet/neck_color")


@pytest.fixture(scope="module")
def sing(classifier: LoadedClassifier) -> SING:
    _, translator, concepts, _ = load_demo("resnet/neck_color")
    return SING(classifier.model, "head", translator, concepts, encoder=ENCODER)


@pytest.fixture(scope="module")
def rendered(classifier: LoadedClassifier, sing: SING) -> Any:
    renderer = Recording()
    done = render_equivalents(
        sing, renderer, PHOTOGRAPHS, CHANGES, preprocess=classifier.preprocess, seeds=7
    )
    return renderer, done


def inputs(pictures: Sequence[Image.Image], classifier: LoadedClassifier) -> Tensor:
    return torch.stack([classifier.preprocess(picture) for picture in pictures])


def test_both_sides_are_translations_of_one_length(
    rendered: Any, sing: SING, classifier: LoadedClassifier
) -> None:
    """Eq. 19: the original too is T(f), not its own embedding, and both have that one's length."""
    renderer, _ = rendered
    batch = inputs(PHOTOGRAPHS, classifier)
    features = classifier.model.features(batch).detach()
    embedded = ENCODER.encode_image(torch.stack([ENCODER.preprocess(p) for p in PHOTOGRAPHS]))
    for number, asked in enumerate([None, *CHANGES.values()]):
        moved = features if asked is None else features + sing.attribute(batch, **asked)[0]
        translated = sing.translator(moved)
        wanted, seeds = renderer.asked[number]
        unit = torch.nn.functional.normalize
        torch.testing.assert_close(unit(wanted), unit(translated), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(wanted.norm(dim=1), embedded.norm(dim=1), rtol=1e-4, atol=1e-4)
        assert seeds == [7] * B
    assert not torch.allclose(renderer.asked[0][0], renderer.asked[1][0], atol=1e-2)


def test_checks_are_what_the_classifier_says_to_the_saved_pictures(
    rendered: Any, classifier: LoadedClassifier, tmp_path: Any
) -> None:
    before = classifier.model(inputs(PHOTOGRAPHS, classifier)).detach()
    for name in ("mean", "swap", "red"):
        drawn = rendered[1].equivalents[name]
        again = []
        for number, picture in enumerate(drawn.pictures):
            picture.save(tmp_path / f"{number}.png")
            again.append(Image.open(tmp_path / f"{number}.png").convert("RGB"))
        after = classifier.model(inputs(again, classifier)).detach()
        gap = (after - before).abs().amax(dim=1) / before.abs().amax(dim=1)
        torch.testing.assert_close(drawn.check.gap.float(), gap, rtol=1e-4, atol=1e-5)
        same = before.argmax(1) == after.argmax(1)
        assert drawn.check.prediction_kept.tolist() == same.tolist()
        old = rendered[1].original.check
        told = [
            "verified"
            if ok and (g <= 0.02 or (known and g <= o))
            else "not verified"
            if known
            else "no yardstick"
            for ok, g, o, known in zip(
                same.tolist(), gap.tolist(), old.gap.tolist(),
                (old.prediction_kept & (old.gap <= 0.5)).tolist(),
                strict=True,
            )
        ]  # fmt: skip
        assert drawn.verdicts == told


def test_a_class_of_its_own_is_checked_by_its_logit(
    rendered: Any, classifier: LoadedClassifier
) -> None:
    """And measured by the same logit of the original."""
    before = classifier.model(inputs(PHOTOGRAPHS, classifier)).detach()[:, 2]
    drawn = rendered[1].equivalents["one class"]
    after = classifier.model(inputs(drawn.pictures, classifier)).detach()[:, 2]
    gap = (after - before).abs() / before.abs()
    torch.testing.assert_close(drawn.check.gap.float(), gap, rtol=1e-3, atol=1e-4)

    original = classifier.model(inputs(rendered[1].original.pictures, classifier)).detach()[:, 2]
    yardstick = (original - before).abs() / before.abs()
    torch.testing.assert_close(drawn.yardstick.gap.float(), yardstick, rtol=1e-3, atol=1e-4)
    assert (drawn.yardstick.gap - rendered[1].original.check.gap).abs().max() > 0.01
    told = [
        "verified" if g <= 0.02 or (o <= 0.5 and g <= o) else "not verified" if o <= 0.5
        else "no yardstick"
        for g, o in zip(gap.tolist(), yardstick.tolist(), strict=True)
    ]  # fmt: skip
    assert drawn.verdicts == told
    frame = rendered[1].to_frame().query("picture == 'one class'")
    assert frame["yardstick"].tolist() == pytest.approx(yardstick.tolist(), rel=1e-3, abs=1e-4)


def test_change_is_the_share_of_the_step(rendered: Any, classifier: LoadedClassifier) -> None:
    _, done = rendered
    read = {
        name: classifier.model.features(inputs(drawn.pictures, classifier)).detach().double()
        for name, drawn in {"original": done.original, "swap": done.equivalents["swap"]}.items()
    }
    features = classifier.model.features(inputs(PHOTOGRAPHS, classifier)).detach().double()
    space = NullSpace.from_layer(classifier.model.head)
    donors = classifier.model.features(SCENES.images.roll(1, 0)).detach().double()
    step = space.project(donors - features)
    share = ((read["swap"] - read["original"]) * step).sum(1) / step.square().sum(1)
    torch.testing.assert_close(done.equivalents["swap"].change, share, rtol=1e-3, atol=1e-3)


def test_same_feature_same_picture(classifier: LoadedClassifier, sing: SING) -> None:
    """A swap with oneself is the original, in every pixel."""
    own = {"self": {"baselines": inputs(PHOTOGRAPHS, classifier)}}
    done = render_equivalents(
        sing, SceneRenderer(), PHOTOGRAPHS, own, preprocess=classifier.preprocess
    )
    for one, other in zip(done.original.pictures, done.equivalents["self"].pictures, strict=True):
        assert torch.equal(to_tensor(one), to_tensor(other))


def test_frame_has_a_row_a_picture(rendered: Any) -> None:
    frame = rendered[1].to_frame()
    assert len(frame) == B * (1 + len(CHANGES))
    assert frame["picture"].unique().tolist() == ["rendered original", *CHANGES]
    assert frame.loc[frame["picture"] == "rendered original", "verdict"].isna().all()
    assert set(frame["verdict"].dropna()) <= {"verified", "not verified", "no yardstick"}
    assert rendered[1].facts == {
        "renderer": "SceneRenderer", "seeds": [7] * B, "tolerance": 0.02,
    }  # fmt: skip


@pytest.mark.parametrize("normalize", [None, lambda pixels: pixels])
def test_a_perfect_renderer_keeps_everything(
    classifier: LoadedClassifier, sing: SING, normalize: Any
) -> None:
    done = render_equivalents(
        sing, Echo(normalize), PHOTOGRAPHS, {"mean": {"baselines": "mean"}},
        preprocess=classifier.preprocess,
    )  # fmt: skip
    original, mean = done.original.check, done.equivalents["mean"]
    assert original.gap.max() < 1e-6 and original.principal.min() > 1 - 1e-6
    assert mean.verdicts == ["unchanged"] * B  # the logits are kept: it is the photograph
    assert mean.check.gap.max() < 1e-6
    assert mean.change is not None and mean.change.abs().max() < 1e-6  # and nothing was changed
    assert mean.check.null.max() < 0.5


def test_normalize_takes_the_place_of_preprocessing(
    classifier: LoadedClassifier, sing: SING
) -> None:
    done = render_equivalents(
        sing, Echo(lambda pixels: 1 - pixels), PHOTOGRAPHS, preprocess=classifier.preprocess
    )
    after = classifier.model(1 - inputs(PHOTOGRAPHS, classifier)).detach()
    before = classifier.model(inputs(PHOTOGRAPHS, classifier)).detach()
    gap = (after - before).abs().amax(dim=1) / before.abs().amax(dim=1)
    torch.testing.assert_close(done.original.check.gap.float(), gap, rtol=1e-4, atol=1e-5)


def test_without_an_encoder_lengths_are_those_of_the_translation(
    classifier: LoadedClassifier,
) -> None:
    model, translator, concepts, _ = load_demo("resnet/neck_color")
    renderer = Recording()
    done = render_equivalents(
        SING(model, "head", translator, concepts), renderer, PHOTOGRAPHS,
        {"mean": {"baselines": "mean"}}, preprocess=classifier.preprocess,
    )  # fmt: skip
    first, second = (wanted.norm(dim=1) for wanted, _ in renderer.asked)
    torch.testing.assert_close(first, second)
    assert done.original.check.angle is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ({"renderer": "unclip"}, SINGTypeError, "renderer to be a Renderer, got str"),
            ({"photographs": []}, SINGTypeError, "PIL images of mode RGB, one or more, got none"),
            ({"photographs": [torch.ones(3)]}, SINGTypeError, "one or more, got Tensor"),
            (
                {"photographs": [PHOTOGRAPHS[0].convert("L")]},
                SINGTypeError,
                "got mode L. Load",
            ),
            ({"changes": {}}, SINGValueError, "of names other than 'rendered original', each with"),
            ({"changes": {"rendered original": {}}}, SINGValueError, "got 'rendered original': {}"),
            ({"changes": ["mean"]}, SINGValueError, r"got \['mean'\]: 'no mapping'"),
            ({"changes": {"a": None}}, SINGValueError, "got 'a': None"),
            ({"internal_batch_size": 0}, SINGValueError, "of at least 1, got 0"),
            ({"tolerance": "x"}, SINGValueError, "tolerance from 0 to below 1, got x"),
            ({"encoder": ToyEncoder()}, SINGValueError, "encoder that of the translator"),
            ({"changes": {"x": {"donor": 1}}}, SINGValueError, r"got 'x': \{'donor': 1\}"),
            ({"seeds": [1, 2]}, SINGValueError, "one integer from 0, or 5 of them"),
            ({"tolerance": 2.0}, SINGValueError, "tolerance from 0 to below 1, got 2.0"),
            (
                {"changes": {"far": {"prompt": "red", "image_score": 170.0}}},
                SINGValueError,
                r"'far', whose angle photographs \[0, 1, 2, 3, 4\] cannot reach",
            ),
        ],
    )
    @pytest.mark.filterwarnings("ignore:SING.attribute. image_score cannot be reached")
    def test_what_cannot_be_drawn(
        self, given: dict, error: type, message: str, sing: SING, classifier: LoadedClassifier
    ) -> None:
        call = {"renderer": SceneRenderer(), "photographs": PHOTOGRAPHS, **given}
        with pytest.raises(error, match=message):
            render_equivalents(sing, **call, preprocess=classifier.preprocess)

    def test_another_space(self, classifier: LoadedClassifier, sing: SING) -> None:
        strange = SceneRenderer(type(SceneRenderer().decoder)(16))
        with pytest.raises(SINGValueError, match="space of width 16, got 64"):
            render_equivalents(sing, strange, PHOTOGRAPHS, preprocess=classifier.preprocess)

    def test_too_few_pictures(self, classifier: LoadedClassifier, sing: SING) -> None:
        class Lazy(SceneRenderer):
            def render(self, wanted: Tensor, seeds: Any = 0) -> list[Image.Image]:
                return super().render(wanted, seeds)[1:]

        with pytest.raises(SINGValueError, match="renderer to draw 5 pictures, got 4"):
            render_equivalents(sing, Lazy(), PHOTOGRAPHS, preprocess=classifier.preprocess)

    def test_a_head_that_sees_everything(self, classifier: LoadedClassifier) -> None:
        _, translator, concepts, _ = load_demo("resnet/neck_color")
        head = nn.Linear(64, 80)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 64), head)
        with pytest.raises(NoNullSpaceError):
            render_equivalents(
                SING(model, head, translator, concepts), SceneRenderer(), PHOTOGRAPHS,
                preprocess=classifier.preprocess,
            )  # fmt: skip


def test_a_head_that_sees_everything_keeps_a_class(classifier: LoadedClassifier) -> None:
    _, translator, concepts, _ = load_demo("resnet/neck_color")
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 64), nn.Linear(64, 80))
    done = render_equivalents(
        SING(model, "2", translator, concepts), SceneRenderer(), PHOTOGRAPHS,
        {"first": {"target": 0}}, preprocess=classifier.preprocess,
    )  # fmt: skip
    torch.testing.assert_close(done.original.check.gap, done.equivalents["first"].yardstick.gap)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_16_bits(dtype: torch.dtype) -> None:
    loaded = load_classifier("demo/resnet/neck_color")
    _, translator, concepts, _ = load_demo("resnet/neck_color")
    sing = SING(loaded.model.to(dtype), "head", translator, concepts)
    done = render_equivalents(
        sing, SceneRenderer(), PHOTOGRAPHS, {"mean": {"baselines": "mean"}},
        preprocess=loaded.preprocess,
    )  # fmt: skip
    assert done.equivalents["mean"].check.gap.isfinite().all()


def test_the_demo_draws_by_the_protocol() -> None:
    assert isinstance(SceneRenderer(), Renderer)
    with pytest.raises(SINGValueError, match=r"wanted of shape \(B, 64\), not empty"):
        SceneRenderer().render(torch.ones(2, 5))
    with pytest.raises(SINGValueError, match=r"NaN or infinity in rows \[1\]"):
        SceneRenderer().render(torch.tensor([[1.0], [torch.nan]]).expand(2, 64))
    with pytest.raises(SINGTypeError, match="floating-point tensor, got torch.int64"):
        SceneRenderer().render(torch.ones(2, 64, dtype=torch.int64))
    with pytest.raises(SINGValueError, match="seeds one integer from 0, or 2 of them"):
        SceneRenderer().render(torch.ones(2, 64), -1)
