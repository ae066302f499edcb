"""Files are written whole or not at all, read strictly, and never executed."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captum_sing import ConceptBank, LinearTranslator
from captum_sing.errors import SINGFileError
from captum_sing.files import load_tensors, save_tensors, write_whole

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "codes": torch.tensor([1, 2]).short()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole file of kind "Thing"."""
    return save_tensors(tmp_path / "thing.safetensors", "Thing", TENSORS, {"note": "é", "n": [1]})


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_comes_back_bit_for_bit(path: Path) -> None:
    tensors, facts = load_tensors(path, "Thing", ["weight"], ["codes"])
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert facts == {"kind": "Thing", "note": "é", "n": [1]}


def test_takes_views_copies_and_gradients(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4).requires_grad_()
    views = {"a": base, "b": base.T, "c": base[:, 1:3], "d": base}
    path = save_tensors(tmp_path / "views.safetensors", "Thing", views, {})
    tensors, _ = load_tensors(path, "Thing", views)
    assert all(torch.equal(tensors[name], view.detach()) for name, view in views.items())


@pytest.mark.parametrize("loader", [LinearTranslator.load, ConceptBank.load])
@pytest.mark.parametrize("protocol", ["pickle", "torch.save"])
def test_pickled_code_is_not_executed(tmp_path: Path, loader: object, protocol: str) -> None:
    folder, path = tmp_path / "executed", tmp_path / "translator.safetensors"
    if protocol == "pickle":
        path.write_bytes(pickle.dumps(Bomb(folder)))
    else:
        torch.save({"weight": torch.eye(2), "bomb": Bomb(folder)}, path)
    with pytest.raises(SINGFileError, match=r"expected path to be a whole safetensors file, got"):
        loader(path)  # type: ignore[operator]
    assert not folder.exists()
    if protocol == "pickle":
        pickle.loads(path.read_bytes())  # noqa: S301 - the bomb is a real one
    else:
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert folder.exists()


def test_truncated_files_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SINGFileError, match=r"load Thing: expected path to be a whole .*thing"):
            load_tensors(path, "Thing", ["weight"], ["codes"])
    path.write_bytes(whole + b"more")
    with pytest.raises(SINGFileError, match="whole safetensors file"):
        load_tensors(path, "Thing", ["weight"], ["codes"])


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SINGFileError, match=r"got .*none\.safetensors, which does not exist\. "):
        load_tensors(tmp_path / "none.safetensors", "Thing", [])
    with pytest.raises(SINGFileError, match="to be a whole safetensors file"):
        load_tensors(tmp_path, "Thing", [])


def test_other_kinds_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SINGFileError, match=r"load Other: expected path to hold a Other.* Thing"):
        load_tensors(path, "Other", ["weight"])
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.eye(2)}, foreign)
    with pytest.raises(SINGFileError, match=r"foreign\.safetensors with no such record\. Pass"):
        load_tensors(foreign, "Thing", ["weight"])


@pytest.mark.parametrize("facts", ["[" * 200_000, "{", "[1]", "null", '"Thing"'])
def test_hostile_facts_are_refused(tmp_path: Path, facts: str) -> None:
    path = tmp_path / "hostile.safetensors"
    save_file({"weight": torch.eye(2)}, path, {"captum_sing": facts})
    with pytest.raises(SINGFileError, match="load Thing: expected path"):
        load_tensors(path, "Thing", ["weight"])


def test_missing_and_unknown_entries_are_named(path: Path) -> None:
    with pytest.raises(SINGFileError, match=r"to hold \['bias', 'weight'\].*entries \['bias'\]"):
        load_tensors(path, "Thing", ["weight", "bias"], ["codes"])
    with pytest.raises(SINGFileError, match=r"missing or unknown entries \['codes'\]"):
        load_tensors(path, "Thing", ["weight"])


def test_a_failing_write_leaves_the_old_file_whole(path: Path) -> None:
    before = path.read_bytes()

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_whole(path, fail)
    assert path.read_bytes() == before
    with pytest.raises(TypeError):
        save_tensors(path, "Thing", TENSORS, {"not JSON": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_write_replaces_the_old_file_at_the_end(path: Path) -> None:
    """By a rename: whoever still reads the old file reads all of it."""
    before, old = path.read_bytes(), path.with_name("old")
    os.link(path, old)

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == before

    assert write_whole(path, write) == path
    assert path.read_bytes() == b"new"
    assert old.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(path.parent.iterdir()) == [old, path]


def test_writes_nowhere_that_is_no_file(tmp_path: Path) -> None:
    for target in (tmp_path / "none" / "t.safetensors", tmp_path):
        with pytest.raises(SINGFileError, match=r"save: expected path to be|save: expected path a"):
            save_tensors(target, "Thing", TENSORS, {})
    assert list(tmp_path.iterdir()) == []
