"""The head of a classifier, found by what the model does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_sing.errors import (
    HeadNotFoundError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
    expected,
)
from captum_sing.hooks import as_tuple, evaluating, logits_of, refusals, uncompiled, unwrapped
from captum_sing.inputs import batch_of

__all__ = ["Head", "find_head", "resolve_layer"]


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
        SINGTypeError: the model is a function.
        SINGValueError: the model refuses the inputs.

    Example::

        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> find_head(model, torch.zeros(1, 3, 2, 2)).name
        '1'
    """
    if not isinstance(model, nn.Module):
        raise SINGTypeError(
            expected(
                "find_head",
                "model",
                "to be a module",
                type(model).__name__,
                "Where forward_func is a function, name the layer: pass model.fc",
            )
        )
    inputs = as_tuple(example_inputs)
    batch_of(inputs[:1], "find_head", "example_inputs")
    prefix = "module." if isinstance(uncompiled(model), nn.DataParallel) else ""
    model = unwrapped(model)
    calls, logits = _linear_calls(model, inputs)
    known = _known_heads(model)
    exact = [call for call in calls if _same(call.output, logits)]
    for call in [call for call in reversed(exact) if call.name in known] + exact[-1:]:
        return Head(prefix + call.name, call.module)
    raise HeadNotFoundError(
        expected(
            "find_head",
            "model",
            "to return what one linear layer computes",
            f"{type(model).__name__}, {_why_no_head(model, calls, logits)}"
            + (f"; its library names {' and '.join(known)}" if known else ""),
            "Pass the layer explicitly, by module or dotted name; its input is then taken as the "
            "feature, and SING.verify measures whether the output ignores what the layer ignores, "
            "as far as the feature is not used before that layer",
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


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def _known_heads(model: nn.Module) -> tuple[str, ...]:
    """What timm says the classifier is called, where the model is one of timm's."""
    named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _linear_calls(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[_Call], Tensor]:
    calls: list[_Call] = []
    handles = []

    def hook_for(name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            calls.append(_Call(name, module, output.detach().clone()))  # before inplace=True

        return hook

    try:
        for name, module in model.named_modules():
            if _is_linear(module):
                handles.append(module.register_forward_hook(hook_for(name, module)))
        with evaluating(model), torch.no_grad(), refusals(inputs):
            logits = logits_of(model(*inputs))
    finally:
        for handle in handles:
            handle.remove()
    if not logits.isfinite().all():
        raise SINGValueError(
            expected(
                "find_head",
                "model",
                "to return finite logits",
                "NaN or infinity",
                "Check the weights and the precision",
            )
        )
    return calls, logits


def _same(output: Tensor, logits: Tensor) -> bool:
    if output.numel() != logits.numel():
        return False
    return torch.equal(output.reshape(logits.shape).to(logits), logits)


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
