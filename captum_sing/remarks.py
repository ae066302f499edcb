"""What a reader of a description must know beside its numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captum_sing.null_space import NullSpace

__all__ = ["change_of", "notes_of", "way_of"]


def change_of(baselines: Any, prompt: Any, away_from: Any = None) -> str:
    """What was done to the ignored part, by the arguments of :meth:`captum_sing.SING.attribute`."""
    if prompt is not None or away_from is not None:
        return f"steered {way_of(prompt, away_from)}"
    return "with the donor's part instead" if isinstance(baselines, Tensor) else "without that part"


def way_of(prompt: Any, away_from: Any) -> str:
    """Where something is steered to, in words.

    Example::

        >>> way_of("a cat", None), way_of(None, "a dog"), way_of("a cat", "a dog")
        ('towards a cat', 'away from a dog', 'from a dog towards a cat')
    """
    ways = (("from" if prompt is not None else "away from", away_from), ("towards", prompt))
    return " ".join(f"{way} {_named(text)}" for way, text in ways if text is not None)


def _named(text: Any) -> str:
    if isinstance(text, str):
        return text
    return "an embedding" if isinstance(text, Tensor) else "a text of its own"


def notes_of(space: NullSpace | None, target: Any, tied: bool) -> tuple[str, ...]:
    """What is not kept, or not reached, where the null space is not the exact one of one head.

    Args:
        space (NullSpace or None): the given one.
        target: as :meth:`captum_sing.SING.attribute`.
        tied (bool): whether one layer's input follows from another's.
    """
    notes = ["The heads' inputs are tied: no image can change this part alone."] if tied else []
    if target is not None:
        kept = "Only the target's logit is kept: probabilities and the prediction may move."
        return (kept, *notes)
    if space is not None and space.classes is not None:
        notes.append(f"Only the {space.invariant_to} of classes {list(space.classes)} are kept.")
    elif space is not None and space.invariant_to != "logits":
        notes.append("The probabilities are kept: all logits may move together.")
    if space is not None and space.energy is not None:
        notes.append(
            f"The null space is approximate (energy {space.energy:g}): the logits move; see the "
            "drift."
        )
    return tuple(notes)
