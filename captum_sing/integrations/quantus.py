"""Captum's attributions in the signature that Quantus calls, of classes and of what is ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import captum.attr
import numpy as np
import torch
from captum.attr import Attribution
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.attributions.maps import takes, to_map
from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError, expected
from captum_sing.forward_pass import evaluating
from captum_sing.head import resolve_layer
from captum_sing.inputs import batch_of, in_batches
from captum_sing.score import SINGScore
from captum_sing.wrapping import uncompiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SIGNS", "explain"]

_WHERE = "explain"
SIGNS: dict[str, Callable[[Tensor], Tensor]] = {
    "all": lambda maps: maps,
    "positive": lambda maps: maps.clamp(min=0.0),
    "negative": lambda maps: (-maps).clamp(min=0.0),
    "absolute_value": torch.abs,
}
"""What of a map is kept, in the words of ``captum.attr.visualization``."""


def explain(
    model: nn.Module,
    inputs: NDArray[Any] | Tensor,
    targets: NDArray[Any] | Tensor | int | None = None,
    *,
    method: str | Callable[..., Attribution] = "IntegratedGradients",
    layer: str | nn.Module | None = None,
    sign: str = "all",
    interpolate_mode: str = "nearest",
    internal_batch_size: int | None = None,
    show_progress: bool = False,
    device: str | torch.device | None = None,
    **attribute_kwargs: Any,
) -> NDArray[np.float32]:
    """Maps of a classifier's classes or of a score's words, as Quantus's ``explain_func``.

    Pass it as ``explain_func=explain``, its options as ``explain_func_kwargs``. Quantus evaluates
    the output of the ``model`` that it is given: a map of what is ignored belongs with its
    :class:`~captum_sing.score.SINGScore` (``score.eval()``, which Quantus insists on), where
    faithfulness is about the ignored evidence. Against the classifier's logits it would be about
    nothing: what is ignored moves none of them. Most metrics want ``softmax=False``, and
    ``RandomLogit`` ``num_classes=len(score.names)``.

    Quantus itself refuses a batch of maps that are negative everywhere or the same everywhere
    (ablation with coarse windows, a model whose randomised units are all dead); here that is an
    error that names the way on. One constant map among others passes: rank correlations of it
    are NaN.

    Args:
        model (nn.Module): a :class:`~captum_sing.score.SINGScore`, or a classifier that returns its
            logits as one tensor, as Quantus wants it too. It runs where it is, in its own precision
            and in evaluation mode, and is left as it was.
        inputs (array or Tensor): shape (B, C, H, W).
        targets (array or Tensor of int, int or None): words' numbers (``score.target(word)``), or
            classes; shape (B,), or one for all.
        method (str or callable, optional): an attribution of ``captum.attr``, by name or class; or
            a factory, called with the model, and with ``layer`` where it has an argument of that
            name: ``lambda model: NoiseTunnel(Saliency(model))``. Default: IntegratedGradients
        layer (str or nn.Module, optional): where the method wants one; best by its name in the
            classifier, which is also found in the copies that Quantus randomises.
        sign (str, optional): one of :data:`SIGNS`, taken after the sum over channels.
            Default: ``"all"``
        interpolate_mode (str, optional): of Captum's ``LayerAttribution.interpolate``, for maps
            that are smaller than the image. Default: ``"nearest"``
        internal_batch_size (int, optional): images at once; Captum's of the same name too, where
            the method has it. Tensors as long as the batch are cut with it.
        show_progress (bool, optional): a progress bar over these. Default: False
        device (optional): what Quantus always passes; followed where the model has no weights.
        **attribute_kwargs: for the method's ``attribute``.

    Returns:
        np.ndarray: shape (B, 1, H, W), float32.

    Raises:
        SINGError: an unknown method, layer, sign or target; a method without maps; maps that are
            NaN, constant, or negative everywhere.

    Example::

        >>> from captum_sing import SING
        >>> from captum_sing.demo import load_demo
        >>> model, translator, concepts, images = load_demo("resnet/neck_color")
        >>> score = SING(model, "head", translator, concepts).score("ignored", ["red", "blue"])
        >>> words = [score.target("red")] * len(images)
        >>> explain(score, images.numpy(), np.array(words), method="Saliency").shape
        (8, 1, 64, 64)
    """
    if sign not in SIGNS:
        raise SINGValueError(
            expected(_WHERE, "sign", f"in {list(SIGNS)}", repr(sign), "Choose one of them")
        )
    model = uncompiled(model)
    attribution = _attribution(model, method, layer)
    weights = (weight for weight in model.parameters() if weight.is_floating_point())
    weight: Tensor = next(weights, torch.empty(0, device=device))
    images = _images(inputs, weight)
    words = _targets(targets, len(images), model)
    further = {name: _placed(value, weight) for name, value in attribute_kwargs.items()}
    maps = []
    batches = in_batches(len(images), internal_batch_size, _WHERE, images, words, *further.values())
    total = -(-len(images) // (internal_batch_size or len(images)))
    for part, target, *values in tqdm(batches, _WHERE, total, disable=not show_progress):
        options = dict(zip(further, values, strict=True))
        if takes(attribution.attribute, "target", or_any=True):
            options["target"] = target if target is None else target.to(weight.device)
        if internal_batch_size and takes(attribution.attribute, "internal_batch_size"):
            options["internal_batch_size"] = internal_batch_size
        with evaluating(model), torch.inference_mode(False):  # which turns gradients on
            found = attribution.attribute(part.clone().requires_grad_(), **options)
        maps.append(to_map("method", found, part, _WHERE, interpolate_mode).float())
    return _accepted(SIGNS[sign](torch.cat(maps)).unsqueeze(1))


def _attribution(model: nn.Module, method: Any, layer: Any) -> Attribution:
    name = method if isinstance(method, str) else getattr(method, "__name__", str(method))
    if isinstance(method, str):
        method = getattr(captum.attr, method, None)
        if not (isinstance(method, type) and issubclass(method, Attribution)):
            raise SINGNameError(
                expected(
                    _WHERE,
                    "method",
                    "to be the name of an attribution of captum.attr",
                    repr(name),
                    "Such as IntegratedGradients, Saliency or LayerGradCam",
                )
            )
    if not callable(method):
        raise SINGTypeError(
            expected(
                _WHERE,
                "method",
                "to be a name, a class of Captum's or a factory of the model",
                type(method).__name__,
                "Pass IntegratedGradients, not one made with a model: Quantus randomises copies",
            )
        )
    if takes(method, "layer") != (layer is not None):
        wants = "None" if layer is not None else "to be named"
        actual = "None" if layer is None else repr(layer)
        remedy = "Pass its dotted name in the model" if layer is None else "Leave it out"
        raise SINGValueError(expected(_WHERE, "layer", f"{wants} for {name}", actual, remedy))
    made = method(model) if layer is None else method(model, _layer(model, layer))
    if not isinstance(made, Attribution):
        raise SINGTypeError(
            expected(
                _WHERE,
                "method",
                "to make an attribution of Captum's",
                type(made).__name__,
                "Return it from the factory, not its maps",
            )
        )
    return made


def _layer(model: nn.Module, layer: Any) -> nn.Module:
    """By its name in the classifier, whether that or a score of it is explained."""
    found = resolve_layer(model.model if isinstance(model, SINGScore) else model, layer)
    if found not in set(model.modules()):
        raise SINGValueError(
            expected(
                _WHERE,
                "layer",
                "to be a part of the model",
                f"a {type(found).__name__} of another one",
                "Pass its dotted name, which is found in the copies that Quantus randomises too",
            )
        )
    return found


def _images(inputs: Any, weight: Tensor) -> Tensor:
    images = torch.as_tensor(inputs) if isinstance(inputs, np.ndarray) else inputs
    batch_of(images, _WHERE)
    if images.dim() != 4:
        raise SINGValueError(
            expected(
                _WHERE,
                "inputs",
                "of shape (B, C, H, W)",
                tuple(images.shape),
                "Pass a batch of images, channels first",
            )
        )
    return images.detach().to(weight.device, weight.dtype)


def _targets(targets: Any, count: int, model: nn.Module) -> Tensor | None:
    if targets is None:
        return None
    words = torch.as_tensor(targets)
    whole = not (words.is_floating_point() or words.is_complex())
    if not whole or words.shape not in ((), (1,), (count,)):
        raise SINGValueError(
            expected(
                _WHERE,
                "targets",
                f"to be whole numbers of shape ({count},), or one",
                f"{words.dtype} of shape {tuple(words.shape)}",
                "Pass the number of a word or class for each image",
            )
        )
    outputs = len(model.names) if isinstance(model, SINGScore) else None
    if outputs and not bool(((words >= 0) & (words < outputs)).all()):
        raise SINGValueError(
            expected(
                _WHERE,
                "targets",
                f"from 0 to {outputs - 1}, the words of this score",
                f"{int(words.min())} to {int(words.max())}",
                "Use score.target(word); RandomLogit wants num_classes=len(score.names)",
            )
        )
    return words.long().expand(count)


def _placed(value: Any, weight: Tensor) -> Any:
    """Arrays and tensors where the model is; numbers in its precision."""
    if isinstance(value, tuple):
        return tuple(_placed(item, weight) for item in value)
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(value)
    if not isinstance(value, Tensor):
        return value
    return value.to(weight.device, weight.dtype if value.is_floating_point() else value.dtype)


def _accepted(maps: Tensor) -> NDArray[np.float32]:
    """What Quantus accepts, said before it asserts."""
    why, remedy = None, "Choose another method, layer or sign, or another target"
    if bool((maps == maps.flatten()[0]).all()):
        why = f"{float(maps.flatten()[0])} at every pixel of every image"
    elif bool((maps < 0).all()):
        why = "negative values alone"
        remedy = 'Pass sign="absolute_value" or sign="negative"'
    if why is not None:
        wanted = "not all alike, and not all negative, as Quantus demands"
        raise SINGValueError(expected(_WHERE, "maps", wanted, why, remedy))
    array: NDArray[np.float32] = maps.cpu().numpy()
    return array
