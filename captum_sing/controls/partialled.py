"""Does the ignored part say something about a word that the seen part does not?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.controls.results import Result
from captum_sing.controls.samples import (
    check_evidence,
    check_held_out,
    check_labels,
    check_rows,
)
from captum_sing.errors import SINGValueError, expected
from captum_sing.ridge import mean_variance, ridge
from captum_sing.sums import PairSums

__all__ = ["Partialled", "partialled_test"]

_RELATIVE_RIDGE = 1e-4
_PER_DIRECTION = 8  # images a direction that the two regressions want
_WHERE = "Partialled"


@dataclass(frozen=True, eq=False)
class Partialled:
    r"""The partialled test: residual label times residual ignored evidence.

    Labels and ignored evidence are both regressed on what the head sees, on the *training* set;
    on held-out images

    .. math:: r_i = \sum_t \bigl(1[y_i = t] - \hat y_t(p_i)\bigr) \bigl(e_t(i) - \hat e_t(p_i)\bigr)

    has mean 0 if the ignored part only copies what the head sees. True labels are needed: the
    encoder's own names contain their neighbours and reject in every world.

    Attributes:
        mean (Tensor): of what the head sees, shape (R,).
        expected (Tensor): mean label and mean evidence, shape (2 V,).
        weight (Tensor): of both regressions, shape (2 V, R).
        count (int): images of the training set.
    """

    mean: Tensor
    expected: Tensor
    weight: Tensor
    count: int

    @classmethod
    def fit(cls, seen: Tensor, ignored: Tensor, labels: Tensor) -> Partialled:
        """The two regressions, on the images that the translator was fitted on.

        Args:
            seen (Tensor): coordinates of the principal part, V_p^T f, shape (n, R).
            ignored (Tensor): evidence of the V words of one group, about the mean, shape (n, V).
            labels (Tensor): column of each image's own word, -1 for unknown, shape (n,).

        Raises:
            SINGTypeError, SINGValueError: what cannot be used, or fewer than two labels.
        """
        seen = check_rows(f"{_WHERE}.fit", "seen", seen, (None, None))
        nobody = torch.zeros(len(seen), dtype=torch.bool)
        ignored, labels, rows = check_evidence(f"{_WHERE}.fit", ignored, labels, nobody)
        if len(labels.unique()) < 2:
            raise SINGValueError(
                expected(
                    f"{_WHERE}.fit",
                    "labels",
                    "of two words or more",
                    labels.unique().tolist(),
                    "Take images of other words too",
                )
            )
        own = torch.nn.functional.one_hot(labels, ignored.shape[1]).double()
        return cls.of_sums(PairSums.of(seen[rows], torch.cat([own, ignored], dim=1)))

    @classmethod
    def of_sums(cls, sums: PairSums) -> Partialled:
        """The same from sums, where the images do not fit into memory together.

        Args:
            sums (PairSums): of what is seen, with labels as 0 and 1 and ignored evidence side by
                side, shapes (n, R) and (n, 2 V).
        """
        penalty = _RELATIVE_RIDGE * mean_variance(sums) + torch.finfo(torch.float64).tiny
        return cls(sums.feature_mean, sums.embedding_mean, ridge(sums, penalty), sums.count)

    def products(self, seen: Tensor, ignored: Tensor, labels: Tensor) -> Tensor:
        """r of each image: mean 0 if its ignored part only copies what the head sees.

        Args:
            seen, ignored, labels: as :meth:`fit`, of images that it was not fitted on.

        Returns:
            Tensor: shape (n,), float64; NaN where the label is unknown.
        """
        rank, words = len(self.mean), len(self.expected) // 2
        where = f"{_WHERE}.products"
        ignored = check_rows(where, "ignored", ignored, (None, words))
        seen = check_rows(where, "seen", seen, (len(ignored), rank))
        labels = check_labels(where, labels, len(ignored), words)
        predicted = self.expected + (seen - self.mean) @ self.weight.T
        own = torch.nn.functional.one_hot(labels.clamp_min(0), words).double()
        products = ((own - predicted[:, :words]) * (ignored - predicted[:, words:])).sum(dim=1)
        return torch.where(labels >= 0, products, torch.nan)

    def test(self, seen: Tensor, ignored: Tensor, labels: Tensor, *, in_sample: Tensor) -> Result:
        """:func:`partialled_test` of the products of held-out images.

        Args:
            seen, ignored, labels: as :meth:`products`.
            in_sample (Tensor): which of them the translator was fitted on, bool, shape (n,).

        Returns:
            Result: ``value`` is the mean of r.
        """
        products = self.products(seen, ignored, labels)
        check_held_out(f"{_WHERE}.test", in_sample, len(products))
        return partialled_test(products[products.isfinite()], len(self.mean), self.count)


def partialled_test(products: Tensor, rank: int, count: int) -> Result:
    r"""The one-sided t-test of the mean of r on held-out images.

    Both regressions come from one training set of N images, and the product of their errors does
    not average out over the n held-out ones: the squared error of the mean is
    :math:`s_r^2 (1/n + R/N^2)`.

    Args:
        products (Tensor): r, as :meth:`Partialled.products` gives them, shape (n,).
        rank (int): R, directions that the head sees.
        count (int): N.

    Returns:
        Result: ``value`` is the mean of r; no star where the training set has fewer than 8 images
        for each direction that the head sees.

    Example::

        >>> import torch
        >>> noise = torch.randn(200, generator=torch.Generator().manual_seed(0))
        >>> partialled_test(noise, 6, 500).starred(), partialled_test(noise + 1, 6, 500).starred()
        (False, True)
    """
    from scipy.stats import t

    products = check_rows("partialled_test", "products", products, (None,))
    n = len(products)
    if n < 2 or not float(products.std()) > 0:
        return Result(math.nan, n, note="not tested: nothing varies")
    mean = float(products.mean())
    error = float(products.std()) * math.sqrt(1 / n + rank / count**2)
    reach = float(t.ppf(0.975, n - 1)) * error
    needed = _PER_DIRECTION * rank
    few = f"no star: fitted on {count} images, {needed} needed" if count < needed else None
    return Result(mean, n, (mean - reach, mean + reach), float(t.sf(mean / error, n - 1)), few)
