"""Which class, and which word of each group, an image really has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from captum_sing.concepts import ConceptBank
from captum_sing.errors import SINGNameError, SINGValueError, expected

__all__ = ["check_classes", "groups_with_evidence", "label_names", "own_words", "unique_names"]

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


def check_classes(
    where: str,
    first: str,
    its: Sequence[str] | int | None,
    second: str,
    others: Sequence[str] | int | None,
) -> None:
    """Two models tell the same classes apart.

    Args:
        where (str): who asks, for the error.
        first, second (str): names of the models.
        its, others (sequence of str, int or None): the names of their classes, or how many there
            are where they have none; None if nothing is known.

    Raises:
        SINGValueError: another number of classes, or another name for one, of which neither says
            more than the other.
    """
    if its is None or others is None:
        return
    sizes = [known if isinstance(known, int) else len(known) for known in (its, others)]
    actual = f"{sizes[0]} classes of {first} and {sizes[1]} of {second}"
    if sizes[0] == sizes[1]:
        if isinstance(its, int) or isinstance(others, int):
            return
        pairs = enumerate(zip(its, others, strict=True))
        place = next((i for i, (one, other) in pairs if not _alike(one, other)), None)
        if place is None:
            return
        actual = f"class {place} named {its[place]!r} by {first} and {others[place]!r} by {second}"
    raise SINGValueError(
        expected(
            where,
            "models",
            "of one list of classes",
            actual,
            "What a head ignores depends on what it tells apart: study these on their own",
        )
    )


def _alike(one: str, other: str) -> bool:
    """Whether one name says no more than the other: "tench", and "tench, Tinca tinca"."""
    first, second = (set(re.findall(r"\w+", name.casefold())) for name in (one, other))
    return one == other or bool(first and second and (first <= second or second <= first))


def groups_with_evidence(facts: Mapping[str, Any], whole: bool = True) -> dict[str, Sequence[str]]:
    """The groups all of whose words were asked for; or, if not ``whole``, what was asked of each.

    Args:
        facts (mapping): of a study.
        whole (bool, optional): Default: True
    """
    if "mean" not in facts["baselines"]:
        return {}
    asked, groups = set(facts["words"]), facts["groups"]
    kept = {group: [word for word in words if word in asked] for group, words in groups.items()}
    return {
        group: words
        for group, words in kept.items()
        if words and (not whole or len(words) == len(groups[group]))
    }
