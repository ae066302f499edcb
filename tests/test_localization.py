"""Maps of evidence add up to the image's, position by position, and are where the evidence is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam, NoiseTunnel
from torch import Tensor, nn
from toys import BANK, IMAGES, any_translator, normal, toy_sing, untouched

from captum_sing import SING, SINGScore, find_head
from captum_sing.demo import FACTORS, load_demo, sample_masks, sample_scenes
from captum_sing.errors import SINGNameError, SINGRuntimeError, SINGTypeError, SINGValueError
from captum_sing.evidence import word_directions
from captum_sing.head import resolve_layer
from captum_sing.localization import LayerEvidence
from captum_sing.testing import ToyClassifier


def score_of(model: nn.Module, images: Tensor, kind: str = "ignored", **further: Any) -> SINGScore:
    """Of any classifier, its head drawn so that words have evidence, with any translator."""
    head = find_head(model, images[:1]).module
    with torch.no_grad():
        head.weight.copy_(normal(*head.weight.shape, seed=5))
    width = head.weight.shape[1]
    translator = any_translator(width).with_statistics(normal(4 * width, width, seed=6))
    return SING(model, head, translator, BANK).score(kind, **further)


def timm(name: str, **small: Any) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=5, **small)


def torchvision(name: str, **small: Any) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, name)(num_classes=5, **small)


def transformers(name: str, **small: Any) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(num_labels=5, **small)
    return getattr(transformers, f"{name}ForImageClassification")(config)


# the model, height and width of its images, the layer that is found, and the grid of its map
Case = tuple[Callable[[], nn.Module], tuple[int, int], str, tuple[int, int]]
SMALL: dict[str, Case] = {
    "resnet": (partial(timm, "resnet18", layers=(1, 1, 1, 1), channels=(8, 8, 8, 24)), (96, 64),
               "layer4", (3, 2)),
    "convnext": (partial(timm, "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 24)), (64, 96),
                 "stages", (2, 3)),
    "swin": (partial(timm, "swin_tiny_patch4_window7_224", img_size=32, window_size=2,
                     depths=(1, 1, 1), embed_dim=12, num_heads=(1, 2, 4)), (32, 32),
             "norm", (2, 2)),
    "vit": (partial(timm, "vit_tiny_patch16_224", img_size=(32, 64), global_pool="avg", depth=1,
                    embed_dim=24), (32, 64), "blocks", (2, 4)),
    "vit without fc_norm": (partial(timm, "vit_tiny_patch16_224", img_size=64, global_pool="avg",
                                    depth=1, embed_dim=24, fc_norm=False, reg_tokens=3), (64, 64),
                            "norm", (4, 4)),
    "mobilenet": (partial(timm, "mobilenetv2_050"), (64, 64), "bn2", (2, 2)),
    "densenet": (partial(torchvision, "DenseNet", growth_rate=8, block_config=(2, 2),
                         num_init_features=8), (64, 64), "features", (8, 8)),
    "resnet of transformers": (
        partial(transformers, "ResNet", embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1],
                layer_type="basic"), (32, 32), "resnet.encoder.stages.1", (4, 4)),
    "swin of transformers": (
        partial(transformers, "Swin", image_size=32, patch_size=4, embed_dim=12, depths=[1, 1],
                num_heads=[1, 2], window_size=4), (32, 32), "swin.layernorm", (4, 4)),
    "data2vec, whose layers return tuples": (
        partial(transformers, "Data2VecVision", hidden_size=24, num_hidden_layers=1,
                num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8),
        (32, 32), "data2vec_vision.encoder.layer.0", (4, 4)),
}  # fmt: skip
WHOLE: dict[str, Case] = {
    "timm resnet18": (partial(timm, "resnet18"), (96, 96), "layer4", (3, 3)),
    "timm convnext_atto": (partial(timm, "convnext_atto"), (96, 96), "stages", (3, 3)),
    "timm swin_tiny": (partial(timm, "swin_tiny_patch4_window7_224", img_size=64, window_size=2),
                       (64, 64), "norm", (2, 2)),
    "timm vit_tiny": (partial(timm, "vit_tiny_patch16_224", global_pool="avg"), (224, 224),
                      "blocks", (14, 14)),
    "timm mixer_s16": (partial(timm, "mixer_s16_224"), (224, 224), "norm", (14, 14)),
    "timm efficientnet_b0": (partial(timm, "efficientnet_b0"), (96, 96), "bn2", (3, 3)),
    "timm mobilenetv2_100": (partial(timm, "mobilenetv2_100"), (96, 96), "bn2", (3, 3)),
    "torchvision resnet18": (partial(torchvision, "resnet18"), (96, 96), "layer4", (3, 3)),
    "torchvision densenet121": (partial(torchvision, "densenet121"), (96, 96), "features", (3, 3)),
    "torchvision convnext_tiny": (partial(torchvision, "convnext_tiny"), (64, 64),
                                  "features", (2, 2)),
    "torchvision swin_t": (partial(torchvision, "swin_t"), (96, 96), "permute", (3, 3)),
}  # fmt: skip


def built(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return case[0]().eval(), normal(3, 3, *case[1], seed=7)


class TestAdditivity:
    @pytest.mark.parametrize("name", SMALL)
    def test_maps_sum_to_the_score(self, name: str) -> None:
        check_sums(SMALL[name])

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WHOLE)
    def test_maps_sum_to_the_score_of_whole_models(self, name: str) -> None:
        check_sums(WHOLE[name])

    @pytest.mark.parametrize("kind", ["ignored", "seen"])
    @pytest.mark.parametrize("baselines", [None, "mean", "conditional", "feature"])
    def test_for_every_baseline(self, kind: str, baselines: Any) -> None:
        donor = normal(12, seed=3) if baselines == "feature" else baselines
        score = toy_sing().score(kind, baselines=donor)
        maps, delta = LayerEvidence(score).attribute(IMAGES, return_convergence_delta=True)
        assert maps.shape == (5, 5, 8, 8) and delta.abs().max() < 1e-5
        whole = score(IMAGES)
        torch.testing.assert_close(maps.sum(dim=(2, 3)), whole, rtol=0, atol=1e-5)
        assert whole.abs().max() > 0.1

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_in_other_precisions_up_to_the_rounding_of_the_model(self, dtype: torch.dtype) -> None:
        images = IMAGES.to(dtype)
        score = toy_sing(ToyClassifier().to(dtype)).score("ignored")
        maps, delta = LayerEvidence(score).attribute(images, return_convergence_delta=True)
        assert maps.dtype == delta.dtype == torch.promote_types(dtype, torch.float32)
        assert delta.abs().max() < 4 * torch.finfo(dtype).eps * maps.abs().sum((2, 3)).max()
        told = maps.double().sum(dim=(2, 3)) - score(images)
        torch.testing.assert_close(delta.double(), told, rtol=0, atol=1e-6)
        assert (delta.abs().max() > 1e-5) == (dtype.itemsize == 2)


def check_sums(case: Case) -> None:
    model, images = built(case)
    for kind in ("ignored", "seen"):
        score = score_of(model, images, kind)
        evidence = LayerEvidence(score)
        with untouched(score):
            maps, delta = evidence.attribute(images, return_convergence_delta=True)
        assert evidence.layer is resolve_layer(model, case[2])
        assert maps.shape == (3, len(BANK), *case[3]) and not maps.requires_grad
        whole = score(images).detach()
        torch.testing.assert_close(maps.sum(dim=(2, 3)), whole, rtol=0, atol=1e-4)
        assert delta.abs().max() < min(1e-4, 1e-3 * whole.abs().max()) and whole.abs().max() > 1e-3
        assert maps.std(dim=(2, 3)).max() > 1e-4 * maps.abs().max()


DEMOS = {"resnet/neck_background": "backbone.layer4", "convnext/neck_color": "backbone.stages"}


class TestDemo:
    @pytest.mark.parametrize("name", DEMOS)
    def test_maps_are_what_a_loop_over_positions_says(self, name: str) -> None:
        """In float64; a neck that plants colour rounds its own output by 1e-4 in float32."""
        model, translator, concepts, images = load_demo(name)
        model, images = model.double(), images[:3].double()
        sing = SING(model, "head", translator, concepts)
        evidence = LayerEvidence(sing.score("ignored"), DEMOS[name])
        maps, delta = evidence.attribute(images, return_convergence_delta=True)
        slow = by_loop(model, translator, concepts, images, evidence.layer)
        torch.testing.assert_close(maps, slow, rtol=0, atol=1e-9)
        ignored = sing.attribute(images).descriptions.ignored
        torch.testing.assert_close(maps.sum(dim=(2, 3)), ignored, rtol=0, atol=1e-9)
        assert delta.abs().max() < 1e-9 and maps.std(dim=(2, 3)).mean() > 0.01

    @pytest.mark.parametrize("name", DEMOS)
    def test_the_layer_is_found(self, name: str) -> None:
        model, translator, concepts, images = load_demo(name)
        score = SING(model, None, translator, concepts).score("ignored")
        evidence = LayerEvidence(score)
        with untouched(score):
            maps, delta = evidence.attribute(images, return_convergence_delta=True)
        assert evidence.layer is resolve_layer(model, DEMOS[name])
        assert maps.shape == (8, len(concepts), 2, 2)
        rounding = score.of_features(features_of(model, images)) - score(images)
        assert delta.abs().max() < max(1e-5, 1.5 * rounding.abs().max())

    @pytest.mark.slow
    def test_colour_lies_more_on_the_object_than_the_class_does(self) -> None:
        """Little more: on a grid of 2 x 2, the mask itself has a ratio of 1.55."""
        model, translator, concepts, _ = load_demo("resnet/neck_color")
        scenes, masks = (draw(200, 10_000_000) for draw in (sample_scenes, sample_masks))
        score = SING(model, "head", translator, concepts).score("ignored", FACTORS["color"])
        maps = LayerEvidence(score).attribute(scenes.images, target=scenes.labels["color"])
        class_map = LayerGradCam(model, resolve_layer(model, DEMOS["resnet/neck_background"]))
        others = class_map.attribute(scenes.images, target=scenes.labels["shape"])
        ratios, spread = ratio(maps, masks)
        of_class, its_spread = ratio(others, masks)
        of_strangers, _ = ratio(maps, masks.roll(1, dims=0))
        assert ratios - 5 * spread > 1 and abs(of_strangers - 1) < 0.08
        assert ratios - of_class > 2 * (spread**2 + its_spread**2) ** 0.5


def features_of(model: Any, images: Tensor) -> Tensor:
    """Without the rounding of float32; the model is left in it."""
    with torch.no_grad():
        features = model.double().features(images.double())
    model.float()
    return features


def by_loop(model: Any, translator: Any, concepts: Any, images: Tensor, layer: Any) -> Tensor:
    """Evidence of each position, from the formulas and one matrix after another."""
    kept = {}
    with torch.no_grad():
        handle = layer.register_forward_hook(lambda *call: kept.update(maps=call[-1]))
        model(images)
        handle.remove()
    maps, weight = kept["maps"], model.head.weight.detach()
    rows = torch.linalg.svd(weight, full_matrices=False).Vh
    null = torch.eye(weight.shape[1]).double() - rows.T @ rows
    directions = word_directions(translator, concepts)
    norm = getattr(model.backbone, "head", None)
    result = torch.zeros(len(images), len(concepts), *maps.shape[2:], dtype=torch.float64)
    for image in range(len(images)):
        pooled = maps[image].mean(dim=(1, 2))
        scale = (pooled.var(correction=0) + 1e-6).sqrt()
        for row in range(maps.shape[2]):
            for column in range(maps.shape[3]):
                here = maps[image, :, row, column]
                if norm is not None:
                    here = (here - here.mean()) / scale * norm.norm.weight + norm.norm.bias
                feature = model.neck.weight @ here + model.neck.bias
                ignored = null @ (feature.detach() - translator.mean)
                evidence = directions @ (translator.weight.double() @ ignored)
                result[image, :, row, column] = evidence / maps[0, 0].numel()
    return result


def ratio(maps: Tensor, masks: Tensor) -> tuple[float, float]:
    """Positive relevance in the mask over the mask's area: mean over images, standard error."""
    shown = LayerEvidence.interpolate(maps.detach(), masks.shape[1:], "bilinear")[:, 0]
    shown = shown.clamp(min=0)
    shares = (shown * masks).sum((1, 2)) / shown.sum((1, 2)) / masks.mean((1, 2))
    shares = shares[shares.isfinite()]
    return shares.mean().item(), (shares.std() / len(shares) ** 0.5).item()


class TestMeaning:
    def test_where_only_one_patch_differs_only_the_map_there_does(self) -> None:
        model = ToyClassifier().eval()
        model.features[0] = nn.Conv2d(3, 12, 1)
        other = IMAGES.clone()
        other[:, :, 2:4, 5:7] = 2.0
        maps = [LayerEvidence(toy_sing(model).score()).attribute(x) for x in (IMAGES, other)]
        changed = (maps[0] - maps[1]).abs().amax(dim=(0, 1)) > 1e-9
        expected = torch.zeros(8, 8, dtype=torch.bool)
        expected[2:4, 5:7] = True
        assert torch.equal(changed, expected)

    def test_shuffled_positions_shuffle_the_map_and_leave_the_sum(self) -> None:
        model, order = ToyClassifier().eval(), torch.randperm(64)
        evidence = LayerEvidence(toy_sing(model).score("ignored"))
        maps = evidence.attribute(IMAGES)
        model.features[2].register_forward_hook(
            lambda _, __, found: found.flatten(2)[..., order].reshape(found.shape)
        )
        shuffled = evidence.attribute(IMAGES)
        torch.testing.assert_close(shuffled.flatten(2), maps.flatten(2)[..., order])
        torch.testing.assert_close(shuffled.sum((2, 3)), maps.sum((2, 3)))
        assert (shuffled - maps).abs().max() > 1e-3

    def test_grad_cam_of_the_score_differs_by_one_constant_unless_a_norm_follows(self) -> None:
        def difference(name: str) -> Tensor:
            model, images = built(SMALL[name])
            score = score_of(model, images)
            maps = LayerEvidence(score).attribute(images, target=1)
            layer = resolve_layer(model, SMALL[name][2])
            return maps - LayerGradCam(score, layer).attribute(images, target=1).detach()

        constant = difference("resnet")
        assert constant.std() < 1e-6 < 1e-3 < constant.abs().min()
        assert difference("convnext").std() > 1e-3


class TestArguments:
    def test_targets(self) -> None:
        evidence = LayerEvidence(toy_sing().score("ignored"))
        every = evidence.attribute(IMAGES)
        one, delta = evidence.attribute(IMAGES, target=2, return_convergence_delta=True)
        assert torch.equal(one, every[:, 2:3]) and delta.shape == (5,)
        own = [4, 0, 1, 1, 3]
        for target in (own, torch.tensor(own)):
            maps = evidence.attribute(IMAGES, target=target)
            assert torch.equal(maps[:, 0], every[range(5), own])
        parts = evidence.attribute(IMAGES, target=own, internal_batch_size=2, show_progress=True)
        torch.testing.assert_close(parts, maps)

    def test_further_arguments_go_to_the_model(self) -> None:
        class Weighted(ToyClassifier):
            def forward(self, images: Tensor, weights: Tensor, bias: float) -> Tensor:
                return super().forward(images * weights + bias)

        weights = normal(5, 1, 1, 1, seed=8)
        evidence = LayerEvidence(toy_sing(Weighted()).score("ignored"), "features.2")
        maps = evidence.attribute(
            IMAGES, additional_forward_args=(weights, 0.5), internal_batch_size=2
        )
        plain = LayerEvidence(toy_sing().score("ignored")).attribute(IMAGES * weights + 0.5)
        torch.testing.assert_close(maps, plain)

    def test_no_gradient_is_made_and_none_is_needed(self) -> None:
        score = toy_sing().score("ignored")
        images = IMAGES.clone().requires_grad_()
        expected = LayerEvidence(score).attribute(IMAGES)
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode(), untouched(score):
                maps = LayerEvidence(score).attribute(images)
            assert not maps.requires_grad and torch.equal(maps, expected)
        assert images.grad is None

    def test_a_model_in_training_mode_is_evaluated_and_left_as_it_was(self) -> None:
        score = toy_sing(ToyClassifier().train()).score("ignored")
        with untouched(score):
            maps = LayerEvidence(score).attribute(IMAGES)
        assert torch.equal(maps, LayerEvidence(toy_sing().score("ignored")).attribute(IMAGES))

    def test_a_noise_tunnel_goes_through(self) -> None:
        evidence = LayerEvidence(toy_sing().score("ignored"))
        quiet = NoiseTunnel(evidence).attribute(IMAGES, nt_samples=3, stdevs=0.0, target=1)
        torch.testing.assert_close(quiet, evidence.attribute(IMAGES, target=1))
        assert evidence.has_convergence_delta()

    def test_a_wrapped_model(self) -> None:
        wrapped = nn.DataParallel(ToyClassifier(), device_ids=None)
        maps = LayerEvidence(toy_sing(wrapped, "head").score("ignored")).attribute(IMAGES)
        assert torch.equal(maps, LayerEvidence(toy_sing().score("ignored")).attribute(IMAGES))


class TestRefusals:
    @pytest.mark.parametrize(
        "kind", ["attribute_score", "centred_attribute_score", "image_score", "null_energy"]
    )
    def test_scores_that_do_not_add_up(self, kind: str) -> None:
        with pytest.raises(SINGValueError, match=f"of kind ignored or seen, .*got '{kind}'. Use"):
            LayerEvidence(toy_sing().score(kind))

    def test_what_is_no_score_of_a_module(self) -> None:
        with pytest.raises(SINGTypeError, match="to be a SINGScore of a module, got ToyClass"):
            LayerEvidence(ToyClassifier())  # type: ignore[arg-type]
        model = ToyClassifier().eval()
        score = toy_sing(lambda images: model(images), model.head).score("ignored")
        with pytest.raises(SINGTypeError, match="got SINGScore of a function"):
            LayerEvidence(score)

    def test_another_layer(self) -> None:
        score = toy_sing().score("ignored")
        with pytest.raises(SINGNameError, match="the name of a layer of ToyClassifier"):
            LayerEvidence(score, "no such layer")
        with (
            untouched(score),
            pytest.raises(SINGValueError, match=r"got another place than features.0 \(Conv2d\)"),
        ):
            LayerEvidence(score, "features.0").attribute(IMAGES)

    @pytest.mark.parametrize(
        ("model", "size", "message"),
        [
            (partial(timm, "vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=24), 32,
             r"got token 0 of norm \(LayerNorm\), a class token. Use a gradient method on the"),
            (partial(timm, "vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=24,
                     global_pool="avg", pool_include_prefix=True), 32,
             "got 5 tokens, class or register tokens pooled along"),
            (partial(timm, "mobilenetv3_small_050"), 64, r"got what act2 \(Hardswish\) makes"),
            (partial(timm, "resnet18", layers=(1, 1, 1, 1), channels=(8, 8, 8, 24)), 32,
             "if its map has one position only, pass larger images"),
        ],
    )  # fmt: skip
    def test_features_that_are_no_mean(self, model: Any, size: int, message: str) -> None:
        classifier, images = built((model, (size, size), "", (0, 0)))
        score = score_of(classifier, images)
        with untouched(score), pytest.raises(SINGValueError, match=message):
            LayerEvidence(score).attribute(images)

    def test_heads_that_are_averaged(self) -> None:
        class Two(ToyClassifier):
            def __init__(self) -> None:
                super().__init__()
                self.other = nn.Linear(12, 4)

            def forward(self, images: Tensor) -> Tensor:
                features = self.features(images)
                return (self.head(features) + self.other(features)) / 2

        score = toy_sing(Two(), ["head", "other"]).score("ignored")
        with pytest.raises(SINGValueError, match="got a score of 2 heads that are averaged"):
            LayerEvidence(score).attribute(IMAGES)

    @pytest.mark.parametrize(
        ("target", "error", "message"),
        [
            (5, SINGValueError, r"target to be integers in \[0, 4\], got 5"),
            (-1, SINGValueError, r"target to be integers in \[0, 4\], got -1"),
            ([0, 1], SINGValueError, r"one output, or one for each of 5 images, got shape \(2,\)"),
            (torch.zeros(5, 1).long(), SINGValueError, "one output, or one for each of 5 images"),
            ("red", SINGTypeError, "target to be output numbers, got 'red'"),
            (1.0, SINGTypeError, "target to be output numbers, got torch.float32"),
        ],
    )
    def test_targets_that_are_no_output(self, target: Any, error: Any, message: str) -> None:
        with pytest.raises(error, match=message):
            LayerEvidence(toy_sing().score("ignored")).attribute(IMAGES, target=target)

    def test_inputs(self) -> None:
        evidence = LayerEvidence(toy_sing().score("ignored"))
        with pytest.raises(SINGTypeError, match="LayerEvidence: expected inputs to be a tensor"):
            evidence.attribute("image")  # type: ignore[arg-type]
        with pytest.raises(SINGValueError, match="that the model accepts"):
            evidence.attribute(IMAGES[:, :2])
        with pytest.raises(SINGValueError, match="internal_batch_size of at least 1, got 0"):
            evidence.attribute(IMAGES, internal_batch_size=0)

    def test_images_that_go_another_way(self) -> None:
        class Fickle(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                found = self.features[:3](images)
                mean, most = found.mean((2, 3)), found.amax((2, 3))
                return self.head(torch.where(images[:, :1, 0, 0] > 3, most, mean))

        images = IMAGES.clamp(-2, 2)
        score = toy_sing(Fickle()).score("ignored")
        LayerEvidence(score).attribute(images)
        images[3, 0, 0, 0] = 4.0
        with pytest.raises(SINGRuntimeError, match="that all go the same way through the model"):
            LayerEvidence(score).attribute(images)
