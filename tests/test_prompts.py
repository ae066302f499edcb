"""Prompts say a word in the place of the braces, and nothing else."""

from __future__ import annotations

import pytest

from captum_sing.errors import SINGValueError
from captum_sing.prompts import (
    DEFAULT_TEMPLATES,
    UNGROUPED,
    in_groups,
    in_templates,
    with_article,
)


@pytest.mark.parametrize(
    ("template", "word", "prompt"),
    [
        ("a {}", "orange", "an orange"),
        ("a {}", "red", "a red"),
        ("this is a {}.", "icon", "this is an icon."),
        ("the area {}", "under it", "the area under it"),  # no article stands before it
        ("a {}", "uniform", "a uniform"),
        ("a {}", "european", "a european"),
        ("{}", "ice", "ice"),
        ("a photo of {}", "an owl", "a photo of an owl"),
        ("a photo of a {}", "an owl", "a photo of an owl"),
        ("a photo of a {}", "two owls", "a photo of two owls"),
        ("a photo of a {}", "in water", "a photo of something in water"),
        ("a photo of an {}", "cat", "a photo of a cat"),
        ("A {}", "owl", "An owl"),
        ("a {}", "x-ray", "an x-ray"),
        ("a {}", "hourglass", "an hourglass"),
        ("a {}", "LED lamp", "an LED lamp"),
        ("a {}", "U-turn", "a U-turn"),
        ("a {}", "T-shirt", "a T-shirt"),
        ("a {}", "unimportant one", "an unimportant one"),
        ("a {}", "unicorn", "a unicorn"),
        ("a {}", "Apple", "an Apple"),
    ],
)
def test_an_article_agrees_with_its_word(template: str, word: str, prompt: str) -> None:
    assert with_article(template, word) == prompt


def test_each_word_has_the_prompts_of_its_group() -> None:
    groups = {"color": ("red", "blue"), "size": ("big", "small")}
    prompts = in_templates(groups, {"color": ("a {} thing", "{}")})
    assert prompts["red"] == ["a red thing", "red"] and prompts["blue"] == ["a blue thing", "blue"]
    assert prompts["big"] == [template.replace("{}", "big") for template in DEFAULT_TEMPLATES]
    own = in_templates({"mine": ("orange", "in water")}, None)
    assert own["orange"][1] == "a photo of an orange."
    assert own["in water"][1] == "a photo of something in water."
    assert in_templates(groups, "see {}")["small"] == ["see small"]


def test_words_of_no_group_form_one() -> None:
    groups = {"color": ["red", "blue"]}
    assert in_groups(["red", "sky", "blue", "sea"], groups) == {
        "color": ("red", "blue"),
        UNGROUPED: ("sky", "sea"),
    }
    assert in_groups(["sky", "sea"], {UNGROUPED: ["sky"]}) == {UNGROUPED: ("sky", "sea")}
    assert in_groups(["red", "blue"], groups) == {"color": ("red", "blue")}


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"colour": ["{}"]}, r"for groups among \['color'\], got \['colour'\]"),
        (["a photo"], r'with one "{}" for the word each, got \[\'a photo\'\]'),
        ([], r"got \[\]"),
        ("{} {}", r"got \['{} {}'\]"),
    ],
)
def test_refuses(templates: object, message: str) -> None:
    with pytest.raises(SINGValueError, match=message):
        in_templates({"color": ("red", "blue")}, templates)  # type: ignore[arg-type]
