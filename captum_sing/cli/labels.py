"""Which word of each group an image really has, from a CSV file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from captum_sing.cli.text_files import Wrong, csv_rows, text_of
from captum_sing.errors import SINGFileError, expected

__all__ = ["read_labels"]

_PATH = "path"


def read_labels(
    file: Path, folder: Path, names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, str]]:
    """Read a column ``path``, and one for each group of words whose truth is known.

    Args:
        file (Path): between commas, semicolons or tabs; UTF-8. Paths are relative to the folder of
            the images, or as they are; where nothing stands, the word is unknown.
        folder (Path): of the images.
        names (sequence of str): the images' paths.
        groups (mapping of str to sequence of str): group -> its words.

    Returns:
        dict of str to dict of str to str: group -> image -> its word.

    Raises:
        SINGFileError: the file is missing or of another form; no such image, group or word; an
            image that is there twice. The line and column are told.
    """
    try:
        return _read(text_of(file), folder, names, groups)
    except (OSError, Wrong) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SINGFileError(
            expected(
                "captum-sing",
                "--labels",
                "with a column path and one for each group of words, and an image a line",
                f"{file}: {reason}",
                "Name files below the folder of images, and words of --concepts; what is unknown "
                "stays empty",
            )
        ) from error


def _read(
    text: str, folder: Path, names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, str]]:
    rows = csv_rows(text)
    _, columns = next(rows)
    if _PATH not in columns or len(columns) < 2:
        raise Wrong("line 1: the header has to name the column path, and one group or more")
    for number, column in enumerate(columns, start=1):
        if columns.index(column) != number - 1:
            raise Wrong(f"line 1, column {number}: {column!r} again")
        if column != _PATH and column not in groups:
            raise Wrong(
                f"line 1, column {number}: {column!r} is none of the groups {', '.join(groups)}"
            )
    known = {os.path.abspath(name): name for name in names}
    found: dict[str, dict[str, str]] = {group: {} for group in columns if group != _PATH}
    lines: dict[str, int] = {}
    at = columns.index(_PATH)
    for line, row in rows:
        ways = (os.path.abspath(folder / row[at]), os.path.abspath(row[at]))
        name = next((known[way] for way in ways if way in known), None)
        if name is None:
            raise Wrong(f"line {line}, column {at + 1}: {row[at]!r} is no picture in {folder}")
        if name in lines:
            raise Wrong(
                f"line {line}, column {at + 1}: {row[at]!r} again, after line {lines[name]}"
            )
        lines[name] = line
        for number, (group, word) in enumerate(zip(columns, row, strict=True), start=1):
            if group == _PATH or not word:
                continue
            if word not in groups[group]:
                raise Wrong(
                    f"line {line}, column {number}: {word!r} is none of the words of {group}, "
                    f"{', '.join(groups[group])}"
                )
            found[group][name] = word
    return found
