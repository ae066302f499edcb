"""Where a steered feature is to go: towards texts, away from them, or from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from captum_sing.concepts import ConceptBank
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGTypeError, SINGValueError, expected

__all__ = ["Prompt", "check_angles", "heading"]

Prompt: TypeAlias = "str | Sequence[str] | Tensor"
"""A word of the bank or free text, one of these an image, or embeddings (E,) or (B, E)."""

_WHERE = "SING.attribute"
_SAME = 0.01  # of unit vectors: the rounding of 16 bits


def heading(
    concepts: ConceptBank,
    encoder: ImageTextEncoder | None,
    prompt: Prompt | None,
    away_from: Prompt | None,
    count: int,
) -> Tensor | None:
    r"""The vector whose cosine with T(f) is to grow.

    Towards t it is :math:`\hat t`, away from s it is :math:`-\hat s`, and from s to t
    :math:`\hat t - \hat s`: the gradient of the one cosine minus that of the other.

    Args:
        concepts (ConceptBank): whose words need no encoder.
        encoder (ImageTextEncoder or None): for other texts.
        prompt, away_from (optional): see :data:`Prompt`.
        count (int): B.

    Returns:
        Tensor or None: shape (E,) or (B, E); None where neither is given.

    Raises:
        SINGTypeError, SINGValueError: no text, another number or width of them, one that is not
            finite or zero, free text without an encoder, or the same text on both sides.

    Example::

        >>> ways = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
        >>> bank = ConceptBank(("up", "right"), ways, {"way": ("up", "right")})
        >>> heading(bank, None, "up", "right", 1)
        tensor([-1.,  1.])
    """
    parts = [
        sign
        * torch.nn.functional.normalize(_embedded(concepts, encoder, given, count, name), dim=-1)
        for name, given, sign in (("prompt", prompt, 1.0), ("away_from", away_from, -1.0))
        if given is not None
    ]
    if not parts:
        return None
    whole = sum(parts[1:], parts[0])
    if not (whole.norm(dim=-1) > _SAME).all():
        raise SINGValueError(
            expected(
                _WHERE,
                "away_from",
                "another text than prompt",
                f"{away_from!r} twice" if isinstance(away_from, str) else "the same embedding",
                "Leave one of the two out",
            )
        )
    return whole


def check_angles(degrees: Any, count: int) -> None:
    """An angle to steer by, for all images or each.

    Raises:
        SINGTypeError, SINGValueError: no number, another number of them, or one out of range.
    """
    one_each = f"one or {count}"
    try:
        angles = torch.as_tensor(degrees, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SINGTypeError(
            expected(
                _WHERE, "image_score", "to be degrees", type(degrees).__name__, "Pass a number"
            )
        ) from error
    if angles.shape not in ((), (1,), (count,)) or not ((angles > 0) & (angles < 180)).all():
        raise SINGValueError(
            expected(
                _WHERE,
                "image_score",
                f"{one_each} of them, between 0 and 180 degrees",
                degrees if angles.numel() == 1 else f"shape {tuple(angles.shape)}",
                "Give the angle by which the translation should turn",
            )
        )


def _embedded(
    concepts: ConceptBank,
    encoder: ImageTextEncoder | None,
    given: Any,
    count: int,
    name: str,
) -> Tensor:
    """Embeddings of texts, shape (E,) or (B, E)."""
    if isinstance(given, (list, tuple)):
        if len(given) != count or not all(isinstance(text, str) for text in given):
            raise SINGValueError(
                expected(
                    _WHERE,
                    name,
                    f"to be one text, or {count}, one an image",
                    f"{len(given)}: {given!r}"[:120],
                    "Give as many texts as images",
                )
            )
        own = {text: _known(concepts, encoder, text, name) for text in dict.fromkeys(given)}
        return torch.stack([own[text] for text in given])
    embedding = _known(concepts, encoder, given, name)
    width = concepts.embedding_dim
    if (
        not embedding.is_floating_point()
        or embedding.shape not in ((width,), (count, width))
        or not (embedding.isfinite().all() and embedding.any(dim=-1).all())
    ):
        raise SINGValueError(
            expected(
                _WHERE,
                name,
                f"of width {width}, one or {count} of them, finite and not zero",
                f"an embedding of shape {tuple(embedding.shape)}, {embedding.dtype}",
                "Embed it with the encoder of the concepts",
            )
        )
    return embedding


def _known(
    concepts: ConceptBank, encoder: ImageTextEncoder | None, given: Any, name: str
) -> Tensor:
    """One text's embedding, or embeddings as they are, float32 or better."""
    if isinstance(given, str) and not given.strip():
        remedy = "Name a word, or write a text"
        raise SINGValueError(expected(_WHERE, name, "to say something", repr(given), remedy))
    embedding = concepts.embed(given, encoder)
    return embedding.float() if embedding.dtype in (torch.half, torch.bfloat16) else embedding
