"""A part of an extraction in one file, which is used only if it is whole and the right one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor

from captum_sing.errors import SINGFileError, expected
from captum_sing.files import load_tensors, save_tensors
from captum_sing.study.keys import key_of, tensors_digest

__all__ = ["Block", "Shard", "writing"]

_KIND = "part of an extraction"


class Block(NamedTuple):
    """What was read from B pictures.

    Attributes:
        rows (Tensor): their places, shape (B,), int64.
        features (Tensor): at the head's input, shape (B, D), in the classifier's precision; of
            several heads as :class:`captum_sing.linear_head.LinearHead` joins them.
        logits (Tensor): of the classifier, shape (B, C).
        embeddings (Tensor): of the encoder, shape (B, E), not normalised.
    """

    rows: Tensor
    features: Tensor
    logits: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class Shard:
    """Some consecutive pictures of a collection, and the file for what was read from them.

    The file is written under another name and renamed, so it is there whole or not at all, and any
    number of runs may write it at once: all of them write the same. It holds its key, and a digest
    of its content.

    Attributes:
        path (Path): the file.
        key (str): of all that the numbers in it depend on.
        places (range): which pictures.
    """

    path: Path
    key: str
    places: range

    def save(self, block: Block, facts: Mapping[str, Any]) -> None:
        """Write the file.

        Args:
            block (Block): of the usable ones of these pictures, which ``rows`` counts from 0.
            facts (mapping): anything else, as JSON.

        Raises:
            SINGFileError: the folder cannot be written, or the disk is full.
        """
        stored = {**facts, "key": self.key}
        stored["digest"] = _digest(block, stored)
        with writing(self.path.parent):
            save_tensors(self.path, _KIND, block._asdict(), stored)

    def load(self) -> tuple[Block, dict[str, Any]]:
        """Read what :meth:`save` was given.

        Raises:
            SINGFileError: the file is missing, damaged, or about something else.
        """
        tensors, facts = load_tensors(self.path, _KIND, Block._fields)
        del facts["kind"]
        block, digest = Block(**tensors), facts.pop("digest", None)
        if facts.get("key") != self.key or digest != _digest(block, facts):
            raise SINGFileError(
                expected(
                    "extract",
                    "folder",
                    "with whole files of its own",
                    f"{self.path}, which is damaged, or about other pictures or networks",
                    "Call extract again: it computes this part anew",
                )
            )
        del facts["key"]
        return block, facts


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what can be done where a folder cannot be written.

    Raises:
        SINGFileError: in place of whatever writing a file raises.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = str(error.__cause__ or error).rstrip(".")
        raise SINGFileError(
            expected(
                "extract",
                "folder",
                "that can be written, with room for all parts",
                f"{folder} ({reason})",
                "Make room, or name another one; a new call goes on with the parts in it",
            )
        ) from error


def _digest(block: Block, facts: Mapping[str, Any]) -> str:
    return key_of(facts, tensors_digest(block._asdict().items()))
