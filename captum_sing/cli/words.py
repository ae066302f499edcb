"""What gives features a meaning: the translator, and the words in its encoder's space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from captum_sing.checks import check_parts
from captum_sing.classifiers import ClassifierSource
from captum_sing.concepts import UNGROUPED, ConceptBank
from captum_sing.encoders import OpenCLIPEncoder
from captum_sing.errors import SINGFileError, SINGValueError, expected
from captum_sing.translator import LinearTranslator

__all__ = ["EVERYDAY", "load_meaning", "read_words"]

_WHERE = "captum-sing analyze"
_TAGGED = "open_clip/"

EVERYDAY: dict[str, tuple[str, ...]] = {
    "color": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black",
              "gray", "white"),
    "texture": ("smooth", "striped", "spotted", "checkered", "furry", "shiny", "rough"),
    "place": ("room", "street", "forest", "meadow", "beach", "lake", "sky", "snow"),
    "light": ("bright day", "dark night", "sunset", "fog"),
    "medium": ("photograph", "drawing", "painting", "toy", "close-up"),
}  # fmt: skip
"""The words where none are given: of a group, one at most is true of most images."""


def load_meaning(
    source: ClassifierSource, translator: Path | None, concepts: Path | None, encoder: str | None
) -> tuple[LinearTranslator, ConceptBank]:
    """The translator and the words, checked against each other before the classifier is loaded.

    Args:
        source (ClassifierSource): one of the demo's needs nothing more.
        translator (Path or None): its file.
        concepts (Path or None): a saved bank, or words (see :func:`read_words`). None is
            :data:`EVERYDAY`, or all words of the demo's world.
        encoder (str or None): ``MODEL:TAG`` or ``local-dir:FOLDER``; for words alone.
    """
    words = EVERYDAY if concepts is None else read_words(concepts)
    is_demo = source.kind == "demo"
    if translator is not None:
        map_ = LinearTranslator.load(translator)
    elif is_demo:
        from captum_sing.demo import world

        map_ = world.load_translator(source.name)
    else:
        raise SINGValueError(
            expected(
                _WHERE,
                "--translator",
                f"of {source}",
                "none",
                "Fit one with captum_sing.TranslatorFitter and save it",
            )
        )
    if isinstance(words, ConceptBank):
        if encoder is not None:
            raise SINGValueError(
                expected(
                    _WHERE,
                    "--encoder",
                    "only with words, not with a saved bank",
                    encoder,
                    "Leave it out: the bank holds embeddings",
                )
            )
        bank = words
    elif is_demo and encoder is None:
        from captum_sing.demo import captions, world

        tiny = world.load_encoder()
        own = concepts is None
        prompts = {name: captions.PROMPTS[name] for name in words if name in captions.PROMPTS}
        bank = world.load_concepts(tiny) if own else _embed(words, tiny, prompts)
    else:
        bank = _embed(words, _load_encoder(encoder or _recorded(map_)))
    check_parts(source.load, map_, bank, None)
    return map_, bank


def read_words(path: Path) -> ConceptBank | dict[str, tuple[str, ...]]:
    """A saved bank (``.safetensors``), or words in groups.

    Words come as JSON, ``{"group": ["word", ...]}``, or as text, a word or ``group: word, word`` a
    line.

    Raises:
        SINGFileError: the file is missing, or holds none of these.
    """
    if path.suffix == ".safetensors":
        return ConceptBank.load(path)
    try:
        text = path.read_text(encoding="utf-8")
        return _from_json(text) if path.suffix == ".json" else _from_lines(text)
    except (OSError, ValueError) as error:
        reason = str(error) if path.exists() else "no such file"
        raise SINGFileError(
            expected(
                _WHERE,
                "--concepts",
                'to be a saved ConceptBank, JSON {"group": ["word", ...]} or text with a word or '
                '"group: word, word" a line',
                f"{path} ({reason})",
                "Check the path and the file",
            )
        ) from error


def _from_json(text: str) -> dict[str, tuple[str, ...]]:
    groups = json.loads(text)
    if not isinstance(groups, dict) or not all(
        isinstance(words, list) and all(isinstance(word, str) for word in words)
        for words in groups.values()
    ):
        raise ValueError("another structure")
    return {name: tuple(words) for name, words in groups.items()}


def _from_lines(text: str) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, words = line.rpartition(":")
        found = filter(None, map(str.strip, words.split(","))) if colon else (line,)
        group = name.strip() if colon else UNGROUPED
        groups[group] = groups.get(group, ()) + tuple(found)
    return groups


def _embed(
    groups: Mapping[str, tuple[str, ...]],
    encoder: OpenCLIPEncoder,
    templates: Mapping[str, tuple[str, ...]] | None = None,
) -> ConceptBank:
    words = [word for group in groups.values() for word in group]
    return ConceptBank.from_words(words, encoder, templates, groups)


def _load_encoder(name: str) -> OpenCLIPEncoder:
    if name.startswith(("local-dir:", "hf-hub:")):
        model, tag = name, ""
    else:
        model, _, tag = name.partition(":")
    return OpenCLIPEncoder(model, tag or None)


def _recorded(translator: LinearTranslator) -> str:
    """The encoder that the translator was fitted to, where its name says how to get it."""
    name = translator.encoder or ""
    if not name.startswith(_TAGGED) or "@" in name:
        raise SINGValueError(
            expected(
                _WHERE,
                "--encoder",
                f"of the translator, {name or 'which does not record its own'}",
                "none",
                "Give --encoder MODEL:TAG or --encoder local-dir:FOLDER, or a saved ConceptBank "
                "as --concepts",
            )
        )
    name = name.removeprefix(_TAGGED)
    return name if name.startswith("hf-hub:") else name.replace("/", ":", 1)
