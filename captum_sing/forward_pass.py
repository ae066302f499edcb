"""One forward pass: in evaluation mode, with its logits found and its refusals explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGError, SINGTypeError, SINGValueError, expected

__all__ = ["as_tuple", "evaluating", "logits_of", "refusals"]


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
        return output.logits
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


def as_tuple(given: Any) -> tuple[Any, ...]:
    """Arguments as Captum takes them: None, one, or a tuple of them."""
    return () if given is None else given if isinstance(given, tuple) else (given,)


@contextmanager
def refusals(inputs: Any) -> Iterator[None]:
    """Say which inputs a model refused, and why; running out of memory is no refusal."""
    try:
        yield
    except (SINGError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        tensors = inputs if isinstance(inputs, tuple) else (inputs,)
        shapes = ", ".join(
            f"{tuple(t.shape)} {t.dtype}".replace("torch.", "")
            for t in tensors
            if isinstance(t, Tensor)
        )
        raise SINGValueError(
            expected(
                "SING",
                "inputs",
                "that the model accepts, one batch such as (B, C, H, W)",
                f"{shapes}, and the model says: {str(error).strip().rstrip('.')}",
                "Preprocess as the model was trained, and add the batch dimension",
            )
        ) from error
