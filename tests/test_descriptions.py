"""Words are ranked by ignored evidence, and a sentence says no more than its numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from captum_sing.concepts import ConceptBank
from captum_sing.descriptions import Description, Descriptions, Evidence
from captum_sing.errors import SINGRuntimeError

BANK = ConceptBank(
    ("red", "blue", "star", "moon"),
    torch.eye(4),
    {"color": ("red", "blue"), "shape": ("star", "moon")},
)
IGNORED = torch.tensor([[1.5, -1.5, 0.2, 0.3], [-2.0, 2.0, 0.0, 0.04], [-1.0, -1.0, -0.5, -0.1]])
SEEN = torch.tensor([[0.1, -0.1, -3.0, 3.0], [0.5, 0.6, 0.7, 0.8], [-1.0, -1.0, -0.5, -0.1]])
# as removal does it: what is taken away moves off, everything else comes nearer, shapes most
AS = torch.tensor([[-10.0, 10.0, 40.0, 50.0], [9.0, -9.0, -60.0, 30.0], [1.0, 2.0, 3.0, 4.0]])

# what is ignored, in the encoder's space: mostly red and a little moon, blue, nothing
PART = torch.tensor([[2.0, -2.0, -0.5, 0.5], [-1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.fixture
def descriptions() -> Descriptions:
    evidence = Evidence(
        SEEN, IGNORED, torch.tensor([1.0, 2.0, 3.0]), -AS, PART, torch.tensor([0.4, 1.5, 0.1])
    )
    return Descriptions(
        BANK,
        image_score=torch.tensor([12.34, 20.0, 30.0]),
        attribute_score=AS,
        null_energy=torch.tensor([0.25, 0.5, 0.0]),
        in_sample=torch.tensor([False, False, True]),
        step=torch.tensor([0.5, 12.0, 1.0]),
        evidence=evidence,
    )


def words(description: Description) -> tuple[list[str], list[str]]:
    assert description.ignored is not None and description.seen is not None
    return [w.word for w in description.ignored], [w.word for w in description.seen]


def test_ranks_by_evidence_and_not_by_angle(descriptions: Descriptions) -> None:
    assert words(descriptions[0]) == (["red", "moon", "star"], ["moon", "red"])
    assert words(descriptions[1]) == (["blue"], ["moon", "star", "blue", "red"])
    by_angle = [BANK.names[t] for t in AS.abs().argmax(dim=1).tolist()]
    assert by_angle[:2] == ["moon", "star"]


def test_names_no_word_without_positive_evidence(descriptions: Descriptions) -> None:
    assert words(descriptions[2]) == ([], [])
    image = replace(descriptions[2], in_sample=False)
    assert "ignores points at no word; what it sees points at no word;" in str(image)


def test_evidence_that_would_read_zero_is_not_shown(descriptions: Descriptions) -> None:
    assert "moon" not in words(descriptions[1])[0]  # 0.04


def test_a_word_carries_its_numbers(descriptions: Descriptions) -> None:
    first = descriptions[0].ignored[0]
    assert first == ("red", "color", pytest.approx(1.5), pytest.approx(0.1), -10.0, "sd")
    assert str(first) == "red (+1.5 of +1.6 sd)"


def test_says_one_sentence(descriptions: Descriptions) -> None:
    assert str(descriptions[0]) == (
        "What the head ignores points at red (+1.5 of +1.6 sd), moon (+0.3 of +3.3 sd), "
        "star (+0.2 of -2.8 sd); what it sees points at moon (+3.0 of +3.3 sd), "
        "red (+0.1 of +1.6 sd); 25% of the feature's energy is ignored; without that part, "
        "its translation turns by 12.3 degrees."
    )


def test_claims_nothing_in_sample(descriptions: Descriptions) -> None:
    claimed = descriptions[0]
    in_sample = str(replace(claimed, in_sample=True))
    assert "fitted on this very image, so nothing is claimed" in in_sample
    assert not any(f"{word} (" in in_sample for word in BANK.names)
    assert "red (" in str(claimed)
    assert "12.3 degrees" in in_sample


def test_names_as_many_words_as_asked(descriptions: Descriptions) -> None:
    assert words(replace(descriptions, top_k=1)[0]) == (["red"], ["moon"])


def test_is_a_sequence(descriptions: Descriptions) -> None:
    assert len(descriptions) == 3
    assert [d.image_score for d in descriptions] == pytest.approx([12.34, 20.0, 30.0])
    assert descriptions[-1] == descriptions[2]
    assert descriptions[1:] == [descriptions[1], descriptions[2]]
    assert descriptions[::-2] == [descriptions[2], descriptions[0]]
    assert descriptions[5:] == []
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"description {index} of 3"):
            descriptions[index]
    lines = str(descriptions).splitlines()
    assert lines == [f"[{i}] {description}" for i, description in enumerate(descriptions)]


def test_gives_the_scores(descriptions: Descriptions) -> None:
    assert descriptions.ignored is IGNORED
    assert descriptions.seen is SEEN
    assert torch.equal(descriptions.centred_attribute_score, -AS)
    assert descriptions.centred_image_score.tolist() == [1.0, 2.0, 3.0]


def test_finds_few_words_together(descriptions: Descriptions) -> None:
    both, one, none = descriptions.decompose()
    assert both.words == ("red", "moon") and one.words == ("blue",) and none.words == ()
    assert both.coefficients == pytest.approx((8**0.5, 0.5**0.5), abs=1e-5)
    assert both.explained == pytest.approx(1.0, abs=1e-6)
    (strongest, *_) = descriptions.decompose(max_words=1)
    assert strongest.words == ("red",)
    assert strongest.explained == pytest.approx(8 / 8.5, abs=1e-6)
    assert descriptions.decompose(penalty=0.3)[0].words == ("red",)
    assert descriptions.translation_energy.tolist() == pytest.approx([0.4, 1.5, 0.1])


def test_without_statistics_there_are_angles_and_no_words(descriptions: Descriptions) -> None:
    bare = replace(descriptions, evidence=None)
    assert str(bare[0]) == (
        "No word is named, for want of reference statistics; 25% of the feature's energy is "
        "ignored; without that part, its translation turns by 12.3 degrees."
    )
    assert bare[0].ignored is None and bare[0].to_dict()["seen"] is None
    names = ("seen", "ignored", "centred_image_score", "centred_attribute_score",
             "translation_energy")  # fmt: skip
    with pytest.raises(SINGRuntimeError, match="with the statistics of reference images"):
        bare.decompose()
    for name in names:
        with pytest.raises(SINGRuntimeError, match=r"got one that has none\. .*with_statistics\("):
            getattr(bare, name)


def test_adds_notes_and_says_what_was_done(descriptions: Descriptions) -> None:
    image = replace(descriptions, notes=("One.", "Two."), change="steered towards red")[0]
    assert str(image).endswith(
        "; steered towards red, its translation turns by 12.3 degrees, "
        "in a step of 0.5 norms of the feature. One. Two."
    )


def test_says_what_has_no_number(descriptions: Descriptions) -> None:
    nothing = torch.full((3,), torch.nan)
    image = replace(descriptions, image_score=nothing, null_energy=nothing)[0]
    assert "the feature is its own baseline; without that part, the angle asked for cannot" in str(
        image
    )
    assert "nan" not in str(image)
    assert image.to_dict()["image_score"] is None


def test_becomes_json(descriptions: Descriptions) -> None:
    broken = replace(descriptions, attribute_score=AS * torch.nan)
    for image in (*descriptions, *broken, *replace(descriptions, evidence=None)):
        stored = json.loads(json.dumps(image.to_dict(), allow_nan=False))
        assert stored == image.to_dict()
        assert stored["sentence"] == str(image)
    stored = descriptions[0].to_dict()
    assert stored["ignored"][0] == {
        "word": "red",
        "group": "color",
        "ignored": pytest.approx(1.5),
        "seen": pytest.approx(0.1),
        "attribute_score": -10.0,
        "unit": "sd",
    }
    assert broken[0].to_dict()["ignored"][0]["attribute_score"] is None
    whole = descriptions.to_dicts()[0]
    assert whole["centred_image_score"] == 1.0
    assert whole["translation_energy"] == pytest.approx(0.4)
    assert whole["words"]["moon"] == {
        "attribute_score": 50.0,
        "seen": 3.0,
        "ignored": pytest.approx(0.3),
        "centred_attribute_score": -50.0,
    }
    bare = replace(descriptions, evidence=None).to_dicts()[0]
    assert bare["translation_energy"] is None and bare["words"]["moon"] == {"attribute_score": 50.0}
