"""The map whose mean over positions a head reads, found by what the model does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGRuntimeError, SINGValueError, expected
from captum_sing.linear_head import head_weight, is_linear

__all__ = ["Call", "Pooling", "find_pooling", "recorded"]

_WHERE = "LayerEvidence"
_PREFIXES = 8  # class and register tokens in front of those of the image, at most
_SUMMED = 1e-4  # rounding of a mean over positions, of the mean size
_MAPPED = 2e-3  # rounding of an affine layer, TF32 included
_GRADIENTS = "Use a gradient method on the score instead, such as LayerGradCam(score, layer)"


@dataclass(frozen=True, eq=False)
class Call:
    """A module's call: the first tensor it received, and the one it returned, if it is one.

    What is one vector an image is a copy of what it was at that time. Maps are not copied: they
    show what was written to them afterwards, up to their pooling.
    """

    module: nn.Module
    received: Tensor | None
    returned: Tensor | None


@contextmanager
def recorded(modules: Iterable[nn.Module]) -> Iterator[list[Call]]:
    """The calls of modules in a forward pass, in the order in which they return."""
    calls: list[Call] = []

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], returned: Any) -> None:
        outputs = returned if isinstance(returned, tuple) else (returned,)
        calls.append(Call(module, _kept(*args, *kwargs.values()), _kept(*outputs)))

    handles = [module.register_forward_hook(hook, with_kwargs=True) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class Pooling:
    """How a head's feature comes of a map: its mean over positions, then affine layers.

    Attributes:
        module (nn.Module): its output, or its input, is the map.
        number (int): which of its calls in a forward pass, from 0.
        of_input (bool): whether the input is meant.
        channels (int): the map's dimension of channels, 1 or -1.
        skipped (int): tokens in front that are not pooled.
        grid (tuple of int): rows and columns.
        tail (tuple of nn.Module): the affine layers between, in order.
    """

    module: nn.Module
    number: int
    of_input: bool
    channels: int
    skipped: int
    grid: tuple[int, int]
    tail: tuple[nn.Module, ...]

    def features(self, calls: Sequence[Call], head: nn.Module) -> Tensor:
        """Each position's part of what a head read, their mean over positions.

        Args:
            calls (sequence of Call): those of ``module`` and ``head`` in a forward pass.
            head (nn.Module): the layer that reads the feature.

        Returns:
            Tensor: shape (B, P, D), float64.

        Raises:
            SINGRuntimeError: they are not its parts, other than for the images of the search.
        """
        read = next(call.received for call in calls if call.module is head)
        own = [call for call in calls if call.module is self.module]
        call = own[self.number] if self.number < len(own) else Call(self.module, None, None)
        found = call.received if self.of_input else call.returned
        if found is not None and read is not None:
            features = _positions(found, self.channels)[:, self.skipped :].double()
            for layer in self.tail:
                features = _through(layer, features)
            size = features.abs().mean(dim=1)
            if features.shape[1] == self.grid[0] * self.grid[1] and _alike(
                features.mean(dim=1), read, size, _MAPPED
            ):
                return features
        raise SINGRuntimeError(
            expected(
                _WHERE,
                "inputs",
                "that all go the same way through the model",
                f"a feature that is not the mean of what {type(self.module).__name__} has, as that "
                "of the first image is",
                "Pass images of one kind, first one that is not uniform",
            )
        )


def find_pooling(
    model: nn.Module,
    head: nn.Module,
    run: Callable[[], Any],
    layer: nn.Module | None = None,
) -> Pooling:
    """Walk back from a head's input, through affine layers, to a map of which it is the mean.

    Tensors are compared by value, so it does not matter how a model is written. Of several places
    with that map, the output of the outermost module is named before the input of one.

    Args:
        model (nn.Module): the classifier.
        head (nn.Module): its head, one layer.
        run (callable): one forward pass, of one image or a few; all that its modules return is
            held until it is over.
        layer (nn.Module, optional): where the map has to be. Default: anywhere

    Raises:
        SINGValueError: the head reads a class token, or there is something else than a mean and
            affine layers; or tokens that are on no grid.
    """
    names = {module: name for name, module in model.named_modules()}
    with recorded(names) as calls:
        run()
    last = next(i for i, call in enumerate(calls) if call.module is head)
    tail: list[nn.Module] = []
    while (feature := _vector(calls[last].received)) is not None:
        before = calls[:last]
        for place, of_input, found in _places(before, layer):
            layout = _layout_of(found, feature)
            if layout is not None:
                module = before[place].module
                number = sum(call.module is module for call in before[:place])
                grid = _grid(found, *layout, calls)
                return Pooling(module, number, of_input, *layout, grid, tuple(tail))
        steps = [i for i, call in enumerate(before) if _is_step(call, feature)]
        if not steps:
            break
        last = steps[-1]
        tail.insert(0, calls[last].module)
    raise _not_pooled(feature, calls[:last], names, layer)


def _kept(*given: Any) -> Tensor | None:
    """The first tensor of what a module takes or gives; a vector an image is copied."""
    found = next((item.detach() for item in given if isinstance(item, Tensor)), None)
    return found.clone() if found is not None and _vector(found) is not None else found


def _vector(tensor: Tensor | None) -> Tensor | None:
    """(B, D) of one vector an image, None of anything else."""
    if tensor is None or tensor.dim() < 2 or sum(size > 1 for size in tensor.shape[1:]) > 1:
        return None
    return tensor.flatten(1)


def _first_token(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None or tensor.dim() != 3 else tensor[:, 0]


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether they are the same numbers, in any precision."""
    if one is None or other is None or one.shape != other.shape:
        return False
    return torch.equal(one.to(other), other)


def _places(calls: Sequence[Call], layer: nn.Module | None) -> Iterator[tuple[int, bool, Tensor]]:
    """What may be the map, the latest first: outputs, then inputs."""
    for of_input in (False, True):
        for i, call in reversed([*enumerate(calls)]):
            found = call.received if of_input else call.returned
            passed = isinstance(call.module, nn.Identity) if layer is None else call.module != layer
            if found is not None and not passed:
                yield i, of_input, found


def _positions(tensor: Tensor, channels: int) -> Tensor:
    """(B, D, H, W), (B, H, W, D) or (B, N, D) -> (B, P, D)."""
    return tensor.movedim(channels, -1).flatten(1, -2)


def _layout_of(tensor: Tensor, feature: Tensor) -> tuple[int, int] | None:
    """Where a tensor's channels are and how many tokens are skipped, if its mean is a feature."""
    if tensor.dim() not in (3, 4) or len(tensor) != len(feature) or not tensor.is_floating_point():
        return None
    fits: list[tuple[float, int, int]] = []
    for channels in (-1, 1):
        if tensor.shape[channels] != feature.shape[1]:
            continue
        positions = _positions(tensor, channels).double()
        size = positions.abs().mean(dim=1)
        most = _PREFIXES if tensor.dim() == 3 else 0
        for skipped in range(min(most, positions.shape[1] - 2) + 1):
            mean = positions[:, skipped:].mean(dim=1)
            if _alike(mean, feature, size, _SUMMED):
                fits.append(((mean - feature).norm().item(), channels, skipped))
    return min(fits)[1:] if fits else None


def _alike(exact: Tensor, given: Tensor, size: Tensor, rounding: float) -> bool:
    """Whether they differ by rounding: of sums of numbers so large, and of the given precision."""
    given = given.flatten(1)
    if exact.shape != given.shape:
        return False
    noise = rounding * size.norm() + 2 * torch.finfo(given.dtype).eps * exact.norm()
    return bool((exact - given).norm() <= noise)


def _is_step(call: Call, feature: Tensor) -> bool:
    """Whether a feature is what an affine layer makes of one vector an image."""
    given, made = _vector(call.received), _vector(call.returned)
    if given is None or not _same(made, feature) or not _is_affine(call.module):
        return False
    exact = _through(call.module, given.double().unsqueeze(1)).squeeze(1)
    return _alike(exact, feature, exact.abs(), _MAPPED)


def _is_affine(layer: nn.Module) -> bool:
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return layer.running_mean is not None
    return is_linear(layer) or (isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) < 2)


def _through(layer: Any, positions: Tensor) -> Tensor:
    """What an affine layer makes of positions (B, P, D), float64; a norm at the image's scale."""
    if is_linear(layer):
        made = positions @ head_weight(layer).to(positions).T
        return made if layer.bias is None else made + layer.bias.detach().to(positions)
    if isinstance(layer, nn.LayerNorm):
        pooled = positions.mean(dim=1, keepdim=True)
        variance = pooled.var(dim=-1, correction=0, keepdim=True)
        centred = positions - positions.mean(dim=-1, keepdim=True)
    else:
        variance = layer.running_var.to(positions)
        centred = positions - layer.running_mean.to(positions)
    made = centred / (variance + layer.eps).sqrt()
    made = made if layer.weight is None else made * layer.weight.detach().to(positions)
    return made if layer.bias is None else made + layer.bias.detach().to(positions)


def _grid(found: Tensor, channels: int, skipped: int, calls: Sequence[Call]) -> tuple[int, int]:
    """Rows and columns of a map; of tokens, those of a convolution, or of the images' shape."""
    rows, *columns, _ = found.movedim(channels, -1).shape[1:]
    if columns:
        return rows, columns[0]
    count = rows - skipped
    sizes = [
        call.returned.shape[2:]
        for call in calls
        if isinstance(call.module, nn.Conv2d) and call.returned is not None
    ]
    grids = [(size[0], size[1]) for size in sizes if size.numel() == count]
    images = calls[-1].received  # of the whole model
    along = any(0 < count - size.numel() <= _PREFIXES for size in sizes)
    if not grids and not along and images is not None and images.dim() == 4:
        divisors = [rows for rows in range(1, count + 1) if count % rows == 0]
        height, width = images.shape[2:]
        grids = [(h, count // h) for h in divisors if h * h * width == count * height]
    if grids:
        return next((grid for grid in reversed(grids) if _proportional(grid, images)), grids[-1])
    raise SINGValueError(
        expected(
            _WHERE,
            "layer",
            "to be a map on a grid, that of a convolution or of the images' proportions",
            f"{count} tokens" + (", class or register tokens pooled along" * along),
            _GRADIENTS,
        )
    )


def _proportional(grid: tuple[int, int], images: Tensor | None) -> bool:
    """Whether a grid has the shape of the images; a convolution over rows of tokens has not."""
    if images is None or images.dim() != 4:
        return False
    return grid[0] * images.shape[3] == grid[1] * images.shape[2]


def _not_pooled(
    feature: Tensor | None,
    calls: Sequence[Call],
    names: dict[nn.Module, str],
    layer: nn.Module | None,
) -> SINGValueError:
    """Say what the head reads instead."""

    def about(module: nn.Module) -> str:
        return f"{names.get(module) or 'a module'} ({type(module).__name__})"

    what, remedy = "what no module returns", _GRADIENTS
    makers = [call for call in calls if _same(_vector(call.returned), feature)]
    tokens = [call for call in calls if _same(_first_token(call.returned), feature)]
    if layer is not None:
        what = f"another place than {about(layer)}"
        remedy = "Leave layer out, and it is found where there is one"
    elif tokens:
        what = f"token 0 of {about(tokens[-1].module)}, a class token"
    elif makers:
        what = f"what {about(makers[0].module)} makes"
        remedy += "; if its map has one position only, pass larger images"
    return SINGValueError(
        expected(
            _WHERE,
            "layer",
            "to be a map whose mean over positions the head reads, through affine layers alone",
            what,
            remedy,
        )
    )
