"""The demo's findings as tables, and as sentences that hide nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from captum_sing.demo.planted import PLANTED_AUC, UNPLANTED_AUC, Finding
from captum_sing.demo.scenes import FACTORS

if TYPE_CHECKING:
    from captum_sing.demo.report import HeadFacts

__all__ = ["findings_table", "heads_table", "naming_table", "readings", "swap_table"]


def heads_table(heads: Sequence[HeadFacts]) -> Table:
    """Rank and nullity, accuracy, logit drift and the translator's held-out fit."""
    table = _table("The heads, on images that nothing was fitted to")
    table.caption = (
        "drift: relative change of the logits by removal, and by a random change of that size; "
        "R2: of the translation, and from the null part alone"
    )
    _add_columns(table, ("rank", "ignored", "accuracy", "drift", "random", "R2", "null"))
    for head in heads:
        null = head.translation.null
        table.add_row(
            head.classifier,
            str(head.rank),
            f"{head.nullity}/{head.rank + head.nullity}",
            f"{head.accuracy:.3f}",
            f"{head.null_drift:.0e}",
            f"{head.random_drift:.0e}",
            f"{head.translation.whole.r2:.2f}",
            "" if null is None else f"{null.r2:.2f}",
        )
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """Planted against found: AUC of ignored evidence, and below it that of the paper's -AS.

    Of several seeds the one furthest from the truth is shown.
    """
    table = _table("Planted against found (AUC of ignored evidence; below, of the paper's -AS)")
    table.caption = (
        "bold: planted by construction; ! disagrees with that; of several seeds the worst is shown"
    )
    _add_columns(table, FACTORS)
    for name, of_model in _by_classifier(findings):
        cells = []
        for factor in FACTORS:
            worst = max((f for f in of_model if f.factor == factor), key=_error)
            mark = "!" if worst.agrees is False else ""
            cell = f"{mark}{worst.ignored_auc:.2f}"
            cell = f"[bold]{cell}[/bold]" if worst.planted else cell
            cells.append(f"{cell}\n[dim]{worst.as_auc:.2f}[/dim]")
        table.add_row(name, *cells)
    return table


def swap_table(findings: Iterable[Finding]) -> Table:
    """The ignored part of another image put in: which word is named then. Worst of the seeds."""
    table = _table("After a swap of the ignored part for another image's, named as")
    _add_columns(table, ("planted: donor's", "shape: own", "(before)"))
    for name, of_model in _by_classifier(findings):
        donors = [f.swap_donor for f in of_model if f.planted]
        shape = max(
            (f for f in of_model if f.factor == "shape"), key=lambda f: abs(f.named - f.swap_own)
        )
        table.add_row(
            name,
            f"{min(donors):.1%}" if donors else "",
            f"{shape.swap_own:.1%}",
            f"{shape.named:.1%}",
        )
    return table


def naming_table(findings: Iterable[Finding]) -> Table:
    """How often the trained classifiers' factors are named right, and from which part."""
    findings = list(findings)
    table = _table("Ignored, or merely also there? Trained classifiers: % named right")
    _add_columns(table, ("from", *FACTORS))
    for name, of_model in _by_classifier(f for f in findings if f.planted is None):
        found = {f.factor: f for f in of_model}
        for source, rate in (
            ("all", lambda f: f.named),
            ("the seen", lambda f: f.named_from_seen),
            ("the ignored", lambda f: f.named_from_ignored),
        ):
            first = name if source == "all" else ""
            table.add_row(first, source, *(f"{100 * rate(found[k]):.0f}" for k in FACTORS))
    chances = {f.factor: f.chance for f in findings}
    table.add_row("", "chance", *(f"{100 * chances[k]:.0f}" for k in FACTORS), style="dim")
    return table


def readings(findings: Iterable[Finding]) -> list[str]:
    """What the tables say, in sentences, disagreements first."""
    findings = list(findings)
    known = [f for f in findings if f.planted is not None]
    wrong = [f for f in known if not f.agrees]
    planted, empty = [f for f in known if f.planted], [f for f in known if not f.planted]
    sentences = [
        f"{f.classifier}, seed {f.seed}: {f.factor} is {'' if f.planted else 'not '}planted, but "
        f"its ignored evidence has an AUC of {f.ignored_auc:.2f}."
        for f in wrong
    ]
    low, high = UNPLANTED_AUC
    if known:
        found = sum(f.as_auc >= PLANTED_AUC for f in planted)
        quiet = sum(low <= f.as_auc <= high for f in empty)
        sentences.append(
            f"Ignored evidence agrees with what was planted in {len(known) - len(wrong)} of "
            f"{len(known)} cases. The paper's plain AS finds {found} of {len(planted)} planted "
            f"factors and leaves {quiet} of {len(empty)} others alone, by the same limits."
        )
    trained = [f for f in findings if f.planted is None]
    redundant = [f for f in trained if min(f.named_from_seen, f.named_from_ignored) > _clear(f)]
    sentences += [
        f"{f.classifier} is redundant: {f.factor} is named right from what the head ignores in "
        f"{f.named_from_ignored:.0%} of images and from what it sees in {f.named_from_seen:.0%}; "
        "being in the null space does not mean being unused."
        for f in redundant
    ]
    return sentences


def _by_classifier(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    return [(name, list(group)) for name, group in groupby(findings, lambda f: f.classifier)]


def _clear(finding: Finding) -> float:
    """Naming is called more than chance from a quarter of the way to certainty on."""
    return finding.chance + 0.25 * (1.0 - finding.chance)


def _error(finding: Finding) -> float:
    if finding.planted:
        return 1.0 - finding.ignored_auc
    return abs(finding.ignored_auc - 0.5)


def _table(title: str) -> Table:
    """A table that fits into 80 columns."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("classifier", no_wrap=True)
    return table


def _add_columns(table: Table, names: Iterable[str]) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
