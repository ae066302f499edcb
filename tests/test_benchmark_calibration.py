"""How far a measure can be trusted: counting, and seeing that a broken one is broken."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from captum_sing.benchmark import (
    STARRED,
    Calibration,
    Judgement,
    calibrate,
    judge,
    random_world,
    world_of_numbers,
)
from captum_sing.benchmark.calibration import LEVELS, uniformity
from captum_sing.errors import SINGValueError


def judgement(
    world: str, planted: bool | None, p: float, starred: bool, measure: str = STARRED
) -> Judgement:
    return Judgement(world, "numbers", "factor", planted, {measure: p}, {measure: starred})


FOUND = [
    judgement("one", True, 0.001, True),
    judgement("one", False, 0.03, True),
    judgement("one", False, 0.9, False),
    judgement("two", True, np.nan, False),
    judgement("two", True, 0.01, True),
    judgement("two", None, 0.0001, True),  # nobody knows whether rightly
    judgement("three", False, 0.005, False),
    judgement("three", False, 0.06, False),
    judgement("three", False, 0.5, True),
    judgement("four", False, 0.05, False),
    judgement("four", None, 0.0001, True),
]


def test_counts() -> None:
    found = calibrate(STARRED, FOUND)
    assert (found.worlds, found.planted, found.others, found.untested) == (2, 3, 2, 1)
    assert found.recall == pytest.approx(2 / 3) and found.false_alarms == 0.5
    assert found.false_discoveries == pytest.approx((1 / 2 + 0) / 2)
    assert (found.empty_worlds, found.empty.tests) == (2, 4)
    assert found.empty.below == (0.25, 0.5, 0.75)
    with pytest.raises(SINGValueError, match="judgements by 'word', where the truth is known"):
        calibrate("word", FOUND)


def test_bands_are_exact() -> None:
    """The ends are the last shares that an exact two-sided test at 5 % would let pass."""
    found = uniformity([0.02] * 10 + [0.5] * 190)
    assert found.below == (0.0, 0.05, 0.05) and not found.within  # 0.05 below 0.1 is too few
    for level, (low, high) in zip(LEVELS, found.bands, strict=True):
        first, last = round(low * 200), round(high * 200)
        assert binom.cdf(first - 1, 200, level) < 0.025 <= binom.cdf(first, 200, level)
        assert binom.sf(last, 200, level) <= 0.025 < binom.sf(last - 1, 200, level)
    assert uniformity([np.nan]).tests == 0


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_a_broken_measure_is_seen(power: float) -> None:
    """p-values that are too large or too small by a power, from uniform ones."""
    p = np.random.default_rng(0).uniform(size=1000)
    assert uniformity(p).within and uniformity(p).uniform > 0.01
    broken = uniformity(p**power)
    assert not broken.within and broken.uniform < 1e-6


def check(empty: int, planted: int, asked: str) -> dict[str, Calibration]:
    worlds = [random_world(seed) for seed in range(empty)]
    worlds += [random_world(900 + seed, planted=1 + seed % 3) for seed in range(planted)]
    judgements = [
        found
        for world in worlds
        for found in judge(world_of_numbers(world, "numbers", asked=asked))
    ]
    rows = {measure: calibrate(measure, judgements) for measure in judgements[0].p}
    evidence = rows[STARRED]
    for level, share in zip(LEVELS, evidence.empty.below, strict=True):
        hits = round(share * evidence.empty.tests)
        assert binomtest(hits, evidence.empty.tests, level).pvalue > 0.001, (level, hits)
    assert evidence.empty.uniform > 0.001
    assert evidence.recall >= 0.95 and evidence.untested == 0
    alarms = round(evidence.false_alarms * evidence.others)
    assert binomtest(alarms, evidence.others, 0.05, alternative="greater").pvalue > 0.001
    return rows


@pytest.mark.slow
def test_evidence_is_calibrated_and_angles_are_not() -> None:
    rows = check(10, 4, "all")
    for measure in ("AS", "IS", "centred AS"):
        assert rows[measure].empty.uniform < 1e-3, measure


@pytest.mark.slow
def test_evidence_is_calibrated_in_many_worlds() -> None:
    check(200, 40, STARRED)
