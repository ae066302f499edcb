"""The module inside of what torch wraps around it."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["compiled_inside", "uncompiled", "unwrapped"]


def uncompiled(model: Any) -> Any:
    """The module behind ``torch.compile``: a compiled graph does not call hooks."""
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, nn.DataParallel) and hasattr(model.module, "_orig_mod"):
        return nn.DataParallel(model.module._orig_mod, model.device_ids)
    return model


def unwrapped(model: Any) -> Any:
    """The module behind ``torch.compile`` and DataParallel, which cuts batches into parts."""
    model = uncompiled(model)
    return model.module if isinstance(model, nn.DataParallel) else model


def compiled_inside(model: Any) -> bool:
    """Whether a module deeper in a model is compiled, where :func:`uncompiled` does not reach."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return any(hasattr(module, "_orig_mod") for module in modules)
