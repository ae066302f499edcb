"""The head of a classifier, found by what the model does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from captum_sing.forward_pass import as_tuple, evaluating, logits_of, refusals
from captum_sing.inputs import batch_of
from captum_sing.linear_head import head_weight, is_linear
from captum_sing.wrapping import compiled_inside, uncompiled, unwrapped

__all__ = ["Head", "find_head", "resolve_layer", "resolve_layers"]


class Head(NamedTuple):
    """The layer that makes a model's logits: its dotted name and the module."""

    name: str
    module: nn.Module


@dataclass(frozen=True)
class _Call:
    name: str
    module: nn.Module
    shape: tuple[int, ...]
    output: Tensor  # empty where there is more than one row an image

    def describe(self) -> str:
        return f"{self.name} ({type(self.module).__name__}, output {self.shape})"


def find_head(model: nn.Module, example_inputs: Any) -> Head:
    """The linear layer whose output *is* the model's output on these inputs, in one forward pass.

    Args:
        model (nn.Module): a classifier; its output may be a tensor, an object with ``.logits``,
            or a tuple or dictionary that holds the logits.
        example_inputs (Tensor or tuple): one small batch, as the model is called with.

    Returns:
        Head: dotted name and module.

    Raises:
        HeadNotFoundError: no linear layer makes the output (a softmax after it, ``F.linear`` with
            the layer's weight); the candidates are listed. Where several heads are averaged, as
            in distilled models, none alone is the output's: they are named as the list to pass.
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
    count = batch_of(inputs[:1], "find_head", "example_inputs")
    prefix = "module." if isinstance(uncompiled(model), nn.DataParallel) else ""
    model = unwrapped(model)
    calls, logits = _linear_calls(model, inputs, count)
    known = _known_heads(model)
    averaged = _mean_of([call for call in calls if call.name in known], logits)
    exact = [call for call in calls if _same(call.output, logits)]
    if exact and not averaged:
        named = [call for call in exact if call.name in known]
        found = (named or exact)[-1]
        return Head(prefix + found.name, found.module)
    averaged = averaged or _mean_of(_parts_of_mean(calls, logits), logits)
    if averaged:
        why = f"whose output is the mean of the heads {' and '.join(averaged)}"
        remedy = f"Pass layer={averaged}, which is analysed jointly"
    else:
        why = _why_no_head(model, calls, logits)
        remedy = (
            "Pass the layer explicitly, by module or dotted name; its input is then taken as the "
            "feature, and SING.verify measures whether the output ignores what the layer ignores, "
            "as far as the feature is not used before that layer"
        )
        if compiled_inside(model):
            remedy = "Pass the model uncompiled"
    if known and set(known) != set(averaged):
        why += f"; its library names {' and '.join(known)}"
    raise HeadNotFoundError(
        expected(
            "find_head",
            "model",
            "to return what one linear layer computes",
            f"{type(model).__name__}, {why}",
            remedy,
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
    named = uncompiled(model).named_modules()
    modules = {name.replace("_orig_mod.", ""): module for name, module in named}
    wanted = layer.replace("_orig_mod.", "")
    for name in (wanted, f"module.{wanted}"):
        if wanted and name in modules:
            return modules[name]
    linear = [name for name, module in modules.items() if is_linear(module)]
    raise SINGNameError(
        expected(
            "SING",
            "layer",
            f"to be the name of a layer of {type(model).__name__}",
            repr(layer),
            f"Its last linear layers are {linear[-3:]}",
        )
    )


def resolve_layers(
    model: Any, layer: nn.Module | str | Sequence[nn.Module | str]
) -> nn.Module | list[nn.Module]:
    """One layer, or each of several that the model averages; see :func:`resolve_layer`."""
    if isinstance(layer, Sequence) and not isinstance(layer, str):
        return [resolve_layer(model, one) for one in layer]
    return resolve_layer(model, layer)


def _known_heads(model: nn.Module) -> tuple[str, ...]:
    """What timm says the classifier is called, where the model is one of timm's."""
    named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _linear_calls(
    model: nn.Module, inputs: tuple[Any, ...], count: int
) -> tuple[list[_Call], Tensor]:
    calls: list[_Call] = []
    handles = []

    def hook_for(name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            kept = output.detach()
            if len(output) != count or output.numel() != count * len(head_weight(module)):
                kept = kept.flatten()[:0]
            calls.append(_Call(name, module, tuple(output.shape), kept.clone()))  # before inplace

        return hook

    try:
        for name, module in model.named_modules():
            if is_linear(module):
                handles.append(module.register_forward_hook(hook_for(name, module)))
        with evaluating(model), refusals(inputs):
            logits = logits_of(model(*inputs)).detach()
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


def _mean_of(heads: list[_Call], logits: Tensor) -> list[str]:
    """The names of two or more heads, if the logits are their mean; else nothing."""
    names = [head.name for head in heads]
    if len(set(names)) < max(len(names), 2) or any(not _fits(head, logits) for head in heads):
        return []
    outputs = torch.stack([head.output.flatten().to(logits).cpu().double() for head in heads])
    error = (outputs.mean(dim=0) - logits.flatten().cpu()).abs().max()
    return names if error <= 4 * torch.finfo(logits.dtype).eps * outputs.abs().max() else []


def _parts_of_mean(calls: list[_Call], logits: Tensor) -> list[_Call]:
    """The layers with a share in the logits, of all that have outputs of that size.

    Least squares, on outputs scaled to one length: heads may be of any width and number, and
    called before other layers, as long as the logits hold as many numbers as there are such layers.
    """
    alike = [call for call in calls if _fits(call, logits) and call.output.any()]
    if len(alike) < 2:
        return []
    outputs = torch.stack([call.output.flatten().cpu().double() for call in alike], dim=1)
    sizes = outputs.norm(dim=0)
    wanted = logits.flatten()[:, None].to(outputs)
    scaled = torch.linalg.lstsq(outputs / sizes, wanted, driver="gelsd").solution.flatten()
    shares = (scaled / sizes).tolist()
    return [call for call, share in zip(alike, shares, strict=True) if share > 0.5 / len(alike)]


def _fits(call: _Call, logits: Tensor) -> bool:
    return call.output.numel() == logits.numel() and bool(call.output.isfinite().all())


def _why_no_head(model: nn.Module, calls: list[_Call], logits: Tensor) -> str:
    called = {c.name for c in calls}
    idle = [
        name
        for name, module in model.named_modules()
        if is_linear(module) and name not in called and len(module.weight) == logits.shape[-1]
    ]
    if idle and compiled_inside(model):
        return f"which is compiled inside, so that {', '.join(idle)} calls no hook"
    if idle:
        return f"which never calls {', '.join(idle)} (its weight is applied by F.linear?)"
    if not calls:
        return "which calls no linear layer"
    alike = [call for call in calls if math.prod(call.shape) == logits.numel()]
    if alike and not any(len(call.output) for call in alike):
        return f"whose output {tuple(logits.shape)} has more than one row an image"
    listed = ", ".join(call.describe() for call in (alike or calls)[-3:])
    return f"whose output {tuple(logits.shape)} differs from that of every linear layer ({listed})"
