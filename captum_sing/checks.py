"""What SING refuses before any model runs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captum_sing.baselines import NAMED_BASELINES
from captum_sing.concepts import ConceptBank
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.inputs import batch_of
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.translator import LinearTranslator
from captum_sing.translator_base import Translator

__all__ = [
    "check_baselines",
    "check_call",
    "check_parts",
    "check_seed",
    "check_target",
    "check_width",
]


def check_parts(
    forward_func: Any, translator: Any, concepts: Any, encoder: ImageTextEncoder | None
) -> None:
    """The parts of a SING are of the right kinds, and of one space."""
    if isinstance(translator, Translator) and not isinstance(translator, LinearTranslator):
        raise SINGTypeError(
            expected(
                "SING",
                "translator",
                "to be linear, since evidence adds up only for a linear map",
                f"a {type(translator).__name__}",
                "Its angles still work: image_score(translator(f), translator(equivalent))",
            )
        )
    for name, value, kind in (
        ("translator", translator, LinearTranslator),
        ("concepts", concepts, ConceptBank),
    ):
        if not isinstance(value, kind):
            raise SINGTypeError(
                expected(
                    "SING",
                    name,
                    f"to be a {kind.__name__}",
                    type(value).__name__,
                    f"Make one with {kind.__name__}.load(path)",
                )
            )
    if not callable(forward_func):
        raise SINGTypeError(
            expected(
                "SING",
                "forward_func",
                "to be callable",
                type(forward_func).__name__,
                "Pass a model",
            )
        )
    if encoder is not None and not isinstance(encoder, ImageTextEncoder):
        raise SINGTypeError(
            expected(
                "SING",
                "encoder",
                "to be an ImageTextEncoder",
                repr(encoder) if isinstance(encoder, str) else type(encoder).__name__,
                "Make one, such as OpenCLIPEncoder(name)",
            )
        )
    if concepts.embedding_dim != translator.embedding_dim:
        raise SINGValueError(
            expected(
                "SING",
                "concepts",
                f"of the translator's width {translator.embedding_dim}",
                concepts.embedding_dim,
                "Embed the words with the encoder that the translator was fitted to",
            )
        )
    remedy = "Two encoders are two spaces, also where their widths agree: use one for all"
    own, words = translator.encoder, concepts.encoder
    if own and words and own != words:
        raise SINGValueError(
            expected("SING", "concepts", f"of the translator's encoder, {own}", words, remedy)
        )
    if encoder is not None and encoder.name != (own or words or encoder.name):
        whose = "translator" if own else "concepts"
        raise SINGValueError(
            expected(
                "SING", "encoder", f"that of the {whose}, {own or words}", encoder.name, remedy
            )
        )


def check_width(
    head: LinearHead,
    translator: LinearTranslator,
    space: NullSpace | None,
    read: int | None = None,
) -> None:
    """The translator and a given null space belong to this head, and to the width that it read."""
    remedy = "It belongs to another model or layer"
    several = len(head.layers) > 1
    if several:
        remedy += (
            ". Several layers read a feature of their widths together, or, where the model hands "
            "them all the same tensor, one of that tensor's width"
        )
    width = translator.feature_dim
    ways = f"{remedy}: NullSpace.from_layer(layers, width={width})" if several else remedy
    for name, widths, actual, advice in (
        ("translator", head.widths if read is None else [read], width, remedy),
        ("null_space", [width], width if space is None else space.width, ways),
    ):
        if actual not in widths:
            raise SINGValueError(
                expected(
                    "SING",
                    name,
                    f"for the head's input of width {' or '.join(map(str, widths))}",
                    f"one for width {actual}",
                    advice,
                )
            )


def check_call(baselines: Any, prompt: Any, away_from: Any, degrees: Any, top_k: int) -> None:
    """The arguments of one call go together."""
    where = "SING.attribute"
    if isinstance(baselines, str) and baselines not in NAMED_BASELINES:
        raise SINGValueError(
            expected(
                where,
                "baselines",
                f"None, one of {NAMED_BASELINES} or a tensor",
                repr(baselines),
                "Choose one of them",
            )
        )
    if baselines is not None and not isinstance(baselines, (str, Tensor, tuple)):
        raise SINGTypeError(
            expected(
                where,
                "baselines",
                f"None, one of {NAMED_BASELINES} or a tensor",
                type(baselines).__name__,
                "Numbers are not accepted: zero is None",
            )
        )
    steered = prompt is not None or away_from is not None
    if steered != (degrees is not None) or (steered and baselines is not None):
        parts = {"prompt": prompt, "away_from": away_from, "image_score": degrees}
        parts["baselines"] = baselines
        told = [f"{name}={_brief(value)}" for name, value in parts.items() if value is not None]
        raise SINGValueError(
            expected(
                where,
                "image_score and prompt or away_from",
                "together, and without baselines",
                ", ".join(told) + (" alone" if len(told) == 1 else ""),
                "To steer, give a text and the angle to steer by",
            )
        )
    if not isinstance(top_k, int) or top_k < 1:
        raise SINGValueError(
            expected(where, "top_k", "of at least 1, an integer", top_k, "Name some words")
        )


def check_baselines(baselines: Any, inputs: Any, count: int, translator: LinearTranslator) -> None:
    """Named ones need their statistics; donors are other images or features, one or one each."""
    width = translator.feature_dim
    if isinstance(baselines, str):
        _ = translator.feature_covariance if baselines == "conditional" else translator.mean
    if not isinstance(baselines, (Tensor, tuple)):
        return
    rows = batch_of(baselines, "SING.attribute", "baselines")
    first, example = (t[0] if isinstance(t, tuple) else t for t in (baselines, inputs))
    shapes = (example.shape[1:], (width,), (width, 1, 1))
    if rows not in (1, count) or first.shape[1:] not in shapes:
        raise SINGValueError(
            expected(
                "SING.attribute",
                "baselines",
                f"shaped like inputs {tuple(example.shape)} or like the head's input "
                f"({count}, {width}), with one row or as many",
                tuple(first.shape),
                "Give one donor for all images, or one each",
            )
        )


def check_target(target: Any, space: NullSpace | None) -> None:
    """A target is a null space of its own, and replaces no other that was asked for."""
    if target is None or space is None:
        return
    if space.energy is not None or space.classes is not None or space.invariant_to != "logits":
        raise SINGValueError(
            expected(
                "SING.attribute",
                "target",
                "None for a SING whose null space was chosen",
                f"{target} beside {space}",
                "Make a SING without null_space, or a null space with classes=[...]",
            )
        )


def check_seed(seed: Any) -> None:
    """A seed is an integer."""
    if not isinstance(seed, int):
        raise SINGTypeError(
            expected("SING.verify", "seed", "to be an integer", repr(seed), "Pass 0")
        )


def _brief(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:60]
