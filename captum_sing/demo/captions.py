"""A small grammar of captions, and the prompts that name one attribute alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from captum_sing.demo.scenes import FACTORS

_PLACES = {
    "center": "in the center",
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}
_ARTICLES = ("a", "a", "the")
_OPENINGS = ("", "", "a picture of", "a photo of", "an image of", "this is", "there is")
_ADJECTIVE = ("the {} shape", "a picture of the {} shape", "this is the {} shape", "{}")

PROMPTS: dict[str, tuple[str, ...]] = {
    "shape": ("a {}", "a picture of a {}", "this is a {}", "{}"),
    "color": _ADJECTIVE,
    "background": ("a shape on a {} background", "a {} background with a shape", "{}"),
    "texture": _ADJECTIVE,
    "size": _ADJECTIVE,
    "position": ("a shape in the {} position", "this is a shape in the {} position", "{}"),
}
"""Factor -> templates for its words, each naming that attribute and no other."""


def caption(words: Mapping[str, str], rng: random.Random) -> str:
    """Says some of what is true of an image.

    Attributes are left out at random, so that prompts naming only one of them ("the red shape",
    "a star") look like captions too.

    Args:
        words (Mapping): factor name -> the true word.
        rng (random.Random): picks the template and what to leave out.

    Returns:
        str: a caption in lower case without punctuation.
    """
    if rng.random() < 0.25:
        kept = {rng.choice(list(FACTORS))}
    else:
        kept = {name for name in FACTORS if rng.random() < 0.7}
    said = {name: words[name] if name in kept else "" for name in FACTORS}
    if kept and rng.random() < 0.1:
        return " ".join(word for word in said.values() if word)
    adjectives = f"{said['size']} {said['texture']} {said['color']}"
    nothing = adjectives.strip() and rng.random() < 0.15
    noun = f"{rng.choice(_ARTICLES)} {adjectives} {said['shape'] or ('' if nothing else 'shape')}"
    place = _PLACES.get(said["position"], "")
    if place and rng.random() < 0.3:
        place = f"in the {said['position']} position"
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
    grammar = " ".join(("a an the shape background with position", *_OPENINGS, *_PLACES.values()))
    return sorted({word for values in FACTORS.values() for word in values} | set(grammar.split()))


def _articles(text: str) -> str:
    words = text.split()
    return " ".join(
        "an" if word == "a" and following.startswith(("a", "e", "i", "o", "u")) else word
        for word, following in zip(words, [*words[1:], ""], strict=True)
    )
