"""A benchmark as tables for people, and as one JSON object for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from captum_sing.benchmark.calibration import LEVELS, Calibration, Uniformity, uniformity
from captum_sing.benchmark.judging import MEASURES, OURS, STARRED
from captum_sing.benchmark.running import Benchmark
from captum_sing.benchmark.trained import TrainedFactor

__all__ = ["WIDTH", "summary", "tables"]

WIDTH = 100


def tables(benchmark: Benchmark) -> Group:
    """What people read, at most 100 columns wide."""
    return Group(
        _measures(benchmark.measures),
        *(f"  {name}: {about}" for name, about in MEASURES.items() if name in benchmark.measures),
        "",
        _kinds(benchmark.kinds),
        _trained(benchmark.trained),
        *_sentences(benchmark),
    )


def summary(benchmark: Benchmark) -> dict[str, Any]:
    """What programs read: the starred measure first, then everything; None where no number is."""
    starred = benchmark.measures[STARRED]
    empty = starred.empty
    own = uniformity(benchmark.own.p)
    found: dict[str, Any] = {
        "measure": STARRED,
        "worlds": starred.worlds,
        "recall": starred.recall,
        "false_alarms": starred.false_alarms,
        "empty_worlds": starred.empty_worlds,
        **{
            f"empty_p_below_{round(100 * level):02d}": share
            for level, share in zip(LEVELS, empty.below, strict=True)
        },
        "empty_p_bands": empty.bands,
        "empty_p_within_bands": empty.within,
        "empty_p_uniform": empty.uniform,
        "planted_tests": starred.planted,
        "other_tests": starred.others,
        "empty_tests": empty.tests,
        "seed": benchmark.seed,
        "measures": {name: _flat(found) for name, found in benchmark.measures.items()},
        "kinds": {kind: _flat(found) for kind, found in benchmark.kinds.items()},
        "own_images": {**asdict(own), "tested_with_record": benchmark.own.tested},
        "trained": [asdict(factor) for factor in benchmark.trained],
    }
    plain = _plain(found)
    return dict(plain)


def _flat(found: Calibration) -> dict[str, Any]:
    return {**asdict(found), "within_bands": found.empty.within if found.empty.tests else None}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _measures(found: dict[str, Calibration]) -> Table:
    table = _table(
        "Every measure: planted factors found, and p-values where nothing is planted",
        "measure",
        ("recall", "of", "alarms", "of", "no test", "p<.01", "p<.05", "p<.10", "KS p", "tests"),
    )
    table.caption = (
        f"recall and false alarms: at 5 % of false discoveries in a world; {STARRED} is what "
        "studies star; !: outside of the exact 95 % band of uniform p-values"
    )
    for name, row in found.items():
        table.add_row(
            f"[bold]{name}[/bold]" if name == STARRED else name,
            _number(row.recall),
            str(row.planted),
            _number(row.false_alarms),
            str(row.others),
            str(row.untested),
            *_levels(row.empty),
            str(row.empty.tests),
            end_section=name == list(OURS)[-1],
        )
    return table


def _kinds(found: dict[str, Calibration]) -> Table:
    columns = ("worlds", "recall", "of", "alarms", "of", "p<.01", "p<.05", "p<.10", "KS p")
    table = _table(f"{STARRED}, by kind of world", "kind", columns)
    table.caption = (
        "necks: of two backbones, on fresh images; numbers: synthetic, half of them rectified; "
        "confounded: a factor goes with the class"
    )
    for kind, row in found.items():
        table.add_row(
            kind,
            str(row.worlds + row.empty_worlds),
            _number(row.recall),
            str(row.planted),
            _number(row.false_alarms),
            str(row.others),
            *_levels(row.empty),
        )
    return table


def _trained(found: Sequence[TrainedFactor]) -> Table:
    columns = ("z", "*", "share", "interval", "named seen", "ignored", "probe seen", "ignored")
    table = _table("Trained classifiers, 1,200 images: nobody knows the truth", "model", columns)
    table.columns[0].header = "model, factor"
    table.caption = (
        "share of the signal that is ignored; named by the translator, and by linear probes with "
        "true labels; !: planted by training, and counted above"
    )
    for row in found:
        table.add_row(
            f"{row.model} {row.factor}{'!' if row.planted else ''}",
            f"{row.z:.1f}",
            "*" if row.starred else "",
            _number(row.share),
            ""
            if math.isnan(row.share)
            else f"[{row.share_low:.2f}, {row.share_high:.2f}]".replace("[", "\\["),
            *(f"{100 * share:.0f} %" for share in (row.named_seen, row.named_ignored)),
            *(f"{100 * share:.0f} %" for share in (row.probe_seen, row.probe_ignored)),
        )
    return table


def _sentences(benchmark: Benchmark) -> list[str]:
    own, starred = uniformity(benchmark.own.p), benchmark.measures[STARRED]
    low, high = starred.empty.bands[1]
    return [
        "",
        f"In-sample: the same empty worlds, tested on the translator's own images, give p < .05 in "
        f"{own.below[1]:.0%} of {own.tests} tests. A study knows these images and made "
        f"{benchmark.own.tested} tests of them.",
        f"{STARRED}: {starred.worlds} worlds with something planted, recall {starred.recall:.3f}, "
        f"false alarms {starred.false_alarms:.3f}; {starred.empty_worlds} empty worlds, p < .05 in "
        f"{starred.empty.below[1]:.3f} of tests (band {low:.3f} to {high:.3f}).",
    ]


def _levels(found: Uniformity) -> list[str]:
    if not found.tests:
        return ["", "", "", ""]
    shares = [
        f"{'' if low <= share <= high else '!'}{share:.3f}"
        for share, (low, high) in zip(found.below, found.bands, strict=True)
    ]
    return [*shares, "<1e-9" if found.uniform < 1e-9 else f"{found.uniform:.2g}"]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
