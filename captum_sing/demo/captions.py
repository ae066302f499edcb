"""A small grammar of captions, and the prompts that ask for one attribute alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from .scenes import FACTORS

_PLACES = {
    "center": "in the center",
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}
_OPENINGS = ("", "", "a picture of", "this is", "there is")

PROMPTS: dict[str, tuple[str, ...]] = {
    "shape": ("a {}", "a picture of a {}", "this is a {}", "{}"),
    "color": ("a {} shape", "a picture of a {} shape", "this is a {} shape", "{}"),
    "background": (
        "a shape on a {} background", "a picture of a shape on a {} background",
        "a {} background with a shape", "{}",
    ),
    "texture": ("a {} shape", "a picture of a {} shape", "this is a {} shape", "{}"),
    "size": ("a {} shape", "a picture of a {} shape", "this is a {} shape", "{}"),
    "position": ("a shape {}", "a picture of a shape {}", "this is a shape {}", "{}"),
}
"""Templates for each factor's words; see :func:`prompts`."""


def prompts(factor: str) -> list[list[str]]:
    """Every prompt of every word of a factor, with right articles and prepositions.

    Args:
        factor (str): a key of :data:`~captum_sing.demo.scenes.FACTORS`.

    Returns:
        list[list[str]]: one list for each word, of the same length.

    Example::

        >>> prompts("color")[1][0]
        'an orange shape'
    """
    return [
        [_articles(t.format(word if t == "{}" else _PLACES.get(word, word)))
         for t in PROMPTS[factor]]
        for word in FACTORS[factor]
    ]


def caption(words: Mapping[str, str], rng: random.Random) -> str:
    """Says some of what is true of an image.

    Attributes are left out at random, so that prompts naming only one of them ("a red shape",
    "a star") look like captions too.

    Args:
        words (Mapping): factor name -> the true word.
        rng (random.Random): picks the template and what to leave out.

    Returns:
        str: a caption in lower case without punctuation.
    """
    if rng.random() < 0.2:
        kept = {rng.choice(list(FACTORS))}
    else:
        kept = {name for name in FACTORS if rng.random() < 0.7}
    said = {name: words[name] if name in kept else "" for name in FACTORS}
    if rng.random() < 0.12 and kept:
        return " ".join(word for word in said.values() if word)
    noun = f"a {said['size']} {said['texture']} {said['color']} {said['shape'] or 'shape'}"
    place = _PLACES.get(said["position"], "")
    if said["background"] and rng.random() < 0.3:
        text = f"a {said['background']} background with {noun} {place}"
    else:
        ground = f"on a {said['background']} background" if said["background"] else ""
        text = f"{rng.choice(_OPENINGS)} {noun} {place} {ground}"
    return _articles(text)


def captions(labels: Mapping[str, Sequence[int]], rng: random.Random) -> list[str]:
    """One :func:`caption` for each row of labels (factor name -> N indices)."""
    rows = zip(*(([FACTORS[name][int(i)] for i in labels[name]]) for name in FACTORS), strict=True)
    return [caption(dict(zip(FACTORS, row, strict=True)), rng) for row in rows]


def vocabulary() -> list[str]:
    """Every word that a caption can contain, sorted."""
    grammar = " ".join(("a an shape background with", *_OPENINGS, *_PLACES.values()))
    return sorted({word for values in FACTORS.values() for word in values} | set(grammar.split()))


def _articles(text: str) -> str:
    words = text.split()
    return " ".join(
        "an" if word == "a" and following[:1] in set("aeiou") and following else word
        for word, following in zip(words, [*words[1:], ""], strict=True)
    )
