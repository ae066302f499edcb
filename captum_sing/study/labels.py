"""Which class, and which word of each group, an image really has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from captum_sing.concepts import ConceptBank
from captum_sing.errors import SINGNameError, SINGValueError, expected

__all__ = ["label_names", "own_words", "unique_names"]

_WHERE = "run_study"


def unique_names(classes: int, class_names: Sequence[str] | None) -> list[str]:
    """A name for each class, no two alike: "crane (134)" is a bird, and "crane (517)" lifts.

    Example::

        >>> unique_names(3, ["crane", "owl", "crane"]), unique_names(2, None)
        (['crane (0)', 'owl', 'crane (2)'], ['0', '1'])
    """
    if class_names is None or len(class_names) != classes:
        return [str(index) for index in range(classes)]
    counts = Counter(class_names)
    return [
        f"{name} ({index})" if counts[name] > 1 else name for index, name in enumerate(class_names)
    ]


def label_names(labels: Sequence[int | str | None], names: Sequence[str]) -> list[str | None]:
    """The names of labels: a number is a class of the model, -1 no label.

    Args:
        labels (sequence of int, str or None): one an image.
        names (sequence of str): one a class.

    Raises:
        SINGValueError: a number that is no class.
    """
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers and not (min(numbers) >= -1 and max(numbers) < len(names)):
        raise SINGValueError(
            expected(
                _WHERE,
                "labels",
                f"from -1 (unknown) to {len(names) - 1}, the classes of the model",
                f"{min(numbers)} to {max(numbers)}",
                "Give the names of classes, if they are those of another data set",
            )
        )
    return [
        label if not isinstance(label, int) else names[label] if label >= 0 else None
        for label in labels
    ]


def own_words(
    concepts: ConceptBank,
    labels: Sequence[str | None],
    word_labels: Mapping[str, Sequence[str | None]] | None,
) -> dict[str, list[str | None]]:
    """Each image's own word, of each group in which that is known.

    Args:
        concepts (ConceptBank): the words.
        labels (sequence of str or None): the class of each image, which may be a word.
        word_labels (mapping of str to sequence of str or None, optional): group -> each image's
            word, None where it is unknown.

    Raises:
        SINGNameError, SINGValueError: no such group, another number of images, no word of it.
    """
    given = dict(word_labels or {})
    unknown = sorted(set(given) - set(concepts.groups))
    if unknown:
        raise SINGNameError(
            expected(
                _WHERE,
                "word_labels",
                f"for groups among {sorted(concepts.groups)}",
                unknown,
                "Name groups of the bank",
            )
        )
    own: dict[str, list[str | None]] = {}
    for group, words in concepts.groups.items():
        if group not in given:
            found = [label if label in words else None for label in labels]
            if any(found):
                own[group] = found
            continue
        own[group] = list(given[group])
        odd = sorted({str(word) for word in own[group] if word not in (None, *words)})
        if len(own[group]) != len(labels) or odd:
            raise SINGValueError(
                expected(
                    _WHERE,
                    "word_labels",
                    f"with one of the words of {group!r}, or None, for {len(labels)} images",
                    f"{odd}" if odd else f"{len(own[group])}",
                    "Give the images in the order of the collection",
                )
            )
    return own
