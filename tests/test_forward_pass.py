"""A pass leaves the model's mode as it was, finds the logits, and explains refusals alone."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from toys import IMAGES, untouched

from captum_sing.errors import SINGTypeError
from captum_sing.forward_pass import evaluating, logits_of, refusals
from captum_sing.testing import ToyClassifier


def test_evaluating_restores_each_mode() -> None:
    model = ToyClassifier().train()
    model.features.eval()
    with untouched(model), pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    with evaluating(lambda x: x):
        pass  # a function has no mode


def test_logits_are_found_in_what_models_return() -> None:
    class Output(NamedTuple):
        loss: Tensor
        logits: Tensor

    logits, loss = torch.ones(2, 3), torch.zeros(())
    outputs = (logits, Output(loss, logits), {"loss": loss, "logits": logits}, (logits, loss),
               [logits], {"logits": (logits,)})  # fmt: skip
    assert all(logits_of(output) is logits for output in outputs)
    for output in ("a cat", {"scores": logits}, (), None):
        with pytest.raises(SINGTypeError, match="to return logits .* Wrap the model in a function"):
            logits_of(output)


def test_refusals_pass_on_what_is_none() -> None:
    for error in (KeyError("x"), SINGTypeError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised, refusals((IMAGES, None)):
            raise error
        assert raised.value is error
