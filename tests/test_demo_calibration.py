"""Which measure can be starred: ignored evidence is calibrated in empty worlds, angles are not."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, ttest_1samp

from captum_sing import TranslatorFitter, attribute_score
from captum_sing.demo.calibration import (
    MEASURES,
    STARRED,
    Calibration,
    Judgement,
    calibrate,
    judge,
)
from captum_sing.demo.synthetic import SyntheticWorld, random_world
from captum_sing.errors import SINGValueError


def run(empty: int, full: int, **sizes: int) -> dict[str, Calibration]:
    worlds = [judge(random_world(seed), **sizes) for seed in range(empty)]
    worlds += [judge(random_world(900 + s, planted=1 + s % 3), **sizes) for s in range(full)]
    return {found.measure: found for found in calibrate(worlds)}


def check(found: dict[str, Calibration]) -> None:
    """Uniform p-values, planted factors found, few others; the paper's angles beside it."""
    evidence = found[STARRED]
    for level, share in zip((0.01, 0.05, 0.1), evidence.empty_below, strict=True):
        hits = round(share * evidence.empty)
        assert binomtest(hits, evidence.empty, level).pvalue > 0.001, (level, hits)
    assert evidence.empty_uniform > 0.001
    assert evidence.recall >= 0.95
    alarms = round(evidence.false_alarms * evidence.others)
    assert binomtest(alarms, evidence.others, 0.05, alternative="greater").pvalue > 0.001
    for measure in set(MEASURES) - {STARRED, "IS"}:
        assert found[measure].empty_uniform < 1e-3, measure
    assert found["AS"].empty_below[1] > 0.5


def test_evidence_is_calibrated_and_angles_are_not() -> None:
    check(run(25, 9, train=800))


@pytest.mark.slow
def test_evidence_is_calibrated_in_many_worlds() -> None:
    check(run(300, 60))


def test_judges_by_the_papers_angles() -> None:
    """AS as it stands, image by image, from the definition."""
    world = SyntheticWorld({"a": "ignored", "b": "seen"}, seed=4)
    train, sample = world.sample(500, 1), world.sample(60, 2)
    translator = TranslatorFitter().update(train.features, train.embeddings).fit()
    features = sample.features.double()
    scores = attribute_score(
        translator(features),
        translator(world.null_space.remove(features)),
        world.concepts.embeddings.double(),
    )
    for found in judge(world, train=500, images=60):
        words = world.concepts.indices(world.concepts.groups[found.factor])
        own = [float(scores[i, words[k]]) for i, k in enumerate(sample.labels[found.factor])]
        assert found.p["AS"] == pytest.approx(float(ttest_1samp(own, 0.0).pvalue))
        assert found.p["AS < 0"] == pytest.approx(
            float(ttest_1samp(own, 0.0, alternative="less").pvalue)
        )
        assert found.planted == (found.factor == "a")
        assert set(found.p) == set(MEASURES)


def judgement(planted: bool, p: float) -> Judgement:
    return Judgement(0, "factor", planted, dict.fromkeys(MEASURES, p))


def test_counts() -> None:
    worlds = [
        [judgement(True, 0.001), judgement(False, 0.03), judgement(False, 0.9)],  # q: .003 .045 .9
        [judgement(True, 0.2), judgement(True, 0.01)],
        [judgement(False, 0.005), judgement(False, 0.06), judgement(False, 0.5)],
        [judgement(False, 0.05)],
    ]
    for found in calibrate(worlds):
        assert (found.planted, found.others, found.empty) == (3, 2, 4)
        assert found.recall == pytest.approx(2 / 3) and found.false_alarms == 0.5
        assert found.false_discoveries == pytest.approx((1 / 2 + 0) / 2)
        assert found.empty_below == (0.25, 0.5, 0.75)
    with pytest.raises(SINGValueError, match="with planted factors, and without, got 2 and 0"):
        calibrate(worlds[:2])


def test_equal_seeds_give_equal_judgements() -> None:
    torch.manual_seed(1)
    one = judge(random_world(3, planted=1), train=300)
    torch.manual_seed(2)
    assert judge(random_world(3, planted=1), train=300) == one
