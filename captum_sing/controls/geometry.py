"""What geometry alone would give: isotropic worlds and random subspaces, in closed form."""

from __future__ import annotations

import math

from torch import Tensor

from captum_sing.controls.results import Result
from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace

__all__ = ["haar_spread", "isotropic_cosine", "isotropic_image_score"]


def isotropic_image_score(nullity: int, width: int) -> float:
    r"""The IS that would be expected if all directions were alike: :math:`\arcsin\sqrt{K/D}`.

    Args:
        nullity (int): K.
        width (int): D.

    Returns:
        float: degrees. It is why a bare IS compares nothing between heads.

    Example::

        >>> round(isotropic_image_score(24, 1024), 1), round(isotropic_image_score(3096, 4096), 1)
        (8.8, 60.4)
    """
    _check_nullity("isotropic_image_score", nullity, width)
    return math.degrees(math.asin(math.sqrt(nullity / width)))


def haar_spread(pulled: Tensor, deviations: Tensor, nullity: int) -> float:
    r"""The spread of the signal share over random subspaces of a size, in closed form.

    With :math:`M = (G \Delta^\top + \Delta G^\top) / 2` the share of a projector P is
    :math:`\mathrm{tr}(P M) / \mathrm{tr} M`; over all (Haar) subspaces of dimension K its mean is
    K/D and its variance

    .. math:: \frac{2 K (D - K)}{D (D - 1) (D + 2)}
        \frac{\|M - (\mathrm{tr} M / D) I\|_F^2}{(\mathrm{tr} M)^2}.

    No D x D matrix is formed.

    Args:
        pulled (Tensor): G, the words seen from the feature, as
            :meth:`captum_sing.LinearTranslator.pull_back` gives them, shape (D, V).
        deviations (Tensor): Delta, as :func:`class_deviations` gives them, shape (D, V).
        nullity (int): K.

    Returns:
        float: a standard deviation; NaN where the share is 0 / 0.

    Raises:
        SINGValueError: shapes that differ, or a nullity that is none of D dimensions.
    """
    if pulled.dim() != 2 or pulled.shape != deviations.shape:
        raise SINGValueError(
            expected(
                "haar_spread",
                "deviations",
                f"of shape {tuple(pulled.shape)}, as pulled",
                tuple(deviations.shape),
                "Give each word a direction and a deviation",
            )
        )
    g, delta = pulled.double(), deviations.double()
    width = len(g)
    _check_nullity("haar_spread", nullity, width)
    mixed = g.T @ delta
    trace = float(mixed.trace())
    squares = float(((g.T @ g) * (delta.T @ delta)).sum() + (mixed * mixed.T).sum()) / 2
    scale = 2 * nullity * (width - nullity) / (width * (width - 1) * (width + 2))
    if trace == 0.0:
        return math.nan
    return math.sqrt(max(0.0, scale * (squares - trace**2 / width))) / abs(trace)


def isotropic_cosine(null_part: Tensor, pulled: Tensor, null_space: NullSpace) -> list[Result]:
    r"""Cosine of one image's ignored part with each word: a description, never a test.

    With c the cosine between :math:`P_n (f - b)` and :math:`P_n A^\top u_t`, and
    :math:`t = c \sqrt{(K-1) / (1 - c^2)}`, p is that of an isotropic direction in K dimensions,
    one-sided. Ignored parts are not isotropic: at a nominal 0.05 the share of images of empty
    worlds below it runs from 0.005 to 0.24, so that no star is given.

    Args:
        null_part (Tensor): shape (D,).
        pulled (Tensor): shape (D, V).
        null_space (NullSpace): of the head.

    Returns:
        list of Result: one a word; ``n`` is K.
    """
    from scipy.stats import t

    part = null_space.project(null_part.double())
    words = null_space.project(pulled.double().T)
    cosines = (words @ part) / (words.norm(dim=1) * part.norm())
    degrees = null_space.nullity - 1
    note = "a description: against an isotropic direction"
    results = []
    for cosine in cosines.clamp(-1.0, 1.0).tolist():
        sine = math.sqrt(max(1.0 - cosine**2, 0.0))
        far = math.copysign(math.inf, cosine)
        statistic = cosine * math.sqrt(degrees) / sine if sine else far
        p = float(t.sf(statistic, degrees)) if degrees else math.nan
        results.append(Result(cosine, null_space.nullity, p=p, note=note))
    return results


def _check_nullity(where: str, nullity: int, width: int) -> None:
    if not 0 <= nullity <= width:
        raise SINGValueError(
            expected(where, "nullity", f"from 0 to {width}", nullity, "Count ignored directions")
        )
