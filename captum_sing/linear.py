"""The linear map that makes the logits: one layer, or the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["LinearHead", "head_weight"]


@dataclass(frozen=True, eq=False)
class LinearHead:
    r"""One linear layer, or several whose outputs the model averages.

    The logits of n layers are the mean of :math:`W_i f_i + b_i`: one linear map of their
    concatenated inputs, :math:`W = [W_1 \dots W_n] / n`. Where the model hands all of them the
    *same* tensor, that is the feature, and :math:`W = (W_1 + \dots + W_n) / n`. Which of the two it
    is shows in the width of the feature, and nowhere else.

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
    def of(cls, layer: nn.Module | Sequence[nn.Module]) -> LinearHead:
        """The head of a layer, or of a list of layers.

        Raises:
            SINGTypeError: something in the list is no linear layer.
            SINGValueError: an empty list, a layer named twice, layers of different classes.
        """
        if isinstance(layer, nn.Module):
            return cls((layer,))
        layers = tuple(layer)
        if not layers or len(set(layers)) < len(layers):
            raise SINGValueError(
                expected(
                    "SING",
                    "layer",
                    "to be one layer, or a list of different ones",
                    [type(one).__name__ for one in layers],
                    "List each of the averaged heads once",
                )
            )
        classes = [len(head_weight(one)) for one in layers]
        if len(set(classes)) > 1:
            raise SINGValueError(
                expected(
                    "SING",
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
        return [sum(sizes), sizes[0]] if len(sizes) > 1 == len(set(sizes)) else [sum(sizes)]

    def weight(self, width: int | None = None) -> Tensor:
        """W, shape (C, D), for features of a width; None for the concatenated inputs."""
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
        if width not in self.widths:
            raise SINGValueError(
                expected(
                    "SING",
                    "features",
                    f"of width {' or '.join(map(str, self.widths))}",
                    width,
                    "Concatenate the layers' inputs",
                )
            )
        if self._shared(width):
            return (features,) * len(self.layers)
        return features.split(self.sizes, dim=1)

    def _shared(self, width: int | None) -> bool:
        return width in self.widths[1:]


def head_weight(layer: nn.Module) -> Tensor:
    """The weight of a linear map over features, shape (C, D).

    Args:
        layer (nn.Module): ``nn.Linear``, or ``nn.Conv2d`` with a 1x1 kernel, stride 1, one group.

    Raises:
        SINGTypeError: any other layer.
    """
    if isinstance(layer, nn.Linear):
        return layer.weight.detach()
    if (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride == (1, 1)
        and layer.groups == 1
    ):
        return layer.weight.detach().flatten(1)
    raise SINGTypeError(
        expected(
            "NullSpace.from_layer",
            "layer",
            "to be a linear map (nn.Linear, or nn.Conv2d with a 1x1 kernel)",
            type(layer).__name__,
            "Name the last linear layer, or use NullSpace.from_weight with its matrix",
        )
    )
