"""Words through templates: the prompts that are embedded for each word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from captum_sing.errors import SINGValueError, expected

__all__ = ["DEFAULT_TEMPLATES", "UNGROUPED", "in_groups", "in_templates", "with_article"]

DEFAULT_TEMPLATES = ("{}", "a photo of a {}.", "an image of a {}.")
UNGROUPED = "words"
"""The group of words that are in no other."""

# spelled as one, spoken as the other
_CONSONANT = re.compile(
    r"uni(?![dmn])|u-|us[eu]|ut[eio]|ukulele|eu|ewe|one\b|once\b", re.IGNORECASE
)
_VOWEL = re.compile(r"[aeiou]|[fhlmnrsx]-|hour|honest|hono|heir|mri\b", re.IGNORECASE)
_LETTERS = re.compile(r"[AEFHILMNORSX][A-Z]*[0-9]*\b")  # an LED, an SUV
_DETERMINED = re.compile(r"(an?|the|some|no|two|three|four|many) ", re.IGNORECASE)
_PLACED = re.compile(
    r"(in|on|at|with|without|under|below|beneath|above|over|behind|before|from|against|among|"
    r"near|beside|between|through|inside|outside|made) ",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\b(an?) (?=\{\})", re.IGNORECASE)


def with_article(template: str, word: str) -> str:
    """One prompt, in which an "a" right before the word agrees with it.

    Args:
        template (str): with one ``{}`` for the word.
        word (str): what to say; one with its own article loses the template's, and what says where
            something is, or of what, follows "something".

    Example::

        >>> [with_article("a photo of a {}.", word) for word in ("orange", "uniform", "in water")]
        ['a photo of an orange.', 'a photo of a uniform.', 'a photo of something in water.']
    """
    spoken = (bool(_VOWEL.match(word)) and not _CONSONANT.match(word)) or bool(_LETTERS.match(word))
    if _DETERMINED.match(word):
        template = _ARTICLE.sub("", template)
    elif _PLACED.match(word):
        template = _ARTICLE.sub("something ", template)
    else:
        template = _ARTICLE.sub(lambda found: f"{found[1][0]}{'n' if spoken else ''} ", template)
    return template.replace("{}", word)


def in_groups(
    words: Sequence[str], groups: Mapping[str, Sequence[str]] | None
) -> dict[str, tuple[str, ...]]:
    """The groups, with all words that are in none of them in one more, :data:`UNGROUPED`."""
    parts = {name: tuple(group) for name, group in (groups or {}).items()}
    belongs = {word for group in parts.values() for word in group}
    rest = tuple(word for word in words if word not in belongs)
    if rest:
        parts[UNGROUPED] = parts.get(UNGROUPED, ()) + rest
    return parts


def in_templates(
    groups: Mapping[str, Sequence[str]],
    templates: Sequence[str] | Mapping[str, Sequence[str]] | None,
) -> dict[str, list[str]]:
    """Word -> its prompts: each template with the word in the place of ``{}``.

    The word stands as it is; an "a" before it agrees with it (:func:`with_article`).

    Args:
        groups (mapping of str to sequence of str): group name -> words.
        templates (sequence of str or mapping, optional): for all words, or for each group by its
            name. Default: :data:`DEFAULT_TEMPLATES`

    Raises:
        SINGValueError: a template without ``{}``, or templates of a group that there is not.
    """
    unknown = sorted(set(templates) - set(groups)) if isinstance(templates, Mapping) else []
    if unknown:
        raise SINGValueError(
            expected(
                "ConceptBank",
                "templates",
                f"for groups among {sorted(groups)}",
                str(unknown),
                "Spell them as the groups are spelled",
            )
        )
    return {
        word: [with_article(template, word) for template in of_group]
        for name, words in groups.items()
        for of_group in [_templates_of(templates, name)]
        for word in words
    }


def _templates_of(
    templates: Sequence[str] | Mapping[str, Sequence[str]] | None, group: str
) -> Sequence[str]:
    if isinstance(templates, Mapping):
        templates = templates.get(group)
    if templates is None:
        return DEFAULT_TEMPLATES
    chosen = [templates] if isinstance(templates, str) else list(templates)
    if not chosen or any(template.count("{}") != 1 for template in chosen):
        raise SINGValueError(
            expected(
                "ConceptBank",
                "templates",
                'with one "{}" for the word each',
                str(chosen),
                'Write "a photo of a {}"',
            )
        )
    return chosen
