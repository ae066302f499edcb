"""Intervals by resampling images, or classes of them, and differences of models on one set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls.results import Result
from captum_sing.controls.samples import check_labels, check_rows
from captum_sing.errors import SINGValueError, expected

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bootstrap_mean", "bootstrap_means", "paired_difference", "resampled_means"]

_MINIMUM = 30  # units; percentile intervals of fewer are too narrow
_AT_ONCE = 2**18  # numbers drawn


def resampled_means(
    values: Tensor, clusters: Tensor | None = None, *, draws: int = 1000, seed: int = 0
) -> Tensor:
    """Means of samples drawn with replacement from the images, or from whole clusters of them.

    Args:
        values (Tensor): what each image has, all columns on the same draws; shape (n, k).
        clusters (Tensor, optional): such as each image's class, whole numbers, shape (n,).
        draws (int, optional): Default: 1000
        seed (int, optional): equal seeds give equal draws. Default: 0

    Returns:
        Tensor: shape (draws, k), float64.

    Example::

        >>> import torch
        >>> means = resampled_means(torch.arange(100.0)[:, None], draws=500)
        >>> means.shape, abs(means.mean() - 49.5).item() < 1
        (torch.Size([500, 1]), True)
    """
    sums, sizes = values.double(), torch.ones(len(values), dtype=torch.float64)
    if clusters is not None:
        index = clusters.unique(return_inverse=True)[1]
        sums = sums.new_zeros(int(index.max()) + 1, sums.shape[1]).index_add(0, index, sums)
        sizes = index.bincount().double()
    stacked = torch.column_stack([sums, sizes])
    totals = torch.cat(
        [_counts(rows, len(sums)) @ stacked for rows in _rows(len(sums), draws, seed)]
    )
    return totals[:, :-1] / totals[:, -1:]


def bootstrap_mean(
    values: Tensor,
    per: Tensor | None = None,
    *,
    clusters: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    r"""A mean, or the ratio of two means, with its percentile bootstrap interval.

    Args:
        values (Tensor): shape (n,).
        per (Tensor, optional): the denominator, shape (n,): the result is
            :math:`\sum v_i / \sum w_i`, such as the paper's IS over \|AS\|.
        clusters, draws, seed: as :func:`resampled_means`.

    Returns:
        Result: without an interval where there are fewer than two images or clusters.

    Example::

        >>> import torch
        >>> bootstrap_mean(torch.full((40,), 3.0), torch.full((40,), 2.0))
        Result(value=1.5, n=40, interval=(1.5, 1.5), p=None, note=None)
    """
    return _difference("bootstrap_mean", [values], [per], clusters, draws, seed)


def bootstrap_means(
    values: Tensor, *, clusters: Tensor | None = None, draws: int = 1000, seed: int = 0
) -> list[Result]:
    """As :func:`bootstrap_mean` of each column, all on the same draws: as many, made once.

    Args:
        values (Tensor): shape (n, k).
        clusters, draws, seed: as :func:`resampled_means`.

    Returns:
        list of Result: k of them.

    Example::

        >>> import torch
        >>> values = torch.arange(80.0).reshape(40, 2)
        >>> bootstrap_means(values)[1] == bootstrap_mean(values[:, 1])
        True
    """
    table = check_rows("bootstrap_means", "values", values, (None, None))
    return _results("bootstrap_means", table, lambda means: means, clusters, draws, seed)


def paired_difference(
    first: Tensor,
    second: Tensor,
    first_per: Tensor | None = None,
    second_per: Tensor | None = None,
    *,
    clusters: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    """First minus second, for two models on identical images, with its bootstrap interval.

    The same images are drawn for both, so what makes an image hard for both cancels.

    Args:
        first, second (Tensor): what each model says of each image, shape (n,) each.
        first_per, second_per (Tensor, optional): denominators as in :func:`bootstrap_mean`.
        clusters, draws, seed: as :func:`resampled_means`. With classes as clusters the interval is
            about other classes, without them about other images of these classes.

    Returns:
        Result: its ``excludes(0.0)`` says whether a ranking is warranted.

    Example::

        >>> import torch
        >>> hard = torch.randn(100, generator=torch.Generator().manual_seed(0)) * 50
        >>> paired_difference(hard + 1.0, hard).excludes(0.0)
        True
    """
    pair = [first, second], [first_per, second_per]
    return _difference("paired_difference", *pair, clusters, draws, seed)


def _difference(
    where: str,
    values: list[Any],
    denominators: list[Any],
    clusters: Tensor | None,
    draws: int,
    seed: int,
) -> Result:
    count = len(values[0]) if isinstance(values[0], Tensor) and values[0].dim() else None
    columns = []
    for value, per in zip(values, denominators, strict=True):
        columns.append(check_rows(where, "values", value, (count,)))
        columns.append(torch.ones_like(columns[-1]) if per is None else per)
        columns[-1] = check_rows(where, "per", columns[-1], (count,))
    (result,) = _results(where, torch.stack(columns, dim=1), _ratios, clusters, draws, seed)
    return result


def _results(
    where: str,
    table: Tensor,
    statistics: Callable[[Tensor], Tensor],
    clusters: Tensor | None,
    draws: int,
    seed: int,
) -> list[Result]:
    """Statistics of the columns' means, each with its interval."""
    if draws < 100:
        raise SINGValueError(expected(where, "draws", "of at least 100", draws, "Draw 1000"))
    count = len(table)
    if clusters is not None:
        clusters = check_labels(f"{where} (clusters)", clusters, count)
    units = count if clusters is None else len(clusters.unique())
    values = statistics(table.mean(dim=0, keepdim=True))[0].tolist()
    if units < 2:
        return [Result(value, count, note=f"no interval: {units} to draw from") for value in values]
    found = statistics(resampled_means(table, clusters, draws=draws, seed=seed)).T
    few = f"no star: an interval from {units} is too narrow; {_MINIMUM} needed"
    note = few if units < _MINIMUM else None
    return [
        Result(value, count, percentiles(drawn), note=note)
        for value, drawn in zip(values, found, strict=True)
    ]


def percentiles(draws: Tensor) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = torch.quantile(draws, torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return low, high


def _ratios(means: Tensor) -> Tensor:
    """The first ratio minus the second, if there is one; shape (draws, 1)."""
    ratios = means[:, 0::2] / means[:, 1::2]
    return ratios if ratios.shape[1] == 1 else ratios[:, :1] - ratios[:, 1:]


def _rows(count: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // count)
    for start in range(0, draws, at_once):
        yield generator.integers(count, size=(min(at_once, draws - start), count))


def _counts(rows: NDArray[np.int64], count: int) -> Tensor:
    """How often each unit is in each draw, shape (draws, count)."""
    index = torch.from_numpy(rows)
    return torch.zeros(index.shape, dtype=torch.float64).scatter_add_(
        1, index, torch.ones((), dtype=torch.float64).expand(index.shape)
    )
