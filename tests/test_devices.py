"""Devices by name, or a word about what this machine has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import write_open_clip, write_two_towers

from captum_sing.classifiers import load_classifier
from captum_sing.cli.encoders import encoder_of
from captum_sing.devices import device_of, one_thread
from captum_sing.encoders import load_encoder
from captum_sing.errors import SINGValueError


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_the_cpu_is_there(device: Any) -> None:
    assert device_of(device) == torch.device("cpu")


@pytest.mark.parametrize("device", ["banana", "cuda:999", "meta", "cpu:3", 3.5])
def test_others_are_refused(device: Any) -> None:
    with pytest.raises(SINGValueError, match=rf"here: expected place to be .* got {device} \("):
        device_of(device, "here", "place")


def test_before_anything_is_loaded(tmp_path: Any) -> None:
    write_open_clip(tmp_path / "one", 0)
    write_two_towers(tmp_path / "two", "clip")
    for load, name in (
        (load_classifier, "demo/plain"),
        (encoder_of, "demo"),
        (load_encoder, f"local-dir:{tmp_path}/one"),
        (load_encoder, f"transformers/{tmp_path}/two"),
        (load_encoder, "transformers/nobody/nothing"),
    ):
        with pytest.raises(SINGValueError, match="expected device to be a device of this machine"):
            load(name, device="banana")


def test_one_thread_for_a_while() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
