"""How the words of a group go with the classes: what they may be compared within."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captum_sing.study.table import own_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALONE", "CONSTANT", "TIED", "WITHIN", "design_of", "goes_with_class"]

ALONE, WITHIN, CONSTANT = "alone", "within classes", "constant"
"""No classes, or words that *are* the classes; words that vary in a class; and others."""

TIED = (
    "not tested: the word is the same in all images of a class; that needs a translator fitted on "
    "other classes"
)

_LEVEL = 0.05


def design_of(images: pd.DataFrame, group: str) -> str:
    """How the words of a group are tested: :data:`ALONE`, :data:`WITHIN` or :data:`CONSTANT`.

    What goes with the class is found wherever the class is. So words are compared within classes,
    unless the words are the classes themselves; and one that is the same in all images of a class
    cannot be told from it.

    Args:
        images (pandas.DataFrame): rows of a study's table.
        group (str): of words with labels.
    """
    pairs = images[["label", own_column(group)]].dropna().drop_duplicates()
    if pairs["label"].duplicated().any():
        return WITHIN
    same = pairs["label"].astype(str).to_numpy() == pairs[own_column(group)].astype(str).to_numpy()
    return ALONE if same.all() else CONSTANT


def goes_with_class(images: pd.DataFrame, name: str) -> bool:
    """Whether what a column names depends on the class, but is not the class: chi-square at 5 %."""
    import pandas as pd
    from scipy.stats import chi2_contingency

    known = images[["label", name]].dropna()
    if (known["label"].astype(str) == known[name].astype(str)).all():
        return False
    counts = pd.crosstab(known["label"].astype(str), known[name].astype(str))
    if min(counts.shape) < 2:
        return False
    return bool(chi2_contingency(counts).pvalue <= _LEVEL)
