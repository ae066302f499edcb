"""Rebuilds every weight of the embedded world: ``python -m captum_sing.demo.train``."""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from captum_sing.demo.scenes import FACTORS
from captum_sing.demo.training.plan import PHASES, Plan, Result, run_task
from captum_sing.demo.world import WEIGHTS
from captum_sing.errors import SINGFileError, expected

Messages: TypeAlias = "Queue[tuple[str, float, str]]"
_messages: Messages


def _start_worker(messages: Messages) -> None:
    global _messages
    _messages = messages


def _work(phase: int, name: str, plan: Plan) -> Result:
    return run_task(phase, name, plan, lambda *message: _messages.put(message))


class _Display:
    """Bars on a terminal, a line for every tenth in a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description:20}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.tenths: dict[str, int] = {}

    def show(self, name: str, share: float, figures: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=1.0, figures="")
        self.bars.update(self.tasks[name], completed=share, figures=figures)
        if not self.console.is_terminal and int(10 * share) > self.tenths.get(name, -1):
            self.tenths[name] = int(10 * share)
            self.console.print(f"{time.strftime('%H:%M:%S')} {name} {share:.0%} {figures}")


def build(plan: Plan, console: Console) -> list[Result]:
    """Runs all phases in two worker processes of one thread each."""
    context = multiprocessing.get_context("spawn")
    messages: Messages = context.Queue()
    display, results = _Display(console), []
    with (
        display.bars,
        ProcessPoolExecutor(
            2, mp_context=context, initializer=_start_worker, initargs=(messages,)
        ) as pool,
    ):
        for phase, tasks in enumerate(PHASES):
            waiting = [pool.submit(_work, phase, name, plan) for name in tasks]
            while True:
                try:
                    display.show(*messages.get(timeout=0.5))
                except Empty:
                    if all(future.done() for future in waiting):
                        break
            results += [future.result() for future in waiting]
    return results


def _tables(results: list[Result]) -> tuple[Table, Table]:
    reached = Table("model", "read from", *FACTORS, title="Right answers on fresh images, %")
    for result in results:
        for name, where, rates in result.rows:
            cells = [f"{100 * rates[f]:.1f}" if f in rates else "" for f in FACTORS]
            reached.add_row(name, where, *cells, end_section=where in ("null space", "decoded"))
    spent = Table("task", "wall s", "CPU s", title="Time")
    for result in results:
        spent.add_row(result.name, f"{result.wall:.0f}", f"{result.cpu:.0f}")
    return reached, spent


def _install(built: Path, output: Path) -> None:
    """Puts a finished folder in the place of an old one; nothing half-written is ever there."""
    retired = output.with_name(output.name + ".old")
    shutil.rmtree(retired, ignore_errors=True)
    if output.exists():
        output.rename(retired)
    built.rename(output)
    shutil.rmtree(retired, ignore_errors=True)


def _check(output: Path) -> None:
    """Refuses to replace a folder that holds anything but a world."""
    is_world = (output / "clip" / "open_clip_config.json").exists()
    if output.exists() and not is_world and (output.is_file() or any(output.iterdir())):
        raise SINGFileError(
            expected(
                "captum_sing.demo.train",
                "--output",
                "to be new, empty, or a world built earlier",
                f"{output}, which holds something else",
                "Name another folder",
            )
        )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m captum_sing.demo.train", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=WEIGHTS,
        metavar="DIR",
        help="folder to replace (default: the shipped weights)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another world: other images, other initialisations (default: 0)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="hardly train at all, to see that everything runs"
    )
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    _check(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    console = Console(width=None if Console().is_terminal else 120)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        built = Path(scratch) / output.name
        built.mkdir()
        results = build(Plan(built, options.seed, options.quick), console)
        _install(built, output)
    for table in _tables(results):
        console.print(table)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    cpu = sum(result.cpu for result in results)
    console.print(
        f"{size / 1e6:.2f} MB in {output}; {time.monotonic() - started:.0f} s wall, {cpu:.0f} s CPU"
    )


if __name__ == "__main__":
    main()
