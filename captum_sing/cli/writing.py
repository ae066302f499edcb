"""The files of a study and of a comparison, each whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from captum_sing.cli.drawing import EVIDENCE, Drawn, draw, study_plots
from captum_sing.cli.tables import WIDTH, sentences, study_report
from captum_sing.errors import SINGFileError, expected
from captum_sing.files import write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from captum_sing.cli.studying import Finding

__all__ = ["Written", "as_text", "save_finding", "show", "tell", "write"]


class Written(NamedTuple):
    """A report to be shown, and the files that hold it and more."""

    report: list[RenderableType]
    files: list[Path]


def save_finding(found: Finding, folder: Path) -> Written:
    """Write the study of one model, what it says, and its plots.

    Raises:
        SINGFileError: no room, or no right to write.
    """
    drawn = draw(study_plots(found))
    report = [*study_report(found), *sentences(drawn.left_out, bullet=True)]
    found.study.save(folder)
    files = [folder / "table.parquet", folder / "study.json"]
    return Written(report, files + write(folder, drawn, {"study.txt": as_text(report)}, EVIDENCE))


def show(console: Console, report: Iterable[RenderableType]) -> None:
    """Print a report, not wider than it is written."""
    for part in report:
        console.print(part, width=min(console.width, WIDTH), highlight=False, markup=False)


def tell(console: Console, written: Written) -> None:
    """Print a report, and where more of it is."""
    show(console, written.report)
    folder = written.files[0].parent
    names = [path.name for path in written.files if path.parent == folder]
    below = len(written.files) - len(names)
    more = f", and {below} files in its folders" if below else ""
    console.print(
        f"\nWritten to {folder}: {', '.join(names)}{more}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def as_text(report: Sequence[RenderableType]) -> str:
    """The same without colors."""
    file = StringIO()
    show(Console(file=file, width=WIDTH, color_system=None, legacy_windows=False), report)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def write(folder: Path, drawn: Drawn, texts: Mapping[str, str], former: str) -> list[Path]:
    """Write plots and texts, and remove plots of a former call that there are none of now.

    Args:
        folder (Path): there already.
        drawn (Drawn): plots.
        texts (mapping of str to str): by file name.
        former (str): the pattern of plots that such a folder has several of.

    Returns:
        list of Path: what was written.

    Raises:
        SINGFileError: no room, or no right to write.
    """
    files = {name: text.encode() for name, text in texts.items()} | drawn.files
    try:
        for path in (*folder.glob(former), *(folder / name for name in drawn.lacking)):
            if path.name not in files:
                path.unlink(missing_ok=True)
        return [
            write_whole(folder / name, lambda path, data=data: path.write_bytes(data))
            for name, data in files.items()
        ]
    except SINGFileError:
        raise
    except OSError as error:
        raise SINGFileError(
            expected(
                "captum-sing",
                "--output",
                "with room for the results",
                f"{folder} ({error.strerror})",
                "Make room, or name another place",
            )
        ) from error
