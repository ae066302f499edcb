"""On the demo world: the ignored map's pixels hold what is ignored, the class map's the logit."""

from __future__ import annotations

import pytest
from captum.attr import IntegratedGradients, LayerGradCam

from captum_sing import SING
from captum_sing.attributions import AttributionComparison, compare_attributions, mask_share
from captum_sing.demo import FACTORS, load_demo, sample_masks, sample_scenes

SEED = 20_000_000  # no training stream


def compared(name: str, count: int, steps: int, methods: tuple[str, ...]) -> AttributionComparison:
    """The image's own color word."""
    model, translator, concepts, _ = load_demo(name)
    scenes = sample_scenes(count, SEED)
    kinds = {
        "IG": IntegratedGradients,
        "Grad-CAM": lambda module: LayerGradCam(module, model.backbone.layer3),
    }
    return compare_attributions(
        SING(model, "head", translator, concepts),
        scenes.images,
        [FACTORS["color"][color] for color in scenes.labels["color"].tolist()],
        methods={method: kinds[method] for method in methods},
        options={"IG": {"n_steps": steps}} if "IG" in methods else None,
        internal_batch_size=8,
    )


def test_ignored_color() -> None:
    comparison = compared("resnet/neck_color", 12, 4, ("IG",))
    assert not comparison.table["in_sample"].any()
    means = comparison.summary.loc["IG"]
    assert means.loc["concept_silence - target_silence", "low"] > 0.1
    assert means.loc["abs(concept_score_change) - moved", "low"] > 0
    assert means.loc["concept_score_change", "high"] < 0 > means.loc["target_logit_change", "high"]
    maps, masks = comparison.maps["IG"], sample_masks(12, SEED)
    concentration, density = mask_share(maps.concept, masks)
    assert concentration.median() > 1.5 and density.median() > 1.5
    elsewhere = mask_share(maps.concept, masks.roll(32, dims=2)).concentration
    assert elsewhere.median() < 1 < concentration.median()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet/neck_color", "plain"])
def test_both_methods(name: str) -> None:
    """Grad-CAM's grid of 4 x 4 tells less of the two apart than single pixels do."""
    comparison = compared(name, 100, 12, ("IG", "Grad-CAM"))
    print(comparison.summary.round(3).to_string())
    gains = comparison.summary.xs("concept_silence - target_silence", level="number")
    assert gains.loc["IG", "low"] > 0.15
    assert gains.loc["IG", "low"] > gains.loc["Grad-CAM", "high"]
    # which says nothing of what is ignored: another class's logit passes it no worse
    rivals = "runner_up_rival_silence - target_rival_silence"
    assert comparison.summary.loc[("IG", rivals), "low"] > 0.15
    means = comparison.summary.loc["IG"]
    assert means.loc["abs(concept_score_change) - moved", "low"] > 0.2
    # the logit is quieter than without the class's pixels, not silent: both are on the object
    logit = means.loc["abs(concept_logit_change)"], means.loc["abs(target_logit_change)"]
    assert logit[0]["high"] < logit[1]["low"]
    assert means.loc["abs(concept_logit_change) - moved", "low"] > 0
    # maps of class and word are as alike as those of two classes, to a few hundredths
    assert abs(means.loc["magnitude_correlation - runner_up", "mean"]) < 0.1
