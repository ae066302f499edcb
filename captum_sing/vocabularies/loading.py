"""Vocabularies by name, and several of them as one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError, expected
from captum_sing.prompts import in_templates
from captum_sing.vocabularies.attributes import ATTRIBUTES
from captum_sing.vocabularies.imagenet import GROUP, imagenet_prompts

__all__ = ["Vocabulary", "load_vocabulary", "names", "nearest"]

_ALL, _IMAGENET = "attributes", "imagenet"


@dataclass(frozen=True)
class Vocabulary:
    """Words and what is embedded for them.

    Attributes:
        prompts (dict of str to tuple of str): word -> its prompts.
        groups (dict of str to tuple of str): group -> its words, which are told apart; every word
            is in one group. Which groups are of alternatives, of which one is true, is in
            :mod:`captum_sing.vocabularies.attributes`.
    """

    prompts: dict[str, tuple[str, ...]]
    groups: dict[str, tuple[str, ...]]


def names() -> tuple[str, ...]:
    """What :func:`load_vocabulary` takes: "attributes" is all but "imagenet"."""
    return (_ALL, _IMAGENET, *sorted(ATTRIBUTES))


def nearest(name: str) -> str:
    """A remedy for a name that is spelled almost like one of :func:`names`, or nothing."""
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    return f"The nearest is {close[0]}" if close else ""


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
    if not isinstance(which, Sequence) or not all(isinstance(name, str) for name in which):
        raise SINGTypeError(
            expected("load_vocabulary", "names", "to be text or a list of it", which, "Name some")
        )
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
        raise SINGNameError(
            expected(
                "load_vocabulary",
                "names",
                f"among {', '.join(names())}",
                repr(name),
                nearest(name) or "Choose one or more of them",
            )
        )
    groups = {group.name: group.words for group in ATTRIBUTES[name]}
    prompts = in_templates(groups, {group.name: group.templates for group in ATTRIBUTES[name]})
    return Vocabulary({word: tuple(of_word) for word, of_word in prompts.items()}, groups)
