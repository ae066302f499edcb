"""Behind a compiled model or DataParallel is the module itself."""

from __future__ import annotations

import torch
from torch import nn

from captum_sing.testing import ToyClassifier
from captum_sing.wrapping import compiled_inside, uncompiled, unwrapped

MODEL = ToyClassifier()
COMPILED = torch.compile(MODEL, backend="eager")


def test_uncompiled_is_the_module_itself() -> None:
    assert uncompiled(COMPILED) is uncompiled(MODEL) is MODEL
    parallel = uncompiled(nn.DataParallel(COMPILED))
    assert isinstance(parallel, nn.DataParallel) and parallel.module is MODEL


def test_unwrapped_is_the_module_itself() -> None:
    parallel = nn.DataParallel(MODEL)
    compiled = torch.compile(parallel, backend="eager")
    for wrapped in (MODEL, COMPILED, parallel, nn.DataParallel(COMPILED), compiled):
        assert unwrapped(wrapped) is MODEL


def test_compiled_inside_is_what_neither_reaches() -> None:
    assert compiled_inside(nn.Sequential(nn.Identity(), COMPILED))
    assert not compiled_inside(nn.Sequential(nn.Identity(), MODEL))
    assert not compiled_inside(lambda images: COMPILED(images))
