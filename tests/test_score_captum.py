"""Captum's attributions and metrics apply to a SINGScore, on a CNN and on a transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    GradientShap,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from captum.metrics import infidelity, sensitivity_max
from score_worlds import WORLDS, World
from torch import Tensor
from toys import untouched

from captum_sing import SING, SINGScore
from captum_sing.demo import (
    load_classifier,
    load_concepts,
    load_encoder,
    load_translator,
    sample_scenes,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
    pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU"),
    pytest.mark.filterwarnings("ignore:Setting forward, backward hooks"),
]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]()


def patches(images: Tensor) -> dict[str, Any]:
    size = images.shape[-1] // 2
    return {"sliding_window_shapes": (3, size, size), "strides": (3, size, size)}


def squares(images: Tensor) -> Tensor:
    """A number for each quarter of an image."""
    half = torch.arange(images.shape[-1]) // (images.shape[-1] // 2)
    return (half[None, :] + 2 * half[:, None]).expand(1, 1, -1, -1)


Method = Callable[[SINGScore, World, int], Tensor]
METHODS: dict[str, Method] = {
    "Saliency": lambda s, w, t: Saliency(s).attribute(w.images, target=t),
    "InputXGradient": lambda s, w, t: InputXGradient(s).attribute(w.images, target=t),
    "IntegratedGradients": lambda s, w, t: IntegratedGradients(s).attribute(
        w.images, target=t, n_steps=8, internal_batch_size=6
    ),
    "GradientShap": lambda s, w, t: GradientShap(s).attribute(
        w.images, baselines=0 * w.images, target=t, n_samples=2
    ),
    "Occlusion": lambda s, w, t: Occlusion(s).attribute(w.images, target=t, **patches(w.images)),
    "FeatureAblation": lambda s, w, t: FeatureAblation(s).attribute(
        w.images, target=t, feature_mask=squares(w.images)
    ),
    "LayerGradCam": lambda s, w, t: LayerGradCam(s, w.layer).attribute(w.images, target=t),
    "GuidedGradCam": lambda s, w, t: GuidedGradCam(s, w.layer).attribute(w.images, target=t),
    "NoiseTunnel(Saliency)": lambda s, w, t: NoiseTunnel(Saliency(s)).attribute(
        w.images, target=t, nt_samples=2
    ),
    "NoiseTunnel(IntegratedGradients)": lambda s, w, t: NoiseTunnel(
        IntegratedGradients(s)
    ).attribute(w.images, target=t, nt_samples=2, n_steps=4),
}


@pytest.mark.parametrize("method", METHODS)
def test_attributions_apply(world: World, method: str) -> None:
    """Finite maps that depend on the word; the model is left as it was."""
    score = world.sing.score("ignored", world.words)
    with untouched(world.sing.forward_func):
        maps = [_seeded(METHODS[method], score, world, target) for target in (0, 1)]
    assert maps[0].shape[0] == 3 and maps[0].dim() == 4
    assert all(one.isfinite().all() and one.any() for one in maps)
    assert not torch.allclose(*maps, rtol=1e-2)


@pytest.mark.parametrize("kind", ["seen", "attribute_score", "image_score", "null_energy"])
def test_other_scores_have_maps_too(world: World, kind: str) -> None:
    with torch.no_grad():  # Captum asks for gradients again
        maps = Saliency(world.sing.score(kind)).attribute(world.images, target=0)
    assert maps.isfinite().all() and maps.any()
    words = world.sing.score(kind).names
    if len(words) == 1:
        assert torch.equal(Saliency(world.sing.score(kind)).attribute(world.images), maps)


def test_deep_lift_finds_the_head_itself(world: World) -> None:
    """Its hooks want gradients, also in the pass that looks for the head."""
    sing = world.sing
    found = SING(sing.forward_func, None, sing.translator, sing.concepts)
    maps = [
        DeepLift(one.score("ignored", world.words)).attribute(
            world.images, 0 * world.images, target=0
        )
        for one in (sing, found)
    ]
    assert maps[0].any() and torch.equal(*maps)


def test_one_word_an_image(world: World) -> None:
    score = world.sing.score("ignored", world.words)
    maps = Saliency(score).attribute(world.images, target=torch.tensor([0, 1, 0]))
    each = [
        Saliency(score).attribute(image[None], target=word)
        for image, word in zip(world.images, (0, 1, 0), strict=True)
    ]
    assert torch.allclose(maps, torch.cat(each), atol=1e-5)


def test_ablation_is_the_difference_that_it_says(world: World) -> None:
    """Every quarter of a map from FeatureAblation is the score with that quarter at zero."""
    score = world.sing.score("ignored", world.words[0])
    quarters = squares(world.images)
    maps = METHODS["FeatureAblation"](score, world, 0)
    for number in range(4):
        without = torch.where(quarters == number, 0.0, world.images)
        change = (score(world.images) - score(without))[:, 0]
        inside = maps[(quarters == number).expand_as(maps)].reshape(3, -1)
        assert torch.allclose(inside, change[:, None].expand_as(inside), atol=1e-5)


class TestMetrics:
    def test_infidelity_tells_a_gradient_from_noise(self, world: World) -> None:
        score = world.sing.score("ignored", world.words)
        gradient = Saliency(score).attribute(world.images, target=1, abs=False)
        found = [self.infidelity(score, maps, world) for maps in (gradient, gradient.roll(7, 3))]
        assert all(one.shape == (3,) and one.isfinite().all() for one in found)
        assert found[0].mean() < 0.5 * found[1].mean()

    def infidelity(self, score: SINGScore, maps: Tensor, world: World) -> Tensor:
        def small(images: Tensor) -> tuple[Tensor, Tensor]:
            noise = 1e-3 * torch.randn_like(images)
            return noise, images - noise

        torch.manual_seed(0)
        return infidelity(
            score, small, world.images, maps, target=1, n_perturb_samples=20, normalize=True
        )

    def test_sensitivity_grows_with_the_perturbation(self, world: World) -> None:
        method = Saliency(world.sing.score("ignored", world.words))

        def sensitivity(radius: float) -> Tensor:
            torch.manual_seed(0)
            return sensitivity_max(
                method.attribute,
                world.images,
                perturb_radius=radius,
                n_perturb_samples=3,
                target=1,
            )

        near, far = sensitivity(1e-4), sensitivity(0.5)
        assert near.shape == (3,) and near.isfinite().all()
        assert near.mean() < far.mean()


class TestCompleteness:
    """Integrated gradients sum to the difference of scores, at 200 steps, to 1 %."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["convnext/neck_color", "convnext/neck_background"])
    def test_smooth_networks_image_by_image(self, name: str) -> None:
        delta, difference = self.deltas(name, 200)
        shares = delta.abs() / difference.abs()
        print(f"{name}: {shares.median():.2%} at the median, {shares.max():.2%} at most")
        assert difference.abs().mean() > 1.0
        assert (delta.abs() <= 1e-2 * difference.abs()).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["resnet/neck_color", "resnet/neck_background"])
    def test_networks_with_kinks_on_average(self, name: str) -> None:
        """Piecewise linear along the path: no rule is exact, and single images may exceed 1 %."""
        delta, difference = self.deltas(name, 200)
        coarse, _ = self.deltas(name, 20)
        shares, mean = delta.abs() / difference.abs(), delta.abs().sum() / difference.abs().sum()
        print(f"{name}: {mean:.2%} of all, {shares.quantile(0.9):.2%} in nine of ten, "
              f"{shares.max():.2%} at most")  # fmt: skip
        assert delta.abs().sum() <= 1e-2 * difference.abs().sum()
        assert coarse.abs().sum() > 3 * delta.abs().sum()

    def test_a_transformer(self) -> None:
        world = WORLDS["vit"]()
        delta, difference = deltas_of(
            world.sing.score("ignored", world.words), world.images, torch.tensor([0, 1, 0]), 200
        )
        assert (delta.abs() <= 1e-2 * difference.abs()).all()

    def deltas(self, name: str, steps: int) -> tuple[Tensor, Tensor]:
        """Of each image's own word of the planted factor."""
        sing = SING(
            load_classifier(name), "head", load_translator(name), load_concepts(load_encoder())
        )
        scenes = sample_scenes(32, 10_000_003)
        factor = name.split("_")[1]
        own = [scenes.words(index)[factor] for index in range(len(scenes))]
        score = sing.score("ignored", sorted(set(own)))
        target = torch.tensor([score.target(word) for word in own])
        return deltas_of(score, scenes.images, target, steps)


def deltas_of(
    score: SINGScore, images: Tensor, target: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    gray = torch.full_like(images, 0.5)
    _, delta = IntegratedGradients(score).attribute(
        images,
        gray,
        target,
        n_steps=steps,
        internal_batch_size=256,
        return_convergence_delta=True,
    )
    with torch.no_grad():
        difference = (score(images) - score(gray)).gather(1, target[:, None])[:, 0]
    return delta, difference


def _seeded(method: Method, *arguments: Any) -> Tensor:
    torch.manual_seed(0)
    return method(*arguments).detach()
