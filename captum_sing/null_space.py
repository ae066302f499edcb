"""The null space of a linear head: which directions of its input it cannot see."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from captum_sing.errors import NoNullSpaceError, SINGTypeError, SINGValueError, expected
from captum_sing.linear_head import LinearHead

__all__ = ["INVARIANTS", "NullSpace"]

INVARIANTS = ("logits", "probabilities")


@dataclass(frozen=True, eq=False)
class NullSpace:
    r"""The directions n with W n = 0, for a head of logits W f + b.

    Made by :meth:`from_weight` or :meth:`from_layer`. Only the principal basis is kept; no D x D
    matrix is ever formed.

    Attributes:
        principal_basis (Tensor): V_p, shape (D, R), orthonormal columns, float64.
        singular_values (Tensor): of the rows that are kept, shape (min(C, D),), falling.
        rtol (float): singular values at or below ``rtol`` times the largest count as zero.
        energy (float or None): the share of squared singular values that was asked for; None for
            the exact null space.
        classes (tuple of int or None): the rows that must be kept; None for all.
        invariant_to (str): "logits" or "probabilities".

    Example::

        >>> import torch
        >>> space = NullSpace.from_weight(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        >>> space.rank, space.nullity
        (2, 1)
        >>> space.project(torch.tensor([[3.0, 4.0, 5.0]])).abs()
        tensor([[0., 0., 5.]])
    """

    principal_basis: Tensor
    singular_values: Tensor
    rtol: float
    energy: float | None = None
    classes: tuple[int, ...] | None = None
    invariant_to: str = "logits"

    @classmethod
    def from_weight(
        cls,
        weight: Tensor,
        *,
        rtol: float | None = None,
        energy: float | None = None,
        classes: Sequence[int] | None = None,
        invariant_to: str = "logits",
    ) -> NullSpace:
        r"""The null space of a weight matrix, by a thin singular value decomposition in float64.

        Args:
            weight (Tensor): W, shape (C, D) or (C, D, 1, 1).
            rtol (float, optional): relative tolerance of the rank. Default: the expected size of
                rounding noise, ``0.5 * sqrt(C + D + 1) * eps``, with eps that of float64 for
                float64 weights and of float32 for all others (16-bit weights are exact float32
                numbers).
            energy (float, optional): an *approximate* null space: the smallest rank R with
                :math:`\sum_{i \le R} s_i^2 \ge` ``energy`` :math:`\sum_i s_i^2`. Removal then
                moves the logits a little.
            classes (sequence of int, optional): keep these logits only; the others may move.
            invariant_to (str): "logits", or "probabilities": rows minus their mean, since softmax
                does not see a shift that all logits (of ``classes``) share.

        Returns:
            NullSpace

        Raises:
            SINGTypeError, SINGValueError: an argument that cannot be used, NaN or only zeros.
            NoNullSpaceError: the head sees every direction.
        """
        rows = _kept_rows(weight, classes, invariant_to)
        if energy is not None:
            _check_fraction("energy", energy, 0.0 < energy <= 1.0, "in (0, 1]")
        if rtol is None:
            eps = torch.finfo(torch.promote_types(weight.dtype, torch.float32)).eps
            rtol = 0.5 * math.sqrt(sum(rows.shape) + 1) * eps
        _check_fraction("rtol", rtol, 0.0 <= rtol < 1.0, "in [0, 1)")
        singular_values, right = torch.linalg.svd(rows, full_matrices=False)[1:]
        rank = int((singular_values > rtol * singular_values[0]).sum())
        if energy is not None:
            shares = singular_values.square().cumsum(0) / singular_values.square().sum()
            rank = min(rank, int((shares < energy).sum()) + 1)
        width = rows.shape[1]
        if rank == width:
            raise NoNullSpaceError(
                expected(
                    "NullSpace",
                    "weight",
                    f"of a rank below its width of {width}",
                    f"rank {rank} from {rows.shape[0]} rows",
                    _ways_on(len(rows), width, energy, invariant_to),
                )
            )
        return cls(
            right[:rank].T.contiguous(),
            singular_values,
            float(rtol),
            energy,
            None if classes is None else tuple(int(k) for k in classes),
            invariant_to,
        )

    @classmethod
    def from_layer(
        cls,
        layer: nn.Module | Sequence[nn.Module],
        *,
        rtol: float | None = None,
        energy: float | None = None,
        classes: Sequence[int] | None = None,
        invariant_to: str = "logits",
        width: int | None = None,
    ) -> NullSpace:
        """The null space of a linear layer or 1x1 convolution; arguments as :meth:`from_weight`.

        For a list of layers whose outputs the model averages, it is that of their joint map, over
        their concatenated inputs; or, with the ``width`` of one, over the tensor that the model
        hands to all of them.

        Example::

            >>> import torch
            >>> NullSpace.from_layer(torch.nn.Linear(16, 4)).nullity
            12
        """
        return cls.from_weight(
            LinearHead.of(layer, "NullSpace.from_layer").weight(width),
            rtol=rtol,
            energy=energy,
            classes=classes,
            invariant_to=invariant_to,
        )

    @property
    def width(self) -> int:
        """D, the number of features that the head reads."""
        return int(self.principal_basis.shape[0])

    @property
    def rank(self) -> int:
        """R, the number of directions that the head sees."""
        return int(self.principal_basis.shape[1])

    @property
    def nullity(self) -> int:
        """K = D - R, the number of directions that it ignores."""
        return self.width - self.rank

    @property
    def gap(self) -> float:
        """s_R / s_{R+1}: how clearly the rank is cut; infinite where nothing follows."""
        if self.rank >= len(self.singular_values):
            return math.inf
        following = float(self.singular_values[self.rank])
        return float(self.singular_values[self.rank - 1]) / following if following else math.inf

    @cached_property
    def null_basis(self) -> Tensor:
        """V_n, shape (D, K), orthonormal columns; computed when first asked for."""
        return torch.linalg.qr(self.principal_basis, mode="complete").Q[:, self.rank :]

    def project(self, features: Tensor) -> Tensor:
        r"""The ignored part, :math:`P_n f = f - V_p V_p^\top f`, in float64 inside.

        Args:
            features (Tensor): shape (..., D).

        Returns:
            Tensor: shape (..., D), float32 or better.

        Raises:
            SINGValueError: the last dimension is not D.
        """
        if features.shape[-1:] != (self.width,):
            raise SINGValueError(
                expected(
                    "NullSpace.project",
                    "features",
                    f"of shape (..., {self.width})",
                    tuple(features.shape),
                    "Pass what the head reads, flattened",
                )
            )
        basis = self.principal_basis
        exact = features.to(basis.dtype)
        null_part = exact - (exact @ basis) @ basis.T
        return null_part.to(torch.promote_types(features.dtype, torch.float32))

    def remove(self, features: Tensor, baselines: Tensor | None = None) -> Tensor:
        r"""The equivalent, :math:`\tilde f = f - P_n (f - b)` (Eq. 9 with b = 0).

        Args:
            features (Tensor): f, shape (..., D).
            baselines (Tensor, optional): b, whose null part is put in; shape (D,) or as
                ``features``. Default: zero.

        Returns:
            Tensor: shape (..., D), float32 or better; the same logits as ``features``.
        """
        removed = features if baselines is None else features - baselines
        return features - self.project(removed)

    def restrict(self, logits: Tensor) -> Tensor:
        """The part of the logits that was declared invariant.

        Args:
            logits (Tensor): shape (B, C).

        Returns:
            Tensor: the kept rows, shape (B, number of ``classes``); minus their mean where the
            invariance is to probabilities.
        """
        kept = logits if self.classes is None else logits[:, list(self.classes)]
        centred = self.invariant_to == "probabilities"
        return kept - kept.mean(dim=1, keepdim=True) if centred else kept

    def to(self, *args: object, **kwargs: object) -> NullSpace:
        """A copy on another device, itself on the same; arguments as :meth:`torch.Tensor.to`."""
        basis: Tensor = self.principal_basis.to(*args, **kwargs)  # type: ignore[call-overload]
        if basis is self.principal_basis:
            return self
        return replace(
            self, principal_basis=basis, singular_values=self.singular_values.to(basis.device)
        )

    def __repr__(self) -> str:
        return (
            f"NullSpace(width={self.width}, rank={self.rank}, nullity={self.nullity}, "
            f"rtol={self.rtol:.2g}, gap={self.gap:.3g}, invariant_to={self.invariant_to!r})"
        )


def _ways_on(classes: int, width: int, energy: float | None, invariant_to: str) -> str:
    approximate = "energy=0.99" if energy is None else f"an energy below {energy:g}"
    shift = 'invariant_to="probabilities"'
    if invariant_to == "probabilities":
        shift = f"{shift} alone frees one direction at most, and here none"
    elif classes > width:
        shift += " frees one direction at most, and most often none with more classes than width"
    else:
        shift += ", invariance to a shift of all logits, frees one direction"
    return (
        "This head sees every direction of its input. Ask for an approximate null space with "
        f"{approximate}, or for fewer than {width} classes with classes=[...] or target=...; "
        f"{shift}"
    )


def _kept_rows(weight: Tensor, classes: Sequence[int] | None, invariant_to: str) -> Tensor:
    where = "NullSpace.from_weight"
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        actual = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise SINGTypeError(
            expected(where, "weight", "to be a floating-point tensor", actual, "Pass layer.weight")
        )
    if weight.dim() == 4 and weight.shape[2:] == (1, 1):
        weight = weight.flatten(1)
    if weight.dim() != 2 or 0 in weight.shape:
        raise SINGValueError(
            expected(
                where, "weight", "of shape (C, D)", tuple(weight.shape), "Pass a head's weight"
            )
        )
    if invariant_to not in INVARIANTS:
        raise SINGValueError(
            expected(
                where, "invariant_to", f"in {INVARIANTS}", repr(invariant_to), "Choose one of them"
            )
        )
    rows = weight.detach().double()
    if not rows.isfinite().all():
        raise SINGValueError(
            expected(where, "weight", "finite", "NaN or infinity", "Load the weights again")
        )
    if classes is not None:
        chosen = _integers(classes)
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(len(rows))):
            raise SINGValueError(
                expected(
                    where,
                    "classes",
                    f"distinct integers in [0, {len(rows) - 1}]",
                    str(chosen),
                    "Name each class to keep once",
                )
            )
        rows = rows[chosen]
    if invariant_to == "probabilities":
        if len(rows) == 1:
            raise SINGValueError(
                expected(
                    where,
                    "classes",
                    "of two or more for probabilities",
                    "one",
                    "The odds of one class alone are no constraint; add a class to compare with",
                )
            )
        rows = rows - rows[0]  # equal rows end at zero, without rounding noise
        rows = rows - rows.mean(dim=0)
    if not rows.any():
        raise SINGValueError(
            expected(
                where,
                "weight",
                f"whose {invariant_to} depend on the features",
                "only zeros" if invariant_to == "logits" else "rows that are all the same",
                "This head ignores everything: load trained weights, or initialise it",
            )
        )
    return rows


def _integers(classes: Sequence[int]) -> list[int]:
    try:
        return [operator.index(k) for k in classes]
    except TypeError as error:
        raise SINGTypeError(
            expected("NullSpace.from_weight", "classes", "to be integers", classes, "Write [3]")
        ) from error


def _check_fraction(name: str, value: float, ok: bool, constraint: str) -> None:
    if not ok:
        raise SINGValueError(
            expected("NullSpace.from_weight", name, constraint, value, "Choose another value")
        )
