"""Does removal really leave the model's output alone? Measured through the model itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captum_sing.null_space import NullSpace

__all__ = ["Verification", "logit_drift"]


@dataclass(frozen=True, eq=False)
class Verification:
    """Relative logit drift of three perturbations of one norm (the paper's Fig. 9), shape (B,).

    Attributes:
        null (Tensor): of the null-space perturbation itself; rounding noise where all is well.
        random (Tensor): of a random direction.
        principal (Tensor): of a random direction that the head sees.
    """

    null: Tensor
    random: Tensor
    principal: Tensor

    def __str__(self) -> str:
        means = (float(drift.nanmean()) for drift in (self.null, self.random, self.principal))
        return "relative logit drift: null {:.1e}, random {:.1e}, principal {:.1e}".format(*means)


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
