"""State dicts out of checkpoint files of all kinds; nothing in a file is executed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGFileError, expected

__all__ = ["check_sizes", "read_state"]

_WRAPPERS = ("state_dict", "model")


def read_state(where: str, path: Path, otherwise: str = "") -> dict[str, Any]:
    """The tensors of a checkpoint, mapped where that is possible.

    Args:
        where (str): who complains.
        path (Path): safetensors, or what ``torch.save`` wrote; also wrapped as training scripts
            and ``DataParallel`` wrap it.
        otherwise (str, optional): what else can be done about a TorchScript archive.

    Raises:
        SINGFileError: a file that holds code: a pickle of more than tensors, or TorchScript.
        ValueError: no state dict.
    """
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return dict(load_file(path))
    zipped = zipfile.is_zipfile(path)
    if zipped and _is_torchscript(path):
        raise _holds_code(
            where,
            f"{path}, a TorchScript archive (it was not run)",
            f"Save its state_dict() as safetensors{otherwise}",
        )
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        raise _holds_code(
            where,
            f"{path}, which is no such file, or holds code (it was not run)",
            "Save a plain state dict, best as safetensors",
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not any(isinstance(t, Tensor) for t in state.values()):
        raise ValueError("the file holds no state dict of tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def check_sizes(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Refuse what libraries resize in silence, such as positions of another image size.

    Raises:
        ValueError: a tensor has more or fewer values than the model's of that name.
    """
    own = model.state_dict()
    for name in own.keys() & state.keys():
        if own[name].numel() != state[name].numel():
            raise ValueError(
                f"{name} is of shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            )


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _holds_code(where: str, actual: str, remedy: str) -> SINGFileError:
    return SINGFileError(
        expected(where, "checkpoint", "to hold nothing but tensors", actual, remedy)
    )
