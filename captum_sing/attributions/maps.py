"""One method's maps of images: what it returns, brought to one map (H, W) an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from captum.attr import LayerAttribution
from torch import Tensor, nn

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.forward_pass import evaluating, logits_of, refusals
from captum_sing.wrapping import unwrapped

__all__ = ["Logits", "map_of", "takes", "to_map"]

_WHERE = "compare_attributions"


class Logits(nn.Module):
    """A classifier as Captum wants it: a module, in evaluation mode, that returns its logits.

    Args:
        forward_func (callable): as :class:`captum_sing.SING` takes it.

    Example::

        >>> model = lambda images: {"logits": images.flatten(1)}
        >>> Logits(model)(torch.ones(2, 3, 1, 1)).shape
        torch.Size([2, 3])
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        super().__init__()
        self.model = unwrapped(forward_func)

    def forward(self, *inputs: Any, **further: Any) -> Tensor:
        """Logits (B, C) of what the model takes."""
        with evaluating(self.model), refusals(inputs):
            return logits_of(self.model(*inputs, **further))


def map_of(
    name: str,
    attribution: Any,
    inputs: Tensor,
    target: Tensor,
    extra: Any,
    options: Mapping[str, Any],
    seed: int,
) -> Tensor:
    """One map an image, by a method whose random numbers are those of ``seed`` alone.

    Args:
        name (str): of the method, for its errors.
        attribution (Attribution): of the class, or of what is ignored.
        inputs (Tensor): shape (B, C, H, W).
        target (Tensor): one output an image, shape (B,).
        extra: ``additional_forward_args``.
        options (mapping): further arguments of ``attribute``.
        seed (int): so that two maps differ by what they explain, not by their noise.

    Returns:
        Tensor: see :func:`to_map`.
    """
    further = dict(options) if extra is None else {"additional_forward_args": extra, **options}
    with _numbers_of(seed, inputs.device):
        asked = inputs.detach().clone().requires_grad_()  # some methods warn that they ask for it
        found = attribution.attribute(asked, target=target, **further)
    return to_map(f"methods[{name!r}]", found, inputs)


def takes(function: Callable[..., Any], name: str, *, or_any: bool = False) -> bool:
    """Whether a function has an argument of that name, or takes any."""
    parameters = inspect.signature(function).parameters
    catches = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return name in parameters or (or_any and catches)


def to_map(
    argument: str, found: Any, inputs: Tensor, where: str = _WHERE, mode: str = "bilinear"
) -> Tensor:
    """The sum over channels, brought to the images' size.

    A layer's map is interpolated linearly, so it keeps its values and not its sum.

    Args:
        argument (str), where (str): for the error: which method, and who complains.
        found: what ``attribute`` returned: a tensor (B, C, h, w) or (B, H, W), or a tuple of one.
        inputs (Tensor): shape (B, C, H, W).
        mode (str, optional): of interpolation. Default: ``"bilinear"``

    Returns:
        Tensor: signed, shape (B, H, W), float32 or better, on the CPU.

    Raises:
        SINGTypeError, SINGValueError: something else, of another length, or not finite; the
            message names the method.
    """
    if isinstance(found, tuple) and len(found) == 1:
        found = found[0]
    if not isinstance(found, Tensor):
        raise SINGTypeError(
            expected(
                where,
                argument,
                "to return one tensor",
                type(found).__name__,
                "Leave out what it returns besides, such as return_convergence_delta",
            )
        )
    count, size = len(inputs), tuple(inputs.shape[-2:])
    if len(found) != count or not _like_images(tuple(found.shape[1:]), size):
        raise SINGValueError(
            expected(
                where,
                argument,
                f"to return {count} maps with the proportions of the images: (C, h, w)",
                tuple(found.shape),
                "Bring tokens (B, T, D) and maps with channels last into the order (B, D, h, w) "
                "before the method sees them",
            )
        )
    found = found.detach().cpu()
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    if not found.isfinite().all():
        bad = int((~found.isfinite()).flatten(1).any(dim=1).sum())
        raise SINGValueError(
            expected(
                where,
                argument,
                "to return finite numbers",
                f"NaN or infinity for {bad} of {count} images",
                "Look at this method's options, or at the model's precision",
            )
        )
    maps = found.sum(dim=1, keepdim=True) if found.dim() == 4 else found.unsqueeze(1)
    if tuple(maps.shape[-2:]) != size:
        maps = LayerAttribution.interpolate(maps, size, mode)
    return maps.squeeze(1)


def _like_images(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether these are channels of a map of the images, and not tokens or channels last."""
    if len(shape) == 2:
        return shape == size
    if len(shape) != 3 or 0 in shape:
        return False
    (_, h, w), (height, width) = shape, size
    return 0.5 <= (h * width) / (w * height) <= 2.0


@contextmanager
def _numbers_of(seed: int, device: torch.device) -> Iterator[None]:
    """Captum draws from torch's and from numpy's global numbers; both are left as they were."""
    state = np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)
            yield
    finally:
        np.random.set_state(state)
