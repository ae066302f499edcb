"""Class maps beside maps of what is ignored: every number against a slow, obvious one."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import (
    Attribution,
    GradientShap,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from plot_world import drawn
from torch import Tensor, nn
from toys import (
    BANK,
    FITTED,
    IMAGES,
    WORDS,
    any_translator,
    features_of,
    normal,
    toy_sing,
    untouched,
)

from captum_sing import SING, TranslatorFitter
from captum_sing.attributions import AttributionComparison, compare_attributions
from captum_sing.attributions.comparing import METHODS
from captum_sing.attributions.numbers import regions_of
from captum_sing.attributions.results import ALIKE, REGIONS, Maps
from captum_sing.errors import SINGValueError
from captum_sing.testing import ToyClassifier, ToyEncoder

COUNT = len(IMAGES)
SILENCES = ("silence", "rival_silence")
YARDSTICK = "runner_up_rival_silence - target_rival_silence"


def ranks(values: np.ndarray) -> np.ndarray:
    """How many are smaller, ties counted half."""
    return np.array([(values < v).sum() + 0.5 * (values == v).sum() for v in values])


def spearman(one: Tensor, other: Tensor) -> float:
    return float(np.corrcoef(ranks(one.flatten().numpy()), ranks(other.flatten().numpy()))[0, 1])


def largest(values: Tensor, share: float) -> set[int]:
    order = sorted(range(values.numel()), key=lambda i: -values.flatten()[i].item())
    return set(order[: round(share * values.numel())])


def grey(images: Tensor, masks: Tensor) -> Tensor:
    """A removal of our own."""
    return torch.where(masks[:, None], 0.25, images)


class Given(Attribution):
    """Maps that are known, whatever the model."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def attribute(self, inputs: Tensor, target: Any) -> Tensor:
        return self.maps


def given(maps: Tensor, **options: Any) -> AttributionComparison:
    return compare_attributions(
        toy_sing(), IMAGES[: len(maps)], "red", methods={"given": lambda _: Given(maps)}, **options
    )


@pytest.fixture(scope="module")
def sing() -> SING:
    return toy_sing()


@pytest.fixture(scope="module")
def comparison(sing: SING) -> AttributionComparison:
    return compare_attributions(
        sing,
        IMAGES,
        methods={"IG": IntegratedGradients, "Saliency": Saliency},
        options={"IG": {"n_steps": 6}, "Saliency": {"abs": False}},
        removal=grey,
        top=0.2,
    )


class TestAgainstASlowOne:
    def rows(self, comparison: AttributionComparison, method: str) -> list[Any]:
        table = comparison.table[comparison.table["method"] == method]
        assert table["image"].tolist() == list(range(COUNT))
        return [row for _, row in table.iterrows()]

    def test_class_and_word_of_each_image(
        self, sing: SING, comparison: AttributionComparison
    ) -> None:
        with torch.no_grad():
            logits = sing.forward_func(IMAGES)
        ignored = sing.attribute(IMAGES).descriptions.ignored
        for i, row in enumerate(self.rows(comparison, "IG")):
            first, second = logits[i].argsort(descending=True)[:2].tolist()
            assert (row["target"], row["runner_up"]) == (first, second)
            assert row["concept"] == WORDS[int(ignored[i].argmax())]
            assert row["logit"] == pytest.approx(float(logits[i, first]), rel=1e-5)
            assert row["score"] == pytest.approx(float(ignored[i].max()), rel=1e-5)
            assert not row["in_sample"]
        assert set(comparison.table["logit_unit"]) == {"sd"} == set(comparison.table["score_unit"])

    @pytest.mark.parametrize("method", ["IG", "Saliency"])
    def test_maps_are_captums_own(
        self, sing: SING, comparison: AttributionComparison, method: str
    ) -> None:
        kind, options = {
            "IG": (IntegratedGradients, {"n_steps": 6}),
            "Saliency": (Saliency, {"abs": False}),
        }[method]
        maps = comparison.maps[method]
        for i, row in enumerate(self.rows(comparison, method)):
            image, score = (
                IMAGES[i : i + 1].clone().requires_grad_(),
                sing.score("ignored", row["concept"]),
            )
            for found, module, target in (
                (maps.target, sing.forward_func, row["target"]),
                (maps.concept, score, 0),
                (maps.runner_up, sing.forward_func, row["runner_up"]),
            ):
                alone = kind(module).attribute(image, target=target, **options)
                assert torch.allclose(found[i], alone[0].sum(dim=0).float(), atol=1e-5)
                assert found[i].any()
        assert not torch.allclose(maps.target, maps.concept, atol=1e-2)

    @pytest.mark.parametrize("method", ["IG", "Saliency"])
    def test_agreement(self, comparison: AttributionComparison, method: str) -> None:
        maps = comparison.maps[method]
        for i, row in enumerate(self.rows(comparison, method)):
            for prefix, others in (("", maps.concept), ("runner_up_", maps.runner_up)):
                one, other = maps.target[i], others[i]
                both = largest(one, 0.2) & largest(other, 0.2)
                assert [row[f"{prefix}{name}"] for name in ALIKE] == pytest.approx(
                    [spearman(one.abs(), other.abs()), spearman(one, other), len(both) / 13]
                )

    def test_logit_silence(self, sing: SING, comparison: AttributionComparison) -> None:
        """Evidence by SING itself, units by the reference images' own logits."""
        with torch.no_grad():
            spread = sing.forward_func(FITTED).double().std(dim=0)
        for method, maps in comparison.maps.items():
            for i, row in enumerate(self.rows(comparison, method)):
                for region in ("target", "concept", "runner_up"):
                    one = getattr(maps, region)
                    image = IMAGES[i].clone()
                    for pixel in largest(one[i], 0.2):
                        image[:, pixel // 8, pixel % 8] = 0.25
                    with torch.no_grad():
                        after = sing.forward_func(image[None])[0]
                        before = sing.forward_func(IMAGES[i][None])[0]
                    logit, rival = after[row["target"]], row["runner_up"]
                    ignored = sing.attribute(image[None]).descriptions.ignored[0]
                    moved = (
                        (float(logit) - row["logit"]) / float(spread[row["target"]]),
                        float(ignored[WORDS.index(row["concept"])]) - row["score"],
                    )
                    found = [row[f"{region}_{n}"] for n in ("logit_change", "score_change")]
                    assert found == pytest.approx(moved, rel=1e-2, abs=1e-4)
                    change = float(after[rival] - before[rival]) / float(spread[rival])
                    assert row[f"{region}_rival_change"] == pytest.approx(
                        change, rel=1e-2, abs=1e-4
                    )
                    share = abs(change) / (abs(moved[0]) + abs(change))
                    assert row[f"{region}_rival_silence"] == pytest.approx(share, rel=2e-2)
                    share = abs(moved[1]) / (abs(moved[0]) + abs(moved[1]))
                    assert row[f"{region}_silence"] == pytest.approx(share, rel=2e-2)

    def test_summary(self, comparison: AttributionComparison) -> None:
        for method in comparison.maps:
            table, means = (
                pd.DataFrame(self.rows(comparison, method)),
                comparison.summary.loc[method],
            )
            columns = [*ALIKE, *(f"runner_up_{name}" for name in ALIKE)]
            changes = ("logit_change", "score_change", "rival_change")
            columns += [f"{r}_{c}" for r in REGIONS for c in changes]
            for name in columns:
                assert means.loc[name, "mean"] == pytest.approx(table[name].mean())
            for name in columns[6:]:
                assert means.loc[f"abs({name})", "mean"] == pytest.approx(table[name].abs().mean())
            for name in ALIKE:
                difference = (table[name] - table[f"runner_up_{name}"]).mean()
                assert means.loc[f"{name} - runner_up", "mean"] == pytest.approx(difference)
            silence, rivals = {}, {}
            for region in REGIONS:
                logit, score, rival = (table[f"{region}_{c}"].abs().sum() for c in changes)
                silence[region], rivals[region] = score / (score + logit), rival / (rival + logit)
                found = [means.loc[f"{region}_{name}", "mean"] for name in SILENCES]
                assert found == pytest.approx([silence[region], rivals[region]])
            assert means.loc[YARDSTICK, "mean"] == pytest.approx(
                rivals["runner_up"] - rivals["target"]
            )
            assert means.loc["concept_silence - target_silence", "mean"] == pytest.approx(
                silence["concept"] - silence["target"]
            )
            beyond = table["concept_score_change"].abs() - table["concept_moved_score_change"].abs()
            found = means.loc["abs(concept_score_change) - moved", "mean"]
            assert found == pytest.approx(beyond.mean())
            assert (means["low"] <= means["mean"]).all() and (means["mean"] <= means["high"]).all()
            assert (means["n"] == COUNT).all() and means["note"].str.contains("too narrow").all()
            assert means.loc["overlap", "chance"] == 13 / 64
            assert means.loc["signed_correlation", "chance"] == 0
            assert math.isnan(means.loc["concept_silence", "chance"])


class TestModels:
    def test_a_vision_transformer(self) -> None:
        import timm

        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2,
            num_classes=5,
        ).eval()  # fmt: skip
        nn.init.normal_(model.head.weight, std=0.2)
        sing = fitted(
            model, lambda images: model.forward_head(model.forward_features(images), True)
        )
        images = normal(4, 3, 32, 32, seed=5)

        class Tokens(LayerGradCam):
            """Grad-CAM of the patches, back in their places."""

            def attribute(self, inputs: Tensor, target: Any) -> Tensor:
                with torch.enable_grad():
                    kept: list[Tensor] = []
                    handle = self.layer.register_forward_hook(lambda *args: kept.append(args[2]))
                    try:
                        outputs = self.forward_func(inputs)
                    finally:
                        handle.remove()
                    chosen = outputs.gather(1, target[:, None]).sum()
                    (slopes,) = torch.autograd.grad(chosen, kept[0])
                tokens, slopes = kept[0][:, 1:], slopes[:, 1:].mean(dim=1, keepdim=True)
                return (tokens * slopes).sum(dim=2).reshape(len(inputs), 1, 4, 4)

        with untouched(model):
            comparison = compare_attributions(
                sing,
                images,
                methods={
                    **METHODS,
                    "Occlusion": Occlusion,
                    "tokens": lambda module: Tokens(module, model.blocks[0]),
                },
                options={
                    "IntegratedGradients": {"n_steps": 4},
                    "Occlusion": {"sliding_window_shapes": (3, 8, 8), "strides": (3, 8, 8)},
                },
                removal="inpaint",
                internal_batch_size=2,
            )
        assert len(comparison.table) == 16
        numbers = comparison.table.select_dtypes("number")
        assert np.isfinite(numbers.to_numpy(float)).all()
        for maps in comparison.maps.values():
            assert all(one.shape == (4, 32, 32) and one.any() for one in maps)
        logits = comparison.table["target"][:4].tolist()
        assert logits == model(images).argmax(dim=1).tolist()

    def test_an_output_that_holds_logits(self) -> None:
        toy = toy_sing()
        model = Held(toy.forward_func)
        again = SING(model, "inner.head", toy.translator, BANK)
        found, plain = (
            compare_attributions(sing, IMAGES, "red", methods={"S": Saliency})
            for sing in (again, toy)
        )
        pd.testing.assert_frame_equal(found.table, plain.table)

    @pytest.mark.slow
    def test_a_model_of_transformers(self) -> None:
        import transformers

        torch.manual_seed(0)
        config = transformers.ViTConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            image_size=16, patch_size=8, num_labels=4,
        )  # fmt: skip
        model = transformers.ViTForImageClassification(config).eval()
        nn.init.normal_(model.classifier.weight, std=0.3)
        sing = fitted(model, lambda images: model.vit(images).last_hidden_state[:, 0], 16)
        images = normal(3, 3, 16, 16, seed=6)
        comparison = compare_attributions(sing, images, target=2, methods={"S": Saliency})
        asked = images.clone().requires_grad_()
        plain = Saliency(lambda x: model(x).logits).attribute(asked, target=2).sum(dim=1)
        assert torch.allclose(comparison.maps["S"].target, plain.detach(), atol=1e-6)
        assert set(comparison.table["logit_unit"]) == {"sd"}

    def test_a_layer_is_brought_to_the_images(self) -> None:
        sing = toy_sing()
        model = sing.forward_func
        coarse = nn.Sequential(nn.AvgPool2d(2), model).eval()
        again = SING(coarse, model.head, sing.translator, BANK)
        cam = lambda module: LayerGradCam(module, model.features[0])  # noqa: E731
        comparison = compare_attributions(again, IMAGES, "red", methods={"C": cam})
        score = again.score("ignored", "red")
        small = LayerGradCam(score, model.features[0]).attribute(IMAGES, target=0)
        assert small.shape == (COUNT, 1, 4, 4)
        wanted = nn.functional.interpolate(small, (8, 8), mode="bilinear")[:, 0]
        assert torch.allclose(comparison.maps["C"].concept, wanted.float(), atol=1e-6)

    def test_softmax_is_no_logit(self) -> None:
        """Another scale than the head's: no silence can be said of it."""
        sing = toy_sing()
        model = nn.Sequential(sing.forward_func, nn.Softmax(dim=1)).eval()
        again = SING(model, sing.forward_func.head, sing.translator, BANK)
        comparison = compare_attributions(again, IMAGES, "red", methods={"S": Saliency})
        assert set(comparison.table["logit_unit"]) == {"logits"}
        assert comparison.table["concept_silence"].isna().all()
        assert comparison.table["concept_logit_change"].notna().all()
        assert comparison.summary.loc[("S", "concept_silence"), "n"] == 0
        assert (comparison.spreads == 1).all()

    def test_one_class_has_no_runner_up(self) -> None:
        model = ToyClassifier(classes=1).eval()
        comparison = compare_attributions(toy_sing(model), IMAGES, "red", methods={"S": Saliency})
        assert comparison.maps["S"].runner_up is None
        assert comparison.table["runner_up_overlap"].isna().all()
        assert comparison.table["overlap"].notna().all()
        assert "class 0" in comparison.figure(0).axes[1].get_title()

    def test_other_arguments_go_along(self) -> None:
        """As long as the batch they are cut with it."""

        class Shifted(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = ToyClassifier().eval()

            def forward(self, images: Tensor, shift: Tensor) -> Tensor:
                return self.inner(images + shift[:, None, None, None])

        shift = torch.arange(float(COUNT))
        model = Shifted()
        sing = SING(model, model.inner.head, toy_sing().translator, BANK)
        comparison = compare_attributions(
            sing, IMAGES, "red", methods={"S": Saliency}, additional_forward_args=shift,
            internal_batch_size=2,
        )  # fmt: skip
        with torch.no_grad():
            logits = model(IMAGES, shift)
        assert comparison.table["logit"].tolist() == pytest.approx(logits.amax(dim=1).tolist())


class Held(nn.Module):
    """A model whose output is an object."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.inner(images))


def fitted(model: Any, features: Any, size: int = 32) -> SING:
    """With a translator from random images."""
    encoder = ToyEncoder(image_size=size)
    fitter = TranslatorFitter(alpha=1.0)
    images = normal(300, 3, size, size, seed=7)
    with torch.no_grad():
        translator = fitter.update(features(images), encoder.encode_image(images)).fit()
    return SING(model, None, translator, BANK)


class TestChoices:
    def test_words_and_classes_one_each(self) -> None:
        words, classes = ["red", "blue", "big", "red", "green"], [0, 3, 2, 1, 0]
        comparison = compare_attributions(
            toy_sing(), IMAGES, words, torch.tensor(classes), {"S": Saliency}, kind="seen"
        )
        assert comparison.table["concept"].tolist() == words
        assert comparison.table["target"].tolist() == classes
        seen = toy_sing().attribute(IMAGES).descriptions.seen
        for i, word in enumerate(words):
            assert comparison.table["score"][i] == pytest.approx(float(seen[i, WORDS.index(word)]))
        predicted = toy_sing().forward_func(IMAGES).argmax(dim=1)
        for i, (target, runner_up) in enumerate(
            zip(classes, comparison.table["runner_up"], strict=True)
        ):
            assert runner_up != target
            assert target == predicted[i] or runner_up == predicted[i]

    @pytest.mark.parametrize(
        ("kind", "unit"), [("null_energy", "share"), ("attribute_score", "degrees")]
    )
    def test_scores_without_a_spread(self, kind: str, unit: str) -> None:
        word = "red" if kind == "attribute_score" else None
        comparison = compare_attributions(
            toy_sing(), IMAGES, word, kind=kind, methods={"S": Saliency}
        )
        table = comparison.table
        assert set(table["score_unit"]) == {unit} and table["target_silence"].isna().all()
        assert table["concept"].isna().all() == (kind == "null_energy")
        assert comparison.maps["S"].concept.any()

    def test_one_unit_for_all_words(self) -> None:
        """The translator knows no embeddings: still a spread, so silence can be said."""
        model = ToyClassifier().eval()
        translator = any_translator(12).with_statistics(features_of(model, FITTED))
        comparison = compare_attributions(
            SING(model, "head", translator, BANK), IMAGES, methods={"S": Saliency}
        )
        assert set(comparison.table["score_unit"]) == {"common sd"}
        assert comparison.table["concept_silence"].between(0, 1).all()
        bars = [axes for axes in comparison.figure(0).axes if not axes.images]
        assert [bar.get_ylabel() for bar in bars] == ["sd of the reference images"]

    def test_parts_change_nothing(self) -> None:
        whole, parts = (
            compare_attributions(
                toy_sing(), IMAGES, options={"IntegratedGradients": {"baselines": IMAGES.flip(0)}},
                internal_batch_size=size,
            )
            for size in (None, 2)
        )  # fmt: skip
        pd.testing.assert_frame_equal(whole.table, parts.table, rtol=1e-4, atol=1e-5)

    def test_methods_that_draw_numbers_draw_the_same(self) -> None:
        def once(seed: int) -> AttributionComparison:
            return compare_attributions(
                toy_sing(), IMAGES, "red", methods={"G": GradientShap}, seed=seed,
                options={"G": {"baselines": torch.zeros(2, 3, 8, 8), "stdevs": 0.5}},
            )  # fmt: skip

        torch.manual_seed(3)
        np.random.seed(3)
        expected = torch.rand(1), np.random.rand()
        torch.manual_seed(3)
        np.random.seed(3)
        first = once(0)
        assert (torch.rand(1), np.random.rand()) == expected
        pd.testing.assert_frame_equal(first.table, once(0).table)
        assert not torch.equal(first.maps["G"].target, once(1).maps["G"].target)

    def test_images_of_the_translator_are_left_out_of_means(self) -> None:
        both = torch.cat([FITTED[:2], IMAGES])
        comparison = compare_attributions(toy_sing(), both, "red", methods={"S": Saliency})
        assert comparison.table["in_sample"].tolist() == [True, True, *[False] * COUNT]
        mean = comparison.summary.loc[("S", "overlap")]
        assert mean["n"] == COUNT
        assert mean["mean"] == pytest.approx(comparison.table["overlap"][2:].mean())

    def test_few_images_have_no_interval(self) -> None:
        summary = compare_attributions(toy_sing(), IMAGES[:4], methods={"S": Saliency}).summary
        assert summary["mean"].notna().all() and summary["low"].isna().all()
        assert summary["note"].eq("no interval: 4 images").all()

    def test_a_bar_moves(self, capfd: pytest.CaptureFixture[str]) -> None:
        compare_attributions(toy_sing(), IMAGES, methods={"S": Saliency}, show_progress=True)
        assert "3/3" in capfd.readouterr().err
        compare_attributions(toy_sing(), IMAGES, methods={"S": Saliency})
        assert capfd.readouterr().err == ""


class TestMapsOfNothing:
    """Neither table nor figure breaks, and what is not known is NaN."""

    @pytest.mark.parametrize("value", [0.0, -2.0])
    def test_constant(self, value: float) -> None:
        comparison = given(torch.full((3, 1, 8, 8), value))
        columns = [*ALIKE, *(f"{r}_{c}" for r in REGIONS for c in ("logit_change", "silence"))]
        assert comparison.table[columns].isna().all(axis=None)
        assert (comparison.summary["n"] == 0).all()
        drawn(comparison.figure(0))

    def test_one_pixel(self) -> None:
        maps = torch.zeros(5, 8, 8)
        maps[:, 3, 3] = 1e-7
        comparison = given(maps)
        assert comparison.table["magnitude_correlation"].tolist() == pytest.approx([1.0] * 5)
        # that pixel, and by chance some of the others, which are all alike
        assert (comparison.table["overlap"] >= 1 / 6).all() and comparison.table[
            "overlap"
        ].mean() < 0.5
        drawn(comparison.figure(0))

    def test_no_positive_value(self) -> None:
        comparison = given(-normal(5, 1, 8, 8, seed=9).abs() - 1)
        assert comparison.table["signed_correlation"].tolist() == pytest.approx([1.0] * 5)
        drawn(comparison.figure(0))

    def test_images_of_one_pixel(self) -> None:
        images = normal(3, 3, 1, 1, seed=10)
        for removal in ("blur", "inpaint"):
            comparison = compare_attributions(toy_sing(), images, removal=removal)
            assert comparison.table[[*ALIKE, "concept_silence"]].isna().all(axis=None)
        drawn(comparison.figure(0, "Saliency"))


class TestRegions:
    def test_places_are_other_places(self) -> None:
        """As many pixels, in the same form, and nowhere the same set."""
        maps = Maps(normal(6, 8, 8, seed=1), normal(6, 8, 8, seed=2), None)
        regions = regions_of(maps, 0.1, 0)
        for name in ("target", "concept"):
            own, moved = regions[name], regions[f"{name}_moved"]
            assert torch.equal(own.sum(dim=(1, 2)), moved.sum(dim=(1, 2)))
            assert not (own == moved).flatten(1).all(dim=1).any()
        assert not regions["runner_up"].any()  # a model of one class

    def test_a_random_word_needs_no_name_and_an_attribute_score_does(self) -> None:
        """The largest attribute score is the word that the ignored part points away from."""
        for kind in ("attribute_score", "centred_attribute_score"):
            with pytest.raises(SINGValueError, match=f"concept to be a word for '{kind}', which"):
                compare_attributions(toy_sing(), IMAGES, kind=kind)


class TestArguments:
    def test_numbers_and_words_of_numpy(self) -> None:
        words = ["red", "blue", "red", "big", "small"]
        plain = compare_attributions(toy_sing(), IMAGES, words, methods={"S": Saliency})
        numpy = compare_attributions(
            toy_sing(),
            IMAGES,
            np.array(words),
            methods={"S": Saliency},
            top=np.float64(0.1),
            seed=np.int64(0),
        )
        pd.testing.assert_frame_equal(plain.table, numpy.table)
        assert len(numpy.figure(np.arange(2)).axes) == len(plain.figure([0, 1]).axes)

    def test_in_inference_mode(self) -> None:
        sing = toy_sing()
        plain = compare_attributions(sing, IMAGES, "red", methods={"S": Saliency})
        with torch.inference_mode():
            inside = compare_attributions(sing, IMAGES.clone(), "red", methods={"S": Saliency})
        assert torch.equal(plain.maps["S"].concept, inside.maps["S"].concept)

    def test_the_size_of_a_batch_holds_within_a_method(self) -> None:
        """Integrated gradients would send all steps of it at once."""
        model = ToyClassifier().eval()
        sizes: list[int] = []
        model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        methods = {"IG": IntegratedGradients}
        options = {"IG": {"n_steps": 6}}
        compare_attributions(
            toy_sing(model), IMAGES, "red", None, methods, options=options, internal_batch_size=2
        )
        assert max(sizes) == 2
