"""Every built-in word is there once, in plain English, and its prompts name it and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import open_clip
import pytest

from captum_sing import ConceptBank
from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError
from captum_sing.testing import ToyEncoder
from captum_sing.vocabularies import Vocabulary, load_vocabulary, names
from captum_sing.vocabularies.attributes import ATTRIBUTES

ALL = load_vocabulary(["attributes", "imagenet"])
ATTRIBUTE = load_vocabulary("attributes")
GROUPS = [group for groups in ATTRIBUTES.values() for group in groups]
CONTEXT = 77  # CLIP's


def test_there_are_a_few_hundred_words_and_a_thousand_classes() -> None:
    assert 400 < len(ATTRIBUTE.prompts) < 500
    assert len(ALL.prompts) == len(ATTRIBUTE.prompts) + 1000
    wanted = {"colors", "textures", "materials", "parts", "scenes", "weather", "lighting",
              "viewpoints", "photography"}  # fmt: skip
    assert wanted < set(names())


def test_no_word_and_no_group_is_there_twice() -> None:
    words = Counter(word for group in GROUPS for word in group.words)
    words.update(list(load_vocabulary("imagenet").prompts))
    assert {word for word, count in words.items() if count > 1} == set()
    folded = Counter(word.casefold() for word in words)
    assert {word for word, count in folded.items() if count > 1} == set()
    assert max(Counter(group.name for group in GROUPS).values()) == 1


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
class TestGroup:
    def test_words_are_lower_case_and_whole(self, group) -> None:
        assert len(group.words) >= 2
        for word in group.words:
            assert word == word.lower() == " ".join(word.split()) and word

    def test_prompts_are_grammatical(self, group) -> None:
        for word in group.words:
            prompts = ATTRIBUTE.prompts[word]
            assert len(prompts) == len(set(prompts)) == len(group.templates) >= 3
            for prompt in prompts:
                assert word in prompt
                doubled = r"\b(a|an|the) (a|an|the)\b|\b(\w+) \3\b|  |\{"
                assert not re.search(doubled, prompt), prompt


@pytest.mark.parametrize(
    "phrase",
    [
        "a photo of an orange object",
        "an earthy color palette",
        "a photo of an oval object",
        "a photo of an adult animal",
        "an autumn day",
        "an x-ray photo",
        "a portrait photo",
        "an infrared image",
        "an out-of-focus photo",
        "an underexposed photo",
        "a photo taken in the morning",
        "a photo taken at dawn",
        "a photo of a sandy beach",
        "an aquarium in the background",
        "a photo of a star-shaped object",
        "a graffiti mural",
        "the photo is scratched",
        "a black border on a picture",
        "an ink sketch",
        "a photo taken with an action camera",
        "a photo of something in water",
        "a photo of an animal that is grooming itself",
    ],
)
def test_true_phrases_are_among_the_prompts(phrase: str) -> None:
    assert any(phrase in prompts for prompts in ATTRIBUTE.prompts.values())


def test_no_alternatives_say_the_same() -> None:
    twins = [("dotted", "spotted"), ("heap", "pile"), ("woolly", "fluffy"), ("steel", "metal"),
             ("marble", "stone"), ("on a carpet", "on a floor"), ("overcast", "cloudy"),
             ("jungle", "forest"), ("statue", "sculpture"), ("street scene", "city"),
             ("dusk", "sunset"), ("video game screenshot", "screenshot")]  # fmt: skip
    for group in GROUPS:
        assert not any({one, other} <= set(group.words) for one, other in twins), group.name
    several = {group.name for group in GROUPS if not group.alternatives}
    assert {"part of a thing", "people", "overlay", "condition", "texture"} <= several
    assert not {"color", "material", "season", "weather", "scene"} & several


def test_the_table_of_the_documentation_is_true() -> None:
    text = (Path(__file__).parents[1] / "docs" / "words.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in text.splitlines() if line.startswith("| ")]  # fmt: skip
    assert cells[1:] == [
        [name, group.name, str(len(group.words)), "yes" if group.alternatives else "no",
         ", ".join(group.words[:3])]
        for name, groups in ATTRIBUTES.items() for group in groups
    ]  # fmt: skip


def test_prompts_fit_into_clips_context() -> None:
    tokenize = open_clip.SimpleTokenizer(context_length=4 * CONTEXT)
    texts = [text for prompts in ALL.prompts.values() for text in prompts]
    lengths = (tokenize(texts) != 0).sum(dim=1)
    assert int(lengths.max()) <= CONTEXT
    assert int((tokenize(["word " * 100]) != 0).sum()) > CONTEXT


def test_imagenets_classes_are_open_clips_in_their_order() -> None:
    vocabulary = load_vocabulary("imagenet")
    (classes,) = vocabulary.groups.values()
    listed = open_clip.IMAGENET_CLASSNAMES
    other = {n for n, (ours, theirs) in enumerate(zip(classes, listed, strict=True))
             if ours != theirs}  # fmt: skip
    twice = {name for name, count in Counter(listed).items() if count > 1}
    assert len(twice) == 2
    renamed_twins = {number for number in other if listed[number] in twice}
    assert len(renamed_twins) == 2 and {listed[n] for n in other - renamed_twins} == {"orange"}
    for number in (0, 134, 999):
        assert vocabulary.prompts[classes[number]] == tuple(
            template(listed[number]) for template in open_clip.SIMPLE_IMAGENET_TEMPLATES
        )
    assert vocabulary.prompts["orange (fruit)"][1] == "a bad photo of the orange."


def test_several_are_one_and_keep_their_groups() -> None:
    colors, both = load_vocabulary("colors"), load_vocabulary(("colors", "seasons"))
    assert isinstance(both, Vocabulary)
    assert both.groups == {**colors.groups, "season": ("spring", "summer", "autumn", "winter")}
    assert list(both.prompts)[: len(colors.prompts)] == list(colors.prompts)
    assert load_vocabulary(["colors", "colors"]) == colors
    assert load_vocabulary("attributes") == load_vocabulary(list(ATTRIBUTES))


@pytest.mark.parametrize("name", names())
def test_a_bank_holds_every_vocabulary(name: str) -> None:
    encoder, vocabulary = ToyEncoder(), load_vocabulary(name)
    bank = ConceptBank.from_vocabulary(name, encoder)
    assert bank.names == tuple(vocabulary.prompts) and bank.groups == vocabulary.groups
    word = bank.names[len(bank) // 2]
    alone = ConceptBank.from_prompts(
        {word: vocabulary.prompts[word], "another": ["another"]}, encoder
    )
    assert (bank.embed(word) - alone.embed(word)).norm() < 1e-6


def test_refuses_what_it_does_not_have() -> None:
    with pytest.raises(SINGNameError, match=r"among attributes, imagenet, .*The nearest is colors"):
        load_vocabulary("colours")
    with pytest.raises(SINGNameError, match=r"got 'xyz'\. Choose one or more of them"):
        load_vocabulary(["colors", "xyz"])
    with pytest.raises(SINGValueError, match="got none"):
        load_vocabulary([])
    for wrong in (None, 5, ["colors", 5]):
        with pytest.raises(SINGTypeError, match="expected names to be text or a list of it"):
            ConceptBank.from_vocabulary(wrong, ToyEncoder())  # type: ignore[arg-type]
