"""One's own words from a text, CSV or JSON file; what is wrong in it is told by its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from captum_sing.cli.text_files import Wrong, csv_rows, text_of
from captum_sing.errors import SINGFileError, expected
from captum_sing.prompts import UNGROUPED

__all__ = ["WORD_FILES", "read_words"]


_LONGEST = 200  # letters of a word; CLIP reads some 70 words
_NO_LETTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|^\s*[#\-{\[]|://")


class _Entry(NamedTuple):
    word: str
    group: str
    place: str


def read_words(path: Path) -> dict[str, tuple[str, ...]]:
    r"""Words in groups.

    ================ =========================================================================
    ``.txt``         a word, or ``group: word, word, ...``, a line
    ``.csv, .tsv``   columns ``word`` and ``group`` by a header, between commas, semicolons or tabs
    ``.json``        ``{"group": ["word", ...], ...}``, or ``["word", ...]``
    ================ =========================================================================

    Words without a group form one of their own. All files are UTF-8, with or without a mark.

    Returns:
        dict of str to tuple of str: group -> its words, as they stand in the file.

    Raises:
        SINGFileError: the file is missing or of another form; a word is there twice, in whatever
            case; a group has one word alone; there are none. The line and column are told.
    """
    try:
        read = WORD_FILES.get(path.suffix.lower())
        if read is None:
            raise Wrong(f"its ending is none of {', '.join(WORD_FILES)}")
        return _grouped(list(read(text_of(path))))
    except (OSError, Wrong) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SINGFileError(
            expected(
                "read_words",
                "--concepts",
                "to hold two words or more of each group, each once",
                f"{path}: {reason}",
                'Write a word or "group: word, word" a line in .txt, columns word and group in '
                '.csv or .tsv, or {"group": ["word", ...]} in .json',
            )
        ) from error


def _grouped(entries: list[_Entry]) -> dict[str, tuple[str, ...]]:
    if not entries:
        raise Wrong("there is no word in it")
    first: dict[str, str] = {}
    spelled: dict[str, str] = {}
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        if not entry.word or not entry.group:
            raise Wrong(f"{entry.place}: the {'group' if entry.word else 'word'} is empty")
        for text in (entry.word, entry.group):
            if len(text) > _LONGEST:
                raise Wrong(f"{entry.place}: {len(text)} letters, where {_LONGEST} are the most")
            if odd := _NO_LETTER.search(text):
                raise Wrong(f"{entry.place}: {odd[0]!a} is no letter")
        key = entry.word.casefold()
        if key in first:
            raise Wrong(f"{entry.place}: {entry.word!r} again, after {first[key]}")
        first[key] = entry.place
        name = spelled.setdefault(entry.group.casefold(), entry.group)
        if name != entry.group:
            raise Wrong(f"{entry.place}: group {entry.group!r} is spelled {name!r} before")
        groups.setdefault(name, []).append(entry)
    for name, members in groups.items():
        if len(members) == 1:
            raise Wrong(
                f"{members[0].place}: {members[0].word!r} is alone in group {name!r}, and a word "
                "means something only beside its alternatives"
            )
    return {name: tuple(entry.word for entry in members) for name, members in groups.items()}


def _from_text(text: str) -> Iterator[_Entry]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if odd := _NO_TEXT.search(line):
            raise Wrong(
                f"line {number}, column {odd.start() + 1}: {odd[0]!a} stands in no list of "
                "words; a table is saved as .csv or .tsv, JSON as .json"
            )
        name, colon, words = line.partition(":")
        if "," in name:
            raise Wrong(f"line {number}: commas stand only after a group and its colon")
        start = len(name) + 1 if colon else 0
        if colon and not words.strip():
            raise Wrong(f"line {number}, column {start + 1}: no word after the colon")
        for word in words.split(",") if colon else [line]:
            column = start + len(word) - len(word.lstrip()) + 1
            start += len(word) + 1
            if word.strip():
                place = f"line {number}, column {column}"
                yield _Entry(word.strip(), name.strip() if colon else UNGROUPED, place)


def _from_csv(text: str) -> Iterator[_Entry]:
    rows = csv_rows(text)
    columns = [name.lower() for name in next(rows)[1]]
    if not {"word", "group"} <= set(columns):
        header = (text.splitlines() or [""])[0]
        raise Wrong(f"line 1: the header is {header!r}, without the columns word and group")
    if twice := [name for name in ("word", "group") if columns.count(name) > 1]:
        raise Wrong(f"line 1: the header has the column {twice[0]} more than once")
    for line, row in rows:
        values = dict(zip(columns, row, strict=True))
        place = f"line {line}, column {columns.index('word') + 1}"
        yield _Entry(values["word"], values["group"], place)


class _Object(list[Any]):
    """The pairs of a JSON object: a name that is there twice is not lost."""


def _from_json(text: str) -> Iterator[_Entry]:
    try:
        found = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise Wrong(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except ValueError as error:
        raise Wrong(f"numbers are no words: {str(error).partition(';')[0]}") from error
    except RecursionError as error:
        raise Wrong("lists in lists without end") from error
    for name, words in found if isinstance(found, _Object) else [("", found)]:
        where = f"[{json.dumps(name)}]" if name else "the list"
        if not isinstance(words, list) or isinstance(words, _Object):
            raise Wrong(f"{where} is no list of words")
        for number, word in enumerate(words):
            place = f"{where}[{number}]" if name else f"word {number + 1}"
            if not isinstance(word, str):
                raise Wrong(f"{place}: {json.dumps(word)[:_LONGEST]} is no word")
            yield _Entry(word.strip(), name.strip() or UNGROUPED, place)


WORD_FILES: dict[str, Callable[[str], Iterator[_Entry]]] = {
    ".txt": _from_text,
    ".csv": _from_csv,
    ".tsv": _from_csv,
    ".json": _from_json,
}
"""Ending -> what reads it."""
