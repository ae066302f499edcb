"""Equivalents steered towards a text: same logits, a chosen angle away, by one closed-form step."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.translator import LinearTranslator

__all__ = ["steer"]


def steer(
    features: Tensor,
    texts: Tensor,
    image_score: float | Tensor,
    null_space: NullSpace,
    translator: LinearTranslator,
) -> Tensor:
    r"""Move features inside the null space until their translation has turned by a given angle.

    The direction is the paper's (Eq. 10-13), :math:`d = P_n \nabla_f \cos(T(f), t)`, normalised.
    For a linear T the triangle of T(f), the step and T(f + eps d) gives the step itself,

    .. math:: \varepsilon = \frac{\|T(f)\| \sin\theta}{\|A d\| \sin(\varphi - \theta)},

    with :math:`\varphi` the angle between T(f) and A d: nothing is searched.

    Args:
        features (Tensor): f, shape (B, D).
        texts (Tensor): t, shape (E,), or (B, E) for a text an image.
        image_score (float or Tensor): theta, degrees, for all or each image, above 0.
        null_space (NullSpace): of the head.
        translator (LinearTranslator): T.

    Returns:
        Tensor: shape (B, D), float64; NaN where the angle cannot be reached (theta >= phi).

    Raises:
        SINGValueError: texts of another shape.

    Example::

        >>> import torch
        >>> from captum_sing import LinearTranslator, NullSpace, image_score
        >>> space = NullSpace.from_weight(torch.tensor([[1.0, 0.0]]))
        >>> translator = LinearTranslator(torch.eye(2), torch.zeros(2), torch.zeros(2))
        >>> f, up = torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0])
        >>> steer(f, up, 45.0, space, translator)
        tensor([[1., 1.]], dtype=torch.float64)
    """
    exact = features.double()
    translated = translator(exact)
    length = translated.norm(dim=1, keepdim=True)
    unit = translated / length
    if texts.shape not in (unit.shape, unit.shape[1:]):
        raise SINGValueError(
            expected(
                "steer",
                "texts",
                f"of shape {tuple(unit.shape[1:])} or {tuple(unit.shape)}",
                tuple(texts.shape),
                "Embed them with the translator's encoder",
            )
        )
    text = texts.to(exact)
    turning = text - (text * unit).sum(dim=1, keepdim=True) * unit  # the gradient, but for a factor
    direction = null_space.project(turning @ translator.weight.double())
    direction = direction / direction.norm(dim=1, keepdim=True)
    moved = direction @ translator.weight.double().T
    speed = moved.norm(dim=1, keepdim=True)
    crossing = (moved / speed * unit).sum(dim=1, keepdim=True).clamp(-1.0, 1.0).acos()
    theta = torch.deg2rad(torch.as_tensor(image_score).to(exact)).reshape(-1, 1)
    step = length * theta.sin() / (speed * (crossing - theta).sin())
    step = torch.where((theta > 0) & (theta < crossing), step, torch.nan)
    return exact + step * direction
