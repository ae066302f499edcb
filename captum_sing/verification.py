"""Does removal really leave the model's output alone? Measured through the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.errors import SINGValueError, expected
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.targets import ImageSpaces

__all__ = ["Verification", "logit_drift", "measure"]


@dataclass(frozen=True, eq=False)
class Verification:
    """Relative logit drift of three perturbations of one norm (the paper's Fig. 9), shape (B,).

    Attributes:
        null (Tensor): of the null-space perturbation itself; rounding noise where all is well.
        random (Tensor): of a random direction.
        principal (Tensor): of a random direction that the head sees.
        residual (Tensor): how far the model's logits are from those that the head alone makes of
            its input, W f + b, in the same unit. Rounding noise where the head makes the output.
            Where another head has a share in it, the ``null`` drift may be silent, and rightly,
            for what this head reads; the residual tells that there is more. Infinite where the
            model returns another number of classes.
        rounding (float): what the precision of the features and logits leaves of a residual.
        tied (bool): whether the input of one averaged head follows from another's in these images
            (:meth:`LinearHead.tied <captum_sing.linear_head.LinearHead.tied>`; never said of fewer
            than three). The drift is then measured on inputs that no image has, and the joint null
            space is no statement about what the model ignores in images.
    """

    null: Tensor
    random: Tensor
    principal: Tensor
    residual: Tensor
    rounding: float = 1e-4
    tied: bool = False

    def __str__(self) -> str:
        parts = (self.null, self.random, self.principal, self.residual)
        null, random, principal, residual = (float(part.nanmean()) for part in parts)
        text = f"relative logit drift: null {null:.1e}, random {random:.1e}, "
        text += f"principal {principal:.1e}"
        if self.residual.nanmedian() > self.rounding:
            text += f"; the head alone does not make the model's logits: residual {residual:.1e}"
        if self.tied:
            text += (
                "; the heads' inputs are tied, and no image moves them independently as this did"
            )
        return text


def measure(
    run: Callable[[Tensor], Tensor],
    head: LinearHead,
    features: Tensor,
    perturbations: Tensor,
    spaces: ImageSpaces,
    seed: int = 0,
    tied: bool = False,
) -> Verification:
    """Run a model on moved features, and on features moved otherwise by as much.

    Args:
        run (callable): features -> the model's logits, shape (B, C).
        head (LinearHead): what reads the features.
        features, perturbations (Tensor): f and f~ - f, shape (B, D) or (B, D, 1, 1).
        spaces (ImageSpaces): what each image's logits were declared invariant to.
        seed (int, optional): of the random directions. Default: 0
        tied (bool, optional): see :class:`Verification`. Default: False

    Returns:
        Verification: each part of shape (B,).

    Raises:
        SINGValueError: classes were chosen, and the model returns others than the head.
    """
    flat = perturbations.flatten(1)
    spaces = spaces.to(flat.device)
    noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(seed)).to(flat)
    size = flat.norm(dim=1, keepdim=True)
    visible = noise - spaces.each(NullSpace.project, noise)
    random, principal = (
        (direction / direction.norm(dim=1, keepdim=True) * size).view_as(perturbations)
        for direction in (noise, visible)
    )
    before, alone = run(features + 0.0).cpu(), head.logits(features).cpu()
    same = alone.shape == before.shape
    if not same and any(space.classes for space, _ in spaces.parts):
        raise SINGValueError(
            expected(
                "SING.verify",
                "forward_func",
                f"to return the logits of the layer's {alone.shape[1]} classes, of which some "
                "are kept",
                before.shape[1],
                "Leave out target and classes, or name the layer that makes the output",
            )
        )
    spaces = spaces.to(before.device)
    drifts = [
        spaces.each(logit_drift, before, run(features + change).cpu())
        for change in (perturbations, random, principal)
    ]
    if same:
        residual = spaces.each(logit_drift, before, alone)
    else:
        residual = torch.full_like(drifts[0], torch.inf)
    eps = max(torch.finfo(part.dtype).eps for part in (features, before))
    return Verification(drifts[0], drifts[1], drifts[2], residual, min(1e3 * eps, 0.05), tied)


def logit_drift(null_space: NullSpace, before: Tensor, after: Tensor) -> Tensor:
    r"""Largest change over largest logit, over what was declared invariant.

    Args:
        null_space (NullSpace): says which rows, and whether a common shift counts.
        before, after (Tensor): logits, shape (B, C).

    Returns:
        Tensor: shape (B,), float64; NaN where all kept logits are zero (infinite where they moved).

    Example::

        >>> import torch
        >>> space = NullSpace.from_weight(torch.tensor([[1.0, 0.0]]))
        >>> logit_drift(space, torch.tensor([[4.0]]), torch.tensor([[5.0]]))
        tensor([0.2500], dtype=torch.float64)
    """
    kept, moved = (null_space.restrict(logits.double()) for logits in (before, after))
    return (moved - kept).abs().amax(dim=1) / kept.abs().amax(dim=1)
