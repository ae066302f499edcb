"""The command line: ``python -m captum_sing.demo.benchmark``."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from captum_sing.benchmark.running import EMPTY, WORLDS, Benchmark, run_benchmark
from captum_sing.errors import SINGError
from captum_sing.files import made, write_whole

__all__ = ["main", "rendered", "write"]

_QUICK: dict[str, Any] = {"anatomy": 1024, "pool": 1000}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables, and its numbers in one line of JSON.

    Args:
        arguments (sequence of str, optional): Default: those of the command line
    """
    parser = argparse.ArgumentParser(
        prog="python -m captum_sing.demo.benchmark",
        description="Worlds with planted truths, and empty ones, through the study's own code: "
        "which measure finds what is planted, and nothing else? "
        "The last line of the output is one JSON object.",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for benchmark.json, .txt and .png"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of everything (default: 0)"
    )
    parser.add_argument(
        "--worlds",
        type=int,
        default=WORLDS,
        metavar="N",
        help=f"planted necks, and as many planted worlds of numbers (default: {WORLDS})",
    )
    parser.add_argument(
        "--empty-worlds",
        type=int,
        default=EMPTY,
        metavar="N",
        help=f"empty worlds of numbers (default: {EMPTY})",
    )
    parser.add_argument(
        "--quick", action="store_true", help="with hardly any scenes, to see that everything runs"
    )
    options = parser.parse_args(arguments)
    try:
        folder = None if options.output is None else made(options.output)
        benchmark = run_benchmark(
            options.seed,
            worlds=options.worlds,
            empty=options.empty_worlds,
            **(_QUICK if options.quick else {}),
        )
        text, line = rendered(benchmark)
        sys.stdout.write(text)
        if folder is not None:
            write(benchmark, folder)
        sys.stdout.write(f"{line}\n")
    except SINGError as error:
        parser.exit(2, f"{error}\n")


def rendered(benchmark: Benchmark) -> tuple[str, str]:
    """The tables as text, and the line of JSON."""
    from rich.console import Console

    from captum_sing.benchmark.report import WIDTH, summary, tables

    file = io.StringIO()
    Console(width=WIDTH, file=file).print(tables(benchmark), highlight=False)
    return file.getvalue(), json.dumps(summary(benchmark), allow_nan=False)


def write(benchmark: Benchmark, folder: Path) -> list[Path]:
    """``benchmark.png``, ``benchmark.txt`` and ``benchmark.json``, each whole or not at all.

    Args:
        benchmark (Benchmark): of :func:`run_benchmark`.
        folder (Path): where to.

    Raises:
        SINGFileError: they cannot be written.
    """
    from captum_sing.benchmark.figure import calibration_figure

    text, line = rendered(benchmark)
    figure = calibration_figure(benchmark.judgements)
    files = [folder / f"benchmark.{kind}" for kind in ("png", "txt", "json")]
    write_whole(files[0], lambda path: figure.savefig(path, format="png", dpi=110))
    for file, content in zip(files[1:], (text, f"{line}\n"), strict=True):
        write_whole(file, partial(Path.write_text, data=content, encoding="utf-8"))
    return files
