"""A small classifier with its translator and words, and a check that a model is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing import SING, ConceptBank, LinearTranslator, TranslatorFitter
from captum_sing.testing import ToyClassifier, ToyEncoder

ENCODER = ToyEncoder()
GROUPS = {"color": ("red", "blue", "green"), "size": ("big", "small")}
WORDS = tuple(word for group in GROUPS.values() for word in group)
BANK = ConceptBank.from_words(WORDS, ENCODER, groups=GROUPS)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


IMAGES = normal(5, 3, 8, 8, seed=0)
DONORS = normal(5, 3, 8, 8, seed=1)
FITTED = normal(200, 3, 8, 8, seed=2)  # the translator's own images


def features_of(model: ToyClassifier, images: Tensor = IMAGES) -> Tensor:
    with torch.no_grad():
        return model.eval().features(images)


@cache
def fitted_translator() -> LinearTranslator:
    fitter = TranslatorFitter(encoder=ENCODER.name)
    return fitter.update(features_of(ToyClassifier(), FITTED), ENCODER.encode_image(FITTED)).fit()


def any_translator(width: int) -> LinearTranslator:
    return LinearTranslator(normal(16, width, seed=3), torch.zeros(width), normal(16, seed=4))


def toy_sing(model: Any = None, layer: Any = "head", **further: Any) -> SING:
    """A new model each time, unless one is given."""
    model = ToyClassifier().eval() if model is None else model
    return SING(model, layer, fitted_translator(), BANK, encoder=ENCODER, **further)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Hooks, modes, gradient flags, gradients, weights and statistics stay, also after an error."""
    before = _state(model)
    try:
        yield
    finally:
        after = _state(model)
        assert before.keys() == after.keys()
        changed = [name for name in before if not _equal(before[name], after[name])]
        assert not changed


def _state(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        hooks = {k: len(v) for k, v in vars(module).items() if k.endswith("_hooks") and v}
        state[f"{name} mode"] = module.training
        state[f"{name} hooks"] = hooks
    for name, value in model.named_parameters():
        state[f"{name} gradient"] = (value.requires_grad, value.grad is None)
    for name, value in model.state_dict().items():
        state[f"{name} value"] = value.clone()
    return state


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, torch.Tensor):
        return torch.allclose(before.double(), after.double(), rtol=0, atol=0, equal_nan=True)
    return bool(before == after)
