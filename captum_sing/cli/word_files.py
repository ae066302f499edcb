"""One's own words from a text, CSV or JSON file; what is wrong in it is told by its place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from captum_sing.errors import SINGFileError, expected
from captum_sing.prompts import UNGROUPED

__all__ = ["WORD_FILES", "read_words"]


class _Entry(NamedTuple):
    word: str
    group: str
    place: str


class _Wrong(Exception):
    """What is wrong, and where."""


def read_words(path: Path) -> dict[str, tuple[str, ...]]:
    r"""Words in groups.

    ================ =========================================================================
    ``.csv``         columns ``word`` and ``group`` by a header, between commas or semicolons
    ``.json``        ``{"group": ["word", ...], ...}``, or ``["word", ...]``
    any other        text: a word, or ``group: word, word, ...``, a line
    ================ =========================================================================

    Words without a group form one of their own. All files are UTF-8, with or without a mark.

    Returns:
        dict of str to tuple of str: group -> its words, as they stand in the file.

    Raises:
        SINGFileError: the file is missing or of another form; a word is there twice, in whatever
            case; a group has one word alone; there are none. The line and column are told.
    """
    try:
        read = WORD_FILES.get(path.suffix.lower(), _from_text)
        return _grouped(list(read(_text_of(path))))
    except (OSError, _Wrong) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SINGFileError(
            expected(
                "read_words",
                "--concepts",
                "to hold two words or more of each group, each once",
                f"{path}: {reason}",
                'Write a word or "group: word, word" a line, CSV with the columns word and group, '
                'or JSON {"group": ["word", ...]}',
            )
        ) from error


def _text_of(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig").splitlines(keepends=True) or [""]
        new = before[-1].endswith(("\n", "\r"))
        line, column = len(before) + new, 1 if new else len(before[-1]) + 1
        raise _Wrong(
            f"line {line}, column {column}: byte 0x{data[error.start]:02x} is no UTF-8, so save "
            "the file as UTF-8"
        ) from error


def _grouped(entries: list[_Entry]) -> dict[str, tuple[str, ...]]:
    if not entries:
        raise _Wrong("there is no word in it")
    first: dict[str, str] = {}
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        if not entry.word or not entry.group:
            raise _Wrong(f"{entry.place}: the {'group' if entry.word else 'word'} is empty")
        key = entry.word.casefold()
        if key in first:
            raise _Wrong(f"{entry.place}: {entry.word!r} again, after {first[key]}")
        first[key] = entry.place
        groups.setdefault(entry.group, []).append(entry)
    for name, members in groups.items():
        if len(members) == 1:
            raise _Wrong(
                f"{members[0].place}: {members[0].word!r} is alone in group {name!r}, and a word "
                "means something only beside its alternatives"
            )
    return {name: tuple(entry.word for entry in members) for name, members in groups.items()}


def _from_text(text: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, words = line.partition(":")
        start = len(name) + 1 if colon else 0
        if colon and not words.strip():
            raise _Wrong(f"line {number}, column {start + 1}: no word after the colon")
        for word in words.split(",") if colon else [line]:
            column = start + len(word) - len(word.lstrip()) + 1
            start += len(word) + 1
            if word.strip():
                place = f"line {number}, column {column}"
                yield _Entry(word.strip(), name.strip() if colon else UNGROUPED, place)


def _from_csv(text: str) -> Iterator[_Entry]:
    header = (text.splitlines() or [""])[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in next(rows, [])]
        if not {"word", "group"} <= set(columns):
            raise _Wrong(f"line 1: the header is {header!r}, without the columns word and group")
        for row in rows:
            if not any(value.strip() for value in row):
                continue
            if len(row) != len(columns):
                raise _Wrong(
                    f"line {rows.line_num}: {len(row)} columns, where the header has "
                    f"{len(columns)}; a value with a {delimiter!r} in it stands in quotes"
                )
            values = dict(zip(columns, map(str.strip, row), strict=True))
            place = f"line {rows.line_num}, column {columns.index('word') + 1}"
            yield _Entry(values["word"], values["group"], place)
    except csv.Error as error:
        raise _Wrong(f"line {rows.line_num}: {error}") from error


class _Object(list[Any]):
    """The pairs of a JSON object: a name that is there twice is not lost."""


def _from_json(text: str) -> Iterator[_Entry]:
    try:
        found = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise _Wrong(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise _Wrong("lists in lists without end") from error
    for name, words in found if isinstance(found, _Object) else [("", found)]:
        where = f"[{json.dumps(name)}]" if name else "the list"
        if not isinstance(words, list) or isinstance(words, _Object):
            raise _Wrong(f"{where} is no list of words")
        for number, word in enumerate(words):
            place = f"{where}[{number}]" if name else f"word {number + 1}"
            if not isinstance(word, str):
                raise _Wrong(f"{place}: {json.dumps(word)} is no word")
            yield _Entry(word.strip(), name.strip() or UNGROUPED, place)


WORD_FILES: dict[str, Callable[[str], Iterator[_Entry]]] = {
    ".csv": _from_csv,
    ".json": _from_json,
    ".txt": _from_text,
}
"""Ending -> what reads it; text is also what any other ending is taken for."""
