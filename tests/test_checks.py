"""What is refused before any model runs, and by which words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from captum_sing.checks import check_call, check_parts, check_width
from captum_sing.concepts import ConceptBank
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.testing import ToyEncoder
from captum_sing.translator import LinearTranslator

ENCODER, STRANGER = ToyEncoder(), ToyEncoder(seed=1)
WORDS = ("red", "blue")


def translator(encoder: str | None = ENCODER.name, width: int = 12) -> LinearTranslator:
    return LinearTranslator(
        torch.ones(16, width), torch.zeros(width), torch.zeros(16), facts={"encoder": encoder}
    )


def bank(encoder: str | None = ENCODER.name, embedding_dim: int = 16) -> ConceptBank:
    return ConceptBank(WORDS, torch.eye(2, embedding_dim), {"words": WORDS}, encoder)


BOTH = ENCODER, STRANGER
OF_BANK, FREE_TEXT = "concepts of the translator's encoder", "encoder that of the translator"


class TestParts:
    @pytest.mark.parametrize("of_translator", [None, ENCODER.name])
    @pytest.mark.parametrize("of_bank", [None, ENCODER.name])
    @pytest.mark.parametrize("encoder", [None, ENCODER])
    def test_of_one_space_pass(self, of_translator: Any, of_bank: Any, encoder: Any) -> None:
        check_parts(nn.Identity(), translator(of_translator), bank(of_bank), encoder)

    @pytest.mark.parametrize(
        ("parts", "blamed", "own", "other"),
        [
            ((translator(), bank(STRANGER.name), None), OF_BANK, ENCODER, STRANGER),
            ((translator(STRANGER.name), bank(), ENCODER), OF_BANK, STRANGER, ENCODER),
            ((translator(), bank(), STRANGER), FREE_TEXT, ENCODER, STRANGER),
            ((translator(), bank(None), STRANGER), FREE_TEXT, ENCODER, STRANGER),
            ((translator(None), bank(), STRANGER), "encoder that of the concepts", *BOTH),
        ],
    )
    def test_of_two_encoders_are_refused(
        self, parts: Any, blamed: str, own: Any, other: Any
    ) -> None:
        message = f"expected {blamed}, {own.name}, got {other.name}. Two encoders"
        with pytest.raises(SINGValueError, match=message):
            check_parts(nn.Identity(), *parts)

    def test_of_another_width_are_refused(self) -> None:
        with pytest.raises(SINGValueError, match="concepts of the translator's width 16, got 8"):
            check_parts(nn.Identity(), translator(), bank(embedding_dim=8), None)

    @pytest.mark.parametrize(
        ("model", "of_features", "words", "message"),
        [
            (nn.Identity(), "a file", bank(), "translator to be a LinearTranslator, got str. Make"),
            (nn.Identity(), nn.Linear(12, 16), bank(), "LinearTranslator, got Linear"),
            (nn.Identity(), translator(), ["red"], r"ConceptBank, got list. .*ConceptBank.load"),
            ("resnet50", translator(), bank(), "forward_func to be callable, got str"),
        ],
    )
    def test_of_another_kind_are_refused(
        self, model: Any, of_features: Any, words: Any, message: str
    ) -> None:
        with pytest.raises(SINGTypeError, match=message):
            check_parts(model, of_features, words, None)

    @pytest.mark.parametrize(
        ("encoder", "shown"), [("ViT-B-32:openai", "'ViT-B-32:openai'"), (nn.ReLU(), "ReLU")]
    )
    def test_an_encoder_of_another_kind_is_refused(self, encoder: Any, shown: str) -> None:
        with pytest.raises(SINGTypeError, match=f"encoder to be an ImageTextEncoder, got {shown}"):
            check_parts(nn.Identity(), translator(), bank(), encoder)


class TestWidth:
    SPACE = NullSpace.from_weight(torch.eye(3, 12))
    HEAD = LinearHead.of(nn.Linear(12, 3))
    TWO = LinearHead.of([nn.Linear(12, 3), nn.Linear(12, 3)])

    def test_of_the_head_passes(self) -> None:
        check_width(self.HEAD, translator(), self.SPACE)
        check_width(self.HEAD, translator(), None, 12)
        for width in (24, 12):
            check_width(self.TWO, translator(width=width), None)

    def test_of_another_translator_is_refused(self) -> None:
        message = "translator for the head's input of width 12, got one for width 9. .*layer.$"
        with pytest.raises(SINGValueError, match=message):
            check_width(self.HEAD, translator(width=9), self.SPACE)
        with pytest.raises(SINGValueError, match="of width 24 or 12, got one for width 9"):
            check_width(self.TWO, translator(width=9), None)

    def test_of_another_null_space_is_refused(self) -> None:
        with pytest.raises(SINGValueError, match="null_space .* width 9, got one for width 12"):
            check_width(LinearHead.of(nn.Linear(9, 3)), translator(width=9), self.SPACE)
        with pytest.raises(SINGValueError, match="null_space .* width 24, got one for width 12"):
            check_width(self.TWO, translator(width=24), self.SPACE)

    def test_of_what_several_layers_read_is_told_by_what_they_read(self) -> None:
        check_width(self.TWO, translator(), None, 12)
        with pytest.raises(
            SINGValueError, match="width 12, got one for width 24. .* all the same tensor"
        ):
            check_width(self.TWO, translator(width=24), None, 12)


class TestCall:
    @pytest.mark.parametrize("baselines", [None, "mean", "conditional", torch.ones(1), (1,)])
    def test_of_removal_passes(self, baselines: Any) -> None:
        check_call(baselines, None, None, None, 5)

    def test_of_steering_passes(self) -> None:
        check_call(None, "red", None, 10.0, 1)
        check_call(None, None, "red", 10.0, 1)
        check_call(None, "red", "blue", 10.0, 1)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                ("median", None, None, None, 5),
                SINGValueError,
                r"one of \('mean', 'conditional'\) .*'medi",
            ),
            (
                (0, None, None, None, 5),
                SINGTypeError,
                "got int. Numbers are not accepted: zero is None",
            ),
            (([1.0], None, None, None, 5), SINGTypeError, "or a tensor, got list"),
            (
                (None, "red", None, None, 5),
                SINGValueError,
                "together, and without .*prompt='red' alone",
            ),
            ((None, None, None, 10.0, 5), SINGValueError, "got image_score=10.0 alone"),
            ((None, None, "red", None, 5), SINGValueError, "got away_from='red' alone"),
            (
                (None, torch.ones(3, 4), None, None, 5),
                SINGValueError,
                r"prompt=of shape \(3, 4\) al",
            ),
            (("mean", "red", None, 10.0, 5), SINGValueError, "without baselines.*baselines='mean'"),
            ((None, None, None, None, 0), SINGValueError, "top_k of at least 1, an integer, got 0"),
        ],
    )
    def test_that_contradicts_itself_is_refused(
        self, arguments: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            check_call(*arguments)
