"""Equivalents steered towards a text: the same logits, a chosen angle away."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from captum_sing.angles import angle
from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.targets import ImageSpaces
from captum_sing.translator import LinearTranslator
from captum_sing.translator_base import Translator

__all__ = ["largest_angle", "steer", "steer_images"]

_WHERE = "steer"
_TURN = 2.0  # degrees of one step along a curve
_LONGEST = 1e4  # norms of the feature that a walk may be long
_SHORTEST = 1e-6
_STEPS = 1000
_HALVINGS = 60
_NAMED = 10  # images in a warning


def steer(
    features: Tensor,
    texts: Tensor,
    image_score: float | Tensor,
    null_space: NullSpace,
    translator: Translator,
) -> Tensor:
    r"""Move features inside the null space until their translation has turned by a given angle.

    The direction is the paper's (Eq. 10-13), :math:`d = P_n \nabla_f \cos(T(f), t)`, normalised.
    For a linear T the triangle of T(f), the step and T(f + eps d) gives the step itself,

    .. math:: \varepsilon = \frac{\|T(f)\| \sin\theta}{\|A d\| \sin(\varphi - \theta)},

    with :math:`\varphi` the angle between T(f) and A d: nothing is searched. Any other translator
    is followed along its projected gradient, taken anew after every two degrees at most, until the
    angle is reached; what it then costs depends on the way.

    Args:
        features (Tensor): f, shape (B, D).
        texts (Tensor): t, shape (E,), or (B, E) for a text an image; see
            :func:`captum_sing.headings.heading` for away from a text, and from one to another.
        image_score (float or Tensor): theta, degrees, for all or each image, above 0.
        null_space (NullSpace): of the head.
        translator (Translator): T.

    Returns:
        Tensor: shape (B, D), float64; NaN where the angle cannot be reached: for a linear T where
        theta >= phi (:func:`largest_angle`), for another where the gradient leads no further.

    Raises:
        SINGValueError: texts of another shape, or another number of angles.

    Example::

        >>> import torch
        >>> from captum_sing import LinearTranslator, NullSpace, image_score
        >>> space = NullSpace.from_weight(torch.tensor([[1.0, 0.0]]))
        >>> translator = LinearTranslator(torch.eye(2), torch.zeros(2), torch.zeros(2))
        >>> f, up = torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0])
        >>> steer(f, up, 45.0, space, translator)
        tensor([[1., 1.]], dtype=torch.float64)
    """
    exact, text = _checked(features, texts, translator)
    degrees = torch.as_tensor(image_score).to(exact).reshape(-1, 1)
    if len(degrees) not in (1, len(exact)):
        constraint, given = f"one, or {len(exact)}", len(degrees)
        raise SINGValueError(
            expected(_WHERE, "image_score", constraint, given, "Give one angle, or one a feature")
        )
    degrees = degrees.expand(len(exact), 1)
    if isinstance(translator, LinearTranslator):
        return _at_once(exact, text, degrees, null_space, translator)
    return _step_by_step(exact, text, degrees, null_space, translator)


def largest_angle(
    features: Tensor, texts: Tensor, null_space: NullSpace, translator: LinearTranslator
) -> Tensor:
    """The angle that :func:`steer` comes near, and never reaches, however long the step.

    Args:
        features, texts, null_space, translator: as of :func:`steer`; the translator is linear.

    Returns:
        Tensor: phi, degrees, shape (B,), float64; NaN where the translator hears nothing of the
        null space.

    Example::

        >>> import torch
        >>> from captum_sing import LinearTranslator, NullSpace
        >>> space = NullSpace.from_weight(torch.tensor([[1.0, 0.0]]))
        >>> translator = LinearTranslator(torch.eye(2), torch.zeros(2), torch.zeros(2))
        >>> f, up = torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0])
        >>> largest_angle(f, up, space, translator)
        tensor([90.], dtype=torch.float64)
    """
    exact, text = _checked(features, texts, translator)
    direction = _direction(exact, text, null_space, translator)
    return angle(translator(exact), direction @ translator.weight.double().T)


def steer_images(
    features: Tensor,
    texts: Tensor,
    image_score: float | Tensor,
    spaces: ImageSpaces,
    translator: LinearTranslator,
) -> Tensor:
    """Steer each image in its own null space; a warning names those that cannot be turned so far.

    Args:
        features, texts, image_score, translator: as of :func:`steer`.
        spaces (ImageSpaces): the null space of each image.

    Returns:
        Tensor: as of :func:`steer`.
    """
    count = len(features)
    texts = texts.to(features).expand(count, -1)
    degrees = torch.as_tensor(image_score).to(features).expand(count)
    equivalents = spaces.each(
        lambda space, f, t, theta: steer(f, t, theta, space, translator), features, texts, degrees
    )
    lost = equivalents.isnan().any(dim=1).nonzero().flatten().tolist()
    if lost:
        most = spaces.each(lambda s, f, t: largest_angle(f, t, s, translator), features, texts)
        named = [
            f"image {row} ({float(degrees[row]):g} degrees, {_limit(float(most[row]))})"
            for row in lost[:_NAMED]
        ]
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        warnings.warn(
            "SING.attribute: image_score cannot be reached inside the null space by "
            f"{', '.join(named)}{more}; NaN there. Ask for a smaller angle.",
            stacklevel=4,  # where attribute() is called, through Captum's log
        )
    return equivalents


def _limit(largest: float) -> str:
    if math.isnan(largest):
        return "and no step there turns it"
    return f"must stay below {largest:.2f}"


def _checked(features: Tensor, texts: Tensor, translator: Translator) -> tuple[Tensor, Tensor]:
    """Features in float64, and their texts with them."""
    exact = features.detach().double()
    own, one = (len(exact), translator.embedding_dim), (translator.embedding_dim,)
    if texts.shape not in (own, one):
        raise SINGValueError(
            expected(
                _WHERE,
                "texts",
                f"of shape {one} or {own}",
                tuple(texts.shape),
                "Embed them with the translator's encoder",
            )
        )
    return exact, texts.to(exact).expand(own)


def _direction(
    exact: Tensor, text: Tensor, null_space: NullSpace, translator: Translator
) -> Tensor:
    """d of Eq. 10-13, shape (B, D): unit rows; NaN where there is no way towards the text."""
    if isinstance(translator, LinearTranslator):
        unit = torch.nn.functional.normalize(translator(exact), dim=1)
        turning = text - (text * unit).sum(dim=1, keepdim=True) * unit  # but for a factor
        gradient = turning @ translator.weight.double()
    else:
        with torch.inference_mode(False), torch.enable_grad():
            variable = exact.clone().requires_grad_()
            cosine = torch.cosine_similarity(translator(variable), text.clone(), dim=1)
            (gradient,) = torch.autograd.grad(cosine.sum(), variable)
    direction = null_space.project(gradient)
    size, whole = (rows.norm(dim=1, keepdim=True) for rows in (direction, gradient))
    rounding = null_space.rtol * whole  # a translator that hears nothing of the null space
    return torch.where(size > rounding, direction / size, torch.nan)


def _at_once(
    exact: Tensor,
    text: Tensor,
    degrees: Tensor,
    null_space: NullSpace,
    translator: LinearTranslator,
) -> Tensor:
    direction = _direction(exact, text, null_space, translator)
    translated, moved = translator(exact), direction @ translator.weight.double().T
    length, speed = (rows.norm(dim=1, keepdim=True) for rows in (translated, moved))
    crossing = torch.deg2rad(angle(translated, moved))[:, None]
    theta = torch.deg2rad(degrees)
    step = length * theta.sin() / (speed * (crossing - theta).sin())
    step = torch.where((theta > 0) & (theta < crossing), step, torch.nan)
    return exact + step * direction


def _step_by_step(
    exact: Tensor, text: Tensor, degrees: Tensor, null_space: NullSpace, translator: Translator
) -> Tensor:
    """Projected gradient ascent in steps of a bounded turn; the last one is halved to measure."""
    start, size = translator(exact), exact.norm(dim=1, keepdim=True)
    here, step = exact.clone(), 1e-3 * size
    reached = torch.full_like(exact, torch.nan)
    walking = ((degrees > 0) & (degrees < 180)).flatten()
    for _ in range(_STEPS):
        if not walking.any():
            break
        direction = _direction(here, text, null_space, translator)
        there = here + step * direction
        before, after = translator(here), translator(there)
        near = torch.cosine_similarity(after, text, dim=1) > torch.cosine_similarity(
            before, text, dim=1
        )
        taken = near & (angle(before, after) <= _TURN)
        arrived = walking & taken & (angle(start, after) >= degrees.flatten())
        if arrived.any():
            reached[arrived] = _between(here, there, start, degrees, translator)[arrived]
        walking &= ~arrived
        here = torch.where((walking & taken)[:, None], there, here)
        step = torch.where(taken[:, None], 1.5 * step, 0.5 * step)
        walking &= ((step > _SHORTEST * size) & (step < _LONGEST * size)).flatten()
    return reached


def _between(
    here: Tensor, there: Tensor, start: Tensor, degrees: Tensor, translator: Translator
) -> Tensor:
    """Where on the last step the angle is met."""
    low, high = torch.zeros_like(degrees), torch.ones_like(degrees)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = angle(start, translator(here + middle * (there - here)))[:, None] < degrees
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return here + high * (there - here)
