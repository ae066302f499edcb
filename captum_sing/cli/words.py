"""What gives features a meaning: the translator, and the words in its encoder's space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from captum_sing.checks import check_parts
from captum_sing.classifiers import ClassifierSource
from captum_sing.cli.encoders import encoder_of
from captum_sing.cli.word_files import WORD_FILES, read_words
from captum_sing.concepts import ConceptBank
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGNameError, SINGValueError, expected
from captum_sing.prompts import in_templates
from captum_sing.translator import LinearTranslator
from captum_sing.vocabularies import Vocabulary, load_vocabulary, names
from captum_sing.vocabularies.loading import nearest

__all__ = [
    "EVERYDAY",
    "Meaning",
    "embedded",
    "load_meaning",
    "load_translator",
    "read_concepts",
    "recorded",
]

_WHERE = "captum-sing"
_TAGGED, _TRANSFORMERS = "open_clip/", "transformers/"

EVERYDAY = "attributes"
"""The vocabulary where no words are given."""


class Meaning(NamedTuple):
    """A translator and words of one space; ``embedded`` tells that the words are new."""

    translator: LinearTranslator
    concepts: ConceptBank
    embedded: bool


def load_meaning(
    source: ClassifierSource,
    translator: Path | None,
    concepts: Sequence[str] = (),
    encoder: str | None = None,
) -> Meaning:
    """The translator and the words, checked against each other before the classifier is loaded.

    An encoder is loaded only if words have to be embedded.

    Args:
        source (ClassifierSource): one of the demo's needs nothing more.
        translator (Path or None): its file, or a folder of the SING authors' release.
        concepts (sequence of str): see :func:`read_concepts`. None is :data:`EVERYDAY`, or all
            words of the demo's world.
        encoder (str or None): see :func:`captum_sing.cli.encoders.encoder_of`; for words alone.
    """
    of_demo = encoder == "demo" or (source.kind == "demo" and encoder is None)
    words = read_concepts(concepts) if concepts or not of_demo else None
    map_ = load_translator(source, translator)
    if isinstance(words, ConceptBank) and encoder is not None:
        raise SINGValueError(
            expected(
                _WHERE,
                "--encoder",
                "only with words, not with a saved bank",
                encoder,
                "Leave it out: the bank holds embeddings",
            )
        )
    if isinstance(words, ConceptBank):
        bank = words
    else:
        chosen = encoder_of("demo" if of_demo else encoder or recorded(map_))
        bank = embedded(words, chosen, of_demo)
    check_parts(source.load, map_, bank, None)
    return Meaning(map_, bank, embedded=bank is not words)


def read_concepts(given: Sequence[str]) -> ConceptBank | Vocabulary:
    """Words to embed, or a bank of words that are embedded already.

    Args:
        given (sequence of str): built-in vocabularies by name, several between commas; files with
            words (see :func:`captum_sing.cli.word_files.read_words`); or, alone, a saved bank
            (``.safetensors``) or one of the SING authors' release (``.npz``). None is
            :data:`EVERYDAY`.

    Raises:
        SINGNameError: neither a file nor vocabularies.
        SINGFileError: a file that cannot be read.
        SINGValueError: a word that occurs twice, or a bank beside other words.
    """
    parts = {one: _read(one) for one in given or (EVERYDAY,)}
    banks = {one: part for one, part in parts.items() if isinstance(part, ConceptBank)}
    if banks and len(parts) > 1:
        raise SINGValueError(
            expected(
                _WHERE,
                "--concepts",
                f"{next(iter(banks))} alone, for it holds embeddings",
                f"{len(parts)} of them",
                "Give words beside words, or one bank",
            )
        )
    for bank in banks.values():
        return bank
    prompts: dict[str, tuple[str, ...]] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for one, part in parts.items():
        if not isinstance(part, Vocabulary):
            continue
        if twice := sorted(set(prompts) & set(part.prompts)):
            raise SINGValueError(
                expected(
                    _WHERE,
                    "--concepts",
                    "with each word once",
                    f"{twice} again in {one}",
                    "Drop one of the two",
                )
            )
        prompts |= part.prompts
        groups |= {name: groups.get(name, ()) + words for name, words in part.groups.items()}
    return Vocabulary(prompts, groups)


def _read(given: str) -> ConceptBank | Vocabulary:
    path, chosen = Path(given), [name.strip() for name in given.split(",")]
    if set(chosen) <= set(names()):
        return load_vocabulary(chosen)
    if path.suffix == ".safetensors":
        return ConceptBank.load(path)
    if path.suffix == ".npz":
        return ConceptBank.from_authors(path)
    if path.is_file() or path.suffix.lower() in WORD_FILES:
        groups = read_words(path)
        prompts = {word: tuple(of_word) for word, of_word in in_templates(groups, None).items()}
        return Vocabulary(prompts, groups)
    unknown = [name for name in chosen if name not in names()]
    raise SINGNameError(
        expected(
            _WHERE,
            "--concepts",
            f"to be a file, or among {', '.join(names())}",
            ", ".join(map(repr, unknown)),
            nearest(unknown[0]) or "Check the path or the spelling",
        )
    )


def load_translator(source: ClassifierSource, path: Path | None) -> LinearTranslator:
    """The translator of a classifier; those of the demo bring theirs.

    Raises:
        SINGValueError: none was given.
        SINGFileError: the file is missing or damaged.
    """
    if path is not None:
        load = LinearTranslator.from_authors if path.is_dir() else LinearTranslator.load
        return load(path)
    if source.kind == "demo":
        from captum_sing.demo import world

        return world.load_translator(source.name)
    raise SINGValueError(
        expected(
            _WHERE,
            "--translator",
            f"of {source}",
            "none",
            "Fit one with captum-sing fit-translator",
        )
    )


def embedded(words: Vocabulary | None, encoder: ImageTextEncoder, of_demo: bool) -> ConceptBank:
    """A bank of words, which for the tiny CLIP of the demo are put as its captions put them.

    Args:
        words (Vocabulary or None): none is all words of the demo's world.
        encoder (ImageTextEncoder): what embeds them.
        of_demo (bool): whether it is that of the demo.
    """
    if not of_demo and words is not None:
        return ConceptBank.from_prompts(words.prompts, encoder, words.groups)
    from captum_sing.demo import captions, world

    if words is None:
        return world.load_concepts(encoder)
    own = {name: templates for name, templates in captions.PROMPTS.items() if name in words.groups}
    listed = [word for group in words.groups.values() for word in group]
    return ConceptBank.from_words(listed, encoder, own, words.groups)


def recorded(translator: LinearTranslator) -> str:
    """How to name the encoder that the translator was fitted to, where its name says how."""
    name = translator.encoder or ""
    if name.startswith(_TRANSFORMERS):  # a repository has an owner, a folder has not
        name = name.partition("@")[0]
        if "/" in name.removeprefix(_TRANSFORMERS):
            return name
    if name.startswith(f"{_TAGGED}hf-hub:"):
        name = name.partition("@")[0]
    if not name.startswith(_TAGGED) or "@" in name:
        raise SINGValueError(
            expected(
                _WHERE,
                "--encoder",
                f"of the translator, {translator.encoder or 'which does not record its own'}",
                "none",
                "Give --encoder MODEL:TAG, local-dir:FOLDER or transformers/FOLDER, or a saved "
                "ConceptBank as --concepts",
            )
        )
    name = name.removeprefix(_TAGGED)
    return name if name.startswith("hf-hub:") else name.replace("/", ":", 1)
