"""The head of a classifier: found by what the model does, read and replaced through hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from captum.attr import LayerActivation
from torch import Tensor, nn

from captum_sing.errors import (
    HeadNotFoundError,
    SINGNameError,
    SINGRuntimeError,
    SINGTypeError,
    SINGValueError,
    expected,
)

__all__ = [
    "Head",
    "evaluating",
    "find_head",
    "logits_of",
    "read_features",
    "replace_features",
    "resolve_layer",
    "uncompiled",
]


class Head(NamedTuple):
    """The layer that makes a model's logits: its dotted name and the module."""

    name: str
    module: nn.Module


@dataclass(frozen=True)
class _Call:
    name: str
    module: nn.Module
    output: Tensor

    def describe(self) -> str:
        kind = type(self.module).__name__
        return f"{self.name} ({kind}, output {tuple(self.output.shape)})"


def find_head(model: nn.Module, example_inputs: Any) -> Head:
    """The linear layer whose output *is* the model's output, found by one hooked forward pass.

    Args:
        model (nn.Module): a classifier; its output may be a tensor, an object with ``.logits``,
            or a tuple or dictionary that holds the logits.
        example_inputs (Tensor or tuple): one small batch, as the model is called with.

    Returns:
        Head: dotted name and module.

    Raises:
        HeadNotFoundError: no linear layer makes the output (a softmax after it, several heads
            averaged, ``F.linear`` with the layer's weight); the candidates are listed.

    Example::

        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> find_head(model, torch.zeros(1, 3, 2, 2)).name
        '1'
    """
    model = uncompiled(model)
    calls, logits = _linear_calls(model, example_inputs)
    exact = [c for c in calls if _same(c.output, logits)]
    if exact:
        return Head(exact[-1].name, exact[-1].module)
    raise HeadNotFoundError(
        expected(
            "find_head",
            "model",
            "to return what one linear layer computes",
            f"{type(model).__name__}, {_why_no_head(model, calls, logits)}",
            "Pass the layer explicitly, by module or dotted name; its input is then taken as the "
            "feature, and SING.verify tells whether the model's output really ignores what it "
            "ignores",
        )
    )


def resolve_layer(model: Any, layer: nn.Module | str) -> nn.Module:
    """A layer by module or dotted name (with or without DataParallel's ``module.``).

    Raises:
        SINGNameError: the model has no layer of that name; the last linear ones are listed.
        SINGTypeError: a name was given for a model that is no ``nn.Module``.
    """
    if isinstance(layer, nn.Module):
        return layer
    if not isinstance(layer, str):
        raise SINGTypeError(
            expected(
                "SING", "layer", "to be a module or a name", type(layer).__name__, "Pass model.fc"
            )
        )
    if not isinstance(model, nn.Module):
        raise SINGTypeError(
            expected(
                "SING",
                "layer",
                "to be a module where forward_func is a function",
                f"the name {layer!r}",
                "Pass the module itself",
            )
        )
    modules = dict(uncompiled(model).named_modules())
    for name in (layer, f"module.{layer}"):
        if layer and name in modules:
            return modules[name]
    linear = [name for name, module in modules.items() if _is_linear(module)]
    raise SINGNameError(
        expected(
            "SING",
            "layer",
            f"to be the name of a layer of {type(model).__name__}",
            repr(layer),
            f"Its last linear layers are {linear[-3:]}",
        )
    )


def read_features(
    forward_func: Callable[..., Any],
    layer: nn.Module,
    inputs: Any,
    additional_forward_args: Any = None,
    device_ids: list[int] | None = None,
) -> Tensor:
    """What the layer receives, through Captum's :class:`~captum.attr.LayerActivation`.

    Args:
        forward_func (callable): the model.
        layer (nn.Module): the head.
        inputs, additional_forward_args: as for any Captum attribution.
        device_ids (list of int, optional): for DataParallel models.

    Returns:
        Tensor: a detached copy, shape (B, D) or (B, D, 1, 1), in the model's precision.

    Raises:
        SINGRuntimeError: the layer was not called, or more than once.
        SINGValueError: the layer reads something other than one feature per image.
    """
    forward_func = uncompiled(forward_func)
    reader = LayerActivation(forward_func, layer, device_ids)
    with evaluating(forward_func), _hooked(layer) as seen:
        try:
            features = reader.attribute(inputs, additional_forward_args, True)
        except AssertionError as error:
            if seen.calls:
                raise
            raise _never_called(layer) from error
    _check_calls(seen, layer, device_ids or getattr(forward_func, "device_ids", None))
    if not isinstance(features, Tensor) or features.dim() < 2 or features[0, 0].numel() != 1:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise SINGValueError(
            expected(
                "SING",
                "layer",
                "to read one feature per image, of shape (B, D) or (B, D, 1, 1)",
                f"an input of shape {shape}",
                "Name the layer after pooling",
            )
        )
    return features


def replace_features(
    forward_func: Callable[..., Any],
    layer: nn.Module,
    inputs: Any,
    features: Tensor,
    additional_forward_args: Any = None,
) -> Tensor:
    """The model's logits when the layer is handed other features.

    The whole model runs, so that a feature that is also used elsewhere is found out.

    Args:
        forward_func, layer, inputs, additional_forward_args: as :func:`read_features`.
        features (Tensor): what the layer gets instead, in the shape of its input.

    Returns:
        Tensor: logits, shape (B, C), detached.
    """
    forward_func = uncompiled(forward_func)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    extra = additional_forward_args
    extra = () if extra is None else extra if isinstance(extra, tuple) else (extra,)
    with evaluating(forward_func), torch.no_grad(), _hooked(layer, features) as seen:
        logits = logits_of(forward_func(*inputs, *extra))
    _check_calls(seen, layer, None)
    return logits.detach()


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Run in evaluation mode, and leave each submodule's mode as it was found."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returns: a tensor, ``.logits``, ``["logits"]``, or a first item.

    Raises:
        SINGTypeError: there is no tensor in any of these places.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[no-any-return]
    if isinstance(output, dict) and "logits" in output:
        return logits_of(output["logits"])
    if isinstance(output, (tuple, list)) and output:
        return logits_of(output[0])
    raise SINGTypeError(
        expected(
            "SING",
            "forward_func",
            "to return logits (a tensor, an object with .logits, a tuple that begins with one)",
            type(output).__name__,
            "Wrap the model in a function that returns its logits",
        )
    )


def uncompiled(model: Any) -> Any:
    """The module behind ``torch.compile``: a compiled graph does not call hooks."""
    return getattr(model, "_orig_mod", model)


class _Seen:
    calls = 0


@contextmanager
def _hooked(layer: nn.Module, features: Tensor | None = None) -> Iterator[_Seen]:
    """Count the layer's calls; hand it its input by position, as Captum reads it, or another one.

    This hook is registered before Captum's, so a head called as ``head(input=x)`` looks to
    Captum like one called as ``head(x)``.
    """
    seen = _Seen()

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        seen.calls += 1
        if not args:
            name = "input" if "input" in kwargs else next(iter(kwargs))
            args, kwargs = (kwargs[name],), {k: v for k, v in kwargs.items() if k != name}
        if features is not None:
            args = (features.to(args[0].dtype), *args[1:])
        return args, kwargs

    handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def _check_calls(seen: _Seen, layer: nn.Module, device_ids: list[int] | None) -> None:
    if not seen.calls:
        raise _never_called(layer)
    if seen.calls > max(1, len(device_ids or ())):
        raise SINGRuntimeError(
            expected(
                "SING",
                "layer",
                "to be called once in a forward pass",
                f"{seen.calls} calls of {layer}",
                "A layer that is used several times has no one input; name another layer",
            )
        )


def _never_called(layer: nn.Module) -> SINGRuntimeError:
    return SINGRuntimeError(
        expected(
            "SING",
            "layer",
            "to be called in the model's forward pass",
            f"no call of {layer}",
            "If the model applies its weight by F.linear, call the layer itself instead; otherwise "
            "name the layer that the model uses",
        )
    )


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def _linear_calls(model: nn.Module, example_inputs: Any) -> tuple[list[_Call], Tensor]:
    calls: list[_Call] = []
    handles = []
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, output: Tensor) -> None:
            calls.append(_Call(name, module, output.detach()))

        return hook

    try:
        for name, module in model.named_modules():
            if _is_linear(module):
                handles.append(module.register_forward_hook(hook_for(name)))
        with evaluating(model), torch.no_grad():
            logits = logits_of(model(*inputs))
    finally:
        for handle in handles:
            handle.remove()
    return calls, logits


def _same(output: Tensor, logits: Tensor) -> bool:
    return output.numel() == logits.numel() and torch.equal(output.reshape(logits.shape), logits)


def _why_no_head(model: nn.Module, calls: list[_Call], logits: Tensor) -> str:
    alike = [c for c in calls if c.output.numel() == logits.numel()]
    for count in range(2, len(alike) + 1):
        heads = alike[-count:]
        mean = torch.stack([c.output.reshape(logits.shape) for c in heads]).mean(dim=0)
        if torch.allclose(mean, logits, rtol=1e-4, atol=1e-6):
            names = " and ".join(c.name for c in heads)
            return f"whose output is the mean of the heads {names}"
    called = {c.name for c in calls}
    idle = [
        name
        for name, module in model.named_modules()
        if _is_linear(module) and name not in called and len(module.weight) == logits.shape[-1]
    ]
    if idle:
        return f"which never calls {', '.join(idle)} (its weight is applied by F.linear?)"
    if not calls:
        return "which calls no linear layer"
    listed = ", ".join(c.describe() for c in (alike or calls)[-3:])
    return f"whose output {tuple(logits.shape)} differs from that of every linear layer ({listed})"
