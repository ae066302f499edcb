"""Reading and replacing what a layer receives, through Captum's hooks, leaving no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from captum.attr import LayerActivation
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.errors import SINGRuntimeError, SINGValueError, expected
from captum_sing.forward_pass import as_tuple, evaluating, logits_of, refusals
from captum_sing.inputs import batch_of, in_batches
from captum_sing.linear_head import LinearHead
from captum_sing.memory import layout, one_tensor, overlapping
from captum_sing.wrapping import compiled_inside, uncompiled, unwrapped

__all__ = ["live_features", "read_features", "read_inputs", "replace_features"]

_WHERE = "SING"


class Inputs(NamedTuple):
    """What layers received, joined, and whether one's input follows from another's."""

    features: Tensor
    tied: bool


def read_features(
    forward_func: Callable[..., Any],
    layer: nn.Module | Sequence[nn.Module],
    inputs: Any,
    additional_forward_args: Any = None,
    *,
    device_ids: list[int] | None = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
) -> Tensor:
    """What the layer receives, through Captum's :class:`~captum.attr.LayerActivation`.

    Args:
        forward_func (callable): the model.
        layer (nn.Module or sequence of nn.Module): the head, or all that the model averages.
        inputs, additional_forward_args: as for any Captum attribution.
        device_ids (list of int, optional): of a DataParallel model.
        internal_batch_size (int, optional): images that go through the model at once.
        show_progress (bool, optional): a progress bar over these. Default: False

    Returns:
        Tensor: a detached copy, shape (B, D) or (B, D, 1, 1), in the model's precision. Of several
        layers, their inputs beside each other, (B, D1 + ... + Dn); or, where the model hands all
        of them one and the same tensor (the same memory, not equal numbers), that tensor.

    Raises:
        SINGRuntimeError: a layer was not called, or more than once.
        SINGValueError: the model refuses the inputs, or a layer reads something other than one
            finite feature an image.
    """
    return read_inputs(
        forward_func,
        layer,
        inputs,
        additional_forward_args,
        device_ids,
        internal_batch_size,
        show_progress,
    ).features


def read_inputs(
    forward_func: Callable[..., Any],
    layer: nn.Module | Sequence[nn.Module],
    inputs: Any,
    additional_forward_args: Any = None,
    device_ids: list[int] | None = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
) -> Inputs:
    """As :func:`read_features`; tied is what overlaps in memory too (:meth:`LinearHead.tied`)."""
    forward_func = uncompiled(forward_func)
    count = batch_of(inputs, _WHERE)
    head = LinearHead.of(layer)
    reader = LayerActivation(forward_func, list(head.layers), device_ids)
    devices = device_ids or getattr(forward_func, "device_ids", None) or [0]
    parts, views = [], False
    batches = in_batches(count, internal_batch_size, _WHERE, inputs, additional_forward_args)
    total = -(-count // (internal_batch_size or count))
    for part, extra in tqdm(batches, _WHERE, total, disable=not show_progress):
        hooked = _hooked(forward_func, head, len(devices))
        with evaluating(forward_func), refusals(part), hooked as received:
            given = reader.attribute(part, extra, True)
        rows = batch_of(part, _WHERE)
        given = [_checked_features(features, rows) for features in given]
        shared = one_tensor(received, given)
        views = views or (not shared and overlapping(received))
        parts.append(head.join(given, shared))
    features = torch.cat(parts)
    return Inputs(features, views or head.tied(features))


def live_features(
    forward_func: Callable[..., Any],
    layer: nn.Module | Sequence[nn.Module],
    *inputs: Any,
    **further: Any,
) -> Tensor:
    """As :func:`read_features`, not detached: gradients flow back to the inputs where they may.

    One pass on one device: what DataParallel wraps is run itself.

    Args:
        forward_func, layer: as :func:`read_features`.
        *inputs: what the model is called with, images first.
        **further: what it is called with by name.

    Returns:
        Tensor: shape (B, D) or (B, D, 1, 1), in the model's precision.
    """
    forward_func, head = unwrapped(forward_func), LinearHead.of(layer)
    count = batch_of(inputs[:1], _WHERE)
    copies: list[list[Tensor]] = [[] for _ in head.layers]
    hooked = _hooked(forward_func, head, 1, copies=copies)
    with evaluating(forward_func), refusals(inputs), hooked as received:
        forward_func(*inputs, **further)
    given = [_checked_features(came[0], count) for came in copies]
    return head.join(given, len(given) > 1 and one_tensor(received, given))


def replace_features(
    forward_func: Callable[..., Any],
    layer: nn.Module | Sequence[nn.Module],
    inputs: Any,
    features: Tensor,
    additional_forward_args: Any = None,
    *,
    internal_batch_size: int | None = None,
) -> Tensor:
    """The model's logits when the layer is handed other features.

    The whole model runs, and the feature is changed where it lies in memory until the pass is
    over: what else reads it after the layer (a second head, a norm) reads the new one too. What
    read it before the layer did has seen the old one.

    Args:
        forward_func, layer, inputs, additional_forward_args, internal_batch_size: as
            :func:`read_features`.
        features (Tensor): what the layer gets instead, in the shape of its input; several layers
            their own parts, as :func:`read_features` joins them.

    Returns:
        Tensor: logits, shape (B, C), detached.
    """
    forward_func, device = unwrapped(forward_func), features.device
    head = LinearHead.of(layer)
    head.split(features)  # refuses another width
    count = batch_of(inputs, _WHERE)
    logits = []
    for part, new, extra in in_batches(
        count, internal_batch_size, _WHERE, inputs, features, additional_forward_args
    ):
        part, extra = (_own(as_tuple(given), device) for given in (part, extra))
        hooked = _hooked(forward_func, head, 1, new)
        with evaluating(forward_func), torch.no_grad(), refusals(part), hooked:
            logits.append(logits_of(forward_func(*part, *extra)).detach().reshape(len(new), -1))
    return torch.cat(logits)


def _own(given: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    """Copies of tensors, since the feature that is changed in place may be one of them."""
    return tuple(
        item.to(device).clone(memory_format=torch.contiguous_format)
        if isinstance(item, Tensor)
        else item
        for item in given
    )


@contextmanager
def _hooked(
    model: Any,
    head: LinearHead,
    most: int,
    features: Tensor | None = None,
    copies: Sequence[list[Tensor]] | None = None,
) -> Iterator[Sequence[list[Tensor]]]:
    """Hand each layer its input by position, as Captum reads it, or change it; yield what came.

    These hooks are registered before Captum's, so a head called as ``head(input=x)`` looks to
    Captum like one called as ``head(x)``. What came is held until the pass is over: the memory of
    a tensor that is let go is handed out again, and two inputs would look like one.
    """
    received: list[list[Tensor]] = [[] for _ in head.layers]
    changed: list[tuple[Tensor, Tensor]] = []
    copies = [[] for _ in head.layers] if copies is None else copies
    parts = [None] * len(received) if features is None else head.split(features)
    handles = [
        layer.register_forward_pre_hook(_hook(came, part, changed, kept), with_kwargs=True)
        for layer, came, part, kept in zip(head.layers, received, parts, copies, strict=True)
    ]
    calls = dict(zip(head.layers, received, strict=True))
    try:
        yield received
    except (AssertionError, KeyError) as error:  # Captum's, for none or some, or the model's own
        missing = [layer for layer, came in calls.items() if not came]
        none = isinstance(error, AssertionError) and not any(received) and "hook" in str(error)
        some = isinstance(error, KeyError) and any(received) and missing
        if not (none or some):
            raise
        raise _never_called(model, *missing) from error
    finally:
        for handle in handles:
            handle.remove()
        with torch.inference_mode():  # where alone its own tensors can be changed
            for tensor, original in reversed(changed):
                tensor.copy_(original)
    for layer, came in calls.items():
        if not came:
            raise _never_called(model, layer)
        if len(came) > most:
            raise SINGRuntimeError(
                expected(
                    _WHERE,
                    "layer",
                    "to be called once in a forward pass",
                    f"{len(came)} calls of {layer}",
                    "A layer that is used several times has no one input; name another layer",
                )
            )


def _hook(
    received: list[Tensor],
    features: Tensor | None,
    changed: list[tuple[Tensor, Tensor]],
    copies: list[Tensor],
) -> Callable[..., Any]:
    """Note what a layer receives, and hand on ``features`` in its place, in its own memory."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not args:
            name = "input" if "input" in kwargs else next(iter(kwargs))
            args, kwargs = (kwargs[name],), {k: v for k, v in kwargs.items() if k != name}
        received.append(args[0])
        copies.append(args[0].clone())  # what follows may write to it
        if features is not None:
            memory = args[0].data  # unseen by autograd
            new = features.reshape(memory.shape).to(memory)
            if any(step == 0 and size > 1 for step, size in zip(*layout(memory), strict=True)):
                return (new, *args[1:]), kwargs  # an expanded view: no room
            changed.append((memory, memory.clone()))
            memory.copy_(new)
        return args, kwargs

    return hook


def _checked_features(features: Tensor, count: int) -> Tensor:
    shape = tuple(features.shape)
    if len(shape) not in (2, 4) or shape[0] != count or shape[2:] not in ((), (1, 1)):
        raise SINGValueError(
            expected(
                _WHERE,
                "layer",
                f"to read one feature an image, of shape ({count}, D) or ({count}, D, 1, 1)",
                f"an input of shape {shape}",
                "Name the layer after pooling, and pass a batch (B, C, H, W)",
            )
        )
    if not features.isfinite().all():
        raise SINGValueError(
            expected(
                _WHERE,
                "features",
                "finite",
                "NaN or infinity from the model",
                "Check the weights and the precision",
            )
        )
    return features


def _never_called(model: Any, *layers: nn.Module) -> SINGRuntimeError:
    remedy = (
        "If the model applies its weight by F.linear, call the layer itself instead; otherwise "
        "name the layer that the model uses"
    )
    if compiled_inside(model):
        remedy = "The model is compiled inside; pass it uncompiled"
    return SINGRuntimeError(
        expected(
            _WHERE,
            "layer",
            "to be called in the model's forward pass",
            f"no call of {' and '.join(map(str, layers))}",
            remedy,
        )
    )
