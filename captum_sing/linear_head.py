"""The linear map that makes the logits: one layer, or the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["LinearHead", "head_weight", "is_linear"]


@dataclass(frozen=True, eq=False)
class LinearHead:
    r"""One linear layer, or several whose outputs the model averages.

    The logits of n layers are the mean of :math:`W_i f_i + b_i`: one linear map of their
    concatenated inputs, :math:`W = [W_1 \dots W_n] / n`. Where the model hands all of them the
    *same* tensor, that is the feature, and :math:`W = (W_1 + \dots + W_n) / n`. Which of the two it
    is shows in the width of the feature, and nowhere else.

    The joint null space is of inputs that can change independently. Where one follows from another
    (each head has a BatchNorm of its own on one tensor), most of it is out of any image's reach: no
    logit moves, and yet the model need not ignore that part of what the inputs are made of.
    :meth:`tied` finds this out where images show it.

    Attributes:
        layers (tuple of nn.Module): see :func:`head_weight`.

    Example::

        >>> import torch
        >>> head = LinearHead.of([torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)])
        >>> head.weight(12).shape, head.weight(6).shape
        (torch.Size([3, 12]), torch.Size([3, 6]))
    """

    layers: tuple[nn.Module, ...]

    @classmethod
    def of(cls, layer: nn.Module | Sequence[nn.Module], where: str = "SING") -> LinearHead:
        """The head of a layer, or of a list of layers; ``where`` is for the error.

        Raises:
            SINGTypeError: the layer, or something in the list, is no linear layer.
            SINGValueError: an empty list, a layer named twice, layers of different classes.
        """
        if not isinstance(layer, (nn.Module, list, tuple)):
            raise SINGTypeError(
                expected(
                    where,
                    "layer",
                    "to be one layer, or a list of different ones",
                    type(layer).__name__,
                    "Pass model.fc",
                )
            )
        layers = (layer,) if isinstance(layer, nn.Module) else tuple(layer)
        classes = [len(head_weight(one, where)) for one in layers]
        if not layers or len(set(layers)) < len(layers):
            raise SINGValueError(
                expected(
                    where,
                    "layer",
                    "to be one layer, or a list of different ones",
                    [type(one).__name__ for one in layers],
                    "List each of the averaged heads once",
                )
            )
        if len(set(classes)) > 1:
            raise SINGValueError(
                expected(
                    where,
                    "layer",
                    "to be layers of one number of classes",
                    " and ".join(map(str, classes)),
                    "List the heads whose outputs the model averages, and no others",
                )
            )
        return cls(layers)

    @property
    def sizes(self) -> list[int]:
        """The width of what each layer reads."""
        return [head_weight(layer).shape[1] for layer in self.layers]

    @property
    def widths(self) -> list[int]:
        """The widths that the feature may have: concatenated, and, where it can be, shared."""
        sizes = self.sizes
        alike = len(sizes) > 1 and len(set(sizes)) == 1
        return [sum(sizes), sizes[0]] if alike else [sum(sizes)]

    def weight(self, width: int | None = None) -> Tensor:
        """W, shape (C, D), for features of a width; None for the concatenated inputs."""
        self._check("width", f"in {self.widths}", width)
        weights = [head_weight(layer) for layer in self.layers]
        if len(weights) == 1:
            return weights[0]
        dtype = reduce(torch.promote_types, (weight.dtype for weight in weights), torch.float32)
        exact = [weight.to(weights[0].device, torch.float64) for weight in weights]
        joint = torch.stack(exact).sum(dim=0) if self._shared(width) else torch.cat(exact, dim=1)
        return (joint / len(weights)).to(dtype)

    def logits(self, features: Tensor) -> Tensor:
        """What these layers alone make of features: W f + b, shape (B, C), in float64."""
        weight = self.weight(features.shape[1]).double()
        biases = [layer.bias for layer in self.layers if isinstance(layer.bias, Tensor)]
        shift = sum(bias.detach().to(weight) for bias in biases) / len(self.layers)
        return features.flatten(1).to(weight) @ weight.T + shift

    def join(self, inputs: Sequence[Tensor], shared: bool) -> Tensor:
        """The feature: the one input, the one that all share, or all beside each other."""
        if shared or len(inputs) == 1:
            return inputs[0]
        if len({part.dim() for part in inputs}) > 1:
            inputs = [part.flatten(1) for part in inputs]
        return torch.cat([part.to(inputs[0].device) for part in inputs], dim=1)

    def split(self, features: Tensor) -> Sequence[Tensor]:
        """Each layer's part of a feature, in the order of the layers."""
        if len(self.layers) == 1:
            return (features,)
        width = features.shape[1]
        self._check("features", f"of width {' or '.join(map(str, self.widths))}", width)
        if self._shared(width):
            return (features,) * len(self.layers)
        return features.split(self.sizes, dim=1)

    def tied(self, features: Tensor) -> bool:
        """Whether one layer's input follows from another's, so that they cannot change apart.

        Measured on three images or more: inputs of one width, each coordinate of one an affine
        function of the same coordinate of the other. Half of the precision's digits must agree, and
        coordinates that hardly vary are passed over.
        """
        if len(features) < 3 or self._shared(features.shape[1]):
            return False
        return any(
            one.shape == other.shape and _affine(one, other)
            for one, other in combinations(self.split(features.flatten(1)), 2)
        )

    def _check(self, argument: str, constraint: str, width: int | None) -> None:
        if width is not None and width not in self.widths:
            remedy = "Take that of the layers' inputs beside each other, or of the one they share"
            raise SINGValueError(expected("SING", argument, constraint, width, remedy))

    def _shared(self, width: int | None) -> bool:
        return width in self.widths[1:]


def _affine(one: Tensor, other: Tensor) -> bool:
    """Whether each column of one varies as that of the other does, but for its scale and sign."""
    rounding = torch.finfo(one.dtype).eps ** 0.5
    parts = [one.double(), other.double()]
    centred = [part - part.mean(dim=0) for part in parts]
    sizes = [part.norm(dim=0) for part in centred]
    varies = torch.ones_like(sizes[0], dtype=torch.bool)
    for part, size in zip(parts, sizes, strict=True):
        varies &= size > 4 * rounding * part.abs().amax(dim=0)
    a, b = (part[:, varies] / size[varies] for part, size in zip(centred, sizes, strict=True))
    rest = (b - a * (a * b).sum(dim=0)).norm(dim=0)
    return bool(varies.any() and (rest <= rounding).all())


def is_linear(module: nn.Module) -> bool:
    """Whether it is ``nn.Linear``, or ``nn.Conv2d`` with a 1x1 kernel, stride 1, one group."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def head_weight(layer: nn.Module, where: str = "SING") -> Tensor:
    """The weight of a linear map over features, shape (C, D).

    Args:
        layer (nn.Module): see :func:`is_linear`.
        where (str, optional): for the error.

    Raises:
        SINGTypeError: any other layer.
    """
    if isinstance(layer, (nn.Linear, nn.Conv2d)) and is_linear(layer):
        return layer.weight.detach().flatten(1)
    raise SINGTypeError(
        expected(
            where,
            "layer",
            "to be a linear map (nn.Linear, or nn.Conv2d with a 1x1 kernel)",
            type(layer).__name__,
            "Name the last linear layer, or use NullSpace.from_weight with its matrix",
        )
    )
