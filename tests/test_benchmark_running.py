"""The benchmark as a whole: its tables, its line of JSON, its files."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from captum_sing.benchmark import (
    MEASURES,
    STARRED,
    Benchmark,
    judge,
    main,
    random_world,
    run_benchmark,
    world_of_numbers,
)
from captum_sing.benchmark.main import rendered, write
from captum_sing.benchmark.own_images import OwnImages
from captum_sing.benchmark.trained import TrainedFactor
from captum_sing.errors import SINGFileError, SINGValueError

WANTED = {
    "worlds", "recall", "false_alarms", "empty_worlds",
    "empty_p_below_01", "empty_p_below_05", "empty_p_below_10",
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Benchmark:
    """A few worlds of numbers, and a trained classifier that was made up."""
    judgements = []
    for seed in range(5):
        kind = "numbers" if seed < 2 else "empty numbers"
        world = random_world(seed, planted=1 if seed < 2 else 0)
        judgements += judge(world_of_numbers(world, kind, train=500))
    taught = TrainedFactor("model", "color", True, 9.0, True, 1.0, 0.9, 1.1, 0.1, 0.9, 0.2, 1.0)
    unknown = TrainedFactor(
        "model", "size", None, 0.1, False, math.nan, math.nan, math.nan, 0.5, 0.5, 0.5, 0.5
    )
    return Benchmark(0, tuple(judgements), (taught, unknown), OwnImages((0.001, 0.2), 0))


def test_line_agrees_with_the_table(small: Benchmark) -> None:
    text, line = rendered(small)
    found = json.loads(line)
    assert set(found) >= WANTED and "\n" not in line
    row = small.measures[STARRED]
    assert (found["worlds"], found["empty_worlds"]) == (2, 3) == (row.worlds, row.empty_worlds)
    assert (found["recall"], found["false_alarms"]) == (row.recall, row.false_alarms)
    below = [found[f"empty_p_below_{level}"] for level in ("01", "05", "10")]
    assert below == list(row.empty.below)
    cells = next(one for one in text.splitlines() if one.startswith(f" {STARRED} ")).split()
    assert cells[2:7] == [f"{row.recall:.3f}", "2", f"{row.false_alarms:.3f}", "6", "0"]
    assert [float(cell.strip("!")) for cell in cells[7:10]] == pytest.approx(below, abs=6e-4)
    assert set(found["measures"]) == set(MEASURES) - {"share"}
    assert max(map(len, text.splitlines())) <= 100 and "…" not in text


def test_figures_that_are_none_are_null(small: Benchmark) -> None:
    assert json.loads(rendered(small)[1])["trained"][1]["share"] is None


@pytest.mark.slow
def test_files_are_written_whole_or_not_at_all(
    small: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(small, tmp_path)
    assert [file.name for file in files] == ["benchmark.png", "benchmark.txt", "benchmark.json"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    text, line = rendered(small)
    assert files[1].read_text() == text and files[2].read_text() == f"{line}\n"
    with pytest.raises(SINGFileError, match="path a file in a folder"):
        write(small, tmp_path / "missing")

    def full(path: Path, **further: object) -> None:
        raise OSError("disk full")

    before = files[1].read_bytes()
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="disk full"):
        write(small, tmp_path)
    assert files[1].read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(file.name for file in files)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed from 0 to 29999, got -1"),
        ({"worlds": 0}, "worlds from 1 to 300, got 0"),
        ({"empty": 0}, "empty_worlds from 1 to 99999, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(given: dict[str, int], message: str) -> None:
    with pytest.raises(SINGValueError, match=message):
        run_benchmark(**given)


def test_command_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--worlds", "0"])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == "" and err.count("\n") == 1
    assert "worlds from 1 to 300, got 0" in err


@pytest.mark.slow
def test_from_the_command_line_equal_seeds_are_equal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "captum_sing.demo.benchmark", "--quick"]
    command += ["--worlds", "2", "--empty-worlds", "4", "--output", str(tmp_path / "made")]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=1200)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout and "worlds: " in runs[0].stderr
    found = json.loads(runs[0].stdout.splitlines()[-1])
    assert set(found) >= WANTED and found["empty_worlds"] == 4
    assert found["worlds"] == 2 + 2 + 3 and found["recall"] > 0.9
    assert set(found["measures"]) == set(MEASURES)
    assert set(found["kinds"]) == {
        "necks", "empty necks", "trained", "numbers", "empty numbers", "confounded",
        "confounded, classes unknown",
    }  # fmt: skip
    assert found["own_images"]["tested_with_record"] == 0
    assert {row["model"] for row in found["trained"]} == {
        "color_hidden", "spurious", "plain", "plain_convnext"
    }  # fmt: skip
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == ["benchmark.json", "benchmark.png", "benchmark.txt"]
