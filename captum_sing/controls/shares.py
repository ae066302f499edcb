"""Is what is ignored more than geometry? The share of a word's signal that is ignored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_sing.controls.bootstrap import percentiles, resampled_means
from captum_sing.controls.groups import GroupTest, contrasts, permutation_z
from captum_sing.controls.results import Result
from captum_sing.controls.samples import check_evidence, check_labels, check_rows
from captum_sing.errors import SINGValueError, expected

__all__ = ["Share", "against_other_words", "class_deviations", "signal_share", "word_shares"]

_CLEAR = 5.0  # permutation z of the total; a share of nothing is no number
_READING = "not tested: a reading of the interval"
_MINIMUM_NULLITY = 30
_MINIMUM_OTHERS = 15


@dataclass(frozen=True)
class Share(Result):
    """The share of a signal that is ignored: 1 for what only the null part carries, 0 for none.

    It may lie outside [0, 1], where the two parts oppose each other; it is never clamped.

    Attributes:
        nullity, width (int): K and D.
        se (float): the bootstrap's standard error.
        total (GroupTest or None): of the whole signal; without a clear one there is no share.
        centre, spread (float): what p compares with, see :func:`against_other_words`.
    """

    nullity: int = 0
    width: int = 1
    se: float = math.nan
    total: GroupTest | None = None
    centre: float = math.nan
    spread: float = math.nan

    @property
    def chance(self) -> float:
        """K/D: the expectation for a head that is blind to words and to variance."""
        return self.nullity / self.width


def signal_share(
    ignored: Tensor,
    total: Tensor,
    labels: Tensor,
    *,
    nullity: int,
    width: int,
    in_sample: Tensor,
    clusters: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Share:
    r"""The mean contrast of ignored evidence over that of total evidence.

    .. math:: \frac{\mathrm{tr}(G^\top P_n \Delta)}{\mathrm{tr}(G^\top \Delta)}

    with G the words seen from the feature and Delta the classes' deviations from the mean. Of all
    shares only this one reads 1 for what was planted in a null space and 0 for what was kept out
    of it, whatever the spectrum. The interval is the bootstrap's percentiles.

    Args:
        ignored, total (Tensor): evidence of the V words of one group, shape (n, V) each. For one
            word alone, two columns: its evidence, and zeros.
        labels (Tensor): column of each image's own word, -1 for unknown, shape (n,).
        nullity, width (int): K and D, for the chance to print beside it.
        in_sample (Tensor): which images the translator was fitted on, bool, shape (n,).
        clusters (Tensor, optional): each image's class, to draw whole classes where a word is
            constant in a class, shape (n,).
        draws, seed (int, optional): of the bootstrap. Default: 1000 and 0

    Returns:
        Share: NaN and a note where the total contrast is not clear (permutation z of 5 or less).

    Raises:
        SINGTypeError, SINGValueError: as :func:`permutation_z`.

    Example::

        >>> import torch
        >>> labels = torch.arange(300) % 3
        >>> signal = torch.nn.functional.one_hot(labels).double()
        >>> signal_share(signal / 4, signal, labels, nullity=8, width=64,
        ...              in_sample=torch.zeros(300, dtype=torch.bool)).value
        0.25
    """
    ignored = check_rows("signal_share", "ignored", ignored, tuple(total.shape))
    whole = permutation_z(total, labels, in_sample=in_sample)
    total, labels, rows = check_evidence("signal_share", total, labels, in_sample)
    if not whole.z > _CLEAR:
        return _unclear(whole, nullity, width)
    if clusters is not None:
        clusters = check_labels("signal_share (clusters)", clusters, len(in_sample))[rows]
    pair = torch.stack([contrasts(part, labels)[0] for part in (ignored[rows], total)], dim=1)
    drawn = resampled_means(pair, clusters, draws=draws, seed=seed)
    ratios = drawn[:, 0] / drawn[:, 1]
    value = float(pair[:, 0].sum() / pair[:, 1].sum())
    ends, se = percentiles(ratios), float(ratios.std())
    return Share(value, whole.n, ends, None, _READING, nullity, width, se, whole)


def word_shares(
    ignored: Tensor,
    total: Tensor,
    labels: Tensor,
    *,
    nullity: int,
    width: int,
    in_sample: Tensor,
    clusters: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> list[Share]:
    r"""The :func:`signal_share` of each word alone: images that have it against those that do not.

    Args:
        ignored, total, labels, nullity, width, in_sample, clusters, draws, seed: as
            :func:`signal_share`; all words are drawn together.

    Returns:
        list of Share: one a word.

    Example::

        >>> import torch
        >>> labels = torch.arange(300) % 3
        >>> signal = torch.nn.functional.one_hot(labels).double()
        >>> [share.value for share in word_shares(
        ...     signal * torch.tensor([0.0, 0.5, 1.0]), signal, labels, nullity=8, width=64,
        ...     in_sample=torch.zeros(300, dtype=torch.bool))]
        [0.0, 0.5, 1.0]
    """
    where = "word_shares"
    ignored = check_rows(where, "ignored", ignored, tuple(total.shape))
    total, labels, rows = check_evidence(where, total, labels, in_sample)
    n, words = total.shape
    if not n:
        return [Share(math.nan, 0, note="no image has a label")] * words
    if clusters is not None:
        clusters = check_labels(f"{where} (clusters)", clusters, len(in_sample))[rows]
    present = torch.nn.functional.one_hot(labels, words).double()
    apart = present - present.mean(dim=0)
    centred = total - total.mean(dim=0)
    pair = torch.stack([apart * (part - part.mean(dim=0)) for part in (ignored[rows], total)])
    variance = apart.square().mean(dim=0) * centred.square().sum(dim=0) * n / max(n - 1, 1)
    z = torch.where(variance > 0, pair[1].sum(dim=0) / variance.sqrt(), torch.nan)
    drawn = resampled_means(torch.cat([*pair], dim=1), clusters, draws=draws, seed=seed)
    ratios, values = drawn[:, :words] / drawn[:, words:], pair[0].sum(dim=0) / pair[1].sum(dim=0)
    shares = []
    for t in range(words):
        whole = GroupTest(float(pair[1][:, t].mean()), n, z=float(z[t]))
        if not whole.z > _CLEAR:
            shares.append(_unclear(whole, nullity, width))
            continue
        ends, se = percentiles(ratios[:, t]), float(ratios[:, t].std())
        known = (float(values[t]), n, ends, None, _READING, nullity, width, se, whole)
        shares.append(Share(*known))
    return shares


def against_other_words(share: Share, others: Sequence[Share], spread: float) -> Share:
    r"""Whether a share differs from that of the other words, by more than random subspaces do.

    K/D is the wrong centre for a head that follows variance. The median share of the other words
    is the right one; the spread is that of random subspaces, :func:`haar_spread`, and the
    bootstrap's own error beside it: :math:`z = (s - \mathrm{median}) / \sqrt{\sigma^2 +
    \mathrm{se}^2}`, two-sided.

    Args:
        share (Share): of the word, or of the group of words.
        others (sequence of Share): of other words, from the same head; words that exclude each
            other share their signal, and count as one: their group.
        spread (float): sigma, of this share.

    Returns:
        Share: with p, centre and spread; with a note in place of a star for K below 30, fewer than
        15 others, or where there is no share.
    """
    from scipy.stats import norm

    values = [other.value for other in others if math.isfinite(other.value)]
    if not math.isfinite(share.value):
        return share
    if share.nullity < _MINIMUM_NULLITY:
        return replace(
            share, note=f"no star: {share.nullity} of {_MINIMUM_NULLITY} ignored directions needed"
        )
    if len(values) < _MINIMUM_OTHERS:
        return replace(share, note=f"no star: {len(values)} of {_MINIMUM_OTHERS} others needed")
    if not 0.0 <= spread < math.inf:
        raise SINGValueError(
            expected("against_other_words", "spread", "finite", spread, "Use haar_spread(...)")
        )
    centre = float(torch.tensor(values, dtype=torch.float64).quantile(0.5))
    z = (share.value - centre) / math.hypot(spread, share.se)
    return replace(share, p=float(2 * norm.sf(abs(z))), centre=centre, spread=spread, note=None)


def _unclear(whole: GroupTest, nullity: int, width: int) -> Share:
    note = f"no share: the total contrast is not clear (z = {whole.z:.1f})"
    return Share(math.nan, whole.n, None, None, note, nullity, width, total=whole)


def class_deviations(features: Tensor, labels: Tensor, words: int) -> Tensor:
    r"""Delta: how far the images of each word lie from all others, :math:`p_t (\bar f_t - \bar f)`.

    Args:
        features (Tensor): shape (n, D).
        labels (Tensor): each image's own word, -1 for unknown, shape (n,).
        words (int): V.

    Returns:
        Tensor: shape (D, V), float64.

    Example::

        >>> import torch
        >>> class_deviations(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]), 2).tolist()
        [[-0.5, 0.5]]
    """
    features = check_rows("class_deviations", "features", features, (None, None))
    labels = check_labels("class_deviations", labels, len(features), words)
    known = labels >= 0
    own = torch.nn.functional.one_hot(labels[known], words).double()
    centred = features[known] - features[known].mean(dim=0)
    return centred.T @ own / len(own)
