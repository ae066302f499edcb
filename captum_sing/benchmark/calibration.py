"""How far a measure can be trusted: recall, false alarms, and p-values where nothing is planted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from captum_sing.benchmark.judging import Judgement
from captum_sing.errors import SINGValueError, expected

__all__ = ["LEVELS", "Calibration", "Uniformity", "calibrate", "uniformity"]

LEVELS = (0.01, 0.05, 0.1)
_COVERAGE = 0.95


@dataclass(frozen=True)
class Uniformity:
    """p-values of worlds where there is nothing to find.

    Attributes:
        tests (int): how many.
        below (tuple of float): the shares at or below 0.01, 0.05 and 0.1.
        bands (tuple of pairs): where 95 % of such shares lie if p is uniform, exactly.
        uniform (float): p of the Kolmogorov-Smirnov test that they are.
    """

    tests: int
    below: tuple[float, ...]
    bands: tuple[tuple[float, float], ...]
    uniform: float

    @property
    def within(self) -> bool:
        """Whether all three shares are in their bands."""
        pairs = zip(self.below, self.bands, strict=True)
        return all(low <= share <= high for share, (low, high) in pairs)


@dataclass(frozen=True)
class Calibration:
    """A measure, judged.

    Attributes:
        measure (str): a key of ``MEASURES``.
        worlds (int): in which something is planted.
        planted, others (int): factors there that the ignored part carries, and does not carry.
        recall, false_alarms (float): the shares of these that are starred; NaN of none.
        false_discoveries (float): the share of false stars among a world's stars, on average.
        untested (int): those, of both, of which the measure makes no test: no star.
        empty_worlds (int): worlds in which nothing is planted.
        empty (Uniformity): their p-values.
    """

    measure: str
    worlds: int
    planted: int
    others: int
    recall: float
    false_alarms: float
    false_discoveries: float
    untested: int
    empty_worlds: int
    empty: Uniformity


def calibrate(measure: str, judgements: Iterable[Judgement]) -> Calibration:
    """A measure in worlds where something is planted, and in empty ones.

    Factors of which nobody knows the truth are in no number.

    Args:
        measure (str): a key of ``MEASURES``.
        judgements (iterable): of worlds, those of one world together.

    Raises:
        SINGValueError: no judgement by this measure whose truth is known.

    Example::

        >>> found = [Judgement("one", "numbers", "a", True, {"z": 0.001}, {"z": True}),
        ...          Judgement("one", "numbers", "b", False, {"z": 0.4}, {"z": False}),
        ...          Judgement("two", "numbers", "a", False, {"z": 0.03}, {"z": True})]
        >>> row = calibrate("z", found)
        >>> row.recall, row.false_alarms, row.empty.below
        (1.0, 0.0, (0.0, 1.0, 1.0))
    """
    known = [one for one in judgements if one.planted is not None and measure in one.p]
    if not known:
        raise SINGValueError(
            expected(
                "calibrate",
                "judgements",
                f"by {measure!r}, where the truth is known",
                "none",
                "Judge worlds such as random_world(seed, planted=1) and random_world(seed)",
            )
        )
    worlds = [list(group) for _, group in groupby(known, lambda one: one.world)]
    full = [world for world in worlds if any(one.planted for one in world)]
    empty = [world for world in worlds if not any(one.planted for one in world)]
    flat = [one for world in full for one in world]
    false = [sum(one.starred[measure] > bool(one.planted) for one in world) for world in full]
    stars = [sum(one.starred[measure] for one in world) for world in full]
    return Calibration(
        measure,
        len(full),
        sum(bool(one.planted) for one in flat),
        sum(not one.planted for one in flat),
        _share([one.starred[measure] for one in flat if one.planted]),
        _share([one.starred[measure] for one in flat if not one.planted]),
        _share([wrong / max(1, all_) for wrong, all_ in zip(false, stars, strict=True)]),
        sum(math.isnan(one.p[measure]) for one in flat),
        len(empty),
        uniformity([one.p[measure] for world in empty for one in world]),
    )


def uniformity(p: Sequence[float]) -> Uniformity:
    """How p-values are distributed that should be uniform; NaN is left out.

    Example::

        >>> found = uniformity([0.005, *[0.5] * 99])
        >>> found.below, [round(end, 2) for end in found.bands[1]], found.within
        ((0.01, 0.01, 0.01), [0.01, 0.1], False)
    """
    from scipy.stats import binom, kstest

    tested = np.array([value for value in p if not math.isnan(value)])
    n = len(tested)
    if not n:
        nothing = (math.nan, math.nan, math.nan)
        return Uniformity(0, nothing, tuple(zip(nothing, nothing, strict=True)), math.nan)
    tail = (1 - _COVERAGE) / 2
    return Uniformity(
        n,
        tuple(float((tested <= level).mean()) for level in LEVELS),
        tuple(
            (float(binom.ppf(tail, n, level)) / n, float(binom.isf(tail, n, level)) / n)
            for level in LEVELS
        ),
        float(kstest(tested, "uniform").pvalue),
    )


def _share(stars: Sequence[float]) -> float:
    return sum(stars) / len(stars) if stars else math.nan
