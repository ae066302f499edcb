"""Words keep their own embeddings, whatever stands beside them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from captum_sing.concepts import DEFAULT_TEMPLATES, ConceptBank
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGFileError, SINGNameError, SINGTypeError, SINGValueError
from captum_sing.testing import ToyEncoder

WORDS = ("red", "blue", "green", "star", "moon", "cross", "big", "small")
TEMPLATES = ("{}", "a photo of a {}.", "the {} one", "look: {}", "{} here")
GROUPS = {"color": ("red", "blue", "green"), "shape": ("star", "moon", "cross")}


@pytest.fixture(scope="module")
def encoder() -> ToyEncoder:
    return ToyEncoder()


@pytest.fixture
def bank(encoder: ToyEncoder) -> ConceptBank:
    return ConceptBank.from_words(WORDS, encoder, groups=GROUPS)


def by_hand(word: str, encoder: ImageTextEncoder, templates: Any) -> torch.Tensor:
    """One word at a time, one prompt at a time."""
    total = torch.zeros(encoder.embedding_dim, dtype=torch.float64)
    for template in templates:
        embedding = encoder.encode_text([template.replace("{}", word)])[0].double()
        total = total + embedding / embedding.norm() / len(templates)
    return (total / total.norm()).float()


class TestWordsDoNotMix:
    @pytest.mark.parametrize("prompts", range(1, 6))
    @pytest.mark.parametrize("words", range(2, 9))
    def test_each_is_its_own(self, encoder: ToyEncoder, words: int, prompts: int) -> None:
        bank = ConceptBank.from_words(WORDS[:words], encoder, TEMPLATES[:prompts])
        for name, embedding in zip(bank.names, bank.embeddings, strict=True):
            expected = by_hand(name, encoder, TEMPLATES[:prompts])
            assert torch.allclose(embedding, expected, atol=1e-6)

    def test_a_word_in_anothers_place_is_another(self, encoder: ToyEncoder) -> None:
        bank = ConceptBank.from_words(WORDS[:4], encoder, TEMPLATES)
        swapped = ConceptBank.from_words(("blue", "red", *WORDS[2:4]), encoder, TEMPLATES)
        assert torch.equal(bank.embeddings[[1, 0, 2, 3]], swapped.embeddings)
        assert (bank.embeddings[0] - swapped.embeddings[0]).norm() > 0.1

    def test_each_group_has_its_own_templates(self, encoder: ToyEncoder) -> None:
        templates = {"color": ("a {} thing",), "shape": TEMPLATES[1:4]}
        bank = ConceptBank.from_words(WORDS, encoder, templates, GROUPS)
        for name, embedding in zip(bank.names, bank.embeddings, strict=True):
            used = templates.get(bank.group_of(name), DEFAULT_TEMPLATES)
            assert torch.allclose(embedding, by_hand(name, encoder, used), atol=1e-6)

    def test_one_template_may_be_a_string(self, encoder: ToyEncoder) -> None:
        bank = ConceptBank.from_words(WORDS, encoder, "a {}")  # type: ignore[arg-type]
        assert torch.allclose(bank.embeddings[2], by_hand("green", encoder, ["a {}"]), atol=1e-6)


class TestPrompts:
    def test_are_a_words_own(self, encoder: ToyEncoder) -> None:
        prompts = {"bird": ["a crane, which flies"], "machine": ["a crane", "it lifts"]}
        bank = ConceptBank.from_prompts(prompts, encoder, {"crane": ("machine", "bird")})
        assert bank.names == ("bird", "machine") and bank.encoder == encoder.name
        for word, own in prompts.items():
            expected = by_hand("", encoder, own)
            assert torch.allclose(bank.embed(word), expected, atol=1e-6)

    def test_are_needed(self, encoder: ToyEncoder) -> None:
        with pytest.raises(SINGValueError, match="prompts for each word, got none for one"):
            ConceptBank.from_prompts({"red": ["red"], "blue": []}, encoder)
        with pytest.raises(SINGValueError, match=r"one word in \['words'\]"):
            ConceptBank.from_prompts({"red": ["red"]}, encoder)
        one = ConceptBank.from_prompts({"red": "something red", "blue": ["blue"]}, encoder)
        listed = ConceptBank.from_prompts({"red": ["something red"], "blue": ["blue"]}, encoder)
        assert torch.equal(one.embeddings, listed.embeddings)
        with pytest.raises(SINGTypeError, match="expected prompts to be text, got 1"):
            ConceptBank.from_prompts({"red": [1], "blue": ["blue"]}, encoder)


class TestGroups:
    def test_hold_every_word_once(self, bank: ConceptBank) -> None:
        assert bank.groups == {**GROUPS, "words": ("big", "small")}
        assert [bank.group_of(word) for word in ("moon", "green", "big")] == [
            "shape", "color", "words",
        ]  # fmt: skip
        assert bank.indices(["moon", "red"]) == [4, 0]
        assert len(bank) == 8
        assert repr(bank) == (
            "ConceptBank(8 words [color: 3, shape: 3, words: 2], encoder='toy/16-8@0')"
        )

    def test_centre_their_words(self, bank: ConceptBank) -> None:
        for group in bank.groups.values():
            rows = bank.indices(group)
            mean = sum(bank.embeddings[row].double() for row in rows) / len(rows)
            for row in rows:
                assert torch.allclose(bank.group_means[row], mean, atol=1e-6)
                expected = normalize(bank.embeddings[row] - mean, dim=0).float()
                assert torch.allclose(bank.directions[row], expected, atol=1e-6)
        assert not torch.allclose(bank.group_means[0], bank.group_means[3], atol=0.1)

    def test_a_pair_points_in_opposite_directions(self, bank: ConceptBank) -> None:
        big, small = bank.directions[bank.indices(["big", "small"])]
        assert torch.allclose(big, -small, atol=1e-6)


class TestEmbed:
    def test_knows_its_words_texts_and_embeddings(
        self, bank: ConceptBank, encoder: ToyEncoder
    ) -> None:
        assert torch.equal(bank.embed("moon"), bank.embeddings[4])
        assert torch.equal(bank.embed("moon", encoder), bank.embeddings[4])
        assert torch.equal(
            bank.embed("a pale moon", encoder), encoder.encode_text(["a pale moon"])[0]
        )
        given = torch.randn(16)
        assert bank.embed(given) is given

    def test_refuses_free_text_without_encoder(self, bank: ConceptBank) -> None:
        with pytest.raises(
            SINGValueError, match=r"such as 'red', got 'pale'\. For free text, give"
        ):
            bank.embed("pale")

    def test_refuses_what_is_no_text(self, bank: ConceptBank) -> None:
        with pytest.raises(SINGTypeError, match="prompt to be text or an embedding, got int"):
            bank.embed(3)  # type: ignore[arg-type]


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no words": ({"words": []}, SINGValueError, "with at least two of them, got none"),
    "one word": ({"words": ["red"]}, SINGValueError, r"got one word in \['words'\]\. A word means"),
    "a string": ({"words": "red"}, SINGTypeError, r"words to be a list, got a str"),
    "duplicates": (
        {"words": ["red", "blue", "red"]}, SINGValueError, r"each once, got \['red'\] again",
    ),
    "group of one": (
        {"words": WORDS, "groups": {"size": ["big"]}}, SINGValueError, r"one word in \['size'\]",
    ),
    "one left over": (
        {"words": [*WORDS[:3], "big"], "groups": {"color": WORDS[:3]}},
        SINGValueError, r"one word in \['words'\]",
    ),
    "unknown in a group": (
        {"words": WORDS, "groups": {"color": ["red", "pink"]}},
        SINGValueError, r"every word of the bank once, got a difference in \['pink'\]",
    ),
    "in two groups": (
        {"words": WORDS, "groups": {"a": ["red", "blue"], "b": ["red", "big"]}},
        SINGValueError, r"got a difference in \['red'\]",
    ),
    "template without {}": (
        {"words": WORDS, "templates": ["a photo"]}, SINGValueError, r"got \['a photo'\]\. Write",
    ),
    "template with two": (
        {"words": WORDS, "templates": ["{} {}"]}, SINGValueError, r"with one \"{}\" for the word",
    ),
    "no templates": ({"words": WORDS, "templates": []}, SINGValueError, r"templates .*got \[\]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses(kind: str, encoder: ToyEncoder) -> None:
    arguments, error, message = REFUSED[kind]
    with pytest.raises(error, match=message):
        ConceptBank.from_words(encoder=encoder, **arguments)


def test_refuses_before_it_encodes() -> None:
    class Unused(ToyEncoder):
        def encode_text(self, texts: Any) -> torch.Tensor:
            raise AssertionError("the encoder ran")

    for arguments, error, _ in REFUSED.values():
        with pytest.raises(error):
            ConceptBank.from_words(encoder=Unused(), **arguments)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (torch.eye(3), r"embeddings of shape \(2, E\), got \(3, 3\)"),
        (torch.ones(2), r"embeddings of shape \(2, E\), got \(2,\)"),
        (torch.ones(2, 3), "words that the encoder cannot tell apart"),
        (torch.full((2, 3), torch.nan), "finite, and different within a group, got NaN"),
    ],
)
def test_refuses_embeddings(embeddings: torch.Tensor, message: str) -> None:
    with pytest.raises(SINGValueError, match=message):
        ConceptBank(("a", "b"), embeddings, {"words": ("a", "b")})


def test_names_the_words_it_does_not_have(bank: ConceptBank) -> None:
    with pytest.raises(SINGNameError, match=r"^ConceptBank: .*\['red', .*got \['pink', 'sun'\]"):
        bank.indices(["red", "pink", "sun"])
    with pytest.raises(SINGNameError, match=r"got \['pink'\]"):
        bank.group_of("pink")


def test_many_words_are_quick() -> None:
    names = tuple(f"word {i}" for i in range(20_000))
    embeddings = normalize(torch.randn(20_000, 8), dim=1)
    start = time.process_time()
    bank = ConceptBank(names, embeddings, {"words": names})
    assert bank.indices(names) == list(range(20_000))
    assert time.process_time() - start < 1.0


class TestFile:
    def test_keeps_everything(self, bank: ConceptBank, tmp_path: Path) -> None:
        loaded = ConceptBank.load(bank.save(tmp_path / "words.safetensors"))
        assert loaded.names == bank.names
        assert loaded.groups == bank.groups
        assert loaded.encoder == bank.encoder == "toy/16-8@0"
        assert torch.equal(loaded.embeddings, bank.embeddings)
        assert torch.equal(loaded.directions, bank.directions)

    @pytest.mark.parametrize(
        "facts",
        [
            {"names": ["a", "b"], "encoder": None},
            {"names": ["a", "b"], "groups": ["a", "b"], "encoder": None},
            {"names": ["a", "b", "c"], "groups": {"words": ["a", "b", "c"]}, "encoder": None},
            {"names": 3, "groups": {"words": ["a", "b"]}, "encoder": None},
        ],
    )
    def test_refuses_facts_that_do_not_fit(self, facts: dict[str, Any], tmp_path: Path) -> None:
        path = tmp_path / "words.safetensors"
        metadata = {"captum_sing": json.dumps({"kind": "ConceptBank", **facts})}
        save_file({"embeddings": torch.eye(2)}, path, metadata)
        with pytest.raises(SINGFileError, match=f"to hold a whole bank, got {path}"):
            ConceptBank.load(path)

    def test_refuses_what_is_no_bank(self, bank: ConceptBank, tmp_path: Path) -> None:
        path = bank.save(tmp_path / "words.safetensors")
        tensors = load_file(path)
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(SINGFileError, match="to be a whole safetensors file"):
            ConceptBank.load(path)
        save_file(tensors, path)
        with pytest.raises(SINGFileError, match="to hold a ConceptBank"):
            ConceptBank.load(path)
        with pytest.raises(SINGFileError, match="none, which does not exist"):
            ConceptBank.load(tmp_path / "none")
