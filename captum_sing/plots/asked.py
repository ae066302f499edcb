"""What of a study is asked for: its baselines, levels and words, or a clear error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError, expected
from captum_sing.study import Study
from captum_sing.study.statistics import MODEL
from captum_sing.study.table import column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEASURES", "TAKEN", "check_names", "check_study", "held_out", "images_at", "scores"]

MEASURES = {
    "image_score": "image score IS, degrees",
    "attribute_score": "attribute score AS of the label, degrees",
    "null_energy": "null energy, share of the feature's energy",
}
"""Scores of single images, and what stands on their axis."""

TAKEN = {
    "none": "null part removed",
    "mean": "null part replaced by its mean",
    "conditional": "null part replaced by its prediction",
    "swap": "null part replaced by a donor's",
}
"""What is done to a feature, by baseline."""

_FIRST = 20  # options in a message


def check_study(where: str, study: Any, baseline: str = "none") -> None:
    """Refuse what is no study, or has no such baseline."""
    if not isinstance(study, Study):
        raise SINGTypeError(
            expected(
                where, "study", "to be a Study", type(study).__name__, "Make one with run_study"
            )
        )
    if baseline not in study.facts["baselines"]:
        raise SINGValueError(
            expected(
                where,
                "baseline",
                f"in {study.facts['baselines']}",
                repr(baseline),
                "Choose one that was studied",
            )
        )


def check_names(where: str, argument: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that do not exist, and print those that do."""
    missing = [name for name in names if name not in set(known)]
    if missing:
        raise SINGNameError(
            expected(
                where,
                argument,
                f"among {list(known)[:_FIRST]}{' and others' if len(known) > _FIRST else ''}",
                missing[:_FIRST],
                "Name what the study has",
            )
        )


def held_out(study: Study) -> pd.DataFrame:
    """The images that anything is said from; no figure draws others."""
    return study.tested


def images_at(where: str, study: Study, level: str) -> pd.DataFrame:
    """Those of a class, or of the model."""
    images = held_out(study)
    if level == MODEL:
        return images
    check_names(where, "level", [level], [MODEL, *study.table["label"].cat.categories])
    return images[images["label"] == level]


def scores(images: pd.DataFrame, measure: str, baseline: str = "none") -> Any:
    """One number an image, shape (n,), NaN where there is none."""
    return images[column(measure, baseline)].to_numpy(np.float64, copy=True)
