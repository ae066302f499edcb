"""Words through templates: the prompts that are embedded for each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captum_sing.errors import SINGValueError, expected

__all__ = ["DEFAULT_TEMPLATES", "UNGROUPED", "in_groups", "in_templates", "with_article"]

DEFAULT_TEMPLATES = ("{}", "a photo of a {}.", "an image of a {}.")
UNGROUPED = "words"
"""The group of words that are in no other."""

_LIKE_YOU = ("uni", "use", "eu", "one")  # vowels that are spoken as consonants


def with_article(template: str, word: str) -> str:
    """One prompt, in which an "a" right before the word agrees with it.

    Args:
        template (str): with one ``{}`` for the word.
        word (str): what to say.

    Example::

        >>> with_article("a photo of a {}.", "orange"), with_article("a {} shirt", "uniform")
        ('a photo of an orange.', 'a uniform shirt')
    """
    if word.startswith(tuple("aeiou")) and not word.startswith(_LIKE_YOU):
        before, place, after = template.partition("{}")
        if before == "a " or before.endswith(" a "):
            template = f"{before[:-1]}n {place}{after}"
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
    """Word -> its prompts: each template with the word in the place of ``{}``, as it stands.

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
        word: [template.replace("{}", word) for template in of_group]
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
