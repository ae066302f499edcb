"""Classes and the whole model in numbers: means with intervals, and evidence word by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_sing.controls import bootstrap_mean
from captum_sing.study.table import column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODEL", "angle_statistics", "levels", "word_statistics"]

MODEL = "(model)"
"""The level of all images together."""

_MEASURES = ("image_score", "attribute_score", "null_energy")
_CLASSES = 30  # an interval from fewer of them is too narrow


def levels(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The held-out images of the model, and of each class.

    Images that the translator was fitted on are in none of them.
    """
    held_out = table[~table["in_sample"]]
    yield MODEL, held_out
    for label in table["label"].cat.categories:
        yield label, held_out[held_out["label"] == label]


def angle_statistics(
    table: pd.DataFrame, baselines: Sequence[str], draws: int, seed: int
) -> pd.DataFrame:
    """IS, AS of the label and null energy of each level, by baseline.

    Returns:
        pandas.DataFrame: a row a level and measure, with

        - ``n``, ``mean``, ``spread``: held-out images that have the number, their mean and
          standard deviation;
        - ``low``, ``high``: the bootstrap's 95 % interval of the mean;
        - ``drawn``: "classes", for the model, where there are at least 30 of them: the interval is
          then about other classes; else "images", and it is about other images of these;
        - ``note``: what is amiss with it.
    """
    import pandas as pd

    rows = []
    for level, images in levels(table):
        for baseline in baselines:
            for measure in _MEASURES:
                name = column(measure, baseline)
                there = images[np.isfinite(images[name])]
                clusters, drawn = None, "images"
                if level == MODEL and by_class(there):
                    clusters, drawn = torch.tensor(there["label"].cat.codes.to_numpy()), "classes"
                values = torch.from_numpy(there[name].to_numpy(copy=True))
                found = bootstrap_mean(values, clusters=clusters, draws=draws, seed=seed)
                rows.append(
                    {
                        "level": level,
                        "baseline": baseline,
                        "measure": measure,
                        "n": found.n,
                        "mean": found.value,
                        "spread": there[name].std(),
                        **interval(found.interval),
                        "drawn": drawn,
                        "note": found.note,
                    }
                )
    return pd.DataFrame(rows)


def word_statistics(table: pd.DataFrame, groups: dict[str, Sequence[str]]) -> pd.DataFrame:
    """Evidence of each level for each word, about the mean feature, in standard deviations.

    Ranked and not starred: that a class's ignored part points at a word is no news where the
    class goes with the word, and neighbours of a word carry its evidence.

    Args:
        table (pandas.DataFrame): of a study.
        groups (dict): group -> the words of it whose evidence was kept.

    Returns:
        pandas.DataFrame: a row a level and word, with ``n`` held-out images, their mean ``seen``
        and ``ignored`` evidence, and of the ignored one the ``spread`` and Student's 95 % interval
        ``low``, ``high``.
    """
    import pandas as pd
    from scipy.stats import t

    words = [(group, word) for group, of_group in groups.items() for word in of_group]
    frames = []
    for level, images in levels(table):
        n = len(images)
        seen, ignored = (
            images[[column(kind, "mean", word) for _, word in words]].to_numpy()
            for kind in ("seen", "ignored")
        )
        mean = ignored.mean(axis=0) if n else np.full(len(words), np.nan)
        spread = ignored.std(axis=0, ddof=1) if n > 1 else np.full(len(words), np.nan)
        reach = t.ppf(0.975, n - 1) * spread / n**0.5 if n > 1 else spread
        frames.append(
            pd.DataFrame(
                {
                    "level": level,
                    "group": [group for group, _ in words],
                    "word": [word for _, word in words],
                    "n": n,
                    "seen": seen.mean(axis=0) if n else mean,
                    "ignored": mean,
                    "spread": spread,
                    "low": mean - reach,
                    "high": mean + reach,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def by_class(images: pd.DataFrame) -> bool:
    """Whether these images have classes enough to draw whole ones."""
    return bool(images["label"].notna().all()) and images["label"].nunique() >= _CLASSES


def interval(found: tuple[float, float] | None) -> dict[str, Any]:
    """The two ends of an interval, as columns."""
    low, high = found or (np.nan, np.nan)
    return {"low": low, "high": high}
