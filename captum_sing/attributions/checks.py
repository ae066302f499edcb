"""What a comparison refuses, before any method runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from captum_sing.attributions.removal import REMOVALS, Removal
from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError, expected
from captum_sing.inputs import batch_of, check_size
from captum_sing.sing import SING
from captum_sing.targets import numbers_of
from captum_sing.visualization import pixels

__all__ = [
    "Methods",
    "check_asked",
    "check_images",
    "check_methods",
    "check_pictures",
    "check_removal",
    "check_targets",
    "check_words",
]

Methods = Mapping[str, Callable[[nn.Module], Any]]

_WHERE = "compare_attributions"
_WHOLE = (int, np.integer)
_REAL = (*_WHOLE, float, np.floating)
_RESERVED = ("inputs", "target", "additional_forward_args", "return_convergence_delta")


def check_asked(sing: Any, top: Any, seed: Any, internal_batch_size: int | None) -> None:
    """The plain arguments."""
    if not isinstance(sing, SING):
        raise SINGTypeError(
            expected(_WHERE, "sing", "to be a SING", type(sing).__name__, "Make one of the model")
        )
    if isinstance(top, bool) or not isinstance(top, _REAL) or not 0 < top < 1:
        raise SINGValueError(
            expected(_WHERE, "top", "between 0 and 1", repr(top), "Pass a share of pixels: 0.1")
        )
    if isinstance(seed, bool) or not isinstance(seed, _WHOLE) or not 0 <= seed < 2**31:
        raise SINGValueError(
            expected(_WHERE, "seed", "to be an integer from 0 on", repr(seed), "Pass 0")
        )
    check_size(internal_batch_size, _WHERE)


def check_images(inputs: Any) -> int:
    """One tensor of images; the number of them."""
    count = batch_of(inputs, _WHERE)
    if isinstance(inputs, tuple) or inputs.dim() != 4 or not inputs.is_floating_point():
        actual = f"{len(inputs)} inputs" if isinstance(inputs, tuple) else tuple(inputs.shape)
        raise SINGValueError(
            expected(
                _WHERE,
                "inputs",
                "to be images, one floating-point tensor (B, C, H, W)",
                actual,
                "Whatever else the model takes goes into additional_forward_args",
            )
        )
    return count


def check_methods(methods: Any, options: Any) -> dict[str, dict[str, Any]]:
    """Names and factories; the options of each method."""
    if not isinstance(methods, Mapping) or not methods:
        actual = "none" if isinstance(methods, Mapping) else type(methods).__name__
        raise SINGTypeError(
            expected(
                _WHERE,
                "methods",
                "to be a mapping of one name or more to a method",
                actual,
                'Pass {"Saliency": Saliency}',
            )
        )
    for name, factory in methods.items():
        if not callable(factory):
            raise SINGTypeError(
                expected(
                    _WHERE,
                    f"methods[{name!r}]",
                    "to be callable: module -> attribution",
                    type(factory).__name__,
                    "Pass the class, or lambda module: LayerGradCam(module, model.layer4)",
                )
            )
    options = {} if options is None else options
    unknown = sorted(map(str, set(options) - set(methods)))
    if unknown:
        raise SINGNameError(
            expected(
                _WHERE, "options", f"for methods in {list(methods)}", unknown, "Name one of them"
            )
        )
    for name, given in options.items():
        if not isinstance(given, Mapping):
            raise SINGTypeError(
                expected(
                    _WHERE,
                    f"options[{name!r}]",
                    "to be a mapping of arguments",
                    type(given).__name__,
                    'Pass {"n_steps": 20}',
                )
            )
        taken = [key for key in given if key in _RESERVED]
        if taken:
            raise SINGValueError(
                expected(
                    _WHERE,
                    f"options[{name!r}]",
                    f"without {list(_RESERVED)}",
                    taken,
                    "These are the comparison's own: pass them to it, or leave them out",
                )
            )
    return {name: dict(options.get(name, {})) for name in methods}


def check_removal(removal: Any) -> Removal:
    """The function of that name, or the function that was given."""
    if isinstance(removal, str) and removal in REMOVALS:
        return REMOVALS[removal]
    if not callable(removal):
        raise SINGValueError(
            expected(
                _WHERE,
                "removal",
                f"in {list(REMOVALS)}, or callable",
                repr(removal),
                "Choose one, or pass a function (images, masks) -> images",
            )
        )
    chosen: Removal = removal
    return chosen


def check_pictures(pictures: Any, count: int) -> None:
    """As many as images, each one that can be drawn."""
    if pictures is None:
        return
    if not hasattr(pictures, "__len__") or len(pictures) != count:
        actual = len(pictures) if hasattr(pictures, "__len__") else type(pictures).__name__
        raise SINGValueError(
            expected(_WHERE, "pictures", f"one for each of {count} images", actual, "Pass as many")
        )
    for picture in pictures:
        pixels(picture)


def check_words(sing: SING, kind: str, concept: Any, count: int) -> list[str] | None:
    """The word of each image; None where they are to be found, or there are none.

    Raises:
        SINGNameError, SINGValueError: an unknown word or kind, or words for a kind without any.
    """
    if concept is None and "attribute_score" in kind:
        raise SINGValueError(
            expected(
                _WHERE,
                "concept",
                f"to be a word for {kind!r}, which is negative for what is ignored",
                None,
                "Name one, or one for each image",
            )
        )
    if concept is None:
        sing.score(kind)
        return None
    one = isinstance(concept, str)
    concept = concept.tolist() if isinstance(concept, np.ndarray) else concept
    if not one and not (isinstance(concept, Sequence) and len(concept) == count):
        actual = len(concept) if isinstance(concept, Sequence) else type(concept).__name__
        raise SINGValueError(
            expected(
                _WHERE,
                "concept",
                f"to be a word, or one for each of {count} images",
                actual,
                "Pass a word of the bank, or None for each image's own most ignored one",
            )
        )
    words = [concept] * count if one else list(concept)
    sing.score(kind, list(dict.fromkeys(words)))
    return words


def check_targets(target: Any, logits: Tensor) -> Tensor:
    """The class of each image: the predicted one, one for all, or one each; shape (B,)."""
    count, classes = logits.shape
    if target is None:
        return logits.argmax(dim=1)
    return numbers_of(target, count, classes, _WHERE).to(logits.device)
