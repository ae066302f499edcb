"""Words as directions: prompts embedded, averaged, and centred in their groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from captum_sing.authors import KARLO_ENCODER, read_bank
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGFileError, SINGNameError, SINGTypeError, SINGValueError, expected
from captum_sing.files import load_tensors, save_tensors
from captum_sing.prompts import DEFAULT_TEMPLATES, in_groups, in_templates
from captum_sing.vocabularies import load_vocabulary

__all__ = ["DEFAULT_TEMPLATES", "ConceptBank"]

_ROUNDING = 1e-5  # words that differ by less from their group's mean do not differ from it

_KIND = "ConceptBank"


@dataclass(frozen=True, eq=False)
class ConceptBank:
    """Words with one unit embedding each, in groups of words that are told from each other.

    Attributes:
        names (tuple of str): the V words.
        embeddings (Tensor): shape (V, E), unit rows.
        groups (dict of str to tuple of str): group name -> its words; every word is in one.
        encoder (str or None): the name of the encoder whose space this is.

    Example::

        >>> import torch
        >>> bank = ConceptBank(("red", "blue"), torch.eye(2), {"color": ("red", "blue")})
        >>> bank.directions  # what tells red from blue
        tensor([[ 0.7071, -0.7071],
                [-0.7071,  0.7071]])
    """

    names: tuple[str, ...]
    embeddings: Tensor
    groups: dict[str, tuple[str, ...]]
    encoder: str | None = None

    def __post_init__(self) -> None:
        _check_words(self.names, self.groups)
        if self.embeddings.dim() != 2 or len(self.embeddings) != len(self.names):
            raise SINGValueError(
                expected(
                    "ConceptBank",
                    "embeddings",
                    f"of shape ({len(self.names)}, E)",
                    tuple(self.embeddings.shape),
                    "Give each word one embedding",
                )
            )
        if not self.directions.isfinite().all():
            raise SINGValueError(
                expected(
                    "ConceptBank",
                    "embeddings",
                    "finite, and different within a group",
                    "NaN, or words that the encoder cannot tell apart",
                    "Use other words",
                )
            )

    @classmethod
    def from_words(
        cls,
        words: Sequence[str],
        encoder: ImageTextEncoder,
        templates: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> ConceptBank:
        """Embed words through prompt templates.

        Each prompt's embedding is normalised before a word's prompts are averaged.

        Args:
            words (sequence of str): the V words.
            encoder (ImageTextEncoder): embeds the prompts.
            templates (sequence of str or mapping, optional): prompts with one ``{}`` for the word,
                the same for all, or for each group by its name. Default: ``DEFAULT_TEMPLATES``
            groups (mapping of str to sequence of str, optional): words that exclude each other,
                such as colours. Words in none of them form one group, ``"words"``.

        Returns:
            ConceptBank

        Raises:
            SINGTypeError: ``words`` is one string.
            SINGValueError: no words, a word twice, a group of one, a template without ``{}``.
        """
        if isinstance(words, str):
            raise SINGTypeError(
                expected("ConceptBank", "words", "to be a list", "a str", "Write [word, ...]")
            )
        parts = in_groups(words, groups)
        _check_words(words, parts)
        prompts = in_templates(parts, templates)
        return cls.from_prompts({word: prompts[word] for word in words}, encoder, parts)

    @classmethod
    def from_prompts(
        cls,
        prompts: Mapping[str, str | Sequence[str]],
        encoder: ImageTextEncoder,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> ConceptBank:
        """Embed words that come with whole prompts of their own.

        Each prompt's embedding is normalised before a word's prompts are averaged.

        Args:
            prompts (mapping of str to str or sequence of str): each of the V words -> what is
                embedded for it.
            encoder (ImageTextEncoder): embeds the prompts.
            groups (mapping of str to sequence of str, optional): as in :meth:`from_words`.

        Returns:
            ConceptBank

        Raises:
            SINGTypeError: a prompt that is no text.
            SINGValueError: no words, a group of one, a word without prompts.
        """
        parts = in_groups(list(prompts), groups)
        _check_words(list(prompts), parts)
        listed = [[given] if isinstance(given, str) else list(given) for given in prompts.values()]
        counts = [len(of_word) for of_word in listed]
        if 0 in counts:
            raise SINGValueError(
                expected("ConceptBank", "prompts", "for each word", "none for one", "Write some")
            )
        texts = [text for of_word in listed for text in of_word]
        for text in texts:
            if not isinstance(text, str):
                raise SINGTypeError(
                    expected("ConceptBank", "prompts", "to be text", repr(text), "Write it out")
                )
        with torch.no_grad():
            units = torch.nn.functional.normalize(encoder.encode_text(texts).double(), dim=1)
        means = torch.stack([block.mean(dim=0) for block in units.split(counts)])
        embeddings = torch.nn.functional.normalize(means, dim=1).float()
        return cls(tuple(prompts), embeddings.cpu(), parts, encoder.name)

    @classmethod
    def from_vocabulary(cls, names: str | Sequence[str], encoder: ImageTextEncoder) -> ConceptBank:
        """Embed built-in words through their own prompts.

        Args:
            names (str or sequence of str): among :func:`captum_sing.vocabularies.names`, such as
                ``["colors", "textures"]``.
            encoder (ImageTextEncoder): embeds the prompts.

        Returns:
            ConceptBank

        Raises:
            SINGNameError: no vocabulary of that name.
        """
        vocabulary = load_vocabulary(names)
        return cls.from_prompts(vocabulary.prompts, encoder, vocabulary.groups)

    @classmethod
    def from_authors(
        cls, path: str | Path, template: str = "mean", encoder: str | None = KARLO_ENCODER
    ) -> ConceptBank:
        """A bank of text embeddings of the SING authors' release; no pickled code is run.

        Args:
            path (str or Path): their ``.npz`` file.
            template (str, optional): one of its prompts. Default: their mean
            encoder (str, optional): whose space it is, which the file does not say. Default: that
                of their published bank and translators.

        Returns:
            ConceptBank: all words in one group, ``"words"``.

        Raises:
            SINGFileError: the file is missing, damaged, or holds anything but names and numbers.
            SINGNameError: a template that it does not have.
        """
        names, embeddings = read_bank(path, template)
        units = torch.nn.functional.normalize(embeddings.double(), dim=1).float()
        return cls(tuple(names), units, {"words": tuple(names)}, encoder)

    @property
    def embedding_dim(self) -> int:
        """E, the width of the space."""
        return int(self.embeddings.shape[1])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def group_means(self) -> Tensor:
        """The mean embedding of each word's group, shape (V, E), float64."""
        means = torch.empty(self.embeddings.shape, dtype=torch.float64)
        for group in self.groups.values():
            rows = self.indices(group)
            means[rows] = self.embeddings[rows].double().mean(dim=0)
        return means

    @cached_property
    def directions(self) -> Tensor:
        """u_t: each word's embedding minus its group's mean, normalised, shape (V, E)."""
        centred = self.embeddings.double() - self.group_means
        length = centred.norm(dim=1, keepdim=True)
        return torch.where(length > _ROUNDING, centred / length, torch.nan).float()

    def indices(self, words: Sequence[str]) -> list[int]:
        """The rows of these words.

        Raises:
            SINGNameError: a word that the bank does not have.
        """
        missing = [word for word in words if word not in self._rows]
        if missing:
            raise SINGNameError(
                expected(
                    "ConceptBank",
                    "words",
                    f"among {list(self.names[:20])}",
                    str(missing),
                    "Ask for words of the bank, or make one with these words",
                )
            )
        return [self._rows[word] for word in words]

    def embed(self, prompt: str | Tensor, encoder: ImageTextEncoder | None = None) -> Tensor:
        """The embedding of a word of the bank, of free text, or an embedding as it is.

        Args:
            prompt (str or Tensor): what to embed.
            encoder (ImageTextEncoder, optional): for text that is no word of the bank.

        Returns:
            Tensor: shape (E,), or as ``prompt``.

        Raises:
            SINGTypeError, SINGValueError: no text, or free text without an encoder.
        """
        if isinstance(prompt, Tensor):
            return prompt
        if not isinstance(prompt, str):
            raise SINGTypeError(
                expected(
                    "ConceptBank.embed",
                    "prompt",
                    "to be text or an embedding",
                    type(prompt).__name__,
                    f"Name a word of the bank, such as {self.names[0]!r}",
                )
            )
        if prompt in self._rows:
            return self.embeddings[self._rows[prompt]]
        if encoder is None:
            raise SINGValueError(
                expected(
                    "ConceptBank.embed",
                    "prompt",
                    f"to be a word of the bank, such as {self.names[0]!r}",
                    repr(prompt),
                    "For free text, give SING the encoder: SING(..., encoder=encoder)",
                )
            )
        with torch.no_grad():
            return encoder.encode_text([prompt])[0]

    def group_of(self, word: str) -> str:
        """The name of a word's group."""
        self.indices([word])
        return next(name for name, group in self.groups.items() if word in group)

    def save(self, path: str | Path) -> Path:
        """Save to one safetensors file, written whole or not at all."""
        facts = {"names": self.names, "groups": self.groups, "encoder": self.encoder}
        return save_tensors(path, _KIND, {"embeddings": self.embeddings}, facts)

    @classmethod
    def load(cls, path: str | Path) -> ConceptBank:
        """Read what :meth:`save` wrote.

        Raises:
            SINGFileError: the file is missing, truncated, or no concept bank.
        """
        tensors, facts = load_tensors(path, _KIND, ["embeddings"])
        try:
            groups = {name: tuple(group) for name, group in facts["groups"].items()}
            return cls(tuple(facts["names"]), tensors["embeddings"], groups, facts["encoder"])
        except (AttributeError, KeyError, TypeError, SINGValueError) as error:
            raise SINGFileError(
                expected("load ConceptBank", "path", "to hold a whole bank", path, "Make it again")
            ) from error

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(group)}" for name, group in self.groups.items())
        return f"ConceptBank({len(self)} words [{sizes}], encoder={self.encoder!r})"


def _check_words(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    where, words = "ConceptBank", list(names)
    if not words:
        raise SINGValueError(
            expected(where, "words", "with at least two of them", "none", "Name some words")
        )
    repeated = sorted(word for word, count in Counter(words).items() if count > 1)
    if repeated:
        raise SINGValueError(
            expected(where, "words", "each once", f"{repeated} again", "Drop the copies")
        )
    grouped = Counter(word for group in groups.values() for word in group)
    if grouped != Counter(words):
        odd = {word for word in {*grouped, *words} if grouped[word] != 1 or word not in words}
        raise SINGValueError(
            expected(
                where,
                "groups",
                "to hold every word of the bank once",
                f"a difference in {sorted(odd)}",
                "Put each word in one group",
            )
        )
    lonely = [name for name, group in groups.items() if len(group) < 2]
    if lonely:
        raise SINGValueError(
            expected(
                where,
                "groups",
                "of two words or more",
                f"one word in {lonely}",
                "A word means something only beside its alternatives; add one",
            )
        )
