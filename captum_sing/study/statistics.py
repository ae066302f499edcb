"""Classes and the whole model in numbers: means with intervals, and evidence word by word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import bootstrap_means
from captum_sing.study.table import column, tested_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MODEL",
    "angle_statistics",
    "by_class",
    "interval",
    "levels",
    "where",
    "with_q",
    "word_statistics",
]

MODEL = "(model)"
"""The level of all images together."""

_MEASURES = ("image_score", "attribute_score", "null_energy")
_CLASSES = 30  # an interval from fewer of them is too narrow


def levels(
    table: pd.DataFrame, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The images of the model, and of each class: of the tested rows.

    Args:
        table (pandas.DataFrame): of a study.
        columns (sequence of str, optional): which are wanted beside ``label``. Default: all
    """
    rows = tested_rows(table)
    if columns is not None:
        table = table[["label", *columns]]
    tested = table[rows]  # a copy, in one piece for each type
    yield MODEL, tested
    codes = tested["label"].cat.codes.to_numpy()
    order, names = codes.argsort(kind="stable"), tested["label"].cat.categories
    cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for place, name in enumerate(names):
        yield name, tested.iloc[order[cuts[place] : cuts[place + 1]]]


def where(table: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """Some rows; no copy of the table if they are all of them.

    Args:
        table (pandas.DataFrame): n rows.
        rows (pandas.Series): which, n of bool.
    """
    return table if rows.all() else table[rows]


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

    asked = [(baseline, measure) for baseline in baselines for measure in _MEASURES]
    rows: list[dict[str, Any]] = []
    columns = [column(measure, baseline) for baseline, measure in asked]
    for level, images in levels(table, columns):
        values = images[columns].to_numpy()
        there = np.isfinite(values)
        own: list[dict[str, Any]] = [{}] * len(asked)
        for which in np.unique(there, axis=1).T:  # columns that the same images have: drawn once
            alike = (there == which[:, None]).all(axis=0).nonzero()[0]
            clusters, drawn = None, "images"
            if level == MODEL and by_class(images.loc[which, ["label"]]):
                codes = images["label"].cat.codes.to_numpy()[which]
                clusters, drawn = torch.from_numpy(codes.astype(np.int64)), "classes"
            sample = torch.from_numpy(values[which][:, alike])
            results = bootstrap_means(sample, clusters=clusters, draws=draws, seed=seed)
            for place, found, spread in zip(alike, results, _spreads(sample), strict=True):
                baseline, measure = asked[place]
                row = {"level": level, "baseline": baseline, "measure": measure, "n": found.n}
                row |= {"mean": found.value, "spread": spread, **interval(found.interval)}
                own[place] = row | {"drawn": drawn, "note": found.note}
        rows += own
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
    columns = [column(kind, "mean", word) for kind in ("seen", "ignored") for _, word in words]
    for level, images in levels(table, columns):
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


def _spreads(sample: Tensor) -> list[float]:
    """Standard deviations of columns; NaN for those of one image."""
    return sample.std(dim=0).tolist() if len(sample) > 1 else [float("nan")] * sample.shape[1]


def by_class(images: pd.DataFrame) -> bool:
    """Whether these images have classes enough to draw whole ones."""
    return bool(images["label"].notna().all()) and images["label"].nunique() >= _CLASSES


def interval(found: tuple[float, float] | None) -> dict[str, Any]:
    """The two ends of an interval, as columns."""
    low, high = found or (np.nan, np.nan)
    return {"low": low, "high": high}


def with_q(rows: pd.DataFrame, families: Iterable[Any] | None = None) -> pd.DataFrame:
    """Add ``q``, false discoveries held within each family of tests, and ``starred``, q <= 0.05.

    A family is every test that was made. Those that get no star, whatever p is, belong to it: if
    they were left out for what they showed, the others' q would be too small.

    Args:
        rows (pandas.DataFrame): with ``p``, and ``note``, which says why a row has no star.
        families (iterable of pandas.Series, optional): which rows, bool. Default: the tests of
            the model, and those of all classes
    """
    from scipy.stats import false_discovery_control

    if not len(rows):
        return rows
    if families is None:
        families = (rows["level"] == MODEL, rows["level"] != MODEL)
    rows["q"] = np.nan
    for family in families:
        tested = family & rows["p"].notna()
        if tested.any():
            rows.loc[tested, "q"] = false_discovery_control(rows.loc[tested, "p"].to_numpy())
    rows["starred"] = (rows["q"] <= 0.05) & rows["note"].isna()
    return rows
