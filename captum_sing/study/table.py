"""The table of a study: one row an image, filled a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_sing.study.extraction import Extraction
from captum_sing.study.labels import label_names, own_words, unique_names
from captum_sing.study.repeats import Repeats
from captum_sing.study.scoring import SOURCES, Scorer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "beyond_column",
    "codes",
    "column",
    "evidence",
    "fill_table",
    "named_column",
    "own_column",
    "rows_of",
    "tested_rows",
]


def column(kind: str, baseline: str = "none", word: str | None = None) -> str:
    """The column of a score.

    Args:
        kind (str): "image_score", "attribute_score" (of the label), "null_energy"; or, with a
            word, "seen", "ignored", "attribute_score", or the "angle" between T(f) and the word.
        baseline (str): what is put in the ignored part's place. Evidence is never taken about
            zero: that of "none" is that of "mean".
        word (str, optional): which.

    Example::

        >>> column("image_score"), column("ignored", "mean", "red")
        ('image_score', 'ignored_red')
        >>> column("image_score", "mean"), column("ignored", "conditional", "red")
        ('mean_image_score', 'conditional_ignored_red')
    """
    plain = ("none", "mean") if word is not None else ("none",)
    end = "" if word is None else f"_{word}"
    return f"{'' if baseline in plain else f'{baseline}_'}{kind}{end}"


def own_column(group: str) -> str:
    """The column of the word of a group that an image really has."""
    return f"own_{group}"


def named_column(group: str, source: str) -> str:
    """The column of the word of a group that an image is given; see :class:`Scorer`."""
    return f"named_{group}_{source}"


def beyond_column(group: str) -> str:
    """The column of what the ignored part tells beyond what is seen; see :func:`partial_out`."""
    return f"beyond_{group}"


def evidence(images: pd.DataFrame, kind: str, words: Sequence[str]) -> Tensor:
    """What is "seen" or "ignored" of words, about the mean, shape (n, V)."""
    columns = [column(kind, "mean", word) for word in words]
    return torch.from_numpy(images[columns].to_numpy(copy=True))


def codes(images: pd.DataFrame, name: str) -> Tensor:
    """Whole numbers for what a column says, shape (n,); -1 for nothing."""
    return torch.from_numpy(images[name].cat.codes.to_numpy().astype(np.int64))


def tested_rows(table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows anything is said from, shape (n,).

    Not images that the translator was fitted on; and of equal ones the first alone, for the same
    image twice is no second witness.
    """
    rows: np.ndarray[Any, np.dtype[np.bool_]] = ~(table["in_sample"] | table["repeated"]).to_numpy()
    return rows


def rows_of(extraction: Extraction) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of features, shape (B, D), float64, and the rows of the table that they fill."""
    done = 0
    for block in extraction.blocks():
        yield slice(done, done + len(block.rows)), block.features.double()
        done += len(block.rows)


def fill_table(
    extraction: Extraction,
    scorer: Scorer,
    word_labels: Mapping[str, Sequence[str | None]] | None = None,
) -> pd.DataFrame:
    """Score every usable picture.

    Args:
        extraction (Extraction): N pictures.
        scorer (Scorer): what to score them with.
        word_labels (mapping, optional): see :func:`captum_sing.study.labels.own_words`.

    Returns:
        pandas.DataFrame: in the order of the collection, with the columns ``path``, ``label``,
        ``prediction``, ``in_sample``, ``repeated``, and those that :func:`column`,
        :func:`own_column` and :func:`named_column` name.

    Raises:
        SINGNameError, SINGValueError: labels that are none.
    """
    import pandas as pd

    bank, rows = scorer.concepts, extraction.valid.nonzero().flatten().tolist()
    classes = unique_names(extraction.sizes[1], extraction.class_names)
    labels = label_names(extraction.labels, classes)
    own = own_words(bank, labels, word_labels)
    known: dict[str, Any] = {
        "path": [extraction.names[row] for row in rows],
        "label": pd.Categorical([labels[row] for row in rows]),
        "prediction": pd.Categorical.from_codes(
            extraction.predictions[rows].numpy(), categories=classes
        ),
    }
    for group, of_images in own.items():
        of_rows = [of_images[row] for row in rows]
        known[own_column(group)] = pd.Categorical(of_rows, categories=list(bank.groups[group]))
    place = {word: index for index, word in enumerate(bank.names)}
    label_places = torch.tensor([place.get(label or "", -1) for label in labels])

    kept: dict[str, Any] = {}
    done, repeats = 0, Repeats()
    for block in extraction.blocks():
        stop = done + len(block.rows)
        found = _block(scorer, block.features, block.embeddings, label_places[block.rows])
        found["repeated"] = repeats.among(block)
        for name, values in found.items():
            array = values.cpu().numpy()
            if name not in kept:
                kept[name] = np.empty(len(rows), array.dtype)
            kept[name][done:stop] = array
        done = stop
    for group, of_group in bank.groups.items():
        for name in {named_column(group, source) for source in SOURCES} & set(kept):
            kept[name] = pd.Categorical.from_codes(kept[name], categories=list(of_group))
    return pd.DataFrame({**known, **kept}, copy=False)


def _block(scorer: Scorer, features: Tensor, embeddings: Tensor, labels: Tensor) -> dict[str, Any]:
    """The columns of one block."""
    scored = scorer.score(features, embeddings, labels)
    found: dict[str, Any] = {"in_sample": scored.in_sample}
    for baseline, scores in scored.scores.items():
        for kind in ("image_score", "attribute_score", "null_energy"):
            found[column(kind, baseline)] = getattr(scores, kind)
    of_words = [("angle", "none", scored.angle)]
    of_words.append(("attribute_score", "none", scored.attribute_score))
    for baseline, scores in scored.scores.items():
        for kind, evidence in (("seen", scores.seen), ("ignored", scores.ignored)):
            if evidence is not None:
                of_words.append((kind, baseline, evidence))
    for kind, baseline, values in of_words:
        for word, of_word in zip(scorer.words, values.T.cpu(), strict=True):
            found[column(kind, baseline, word)] = of_word
    for group, sources in scored.named.items():
        for source, named in sources.items():
            found[named_column(group, source)] = named.int()
    return found
