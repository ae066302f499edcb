"""Directions of steering: towards texts, away from them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from captum_sing.concepts import ConceptBank
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.headings import check_angles, heading
from captum_sing.testing import ToyEncoder

ENCODER = ToyEncoder()
BANK = ConceptBank.from_words(["red", "blue"], ENCODER)
RED, BLUE = BANK.embed("red"), BANK.embed("blue")
WIDTH = BANK.embedding_dim


def test_nothing_is_steered_without_a_text() -> None:
    assert heading(BANK, ENCODER, None, None, 3) is None


def test_directions_are_unit_vectors_and_their_difference() -> None:
    torch.testing.assert_close(heading(BANK, None, 7 * RED, None, 3), normalize(RED, dim=0))
    torch.testing.assert_close(heading(BANK, None, None, "red", 3), -normalize(RED, dim=0))
    between = heading(BANK, None, "blue", 5 * RED, 3)
    torch.testing.assert_close(between, normalize(BLUE, dim=0) - normalize(RED, dim=0))


def test_texts_of_their_own_beside_one_for_all() -> None:
    own = heading(BANK, ENCODER, ["red", "blue", "a pale thing"], "green", 3)
    green, pale = (normalize(ENCODER.encode_text([t])[0], dim=0) for t in ("green", "a pale thing"))
    assert own is not None
    torch.testing.assert_close(own[2], pale - green)
    torch.testing.assert_close(own[1], normalize(BLUE, dim=0) - green)


@pytest.mark.parametrize(
    ("prompt", "away_from", "error", "message"),
    [
        (["red"], None, SINGValueError, r"prompt to be one text, or 3, one an image, got 1"),
        (["red", 5, "blue"], None, SINGValueError, r"prompt to be one text, or 3"),
        (None, ["red", "red"], SINGValueError, r"away_from to be one text, or 3"),
        (5, None, SINGTypeError, r"prompt to be text or an embedding, got int"),
        ("pale", None, SINGValueError, r"a word of the bank.*give SING the encoder"),
        ("red", "red", SINGValueError, r"away_from another text than prompt, got 'red' twice"),
        ("", None, SINGValueError, r"prompt to say something, got ''"),
        (["red", " ", "blue"], None, SINGValueError, r"prompt to say something, got ' '"),
        (torch.ones(WIDTH, dtype=torch.int64), None, SINGValueError, r"torch.int64. Embed it"),
        (RED.half(), "red", SINGValueError, r"another text than prompt"),
        (RED, 3 * RED, SINGValueError, r"another text than prompt, got the same embedding"),
        (torch.ones(8), None, SINGValueError, rf"prompt of width {WIDTH}, one or 3 of them"),
        (torch.ones(2, WIDTH), None, SINGValueError, rf"prompt of width {WIDTH}, one or 3"),
        (None, torch.zeros(WIDTH), SINGValueError, r"away_from of width .* and not zero"),
        (torch.full((WIDTH,), torch.nan), None, SINGValueError, r"finite and not zero"),
        (torch.tensor([[1.0], [0.0], [1.0]]).expand(3, WIDTH), None, SINGValueError, r"not zero"),
    ],
)
def test_what_is_no_direction_is_refused(
    prompt: Any, away_from: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        heading(BANK, None, prompt, away_from, 3)


@pytest.mark.parametrize("degrees", [5, 5.0, torch.tensor(5), torch.rand(3) + 1, [1, 2, 3]])
def test_an_angle_for_all_or_each_passes(degrees: Any) -> None:
    check_angles(degrees, 3)


@pytest.mark.parametrize(
    ("degrees", "actual"),
    [
        (0.0, "0.0"),
        (-5, "-5"),
        (180, "180"),
        (float("nan"), "nan"),
        (torch.ones(2), r"shape \(2,\)"),
        ([1.0, 0.0, 2.0], r"shape \(3,\)"),
    ],
)
def test_what_is_no_angle_is_refused(degrees: Any, actual: str) -> None:
    message = rf"image_score one or 3 of them, between 0 and 180 degrees, got {actual}\. Give"
    with pytest.raises(SINGValueError, match=message):
        check_angles(degrees, 3)


@pytest.mark.parametrize("degrees", ["ten", object(), [1.0, "x", 2.0]])
def test_what_is_no_number_is_refused(degrees: Any) -> None:
    with pytest.raises(SINGTypeError, match="image_score to be degrees, got"):
        check_angles(degrees, 3)


def test_texts_are_embedded_once() -> None:
    class Counting(ToyEncoder):
        asked = 0

        def encode_text(self, texts: Any) -> Tensor:
            self.asked += len(texts)
            return super().encode_text(texts)

    encoder = Counting()
    heading(BANK, encoder, ["a pale thing"] * 50, None, 50)
    assert encoder.asked == 1
