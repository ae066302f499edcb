"""Does the classifier treat a drawn picture as the photograph, and did what was wanted arrive?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from captum_sing.angles import angle
from captum_sing.null_space import NullSpace
from captum_sing.render.sight import Seen
from captum_sing.targets import ImageSpaces
from captum_sing.translator import LinearTranslator
from captum_sing.verification import logit_drift

__all__ = [
    "LONGEST",
    "NOT_VERIFIED",
    "NO_YARDSTICK",
    "TOLERANCE",
    "UNCHANGED",
    "VERIFIED",
    "Check",
    "check",
    "verdicts",
]

VERIFIED, NOT_VERIFIED, NO_YARDSTICK = "verified", "not verified", "no yardstick"
UNCHANGED = "unchanged"
"""What is said of a picture that is the same as the original's, so that there is no equivalent."""
TOLERANCE = 0.02
"""The relative logit gap that passes whatever the yardstick says."""

LONGEST = 0.5
"""The relative logit gap of an original, drawn again, beyond which it is no yardstick."""

_TOP = 5


@dataclass(frozen=True, eq=False)
class Check:
    r"""What the networks say to B pictures that were drawn of wanted features, each of shape (B,).

    Pictures are compared with the photographs that they are equivalents of: an equivalent claims
    to be treated alike. With f' the feature of the picture, f~ the wanted one, f the photograph's,
    b the mean of the reference images (or zero, where the translator has none), and P the
    projector on either part,

    .. math:: \text{arrived} = 1 - \frac{\|P (f' - \tilde f)\|^2}{\|P (f - b)\|^2},

    which is 1 where it is as wanted, 0 where it is as far off as the photograph is from the mean,
    and less where it is farther.

    Attributes:
        prediction (Tensor): the class of the picture's largest logit, int64.
        probability (Tensor): of that class.
        gap (Tensor): the largest change of a logit over the largest logit, of those that were
            declared invariant (:func:`captum_sing.verification.logit_drift`).
        prediction_kept (Tensor): whether the class of the largest logit is the same, bool.
        top5_kept (Tensor): the share of the five (or all) likeliest classes that still are.
        kl (Tensor): the divergence of the picture's probabilities from the photograph's, nats.
        probability_change (Tensor): the largest change of a class's probability.
        principal, null (Tensor): how much of the wanted part has arrived, at most 1.
        angle (Tensor or None): degrees between the encoder's embedding of the picture and the
            translation of what was wanted; the translator's own error is in it. None without an
            encoder.
    """

    prediction: Tensor
    probability: Tensor
    gap: Tensor
    prediction_kept: Tensor
    top5_kept: Tensor
    kl: Tensor
    probability_change: Tensor
    principal: Tensor
    null: Tensor
    angle: Tensor | None

    def to_dicts(self) -> list[dict[str, Any]]:
        """The numbers of each picture."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        known = {name: values.tolist() for name, values in columns.items() if values is not None}
        return [dict(zip(known, row, strict=True)) for row in zip(*known.values(), strict=True)]


def check(
    picture: Seen,
    photograph: Seen,
    wanted: Tensor,
    spaces: ImageSpaces,
    translator: LinearTranslator,
) -> Check:
    """Compare what the networks make of pictures with what they make of the photographs.

    Args:
        picture, photograph (Seen): of B pictures, and of the photographs that they belong to.
        wanted (Tensor): f~, or f where the photograph itself was drawn, shape (B, D), float64.
        spaces (ImageSpaces): what each image's logits were declared invariant to.
        translator (LinearTranslator): T.

    Returns:
        Check: nothing in it depends on how the pictures were made.
    """
    before, after = photograph.logits, picture.logits
    gap = spaces.to(before.device).each(logit_drift, before, after)
    log_p, log_q = before.log_softmax(dim=1), after.log_softmax(dim=1)
    p, q = log_p.exp(), log_q.exp()
    top = min(_TOP, before.shape[1])
    likeliest = (
        before.topk(top, dim=1).indices[:, :, None] == after.topk(top, dim=1).indices[:, None]
    )
    spaces = spaces.to(wanted.device)
    mean = translator.mean if translator.has_statistics else torch.zeros_like(wanted[0])
    arrived = {}
    for part, project in (("principal", _principal), ("null", NullSpace.project)):
        left = spaces.each(project, picture.features - wanted).square().sum(dim=1)
        whole = spaces.each(project, photograph.features - mean).square().sum(dim=1)
        arrived[part] = (1 - left / whole).cpu()
    turned = None
    if picture.embeddings is not None:
        turned = angle(picture.embeddings, translator(wanted)).cpu()
    return Check(
        after.argmax(dim=1),
        q.amax(dim=1),
        gap,
        before.argmax(dim=1) == after.argmax(dim=1),
        likeliest.any(dim=2).double().mean(dim=1),
        (p * (log_p - log_q)).sum(dim=1),
        (p - q).abs().amax(dim=1),
        arrived["principal"],
        arrived["null"],
        turned,
    )


def verdicts(
    equivalent: Check, original: Check, tolerance: float = TOLERANCE, *, some_classes: bool = False
) -> list[str]:
    """Whether each equivalent's picture is one that the classifier treats as the photograph.

    ``"verified"``: the prediction is kept, and the gap is within the tolerance or within that of
    the original drawn in the same way, which is the yardstick: no way of drawing keeps a
    photograph perfectly. Where it does not even keep the original's prediction, or moves a logit
    by more than half (:data:`LONGEST`), a gap that is no larger proves nothing; such an equivalent
    has ``"no yardstick"``, unless it is within the tolerance. All others are ``"not verified"``.

    What this does not show. First, that the picture shows what was meant: for that look at
    ``null``, at ``change``, and at what an encoder names that had no part in making it. Second,
    how good a way of drawing is: the yardstick is one drawing, and of equivalents that are drawn
    exactly as well as their originals half are within it. Compare a share of verified ones with one
    half, or set a tolerance and compare it with the share of originals that are within that.

    Args:
        equivalent, original (Check): of the pictures of f~ and of f, over the same classes.
        tolerance (float, optional): a gap that passes by itself. Default: 0.02
        some_classes (bool, optional): whether the logits of some classes alone were to be kept, so
            that the prediction may move. Default: False

    Returns:
        list of str: B of them.
    """
    usable = (original.prediction_kept | some_classes) & (original.gap <= LONGEST)
    within = (equivalent.gap <= tolerance) | (usable & (equivalent.gap <= original.gap))
    passed = within & (equivalent.prediction_kept | some_classes)
    return [
        VERIFIED if good else NOT_VERIFIED if known else NO_YARDSTICK
        for good, known in zip(passed.tolist(), usable.tolist(), strict=True)
    ]


def _principal(space: NullSpace, rows: Tensor) -> Tensor:
    return rows - space.project(rows)
