"""Ignored, or merely also there? Naming from the whole feature and from each of its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_sing.baselines import conditional_baseline
from captum_sing.controls.results import Result
from captum_sing.controls.samples import check_held_out, check_labels
from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.translator import LinearTranslator

__all__ = ["Naming", "exact_interval", "name", "naming", "naming_drop", "naming_sources"]


@dataclass(frozen=True)
class Naming(Result):
    """The share of images that are named rightly, with its exact interval.

    Attributes:
        chance (float): of naming rightly if names and labels had nothing to do with each other.
    """

    chance: float = math.nan


def naming_sources(
    features: Tensor,
    null_space: NullSpace,
    translator: LinearTranslator,
    null_translator: LinearTranslator | None = None,
) -> dict[str, Tensor]:
    """What each part of a feature translates to, all about the mean feature.

    Being there is not being used: features are redundant, and a cue that the head uses is often in
    its null space too. Only what the ignored part names and the seen part no longer does is
    ignored. A zero baseline is not among these: a constant tilts the names.

    Args:
        features (Tensor): shape (n, D).
        null_space (NullSpace): of the head.
        translator (LinearTranslator): with the statistics of its images.
        null_translator (LinearTranslator, optional): one fitted on null parts alone, such as
            ``TranslatorFitter().update(null_space.project(features), embeddings).fit()`` on the
            translator's own images. What T reads in the null part is not all that is there.

    Returns:
        dict of str to Tensor: shape (n, E) each, from

        - ``"all"``: T(f);
        - ``"seen"``: T(f~), the null part replaced by its mean. Too little under redundancy, where
          T spreads its weight over both copies;
        - ``"seen, conditional"``: T(f~), the null part replaced by what the principal part
          predicts; as good as a translator fitted on the principal part;
        - ``"ignored"``: T of the null part alone;
        - ``"ignored, refitted"``: by the translator fitted on null parts, if there is one.
    """
    features = features.double()
    null_part = null_space.project(features - translator.mean)
    beyond = null_space.project(features - conditional_baseline(features, null_space, translator))
    sources = {
        "all": translator(features),
        "seen": translator(features - null_part),
        "seen, conditional": translator(features - beyond),
        "ignored": translator(translator.mean + null_part),
    }
    if null_translator is not None:
        sources["ignored, refitted"] = null_translator(null_space.project(features))
    return sources


def name(translated: Tensor, texts: Tensor) -> Tensor:
    """The word of an exclusive group that is nearest to each image.

    Args:
        translated (Tensor): shape (n, E).
        texts (Tensor): the words' unit embeddings, shape (V, E).

    Returns:
        Tensor: its column, shape (n,).

    Example::

        >>> import torch
        >>> name(torch.tensor([[0.1, 0.9]]), torch.eye(2)).tolist()
        [1]
    """
    return (translated @ texts.to(translated).T).argmax(dim=1)


def naming(named: Tensor, labels: Tensor, *, in_sample: Tensor) -> Naming:
    r"""How often names are right, with the exact (Clopper-Pearson) interval.

    Chance is :math:`\sum_t P(\text{label } t) P(\text{named } t)`: one word named for all images
    is right as often as that word occurs.

    Args:
        named (Tensor): a column for each image, shape (n,).
        labels (Tensor): its own, -1 for unknown, shape (n,).
        in_sample (Tensor): which images the translator was fitted on, bool, shape (n,).

    Returns:
        Naming: without p; compare the interval with ``chance``.

    Example::

        >>> import torch
        >>> own = torch.tensor([0, 1, 0, 1])
        >>> naming(torch.zeros(4, dtype=torch.long), own, in_sample=own > 1).chance
        0.5
    """
    (named,), labels = _known("naming", [named], labels, in_sample)
    n, right = len(labels), int((named == labels).sum())
    if not n:
        return Naming(math.nan, 0, note="no image has a label")
    words = int(torch.maximum(named, labels).max()) + 1
    shares = [part.bincount(minlength=words).double() / n for part in (named, labels)]
    return Naming(
        right / n,
        n,
        exact_interval(right, n),
        note="not tested: compare the interval with chance",
        chance=float(shares[0] @ shares[1]),
    )


def naming_drop(before: Tensor, after: Tensor, labels: Tensor, *, in_sample: Tensor) -> Result:
    """How much less often names are right after removal: the exact McNemar test, one-sided.

    Args:
        before, after (Tensor): names of the same images, shape (n,) each.
        labels (Tensor): their own, -1 for unknown, shape (n,).
        in_sample (Tensor): which images the translator was fitted on, bool, shape (n,).

    Returns:
        Result: ``value`` is share before minus share after; its interval is exact given the number
        of images that became right or wrong.

    Example::

        >>> import torch
        >>> own = torch.zeros(10, dtype=torch.long)
        >>> drop = naming_drop(own, own + 1, own, in_sample=own > 0)
        >>> drop.value, round(drop.p, 4)
        (1.0, 0.001)
    """
    from scipy.stats import binom

    (before, after), labels = _known("naming_drop", [before, after], labels, in_sample)
    n = len(labels)
    lost = int(((before == labels) & (after != labels)).sum())
    changed = lost + int(((before != labels) & (after == labels)).sum())
    if not changed:
        note = "no image has a label" if not n else "not tested: no image changed"
        return Result(0.0 if n else math.nan, n, note=note)
    low, high = exact_interval(lost, changed)
    share = changed / n
    return Result(
        (2 * lost - changed) / n,
        n,
        (share * (2 * low - 1), share * (2 * high - 1)),
        float(binom.sf(lost - 1, changed, 0.5)),
    )


def exact_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) interval of a share.

    Raises:
        SINGValueError: no trial at all.

    Example::

        >>> low, high = exact_interval(0, 10)
        >>> low, round(high, 4)
        (0.0, 0.3085)
    """
    from scipy.special import betaincinv

    if n < 1:
        raise SINGValueError(expected("exact_interval", "n", "of at least 1", n, "Name images"))
    tail, failures = (1 - level) / 2, n - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return low, high


def _known(
    where: str, names: list[Any], labels: Tensor, in_sample: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The rows with a label."""
    labels = check_labels(where, labels, len(in_sample))
    checked = [check_labels(f"{where} (names)", part, len(labels)) for part in names]
    check_held_out(where, in_sample, len(labels))
    known = labels >= 0
    return [part[known] for part in checked], labels[known]
