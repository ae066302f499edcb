"""One method's numbers: how alike its maps are, and what its pixels' removal changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from captum_sing.attributions.agreement import overlap, rank_correlation, top_pixels
from captum_sing.attributions.removal import elsewhere
from captum_sing.attributions.results import ALIKE, Maps

__all__ = ["alike", "changes", "regions_of"]

_STRIDE = 1_000_003  # between the numbers of two seeds


def regions_of(maps: Maps, top: float, seed: int) -> dict[str, Tensor]:
    """Each map's top pixels, and those of the first two at another place, (B, H, W) each."""
    seeds = range(seed * _STRIDE, seed * _STRIDE + len(maps.target))
    generators = [torch.Generator().manual_seed(number) for number in seeds]
    tops = {
        name: top_pixels(one, top, generators)
        for name, one in maps._asdict().items()
        if one is not None
    }
    if "runner_up" not in tops:
        tops["runner_up"] = torch.zeros_like(tops["target"])
    moved = {f"{name}_moved": elsewhere(tops[name], generators) for name in ("target", "concept")}
    return tops | moved


def alike(maps: Maps, regions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How alike the class's map is to the word's, and to the runner-up's."""
    numbers: dict[str, Tensor] = {}
    for name, prefix in (("concept", ""), ("runner_up", "runner_up_")):
        other = getattr(maps, name)
        if other is None:  # a model of one class
            nothing = torch.full((len(maps.target),), torch.nan, dtype=torch.float64)
            numbers |= {f"{prefix}{key}": nothing for key in ALIKE}
            continue
        found = (
            rank_correlation(maps.target.abs(), other.abs()),
            rank_correlation(maps.target, other),
            overlap(regions["target"], regions[name]),
        )
        numbers |= {f"{prefix}{key}": one for key, one in zip(ALIKE, found, strict=True)}
    return numbers


def changes(
    region: str, masks: Tensor, logit: Tensor, score: Tensor, rival: Tensor, comparable: bool
) -> dict[str, Tensor]:
    """What became of all three when a region's pixels went, and which share was not the logit's.

    Args:
        region (str): begins the numbers' names.
        masks (Tensor): its pixels, shape (B, H, W); NaN for an image that has none.
        logit, score, rival (Tensor): of class, score and runner-up, after minus before, (B,).
        comparable (bool): whether all are in standard deviations of the reference images.
    """
    given = masks.flatten(1).any(dim=1)
    logit, score, rival = (change.where(given, torch.nan) for change in (logit, score, rival))
    silence, of_rival = (other.abs() / (other.abs() + logit.abs()) for other in (score, rival))
    unknown = 1.0 if comparable else torch.nan
    return {
        f"{region}_logit_change": logit,
        f"{region}_score_change": score,
        f"{region}_rival_change": rival,
        f"{region}_silence": silence * unknown,
        f"{region}_rival_silence": of_rival * unknown,
    }
