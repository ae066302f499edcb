"""Vocabularies by name, and several of them as one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from captum_sing.errors import SINGNameError, SINGValueError, expected
from captum_sing.prompts import with_article
from captum_sing.vocabularies.attributes import ATTRIBUTES
from captum_sing.vocabularies.imagenet import GROUP, imagenet_prompts

__all__ = ["Vocabulary", "load_vocabulary", "names"]

_ALL, _IMAGENET = "attributes", "imagenet"


@dataclass(frozen=True)
class Vocabulary:
    """Words and what is embedded for them.

    Attributes:
        prompts (dict of str to tuple of str): word -> its prompts.
        groups (dict of str to tuple of str): group -> its words, of which one at most is true of
            most pictures; every word is in one group.
    """

    prompts: dict[str, tuple[str, ...]]
    groups: dict[str, tuple[str, ...]]


def names() -> tuple[str, ...]:
    """What :func:`load_vocabulary` takes: "attributes" is all but "imagenet"."""
    return (_ALL, _IMAGENET, *sorted(ATTRIBUTES))


def load_vocabulary(which: str | Sequence[str]) -> Vocabulary:
    """One vocabulary, or several as one; no encoder is needed yet.

    Args:
        which (str or sequence of str): among :func:`names`.

    Returns:
        Vocabulary

    Raises:
        SINGNameError: no vocabulary of that name.
        SINGValueError: no name at all.

    Example::

        >>> sorted(load_vocabulary(["seasons", "weather"]).groups)
        ['season', 'weather']
    """
    chosen = [which] if isinstance(which, str) else list(which)
    if not chosen:
        raise SINGValueError(
            expected("load_vocabulary", "names", f"among {names()}", "none", "Name one or more")
        )
    prompts: dict[str, tuple[str, ...]] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for name in chosen:
        part = _one(name)
        prompts |= part.prompts
        groups |= part.groups
    return Vocabulary(prompts, groups)


def _one(name: str) -> Vocabulary:
    if name == _ALL:
        return load_vocabulary(list(ATTRIBUTES))
    if name == _IMAGENET:
        classes = imagenet_prompts()
        return Vocabulary(classes, {GROUP: tuple(classes)})
    if name not in ATTRIBUTES:
        close = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        raise SINGNameError(
            expected(
                "load_vocabulary",
                "names",
                f"among {', '.join(names())}",
                repr(name),
                f"The nearest is {close[0]}" if close else "Choose one or more of them",
            )
        )
    groups = ATTRIBUTES[name]
    return Vocabulary(
        {
            word: tuple(with_article(template, word) for template in group.templates)
            for group in groups
            for word in group.words
        },
        {group.name: group.words for group in groups},
    )
