"""Angles in degrees and the paper's two scores: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["angle", "angles_between", "attribute_score", "image_score"]


def angle(u: Tensor, v: Tensor) -> Tensor:
    r"""Angle between vectors, in degrees.

    Computed by the half-angle form on unit vectors,

    .. math:: \angle(u, v) = 2\,\mathrm{atan2}(\|\hat u - \hat v\|, \|\hat u + \hat v\|),

    which is exact near 0 and 180 degrees, where ``acos`` of a float32 cosine is off by up to 0.03
    degrees and has an infinite gradient.

    Args:
        u (Tensor): vectors of shape (..., E); 16-bit input is computed in float32.
        v (Tensor): vectors of shape (..., E), broadcast against ``u``.

    Returns:
        Tensor: shape (...), degrees in [0, 180]; NaN where a vector is zero.

    Raises:
        SINGTypeError: an argument is no floating-point tensor.
        SINGValueError: the last dimensions differ.

    Example::

        >>> import torch
        >>> angle(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 2.0], [-3.0, 0.0]]))
        tensor([ 90., 180.])
    """
    u, v = _units(u, v)
    return _degrees((u - v).norm(dim=-1), (u + v).norm(dim=-1))


def image_score(original: Tensor, equivalent: Tensor) -> Tensor:
    r"""The paper's image score, IS (Eq. 8): how far removal turns a translated feature.

    .. math:: \mathrm{IS}(f) = \angle\bigl(T(f), T(\tilde f)\bigr)

    Args:
        original (Tensor): translated features T(f), shape (B, E).
        equivalent (Tensor): translated equivalents T(f~), shape (B, E).

    Returns:
        Tensor: shape (B,), degrees. Its size depends on the nullity and on the translator's fit:
        a bare IS compares nothing between models.

    Example::

        >>> import torch
        >>> image_score(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
        tensor([45.])
    """
    return angle(original, equivalent)


def attribute_score(original: Tensor, equivalent: Tensor, texts: Tensor) -> Tensor:
    r"""The paper's attribute score, AS (Eq. 7), of every image for every text.

    .. math:: \mathrm{AS}(f, t) = \angle\bigl(T(f), t\bigr) - \angle\bigl(T(\tilde f), t\bigr)

    Positive means that the equivalent is *closer* to the text: the ignored part pointed away from
    it. Removing anything turns a vector towards all the rest, so the sign and size of a bare AS
    are no evidence; see the evidence split of :class:`captum_sing.SING`.

    Args:
        original (Tensor): translated features T(f), shape (B, E).
        equivalent (Tensor): translated equivalents T(f~), shape (B, E).
        texts (Tensor): text embeddings t, shape (V, E), also when V equals B.

    Returns:
        Tensor: shape (B, V), degrees.

    Raises:
        SINGValueError: a shape is not the one above.

    Example::

        >>> import torch
        >>> f, g = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> attribute_score(f, g, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([[-90.,  90.]])
    """
    named = (("original", original), ("equivalent", equivalent), ("texts", texts))
    for name, tensor in named:
        if tensor.dim() != 2:
            batch = "V" if name == "texts" else "B"
            raise SINGValueError(
                expected(
                    "attribute_score",
                    name,
                    f"of shape ({batch}, E)",
                    tuple(tensor.shape),
                    "Add the missing dimension",
                )
            )
    if original.shape != equivalent.shape:
        raise SINGValueError(
            expected(
                "attribute_score",
                "equivalent",
                f"of shape {tuple(original.shape)}, as original",
                tuple(equivalent.shape),
                "Translate each feature and its equivalent",
            )
        )
    return angles_between(original, texts) - angles_between(equivalent, texts)


def angles_between(vectors: Tensor, others: Tensor) -> Tensor:
    """Angles of all vectors with all others, without a (B, V, E) tensor.

    Args:
        vectors (Tensor): shape (B, E).
        others (Tensor): shape (V, E).

    Returns:
        Tensor: shape (B, V), degrees.

    Example::

        >>> import torch
        >>> angles_between(torch.eye(2)[:1], torch.eye(2))
        tensor([[ 0., 90.]])
    """
    u, v = _units(vectors, others)
    exact = "donot_use_mm_for_euclid_dist"  # matrix products lose the digits of small distances
    return _degrees(torch.cdist(u, v, compute_mode=exact), torch.cdist(u, -v, compute_mode=exact))


def _degrees(difference: Tensor, total: Tensor) -> Tensor:
    return torch.rad2deg(2.0 * torch.atan2(difference, total))


def _units(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    for name, vectors in (("u", u), ("v", v)):
        if not isinstance(vectors, Tensor) or not vectors.is_floating_point():
            actual = vectors.dtype if isinstance(vectors, Tensor) else type(vectors).__name__
            raise SINGTypeError(
                expected("angle", name, "to be a floating-point tensor", actual, "Convert it first")
            )
    if u.shape[-1] != v.shape[-1]:
        raise SINGValueError(
            expected(
                "angle",
                "v",
                f"of last dimension {u.shape[-1]}, as u",
                v.shape[-1],
                "Compare vectors of one space",
            )
        )
    dtype = torch.promote_types(torch.promote_types(u.dtype, v.dtype), torch.float32)
    u, v = u.to(dtype), v.to(dtype)
    return u / u.norm(dim=-1, keepdim=True), v / v.norm(dim=-1, keepdim=True)
