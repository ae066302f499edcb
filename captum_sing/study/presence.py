"""Does one image's ignored part point at a word? Each against the images without the word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from captum_sing.controls import MINIMUM_REFERENCES, presence
from captum_sing.study.design import goes_with_class
from captum_sing.study.statistics import levels
from captum_sing.study.table import codes, evidence, named_column, own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["image_judgements"]


def image_judgements(table: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    r"""z of each held-out image and word, against all others that do not have the word.

    That of :class:`captum_sing.controls.References`, of which the image itself is left out. Which
    images have a word is what their label says, or, where a group has none, the encoder's own
    name. False discoveries are held among the words of one image. Words that go with the classes
    are not tested: what is ignored of the class would speak for them.

    Args:
        table (pandas.DataFrame): of a study.
        groups (mapping): group -> its words, with evidence.

    Returns:
        pandas.DataFrame: a row an image, with ``path``; ``z_red`` and ``q_red`` of each word, the
        latter NaN where there is no test, and both for fewer than 500 references; and ``starred``,
        the words with q <= 0.05, the largest z first.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control, norm

    _, images = next(levels(table))
    words = [word for of_group in groups.values() for word in of_group]
    if not words or not len(images):
        return pd.DataFrame({"path": images["path"], "starred": ""})
    has_word = torch.cat([_present(images, group, own) for group, own in groups.items()], dim=1)
    z, count = _z(evidence(images, "ignored", words).double(), has_word)
    z[:, count < MINIMUM_REFERENCES] = torch.nan
    free = [not goes_with_class(images, _names(images, group)) for group in groups]
    untied = np.repeat(free, [len(own) for own in groups.values()])
    known, q = z.isfinite().all(dim=0).numpy() & untied, np.full(z.shape, np.nan)
    if known.any():
        q[:, known] = false_discovery_control(norm.sf(z[:, known].numpy()), axis=1)
    order = z.nan_to_num(-torch.inf).argsort(dim=1, descending=True).tolist()
    starred = [
        ", ".join(words[place] for place in places if row[place] <= 0.05)
        for row, places in zip(q, order, strict=True)
    ]
    columns = {f"z_{word}": z[:, place].numpy() for place, word in enumerate(words)}
    columns |= {f"q_{word}": q[:, place] for place, word in enumerate(words)}
    told = {"path": images["path"].to_numpy(), "starred": starred}
    return pd.DataFrame({**told, **columns})


def _present(images: pd.DataFrame, group: str, words: Sequence[str]) -> Tensor:
    """Which words each image has, or may have, shape (n, V)."""
    name = _names(images, group)
    known = images[name].cat.categories  # of which these words may be some
    return presence(codes(images, name), len(known))[:, known.get_indexer(list(words))]


def _names(images: pd.DataFrame, group: str) -> str:
    """The column that tells which word of a group an image has."""
    own = own_column(group)
    return own if own in images else named_column(group, "encoder")


def _z(values: Tensor, has_word: Tensor) -> tuple[Tensor, Tensor]:
    """z against the references but oneself, shape (n, V), and how many these are at least (V,)."""
    without = (~has_word).double()
    count = without.sum(dim=0)
    mean = (without * values).sum(dim=0) / count
    squares = (without * (values - mean).square()).sum(dim=0)
    others = count - without
    mean_of_others = (count * mean - without * values) / others
    squares = squares - without * (values - mean) * (values - mean_of_others)
    spread = (squares / (others - 1)).clamp_min(0).sqrt()
    z = torch.where(spread > 0, (values - mean_of_others) / spread, torch.nan)
    return z, count - 1
