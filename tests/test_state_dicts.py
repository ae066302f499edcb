"""State dicts are read from files of all kinds; code in a file is not run, and said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from captum_sing.errors import SINGFileError
from captum_sing.state_dicts import check_sizes, read_state

STATE = nn.Linear(2, 3).state_dict()


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_it_is_taken_out_of_its_wrapping(wrap: str | None, zipped: bool, tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in STATE.items()}
    saved = {wrap: state, "epoch": 3} if wrap else state
    torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_state("here", tmp_path / "a.pt")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert read_state("here", tmp_path / "a.safetensors").keys() == STATE.keys()


@pytest.mark.parametrize("saved", [torch.ones(3), [1], {}, {"epoch": 3, "net": {}}])
def test_no_state_dict(saved: Any, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no state dict of tensors"):
        read_state("here", tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_run_and_nobody_is_advised_to(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": Trap(tmp_path / "sprung")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SINGFileError, match="here: .* or holds code .it was not run") as caught:
        read_state("here", path)
    assert "weights_only" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit")
def test_torchscript_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2)), path)
    message = r"a.pt, a TorchScript archive .it was not run.\. Save its state_dict.* or sing\.$"
    with pytest.raises(SINGFileError, match=message):
        read_state("here", path, ", or sing")


def test_sizes() -> None:
    model = nn.Linear(2, 3)
    check_sizes(model, {"weight": torch.ones(3, 2, 1, 1), "other": torch.ones(1)})
    with pytest.raises(ValueError, match=r"weight is of shape \(4, 2\), not \(3, 2\)"):
        check_sizes(model, {"weight": torch.ones(4, 2)})
