"""Texts on their way into an encoder: checked, in batches, and known to its vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_sing.errors import SINGValueError, expected

__all__ = ["check_known", "encode_in_batches"]

_TEXT_BATCH = 256


def encode_in_batches(
    where: str,
    texts: Sequence[str],
    encode: Callable[[list[str]], Tensor],
    size: int = _TEXT_BATCH,
) -> Tensor:
    """Embed texts a batch at a time, and put the rows together in their order.

    Args:
        where (str): the encoder's name, for the error.
        texts (sequence of str): V texts.
        encode (callable): some texts -> their embeddings, shape (some, E).
        size (int, optional): texts of one batch.

    Returns:
        Tensor: shape (V, E).

    Raises:
        SINGValueError: no list, or none in it.
    """
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise SINGValueError(
            expected(
                f"{where}.encode_text",
                "texts",
                "to be a list of one text or more",
                repr(texts),
                "Write [text, ...]",
            )
        )
    batches = [list(texts[i : i + size]) for i in range(0, len(texts), size)]
    return torch.cat([encode(batch) for batch in batches])


def check_known(where: str, name: str, texts: list[str], tokens: Tensor, tokenizer: Any) -> None:
    """Refuse words that became the token for unknown ones.

    Args:
        where (str): the encoder's class, for the error.
        name (str): the encoder's name.
        texts (list of str): V texts.
        tokens (Tensor): theirs, shape (V, length).
        tokenizer (object): of transformers; any other knows every word.

    Raises:
        SINGValueError: a word outside of the vocabulary.
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        return  # a byte-level vocabulary: every word is known
    strange = (tokens == unknown).any(dim=1).tolist()
    if any(strange):
        raise SINGValueError(
            expected(
                f"{where}.encode_text",
                "texts",
                f"in the vocabulary of {name}",
                repr(texts[strange.index(True)]),
                "Use other words: to this encoder an unknown one means nothing",
            )
        )
