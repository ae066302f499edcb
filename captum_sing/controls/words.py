"""Which of many words? One test a word on its own labels, with the false discoveries controlled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.controls.samples import (
    check_held_out,
    check_labels,
    check_mask,
    check_rows,
)
from captum_sing.errors import SINGValueError, expected

__all__ = ["MINIMUM_WITH_WORD", "WordTests", "word_tests"]

MINIMUM_WITH_WORD = 20
WAYS = ("alone", "together")

_OWN = 1e-6  # of a label's variance that no other label explains; below is rounding
_TOLD_BY_OTHERS = "not tested: the other words' labels tell this one's, or nothing varies"


@dataclass(frozen=True, eq=False)
class WordTests:
    """One test a word.

    Attributes:
        value (Tensor): evidence with the word minus without it, shape (V,).
        t, degrees (Tensor): the statistic and its degrees of freedom, shape (V,) each.
        p, q (Tensor): one-sided, and after Benjamini and Hochberg; NaN where there is no test.
        n (Tensor): images with the word, shape (V,).
        notes (tuple of str or None): a word each, why it has no test.
    """

    value: Tensor
    t: Tensor
    degrees: Tensor
    p: Tensor
    q: Tensor
    n: Tensor
    notes: tuple[str | None, ...]

    def starred(self, level: float = 0.05) -> Tensor:
        """Which words hold at this share of false discoveries, shape (V,), bool."""
        return self.q <= level


def word_tests(
    evidence: Tensor,
    has_word: Tensor,
    *,
    in_sample: Tensor,
    labels: str = "together",
    groups: Tensor | None = None,
    minimum: int = MINIMUM_WITH_WORD,
) -> WordTests:
    """Whether images with a word have more of its ignored evidence than images without it.

    Neither way takes the spread to be the same with the word and without it.

    Labels are needed. Without them words can be ranked and never starred: a planted word's
    neighbours do carry its evidence. Where labels occur together a word must be judged beside the
    others, by multiple regression of its evidence on all labels; one at a time four in five
    discoveries would be false.

    Args:
        evidence (Tensor): about the mean feature, shape (n, V).
        has_word (Tensor): whether the image has the word, bool, shape (n, V).
        in_sample (Tensor): which images the translator was fitted on, bool, shape (n,).
        labels (str, optional): "together", by multiple regression, or "alone", by Welch's t,
            for labels that are independent of each other. Default: "together"
        groups (Tensor, optional): each word's group, whole numbers, shape (V,), where the words of
            a group exclude each other: a word is then judged against the others of its group.
        minimum (int, optional): of images with a word, and without it, for a test. Default: 20

    Returns:
        WordTests: with Student's t tails; normal ones are too thin this far out.

    Raises:
        SINGTypeError, SINGValueError: what cannot be used, or an image that the translator was
            fitted on.

    Example::

        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> evidence = torch.randn(400, 3, generator=generator)
        >>> has_word = torch.rand(400, 3, generator=generator) < 0.2
        >>> evidence[:, 1] += 1.0 * has_word[:, 1]
        >>> held_out = torch.zeros(400, dtype=torch.bool)
        >>> word_tests(evidence, has_word, in_sample=held_out).starred().tolist()
        [False, True, False]
    """
    where = "word_tests"
    if labels not in WAYS:
        raise SINGValueError(expected(where, "labels", f"in {WAYS}", repr(labels), "Choose one"))
    evidence = check_rows(where, "evidence", evidence, (None, None))
    shape = (len(evidence), evidence.shape[1])
    present = check_mask(where, "has_word", has_word, shape)
    check_held_out(where, in_sample, shape[0])
    if groups is not None:
        groups = check_labels(f"{where} (groups)", groups, shape[1])
    found = _alone(evidence, present) if labels == "alone" else _together(evidence, present, groups)
    return _with_tails(*found, present.sum(dim=0), shape[0], minimum)


def _alone(evidence: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Welch's t of each word: difference, its error and the degrees of freedom."""
    means, errors, sizes = [], [], []
    for mask in (present.double(), (~present).double()):
        size = mask.sum(dim=0)
        mean = (mask * evidence).sum(dim=0) / size
        squares = (mask * (evidence - mean).square()).sum(dim=0)
        means.append(mean)
        errors.append(squares / (size - 1) / size)
        sizes.append(size)
    both = errors[0] + errors[1]
    parts = [error.square() / (size - 1) for error, size in zip(errors, sizes, strict=True)]
    return means[0] - means[1], both.sqrt(), both.square() / (parts[0] + parts[1])


def _together(
    evidence: Tensor, present: Tensor, groups: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The own label's coefficient in each word's regression on all labels outside its group.

    Images with a word are few and may vary more than the others: the error is MacKinnon and White's
    HC3, with as many degrees of freedom as the smaller side has.
    """
    n, words = evidence.shape
    labels = present.double() - present.double().mean(dim=0)
    evidence = evidence - evidence.mean(dim=0)
    gram, cross = labels.T @ labels, labels.T @ evidence
    groups = torch.arange(words) if groups is None else groups
    value, error, degrees = torch.full((3, words), torch.nan, dtype=torch.float64)
    for group in groups.unique():
        own = (groups == group).nonzero().flatten()
        rest = (groups != group).nonzero().flatten()
        inverse = torch.linalg.pinv(gram[rest][:, rest], hermitian=True, rtol=1e-10)
        shared = gram[rest][:, own]
        explained = inverse @ shared
        variance = gram.diagonal()[own]
        unique = variance - (shared * explained).sum(dim=0)  # of the label, not in any other
        coefficient = cross.diagonal()[own] - (explained * cross[rest][:, own]).sum(dim=0)
        coefficient = torch.where(unique > _OWN * variance, coefficient / unique, torch.nan)
        weights = inverse @ (cross[rest][:, own] - shared * coefficient)
        left = evidence[:, own] - labels[:, own] * coefficient - labels[:, rest] @ weights
        free = n - 2 - round(float((inverse * gram[rest][:, rest]).sum()))
        if free > 0:
            apart = labels[:, own] - labels[:, rest] @ explained
            others = ((labels[:, rest] @ inverse) * labels[:, rest]).sum(dim=1, keepdim=True)
            leverage = apart.square() / unique + others + 1 / n
            value[own] = coefficient
            error[own] = (apart * left / (1 - leverage).clamp_min(_OWN)).square().sum(
                dim=0
            ).sqrt() / unique
            with_word = present[:, own].sum(dim=0)
            degrees[own] = (torch.minimum(with_word, n - with_word) - 1).double().clamp_max(free)
    return value, error, degrees


def _with_tails(
    value: Tensor, error: Tensor, degrees: Tensor, n: Tensor, images: int, minimum: int
) -> WordTests:
    from scipy.stats import false_discovery_control, t

    statistic = torch.where(error > 0, value / error, torch.nan)
    p = torch.from_numpy(t.sf(statistic.numpy(), degrees.numpy()))
    smaller = torch.minimum(n, images - n)
    p[smaller < minimum] = torch.nan
    q, known = torch.full_like(p, torch.nan), p.isfinite()
    if known.any():
        q[known] = torch.from_numpy(false_discovery_control(p[known].numpy()))
    few = f"not tested: {{}} images to compare, {minimum} needed"
    notes = [
        None if ok else few.format(count) if count < minimum else _TOLD_BY_OTHERS
        for ok, count in zip(known.tolist(), smaller.tolist(), strict=True)
    ]
    return WordTests(value, statistic, degrees, p, q, n, tuple(notes))
