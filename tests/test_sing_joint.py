"""Heads that a model averages: read, replaced, analysed and verified as the one map they are."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from toys import BANK, DONORS, IMAGES, any_translator, normal, untouched

from captum_sing import SING, LinearTranslator, NullSpace
from captum_sing.errors import (
    NoNullSpaceError,
    SINGError,
    SINGNameError,
    SINGRuntimeError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.hooks import read_features, replace_features
from captum_sing.testing import ToyClassifier

BOTH = ["head", "head_dist"]
WORLD = any_translator(24).with_statistics(normal(100, 24, seed=7))
NARROW = any_translator(12).with_statistics(normal(100, 12, seed=8))


class Distilled(nn.Module):
    """Two heads, on two features or on one, whose outputs are put together in some way."""

    def __init__(
        self,
        *,
        shared: bool = False,
        together: Callable[[Tensor, Tensor], Any] = lambda a, b: (a + b) / 2,
        classes: int = 4,
        convolution: bool = False,
    ) -> None:
        super().__init__()
        self.features = ToyClassifier(seed=0).features
        self.others = ToyClassifier(seed=1).features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            layer = partial(nn.Conv2d, kernel_size=1) if convolution else nn.Linear
            self.head, self.head_dist = layer(12, classes), layer(12, classes)
        self.shared, self.together, self.convolution = shared, together, convolution

    def inputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        one = self.features(images)
        two = one if self.shared else self.others(images)
        return (one[..., None, None], two[..., None, None]) if self.convolution else (one, two)

    def forward(self, images: Tensor) -> Any:
        one, two = self.inputs(images)
        return self.together(self.head(one).flatten(1), self.head_dist(two).flatten(1))


class Temporary(Distilled):
    """Hands each head a tensor that nothing else holds: its memory is free for the next one."""

    def forward(self, images: Tensor) -> Tensor:
        one = self.head(self.features(images) + 0)
        return (one + self.head_dist(self.others(images) + 0)) / 2


class Doubling(Distilled):
    """One memory, which the model writes to between the heads: two features."""

    def forward(self, images: Tensor) -> Tensor:
        feature = self.features(images)
        one = self.head(feature)
        return (one + self.head_dist(feature.mul_(2))) / 2


class Normalised(Distilled):
    """Each head behind a normalisation of its own, of one tensor."""

    def __init__(self) -> None:
        super().__init__(shared=True)
        self.norms = nn.ModuleList(nn.BatchNorm1d(12) for _ in range(2))
        for seed, norm in enumerate(self.norms):
            norm.running_mean, norm.running_var = normal(12, seed=seed), normal(12, seed=seed).exp()
            norm.weight.data, norm.bias.data = normal(12, seed=seed + 2), normal(12, seed=seed + 4)

    def inputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        one, two = super().inputs(images)
        return self.norms[0](one), self.norms[1](two)


class Windows(Distilled):
    """Two parts of one tensor, with some numbers in both or with none."""

    def __init__(self, overlap: int) -> None:
        super().__init__()
        self.overlap = overlap

    def inputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([self.features(images), self.others(images)], dim=1)
        return both[:, :12], both[:, 12 - self.overlap : 24 - self.overlap]


def sing_of(
    model: Any, layer: Any = BOTH, translator: LinearTranslator = WORLD, **more: Any
) -> SING:
    return SING(model, layer, translator, BANK, **more)


def both(model: Distilled) -> list[nn.Module]:
    return [model.head, model.head_dist]


class TestFeatures:
    def test_are_the_concatenated_inputs(self) -> None:
        model = Distilled().eval()
        with torch.no_grad():
            wanted = torch.cat(model.inputs(IMAGES), dim=1)
        for size in (None, 2):
            features = read_features(model, both(model), IMAGES, internal_batch_size=size)
            torch.testing.assert_close(features, wanted)

    def test_are_the_one_tensor_that_all_receive(self) -> None:
        model = Distilled(shared=True).eval()
        features = read_features(model, both(model), IMAGES)
        with torch.no_grad():
            assert torch.equal(features, model.features(IMAGES))

    def test_of_equal_numbers_are_not_one_tensor(self) -> None:
        model = Distilled().eval()
        model.others = model.features
        assert read_features(model, both(model), IMAGES).shape == (5, 24)

    @pytest.mark.parametrize("kind", [Temporary, Doubling])
    def test_in_memory_that_is_used_again_are_not_one_tensor(self, kind: type[Distilled]) -> None:
        model = kind().eval()
        features = read_features(model, both(model), IMAGES)
        assert features.shape == (5, 24)
        assert not torch.allclose(features[:, :12], features[:, 12:])
        with torch.no_grad():
            made = (model.head(features[:, :12]) + model.head_dist(features[:, 12:])) / 2
            torch.testing.assert_close(made, model(IMAGES))

    def test_are_held_until_the_pass_is_over(self) -> None:
        """So that no second input can lie in the memory of the first."""
        held: list[bool] = []

        class Watched(Distilled):
            def forward(self, images: Tensor) -> Tensor:
                feature = self.features(images)
                one, watched = self.head(feature), weakref.ref(feature)
                del feature
                held.append(watched() is not None)
                return one + self.head_dist(self.others(images))

        model = Watched().eval()
        with torch.no_grad():
            model(IMAGES)
        read_features(model, both(model), IMAGES)
        assert held == [False, True]

    def test_that_something_else_holds_are_left_as_they_were(self) -> None:
        one, two = both(Distilled())
        held, new = normal(5, 12, seed=3), normal(5, 12, seed=4)
        before = held.clone()
        logits = replace_features(lambda _: (one(held) + two(held)) / 2, [one, two], IMAGES, new)
        torch.testing.assert_close(logits, ((one(new) + two(new)) / 2).detach())
        assert torch.equal(held, before)

    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("convolution", [False, True])
    def test_are_replaced_in_each_layer(self, shared: bool, convolution: bool) -> None:
        model = Distilled(shared=shared, convolution=convolution).eval()
        received = read_features(model, both(model), IMAGES)
        assert received.shape == (5, 12 if shared else 24, *((1, 1) if convolution else ()))
        new = normal(*received.shape, seed=5)
        with untouched(model):
            logits = replace_features(model, both(model), IMAGES, new, internal_batch_size=2)
        parts = (new, new) if shared else new.split([12, 12], dim=1)
        with torch.no_grad():
            wanted = (model.head(parts[0]) + model.head_dist(parts[1])).flatten(1) / 2
        torch.testing.assert_close(logits, wanted)

    def test_of_another_width_are_refused(self) -> None:
        model = Distilled()
        with untouched(model), pytest.raises(SINGValueError, match="of width 24 or 12, got 13"):
            replace_features(model, both(model), IMAGES, torch.zeros(5, 13))


class TestAttribution:
    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("convolution", [False, True])
    def test_moves_what_all_heads_together_ignore(self, shared: bool, convolution: bool) -> None:
        model = Distilled(shared=shared, convolution=convolution).eval()
        sing = sing_of(model, translator=NARROW if shared else WORLD)
        perturbations, descriptions = sing.attribute(IMAGES)
        width = 12 if shared else 24
        assert perturbations.shape == (5, width, *((1, 1) if convolution else ()))
        assert descriptions.ignored.shape == (5, len(BANK))
        parts = perturbations.split([12] if shared else [12, 12], dim=1)
        assert all(part.flatten(1).norm(dim=1).min() > 0.1 for part in parts)
        with untouched(model):
            drift = sing.verify(IMAGES)
        assert drift.null.max() < 1e-6
        assert drift.residual.max() < 1e-6
        assert min(drift.random.min(), drift.principal.min()) > 1000 * drift.null.max()

    def test_has_a_null_space_where_no_head_alone_has_one(self) -> None:
        model = Distilled(classes=15)
        for layer in BOTH:
            with pytest.raises(NoNullSpaceError, match="rank 12 from 15 rows"):
                sing_of(model, layer, NARROW).attribute(IMAGES)
        assert NullSpace.from_layer(both(model)).nullity == 9
        assert sing_of(model).verify(IMAGES).null.max() < 1e-6

    @pytest.mark.parametrize("baselines", ["mean", "conditional", DONORS, normal(5, 24, seed=3)])
    def test_takes_every_baseline(self, baselines: Any) -> None:
        drift = sing_of(Distilled()).verify(IMAGES, baselines)
        assert drift.null.max() < 1e-6 < 1e-2 < drift.random.min()

    def test_takes_targets_and_prompts(self) -> None:
        sing = sing_of(Distilled())
        assert sing.verify(IMAGES, target=[0, 1, 2, 3, 0]).null.max() < 1e-6
        _, descriptions = sing.attribute(IMAGES, prompt="red", image_score=5.0)
        torch.testing.assert_close(
            descriptions.image_score, torch.full((5,), 5.0, dtype=torch.float64)
        )

    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize(
        "options", [{"energy": 0.8}, {"classes": [1, 3]}, {"invariant_to": "probabilities"}]
    )
    def test_takes_other_null_spaces(self, shared: bool, options: dict[str, Any]) -> None:
        model = Distilled(shared=shared)
        weight = (model.head.weight + model.head_dist.weight) / 2
        space = (
            NullSpace.from_weight(weight, **options)
            if shared
            else NullSpace.from_layer(both(model), **options)
        )
        exact = NullSpace.from_weight(weight) if shared else NullSpace.from_layer(both(model))
        sing = sing_of(model, translator=NARROW if shared else WORLD, null_space=space)
        drift = sing.verify(IMAGES)
        assert space.nullity > exact.nullity
        if "energy" in options:
            assert 1e-3 < drift.null.max() < drift.random.max()
        else:
            assert drift.null.max() < 1e-6 < drift.random.min()

    def test_lists_may_name_or_hold_layers_in_any_wrapping(self) -> None:
        model = Distilled().eval()
        expected, _ = sing_of(model).attribute(IMAGES)
        parallel, compiled = nn.DataParallel(model), torch.compile(model, backend="eager")
        for used, layer in (
            (model, tuple(BOTH)),
            (model, both(model)),
            (model, ["head", model.head_dist]),
            (parallel, ["module.head", "head_dist"]),
            (compiled, BOTH),
            (lambda images: {"logits": model(images)}, both(model)),
        ):
            sing = sing_of(used, layer)
            assert torch.equal(sing.attribute(IMAGES)[0], expected)
            assert sing.verify(IMAGES).null.max() < 1e-6
        swapped, _ = sing_of(model, BOTH[::-1]).attribute(IMAGES)
        torch.testing.assert_close(swapped.norm(dim=1), expected.norm(dim=1))
        assert not torch.equal(swapped, expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_keeps_the_models_precision(self, dtype: torch.dtype) -> None:
        model = Distilled().to(dtype).eval()
        perturbations, _ = sing_of(model).attribute(IMAGES.to(dtype))
        weight = torch.cat([layer.weight.detach().double() for layer in both(model)], dim=1)
        assert perturbations.dtype == torch.promote_types(dtype, torch.float32)
        assert (perturbations.double() @ weight.T).abs().max() < 1e-5

    def test_new_weights_of_either_head_make_a_new_null_space(self) -> None:
        model = Distilled().eval()
        sing = sing_of(model)
        before, _ = sing.attribute(IMAGES)
        torch.manual_seed(5)
        model.head_dist.reset_parameters()
        assert not torch.allclose(sing.attribute(IMAGES)[0], before)
        assert sing.verify(IMAGES).null.max() < 1e-6

    def test_a_head_is_called_by_keyword(self) -> None:
        class ByKeyword(Distilled):
            def forward(self, images: Tensor) -> Tensor:
                one, two = self.inputs(images)
                return (self.head(input=one) + self.head_dist(input=two)) / 2

        drift = sing_of(ByKeyword()).verify(IMAGES)
        assert drift.null.max() < 1e-6 < 1e-2 < drift.random.min()


class TestTied:
    """Inputs that follow from each other: no logit moves, and yet no image moves them so."""

    TIED = "The heads' inputs are tied"

    @pytest.mark.parametrize("model", [Normalised(), Windows(1), Windows(6), Doubling()])
    @pytest.mark.parametrize("size", [None, 2])
    def test_are_told(self, model: Distilled, size: int | None) -> None:
        sing = sing_of(model)
        drift = sing.verify(IMAGES, internal_batch_size=size)
        assert drift.tied and "inputs are tied" in str(drift)
        assert self.TIED in str(sing.attribute(IMAGES).descriptions[0])
        assert self.TIED in str(sing.attribute(IMAGES, target=1).descriptions[0])

    def test_are_silent_though_the_model_sees_all_of_them(self) -> None:
        model = Normalised().eval()
        sing = sing_of(model)
        drift = sing.verify(IMAGES)
        assert drift.null.max() < 1e-6
        slopes = torch.cat([torch.diag(n.weight / n.running_var.sqrt()) for n in model.norms])
        ignored = sing.attribute(IMAGES).perturbations
        reached = torch.linalg.lstsq(slopes, ignored.T).solution
        assert ((slopes @ reached).T - ignored).norm(dim=1).min() > 0.1

    @pytest.mark.parametrize("model", [Distilled(), Windows(0), Distilled(shared=True)])
    def test_are_not_those_that_can_change_apart(self, model: Distilled) -> None:
        sing = sing_of(model, translator=NARROW if model.shared else WORLD)
        drift = sing.verify(IMAGES)
        assert not drift.tied and "tied" not in str(drift)
        assert self.TIED not in str(sing.attribute(IMAGES).descriptions[0])

    def test_are_not_seen_in_two_images(self) -> None:
        assert not sing_of(Normalised()).verify(IMAGES[:2]).tied


class TestExposed:
    """What is not the model's head shows: in the drift where it is no invariance of the output,
    and in the residual wherever the layers do not make the output."""

    @pytest.mark.parametrize("layer", BOTH)
    @pytest.mark.parametrize("shared", [False, True])
    def test_one_of_two_averaged_heads(self, shared: bool, layer: str) -> None:
        """What one head ignores of a feature of its own, the output ignores too; of a shared one
        it does not, which shows where the other head reads it after this one."""
        drift = sing_of(Distilled(shared=shared), layer, NARROW).verify(IMAGES)
        assert drift.residual.min() > 0.1
        assert "the head alone does not make the model's logits" in str(drift)
        assert (drift.null.min() > 1e-3) == (shared and layer == "head")

    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize(
        "together",
        [
            lambda a, b: a,
            lambda a, b: (b, a),
            lambda a, b: 0.7 * a + 0.3 * b,
            lambda a, b: torch.maximum(a, b),
            lambda a, b: (a.softmax(1) + b.softmax(1)) / 2,
        ],
        ids=["first", "second", "weighted", "larger", "probabilities averaged"],
    )
    def test_a_list_that_is_not_averaged(
        self, shared: bool, together: Callable[[Tensor, Tensor], Any]
    ) -> None:
        model = Distilled(shared=shared, together=together)
        with untouched(model):
            drift = sing_of(model, translator=NARROW if shared else WORLD).verify(IMAGES)
        assert drift.null.min() > 1e-3
        assert drift.residual.min() > 1e-2

    def test_a_list_that_is_summed_is_an_invariance_all_the_same(self) -> None:
        drift = sing_of(Distilled(together=lambda a, b: a + b)).verify(IMAGES)
        assert drift.null.max() < 1e-6
        torch.testing.assert_close(drift.residual, torch.full((5,), 0.5, dtype=torch.float64))

    def test_a_third_head(self) -> None:
        class Three(Distilled):
            def __init__(self) -> None:
                super().__init__()
                self.third = nn.Linear(12, 4)

            def forward(self, images: Tensor) -> Tensor:
                one, two = self.inputs(images)
                return (self.head(one) + self.head_dist(two) + self.third(two)) / 3

        drift = sing_of(Three()).verify(IMAGES)
        assert min(drift.null.min(), drift.residual.min()) > 1e-3


class TestRefused:
    @pytest.mark.parametrize(
        ("layer", "error", "message"),
        [
            ([], SINGValueError, r"a list of different ones, got \[\]"),
            (["head", "head"], SINGValueError, "List each of the averaged heads once"),
            (["head", "tail"], SINGNameError, "layer of Distilled, got 'tail'"),
            (["head", "features.0"], SINGTypeError, "to be a linear map .* got Conv2d"),
            (["head", 3], SINGTypeError, "to be a module or a name, got int"),
            (["head", nn.Linear(12, 5)], SINGValueError, "one number of classes, got 4 and 5"),
        ],
    )
    def test_before_any_pass(self, layer: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            sing_of(Distilled(), layer)

    def test_names_on_a_function(self) -> None:
        with pytest.raises(SINGTypeError, match="a module where forward_func is a function"):
            sing_of(lambda images: images, BOTH)

    def test_parts_of_another_width(self) -> None:
        with pytest.raises(SINGValueError, match="width 24 or 12, got one for width 9"):
            sing_of(Distilled(), translator=any_translator(9))
        space = NullSpace.from_layer(Distilled().head)
        with pytest.raises(SINGValueError, match="null_space .* width 24, got one for width 12"):
            sing_of(Distilled(), null_space=space)
        shared = Distilled(shared=True)
        space = NullSpace.from_layer(both(shared))
        remedy = r"width 12, got one for width 24\. .*: NullSpace\.from_layer\(layers, width=12\)"
        with pytest.raises(SINGValueError, match=remedy):
            sing_of(shared, translator=NARROW, null_space=space)
        space = NullSpace.from_layer(both(shared), width=12)
        drift = sing_of(shared, translator=NARROW, null_space=space).verify(IMAGES)
        assert drift.null.max() < 1e-6

    def test_a_seed_that_is_no_number(self) -> None:
        with pytest.raises(SINGTypeError, match="verify: expected seed to be an integer, got 'a'"):
            sing_of(Distilled()).verify(IMAGES, seed="a")

    @pytest.mark.parametrize("shared", [False, True])
    def test_a_translator_of_the_width_that_is_not_read(self, shared: bool) -> None:
        read, other = (12, 24) if shared else (24, 12)
        sing = sing_of(Distilled(shared=shared), translator=WORLD if shared else NARROW)
        message = f"width {read}, got one for width {other}. .* hands them all the same tensor"
        with pytest.raises(SINGValueError, match=message):
            sing.attribute(IMAGES)

    def test_calls_are_counted_for_each_layer(self) -> None:
        class Again(Distilled):
            def forward(self, images: Tensor) -> Tensor:
                self.head_dist(self.features(images))
                return super().forward(images)

        class Never(Distilled):
            def forward(self, images: Tensor) -> Tensor:
                return self.head(self.features(images))

        for model, message in ((Again(), "got 2 calls of Linear"), (Never(), "got no call of")):
            for run in (SING.attribute, SING.verify):
                with untouched(model), pytest.raises(SINGRuntimeError, match=message):
                    run(sing_of(model), IMAGES)
            with untouched(model), pytest.raises(SINGRuntimeError, match=message):
                replace_features(model, both(model), IMAGES, torch.zeros(5, 24))
        stranger = [Distilled().head, Never().head]
        with pytest.raises(SINGRuntimeError, match="no call of Linear.* and Linear"):
            sing_of(Distilled(), stranger).attribute(IMAGES)

    @pytest.mark.parametrize("error", [KeyError("boom"), AssertionError("a hook"), OSError("boom")])
    def test_the_models_own_errors_pass(self, error: Exception) -> None:
        def together(one: Tensor, two: Tensor) -> Tensor:
            raise error

        model = Distilled(together=together)
        with untouched(model), pytest.raises(Exception, match="boom|a hook") as raised:
            sing_of(model).attribute(IMAGES)
        assert error in (raised.value, raised.value.__cause__)
        assert not isinstance(raised.value, SINGRuntimeError)


def real(name: str, classes: int, size: int) -> tuple[nn.Module, list[str], Tensor]:
    """A timm model, its heads made large enough that a random perturbation shows."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=classes).eval()
    names = list(model.pretrained_cfg["classifier"])
    for head in map(model.get_submodule, names):
        nn.init.normal_(head.weight, std=0.02)
        nn.init.normal_(head.bias, std=0.02)
    return model, names, normal(3, 3, size, size, seed=9)


def check_real(
    name: str, classes: int, width: int, nullity: int, alone: int, tied: bool = False
) -> None:
    model, names, images = real(name, classes, 224)
    heads = [model.get_submodule(head) for head in names]
    space = NullSpace.from_layer(heads, width=width)
    assert (space.width, space.nullity) == (width, nullity)
    drift = SING(model, names, any_translator(width), BANK).verify(images)
    assert drift.null.max() <= 1e-5
    assert min(drift.random.min(), drift.principal.min()) >= 1000 * drift.null.max()
    assert drift.residual.max() <= 1e-5
    assert drift.tied == tied
    one = SING(model, names[0], any_translator(heads[0].weight.shape[1]), BANK)
    if alone:
        assert NullSpace.from_layer(heads[0]).nullity == alone
        assert one.verify(images).residual.min() > 0.1
        return
    with pytest.raises(NoNullSpaceError, match=f"from {classes} rows"):
        one.attribute(images)


@pytest.mark.slow
def test_distilled_deit_ignores_536_directions_that_neither_head_does() -> None:
    check_real("deit_base_distilled_patch16_224", 1000, 1536, 536, 0)


def test_real_averaged_heads() -> None:
    check_real("efficientformer_l1", 100, 448, 348, 348)


def test_real_averaged_heads_of_inputs_that_are_tied() -> None:
    """Of 768 numbers 668 are ignored, of inputs that each follow from the same 384."""
    check_real("levit_128s", 100, 768, 668, 284, tied=True)


def test_a_real_shared_input_exposes_one_head_alone() -> None:
    model, names, images = real("efficientformer_l1", 100, 224)
    drift = SING(model, names[0], any_translator(448), BANK).verify(images)
    assert drift.null.min() > 1e-3


def test_real_heads_that_see_everything_name_the_ways_on() -> None:
    model, names, images = real("levit_128s", 1000, 224)
    with pytest.raises(SINGError, match=r"width of 768, got rank 768 from 1000 rows.*energy=0\.99"):
        SING(model, names, any_translator(768), BANK).attribute(images)
