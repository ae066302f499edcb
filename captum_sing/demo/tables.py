"""The demo's findings as tables, and as sentences that hide nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table

from captum_sing.demo.planted import PLANTED_AUC, UNPLANTED_AUC, Finding
from captum_sing.demo.scenes import FACTORS

if TYPE_CHECKING:
    from captum_sing.demo.report import HeadFacts

__all__ = ["findings_table", "heads_table", "naming_table", "readings", "swap_table"]


def heads_table(heads: Sequence[HeadFacts]) -> Table:
    """Rank and nullity, accuracy, logit drift and the translator's held-out fit."""
    table = Table(title="The heads, on images nothing was fitted to")
    table.add_column("classifier", no_wrap=True)
    for column in ("rank", "ignores", "accuracy", "drift: null", "random", "R2 of T", "null part"):
        table.add_column(column, justify="right")
    for head in heads:
        whole, null = head.translation.whole, head.translation.null
        table.add_row(
            head.classifier,
            str(head.rank),
            f"{head.nullity} of {head.rank + head.nullity}",
            f"{head.accuracy:.3f}",
            f"{head.null_drift:.0e}",
            f"{head.random_drift:.1f}",
            f"{whole.r2:.2f}",
            "" if null is None else f"{null.r2:.2f}",
        )
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """Planted against found: AUC of ignored evidence, with that of the paper's -AS behind it.

    Of several seeds the one furthest from the truth is shown.
    """
    table = Table(
        title="Planted against found: AUC of ignored evidence (and of the paper's plain -AS)",
        caption="bold: planted by construction; of several seeds of test images, the worst",
    )
    table.add_column("classifier", no_wrap=True)
    for column in (*FACTORS, "verdict"):
        table.add_column(column, justify="right")
    for name, of_model in _by_classifier(findings):
        cells = []
        for factor in FACTORS:
            worst = max((f for f in of_model if f.factor == factor), key=_error)
            cell = f"{worst.ignored_auc:.2f} ({worst.as_auc:.2f})"
            cells.append(f"[bold]{cell}[/bold]" if worst.planted else cell)
        table.add_row(name, *cells, _verdict(of_model))
    return table


def swap_table(findings: Iterable[Finding]) -> Table:
    """The ignored part of another image put in: which word is named then. Worst of the seeds."""
    table = Table(title="After a swap of the ignored part with another image's")
    table.add_column("classifier", no_wrap=True)
    for column in ("planted factor named as the donor's", "shape named right before", "after"):
        table.add_column(column, justify="right")
    for name, of_model in _by_classifier(findings):
        donors = [f.swap_donor for f in of_model if f.planted]
        shape = max(
            (f for f in of_model if f.factor == "shape"), key=lambda f: abs(f.named - f.swap_own)
        )
        table.add_row(
            name,
            f"{min(donors):.1%}" if donors else "",
            f"{shape.named:.1%}",
            f"{shape.swap_own:.1%}",
        )
    return table


def naming_table(findings: Iterable[Finding]) -> Table:
    """How often each factor is named right from T(f), from the seen and from the ignored part."""
    table = Table(
        title="Ignored, or merely also there? % named right from all / the seen / the ignored part"
    )
    table.add_column("classifier", no_wrap=True)
    findings = list(findings)
    chances = {f.factor: f.chance for f in findings}
    for factor in FACTORS:
        table.add_column(f"{factor} (chance {100 * chances[factor]:.0f})", justify="right")
    for name, of_model in _by_classifier(findings):
        first = {f.factor: f for f in reversed(of_model)}
        table.add_row(
            name,
            *(
                f"{100 * first[k].named:.0f} / {100 * first[k].named_from_seen:.0f} / "
                f"{100 * first[k].named_from_ignored:.0f}"
                for k in FACTORS
            ),
        )
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
    redundant = [
        f for f in trained if min(f.named_from_seen, f.named_from_ignored) > (1 + f.chance) / 2
    ]
    sentences += [
        f"{f.classifier} is redundant: {f.factor} is named right from what the head ignores in "
        f"{f.named_from_ignored:.0%} of images and from what it sees in {f.named_from_seen:.0%}; "
        "being in the null space does not mean being unused."
        for f in redundant
    ]
    return sentences


def _by_classifier(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    return [(name, list(group)) for name, group in groupby(findings, lambda f: f.classifier)]


def _error(finding: Finding) -> float:
    if finding.planted:
        return 1.0 - finding.ignored_auc
    return abs(finding.ignored_auc - 0.5)


def _verdict(findings: Sequence[Finding]) -> str:
    if findings[0].planted is None:
        return "trained"
    wrong = sorted({f.factor for f in findings if not f.agrees})
    return f"[red]disagrees: {', '.join(wrong)}[/red]" if wrong else "as planted"
