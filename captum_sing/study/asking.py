"""What is asked of a study, checked before any picture is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from captum_sing.concepts import ConceptBank
from captum_sing.datasets import Pictures
from captum_sing.errors import SINGNameError, SINGValueError, expected
from captum_sing.study.labels import label_names, own_words
from captum_sing.translator import LinearTranslator

__all__ = ["check_asked", "check_draws", "check_origin", "no_donor"]

_WHERE = "run_study"
_DRAWS = 100


def check_asked(
    pictures: Pictures,
    concepts: ConceptBank,
    words: Sequence[str] | None,
    word_labels: Mapping[str, Sequence[str | None]] | None,
    donor: str | Tensor | None,
    draws: int,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse what cannot be studied before any picture is read; arguments as :func:`study_of`.

    Args:
        pictures (Pictures): the collection.
        class_names (sequence of str, optional): of the model.

    Raises:
        SINGValueError, SINGNameError: what does not fit, or is not there.
    """
    check_draws(draws)
    concepts.indices(concepts.names if words is None else list(words))
    if pictures.count is not None:
        own_words(concepts, [None] * pictures.count, word_labels)
    if type(pictures.items) is not list:
        return
    items = [pictures.items[place] for place in pictures.order or ()]
    if isinstance(donor, str):
        names = [pictures.name(place) for place in range(len(items))]
        if donor not in names:
            raise no_donor(donor, names)
    labels = [item[1] for item in items if isinstance(item, tuple) and len(item) > 1]
    if class_names is not None:
        label_names([label for label in labels if isinstance(label, int)], class_names)


def check_draws(draws: int) -> None:
    """Enough of them.

    Raises:
        SINGValueError: fewer than 100.
    """
    if draws < _DRAWS:
        raise SINGValueError(
            expected("study_of", "draws", f"of at least {_DRAWS}", draws, "Draw 1000")
        )


def check_origin(translator: LinearTranslator, model: str, preprocessing: str | None) -> None:
    """The translator was fitted to this model, on images that were prepared in this way.

    Raises:
        SINGValueError: to another one, or in another way.
    """
    for fact, own, remedy in (
        ("model", model, "Features of two models mean different things, also of equal widths"),
        ("preprocessing", preprocessing, "Features of images prepared in another way are others"),
    ):
        fitted = translator.facts.get(fact)
        if fitted not in (None, own):
            raise SINGValueError(
                expected(_WHERE, "translator", f"of {fact} {own}", f"one of {fitted}", remedy)
            )


def no_donor(donor: str, names: Sequence[str]) -> SINGNameError:
    """The error where the donor is none of the pictures."""
    return SINGNameError(
        expected(
            _WHERE,
            "donor",
            "to be a usable image of the collection",
            repr(donor),
            f"Name one, such as {names[0]!r}",
        )
    )
