r"""Does the ignored part of a group of images point at their own words? The permutation z."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.controls.results import Result
from captum_sing.controls.samples import check_evidence, check_labels, check_rows
from captum_sing.errors import SINGValueError, expected

__all__ = [
    "DEFAULT_IMAGES",
    "MINIMUM_CLASSES",
    "MINIMUM_IMAGES",
    "GroupTest",
    "class_means",
    "contrasts",
    "images_needed",
    "permutation_z",
]

DEFAULT_IMAGES = 200
MINIMUM_IMAGES = 50
MINIMUM_CLASSES = 40  # where the unit is a class


@dataclass(frozen=True)
class GroupTest(Result):
    """The permutation z of a group of images; ``value`` is the mean contrast.

    Attributes:
        z (float): standard normal where labels and evidence have nothing to do with each other.
        effect (float): d', the mean contrast in standard deviations of one image's.
        needed (int or None): images for a power of 80 % at the 5 % level; None where d' <= 0.
    """

    z: float = math.nan
    effect: float = math.nan
    needed: int | None = None


def contrasts(
    evidence: Tensor, labels: Tensor, strata: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Evidence for the own word beyond what a word drawn from the labels would have.

    With p_t the share of label t,

    .. math:: d_{it} = e_t(i) - \textstyle\sum_s p_s e_s(i)
        - \bar e_t + \sum_s p_s \bar e_s ,

    the contrast of image i with label t is :math:`d_{it}`. Its own contrasts sum to the statistic
    of the permutation test, and their squares to its variance. Adding a constant to a word, as
    another baseline does, changes nothing.

    Args:
        evidence (Tensor): shape (n, V).
        labels (Tensor): each image's own word, shape (n,).
        strata (Tensor, optional): whole numbers; shares and means are then each stratum's own,
            shape (n,).

    Returns:
        tuple of Tensor: the own contrast, and its variance under permutation; shape (n,) each.

    Example::

        >>> import torch
        >>> evidence = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        >>> contrasts(evidence + 7.0, torch.tensor([0, 1]))[0].tolist()
        [1.0, 1.0]
    """
    evidence, words = evidence.double(), evidence.shape[1]
    strata = torch.zeros_like(labels) if strata is None else strata.unique(return_inverse=True)[1]
    sizes = strata.bincount().double()
    own = torch.nn.functional.one_hot(labels, words).double()

    def mean_of(values: Tensor) -> Tensor:
        sums = values.new_zeros(len(sizes), words).index_add(0, strata, values)
        return (sums / sizes[:, None])[strata]

    shares, centred = mean_of(own), evidence - mean_of(evidence)
    deviation = centred - (shares * centred).sum(dim=1, keepdim=True)
    size = sizes[strata]
    variance = (shares * deviation.square()).sum(dim=1) * size / (size - 1).clamp_min(1)
    return (own * deviation).sum(dim=1), variance


def permutation_z(
    evidence: Tensor,
    labels: Tensor,
    *,
    in_sample: Tensor,
    strata: Tensor | None = None,
    minimum: int = MINIMUM_IMAGES,
) -> GroupTest:
    r"""Whether the images' evidence points at their own words: a permutation test in closed form.

    The statistic is the evidence for the own words, summed over images,
    :math:`S = \sum_i e_{y_i}(i)`. Over all permutations of the labels its mean and variance are
    known exactly,

    .. math:: z = \frac{S - m \sum_t p_t \bar e_t}
        {\sqrt{\tfrac{m}{m-1} \sum_i \sum_t p_t d_{it}^2}},

    with :math:`d_{it}` as in :func:`contrasts`; p is one-sided, from the normal distribution.

    A word that goes with the class is found wherever the class is: ``strata`` permutes within
    classes only. A word that is *constant* in a class needs a translator fitted on other classes,
    and one row a class, as :func:`class_means` makes them.

    Args:
        evidence (Tensor): of the V words of one exclusive group, about the mean feature (any
            constant baseline gives the same), shape (n, V).
        labels (Tensor): column of each image's own word, -1 for unknown, shape (n,).
        in_sample (Tensor): which images the translator was fitted on, bool, shape (n,).
        strata (Tensor, optional): each image's class, whole numbers, shape (n,).
        minimum (int, optional): fewer images than that get no star. Default: 50; take
            ``MINIMUM_CLASSES`` for class means.

    Returns:
        GroupTest: n counts the images whose stratum has more than one label.

    Raises:
        SINGTypeError, SINGValueError: evidence or labels that cannot be used, or an image that the
            translator was fitted on.

    Example::

        >>> import torch
        >>> labels = torch.arange(200) % 2
        >>> noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> held_out = torch.zeros(200, dtype=torch.bool)
        >>> permutation_z(noise, labels, in_sample=held_out).starred()
        False
        >>> planted = noise + torch.nn.functional.one_hot(labels)
        >>> permutation_z(planted, labels, in_sample=held_out).starred(0.001)
        True
    """
    from scipy.stats import norm, t

    evidence, labels, rows = check_evidence("permutation_z", evidence, labels, in_sample)
    if strata is not None:
        strata = check_labels("permutation_z (strata)", strata, len(in_sample))[rows]
    own, variance = contrasts(evidence, labels, strata)
    mixed = _mixed(labels, strata)
    n, own, total = int(mixed.sum()), own[mixed], float(variance[mixed].sum())
    if n < 2 or total <= 0.0:
        reason = "no image can be compared with one of another label" if n < 2 else "nothing varies"
        return GroupTest(math.nan, n, note=f"not tested: {reason}")
    mean, spread = float(own.mean()), float(own.std())
    z = float(own.sum()) / math.sqrt(total)
    effect = mean / spread if spread > 0 else math.copysign(math.inf, mean)
    reach = float(t.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    return GroupTest(
        mean,
        n,
        (mean - reach, mean + reach),
        float(norm.sf(z)),
        f"no star: {n} of at least {minimum} needed" if n < minimum else None,
        z,
        effect,
        images_needed(effect),
    )


def images_needed(effect: float, level: float = 0.05, power: float = 0.8) -> int | None:
    r"""How many images the permutation z needs for an effect: :math:`((z_a + z_b) / d')^2`.

    Args:
        effect (float): d', as :class:`GroupTest` has it.
        level (float, optional): one-sided. Default: 0.05
        power (float, optional): Default: 0.8

    Returns:
        int or None: None where the effect is not above 0.

    Example::

        >>> images_needed(0.25), images_needed(0.25, level=0.01), images_needed(-0.1)
        (99, 161, None)
    """
    from scipy.stats import norm

    if not effect > 0:
        return None
    return max(2, math.ceil(float((norm.isf(level) + norm.ppf(power)) / effect) ** 2))


def class_means(
    evidence: Tensor, labels: Tensor, classes: Tensor, *, fitted_classes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One row a class, for a word that is the same in all images of a class.

    Images of a class share more than the word, so they do not count as many; and a translator that
    was fitted on other images of the class has learnt it by heart.

    Args:
        evidence (Tensor): shape (n, V).
        labels (Tensor): each image's own word, the same within a class, shape (n,).
        classes (Tensor): each image's class, shape (n,).
        fitted_classes (Tensor): the classes that the translator was fitted on, any number.

    Returns:
        tuple of Tensor: mean evidence (classes, V), the labels (classes,) and the ``in_sample``
        mask (classes,) that :func:`permutation_z` asks for.

    Raises:
        SINGValueError: a class with two labels.

    Example::

        >>> import torch
        >>> evidence = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
        >>> own, classes = torch.tensor([0, 0, 1]), torch.tensor([7, 7, 9])
        >>> class_means(evidence, own, classes, fitted_classes=torch.tensor([9]))
        (tensor([[2., 0.],
                [0., 5.]], dtype=torch.float64), tensor([0, 1]), tensor([False,  True]))
    """
    evidence = check_rows("class_means", "evidence", evidence, (None, None))
    labels = check_labels("class_means", labels, *evidence.shape)
    classes = check_labels("class_means (classes)", classes, len(evidence))
    names, index = classes.unique(return_inverse=True)
    means = evidence.new_zeros(len(names), evidence.shape[1]).index_add(0, index, evidence)
    label = torch.full_like(names, -1).scatter_reduce(0, index, labels, "amax")
    other = names.new_full(names.shape, evidence.shape[1]).scatter_reduce(0, index, labels, "amin")
    if not torch.equal(label, other):
        raise SINGValueError(
            expected(
                "class_means",
                "labels",
                "the same in all images of a class",
                f"{int((label != other).sum())} classes with two",
                "Test the images themselves, with strata=classes",
            )
        )
    means = means / index.bincount(minlength=len(names))[:, None]
    return means, label, torch.isin(names, torch.as_tensor(fitted_classes).cpu())


def _mixed(labels: Tensor, strata: Tensor | None) -> Tensor:
    """Which images have one of another label in their stratum."""
    if strata is None:
        strata = torch.zeros_like(labels)
    index = strata.unique(return_inverse=True)[1]
    kinds = torch.stack([index, labels], dim=1).unique(dim=0)[:, 0].bincount()
    return kinds[index] > 1
