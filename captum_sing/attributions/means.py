"""Means of a comparison's numbers over images, with bootstrap intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from captum_sing.attributions.results import ALIKE, REGIONS
from captum_sing.controls import bootstrap_mean, paired_difference

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["means_of"]

_FEWEST = 5  # images that an interval is drawn from

_Ratio: TypeAlias = "tuple[Series[float], Series[float] | None]"  # sums over images


def means_of(table: DataFrame, top: float, seed: int) -> DataFrame:
    """See :attr:`~captum_sing.attributions.AttributionComparison.summary`.

    Args:
        table (pandas.DataFrame): of a comparison.
        top (float): the share of the pixels that were top pixels.
        seed (int): of the resampling.
    """
    import pandas as pd

    rows = []
    for method, whole in table.groupby("method", sort=False):
        for name, ratios in _numbers(whole[~whole["in_sample"]]).items():
            chance = float("nan")
            if "correlation" in name or " - " in name:
                chance = 0.0
            elif name.endswith("overlap"):
                chance = top
            found = _mean(ratios, seed)
            rows.append({"method": method, "number": name, **found, "chance": chance})
    columns = ["mean", "low", "high", "n", "chance", "note"]
    return pd.DataFrame(rows).set_index(["method", "number"])[columns]


def _numbers(table: DataFrame) -> dict[str, list[_Ratio]]:
    """Each number as one ratio of sums, or the difference of two; no denominator is a mean."""
    numbers: dict[str, list[_Ratio]] = {}
    beside = {name: f"runner_up_{name}" for name in ALIKE}
    for name in (*beside, *beside.values()):
        numbers[name] = [(table[name], None)]
    for name, other in beside.items():
        numbers[f"{name} - runner_up"] = [(table[name], None), (table[other], None)]
    changes = ("logit_change", "score_change", "rival_change")
    sizes = {f"{r}_{c}": table[f"{r}_{c}"].abs() for r in REGIONS for c in changes}
    silences: dict[str, _Ratio] = {}
    rivals: dict[str, _Ratio] = {}
    for region in REGIONS:
        for change in changes:
            name = f"{region}_{change}"
            numbers[name] = [(table[name], None)]
            numbers[f"abs({name})"] = [(sizes[name], None)]
        logit, score, rival = (sizes[f"{region}_{change}"] for change in changes)
        for name, other, found in (("silence", score, silences), ("rival_silence", rival, rivals)):
            known = table[f"{region}_{name}"].notna() | (logit + other == 0)
            found[region] = other.where(known), logit + other
            numbers[f"{region}_{name}"] = [found[region]]
    for region in ("target", "concept"):
        for change in changes[:2]:
            pair = sizes[f"{region}_{change}"], sizes[f"{region}_moved_{change}"]
            numbers[f"abs({region}_{change}) - moved"] = [(size, None) for size in pair]
    numbers["concept_silence - target_silence"] = [silences["concept"], silences["target"]]
    yardstick = "runner_up_rival_silence - target_rival_silence"
    numbers[yardstick] = [rivals["runner_up"], rivals["target"]]
    return numbers


def _mean(ratios: list[_Ratio], seed: int) -> dict[str, Any]:
    """A mean, or a difference of two, and its interval where there are images enough."""
    columns = [_column(value) for value, _ in ratios]
    per = [
        torch.ones_like(column) if below is None else _column(below)
        for column, (_, below) in zip(columns, ratios, strict=True)
    ]
    whole = torch.stack([*columns, *per]).isfinite().all(dim=0)
    count, nothing = int(whole.sum()), float("nan")
    if not count:
        return {
            "mean": nothing,
            "low": nothing,
            "high": nothing,
            "n": 0,
            "note": "no held-out image",
        }
    values, below = ([column[whole] for column in part] for part in (columns, per))
    average = bootstrap_mean if len(ratios) == 1 else paired_difference
    result = average(*values, *below, seed=seed)
    interval, note = result.interval, result.note or ""
    if count < _FEWEST or interval is None:
        interval, note = (nothing, nothing), f"no interval: {count} images"
    low, high = interval
    return {"mean": result.value, "low": low, "high": high, "n": count, "note": note}


def _column(values: Series[float]) -> Tensor:
    return torch.tensor(values.to_numpy(float, copy=True), dtype=torch.float64)
