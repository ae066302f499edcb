"""The sentences beside the numbers say what is kept and what is not."""

from __future__ import annotations

import pytest
import torch

from captum_sing import NullSpace
from captum_sing.remarks import change_of, notes_of

WEIGHT = torch.eye(3, 5)


def test_what_was_done_to_the_ignored_part() -> None:
    assert change_of(None, None) == change_of("mean", None) == "without that part"
    assert change_of(torch.zeros(5), None) == "with the donor's part instead"
    assert change_of(None, "a cat") == "steered towards a cat"
    assert change_of(None, torch.zeros(2)) == "steered towards an embedding"
    assert change_of(None, ["a cat", "a dog"]) == "steered towards a text of its own"
    assert change_of(None, None, "a cat") == "steered away from a cat"
    assert change_of(None, "a cat", "a dog") == "steered from a dog towards a cat"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ()),
        ({"classes": [0, 2]}, ("Only the logits of classes [0, 2] are kept.",)),
        ({"invariant_to": "probabilities"}, ("all logits may move together",)),
        ({"energy": 0.5}, ("approximate (energy 0.5)",)),
    ],
)
def test_what_is_not_kept(options: dict, said: tuple[str, ...]) -> None:
    notes = notes_of(NullSpace.from_weight(WEIGHT, **options), None, False)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))
    tied = notes_of(NullSpace.from_weight(WEIGHT, **options), None, True)
    assert len(tied) == len(said) + 1 and "are tied" in tied[0]


def test_a_target_speaks_for_itself() -> None:
    (note,) = notes_of(None, 2, False)
    assert note.startswith("Only the target's logit is kept")
