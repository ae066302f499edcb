"""Does removal really leave the model's output alone? Measured through the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_sing.linear import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.targets import ImageSpaces

__all__ = ["Verification", "logit_drift", "measure"]

_OTHERS = 0.05  # above what rounding to 16 bits leaves of a residual


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
    """

    null: Tensor
    random: Tensor
    principal: Tensor
    residual: Tensor

    def __str__(self) -> str:
        parts = (self.null, self.random, self.principal, self.residual)
        null, random, principal, residual = (float(part.nanmean()) for part in parts)
        text = f"relative logit drift: null {null:.1e}, random {random:.1e}, "
        text += f"principal {principal:.1e}"
        if residual <= _OTHERS or residual != residual:
            return text
        return f"{text}; the head alone does not make the model's logits: residual {residual:.1e}"


def measure(
    run: Callable[[Tensor], Tensor],
    head: LinearHead,
    features: Tensor,
    perturbations: Tensor,
    spaces: ImageSpaces,
    seed: int = 0,
) -> Verification:
    """Run a model on moved features, and on features moved otherwise by as much.

    Args:
        run (callable): features -> the model's logits, shape (B, C).
        head (LinearHead): what reads the features.
        features, perturbations (Tensor): f and f~ - f, shape (B, D) or (B, D, 1, 1).
        spaces (ImageSpaces): what each image's logits were declared invariant to.
        seed (int, optional): of the random directions. Default: 0

    Returns:
        Verification: each part of shape (B,).
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
    before = run(features + 0.0).cpu()
    spaces = spaces.to(before.device)
    drifts = [
        spaces.each(logit_drift, before, run(features + change).cpu())
        for change in (perturbations, random, principal)
    ]
    alone = head.logits(features).cpu()
    same = alone.shape == before.shape
    residual = spaces.each(logit_drift, before, alone) if same else drifts[0] + torch.inf
    return Verification(drifts[0], drifts[1], drifts[2], residual)


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
