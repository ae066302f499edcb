"""Text and CSV files that people wrote; what is wrong in one is told by its line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Wrong", "csv_rows", "text_of"]


class Wrong(Exception):
    """What is wrong, and where."""


def text_of(path: Path) -> str:
    """A file in UTF-8, with or without a mark.

    Raises:
        OSError: it cannot be read.
        Wrong: another encoding.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig").splitlines(keepends=True) or [""]
        new = before[-1].endswith(("\n", "\r"))
        line, column = len(before) + new, 1 if new else len(before[-1]) + 1
        raise Wrong(
            f"line {line}, column {column}: byte 0x{data[error.start]:02x} is no UTF-8, so save "
            "the file as UTF-8"
        ) from error


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The header, and the rows with something in them, each of its length, with their lines.

    Values stand between commas, semicolons or tabs, whichever the header has most of.

    Raises:
        Wrong: a row of another length, or with a quotation mark that does not end.
    """
    header = (text.splitlines() or [""])[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = list(map(str.strip, next(rows, [])))
        yield 1, columns
        for row in rows:
            if not any(value.strip() for value in row):
                continue
            if len(row) != len(columns):
                raise Wrong(
                    f"line {rows.line_num}: {len(row)} columns, where the header has "
                    f"{len(columns)}; a value with a {delimiter!r} in it stands in quotes"
                )
            yield rows.line_num, list(map(str.strip, row))
    except csv.Error as error:
        raise Wrong(f"line {rows.line_num}: {error}") from error
