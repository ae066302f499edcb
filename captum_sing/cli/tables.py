"""A study in words and tables, for a terminal and a text file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Column, Table
from rich.text import Text

from captum_sing.study.statistics import MODEL

if TYPE_CHECKING:
    from rich.console import RenderableType

    from captum_sing.cli.studying import Finding

__all__ = ["WIDTH", "between", "is_said", "sentences", "study_report", "table", "titled"]

WIDTH = 88
"""Columns of a report, which fits into 80 as well."""

_CLASSES = 20  # rows
_SOURCES = {"all": "whole", "seen": "seen", "seen_conditional": "seen, cond.", "ignored": "ignored"}
_IN_PLACE = {
    "none": "nothing",
    "mean": "its mean",
    "conditional": "what is foretold",
    "swap": "the donor's",
}
_NOTES = (
    "A star is for evidence, with false discoveries held at 5%: a share that differs from those "
    "of the other words, or an ignored part that points at the images' own words.",
    "Angles (IS, AS) have no star: they move with the number of ignored directions and with the "
    "translator's fit, and removing anything turns a translation towards all the rest.",
    "A word that the ignored part names may be seen as well: features are redundant.",
)


def study_report(found: Finding) -> Iterator[RenderableType]:
    """What a study says, in the order in which one wants to know it."""
    yield from sentences(_with_what(found))
    yield from _groups(found)
    yield from _classes(found)
    yield from _naming(found)
    yield from _angles(found)
    yield from _axes(found)
    yield from _steered(found)
    yield Text("\nWhat this does not show", style="bold")
    yield from sentences([*_NOTES, *found.study.facts["notes"]], bullet=True)


def table(*columns: str, left: int = 1) -> Table:
    """A table of this house; the first columns are text, the others numbers."""
    return Table(
        *(
            Column(name, overflow="fold")
            if i < left
            else Column(name, justify="right", no_wrap=True)
            for i, name in enumerate(columns)
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )


def titled(title: str, shown: Table) -> Iterator[RenderableType]:
    """A table under its title, which may be wider, after an empty line."""
    yield Text(f"\n{title}", style="bold")
    yield shown


def sentences(texts: Iterable[str], bullet: bool = False) -> Iterator[RenderableType]:
    """A line each, or a point of a list; they are broken where they are printed."""
    for text in texts:
        if not bullet:
            yield Text(text)
            continue
        point = Table.grid(padding=(0, 1))
        point.add_row("-", Text(text))
        yield point


def between(value: float, low: float, high: float, digits: int = 2) -> str:
    """A number with its interval; a dash where there is none.

    Example::

        >>> between(0.5, 0.25, 0.75), between(0.5, math.nan, math.nan), between(math.nan, 0.0, 0.0)
        ('0.50 [0.25, 0.75]', '0.50', '-')
    """
    if math.isnan(value):
        return "-"
    told, *ends = (f"{round(end, digits) + 0.0:.{digits}f}" for end in (value, low, high))
    return told if math.isnan(low) or math.isnan(high) else f"{told} [{', '.join(ends)}]"


def is_said(note: object) -> bool:
    """Whether a table holds a note there; where there is none, it may hold None or NaN."""
    return isinstance(note, str)


def _with_what(found: Finding) -> list[str]:
    study, facts = found.study, found.study.facts
    tested = len(study.tested)
    unusable = len(facts["unusable"])
    lines = [
        f"Model: {facts['model']}, {'head' if len(found.part.layers) == 1 else 'mean of the heads'}"
        f" {' and '.join(found.part.layers)}",
        f"Images: {tested:,} that the translator was not fitted on, from {facts['images_from']}"
        + (f"; {unusable:,} more could not be used, such as {_first(facts)}" if unusable else ""),
        f"Rank {facts['rank']} of {facts['width']} features: {facts['nullity']} directions are "
        f"ignored, {facts['nullity'] / facts['width']:.0%} of all",
        f"On {len(found.drift.null)} images through the model, {found.drift}",
    ]
    if (quality := facts["quality"]) is not None and quality["whole"]["r2"] is not None:
        whole = quality["whole"]
        lines.append(
            f"Translator: on {quality['count']:,} of these images {whole['degrees']:.1f} degrees "
            f"from the embeddings of {facts['encoder']}, R² {whole['r2']:.2f}"
        )
    return lines


def _first(facts: dict[str, Any]) -> str:
    first = facts["unusable"][0]
    return f"{first['path']} ({first['reason']})"


def _groups(found: Finding) -> Iterator[RenderableType]:
    """The answers to three questions, for the model."""
    rows = found.study.groups
    if not len(rows):
        return
    rows = rows[rows["level"] == MODEL]
    counts = [f"{count:,}" for count in sorted({rows["n"].min(), rows["n"].max()})]
    shown = table("group", "ignored share", "K/D", "q", "z", "p", "q", "beyond q")
    why: dict[tuple[str, str], list[str]] = {}
    for row in rows.to_dict("records"):
        shown.add_row(
            row["group"],
            between(row["share"], row["share_low"], row["share_high"]),
            f"{row['chance']:.2f}",
            _q(row, "share_"),
            _decimal(row["z"], 1),
            _p(row["p"]),
            _q(row, ""),
            _q(row, "beyond_"),
        )
        for name, key in (("share", "share_note"), ("z", "note"), ("beyond", "beyond_note")):
            if is_said(row.get(key)):
                why.setdefault((name, row[key]), []).append(row["group"])
    title = f"What is ignored of each group of words: {' to '.join(counts)} images"
    yield from titled(title, shown)
    yield from sentences(
        (
            "Ignored share: of the signal of the images' own words, with its 95% interval, beside "
            "K/D, which the size of the null space alone gives; its q is against the other words. "
            "z, p, q: the ignored part points at the own words. Beyond: it tells more of them than "
            "what is seen.",
            *(
                f"{name.capitalize()} of {', '.join(groups)}: {reason}."
                for (name, reason), groups in why.items()
            ),
        )
    )


def _classes(found: Finding) -> Iterator[RenderableType]:
    """The classes in which something is ignored for sure."""
    rows = found.study.groups
    rows = rows[(rows["level"] != MODEL) & rows["starred"]] if len(rows) else rows
    if not len(rows):
        return
    starred = list(rows.groupby("level", sort=False, observed=True))
    starred.sort(key=lambda one: -one[1]["z"].max())
    shown = table("class", "images", "z of groups with a star")
    for label, of_class in starred[:_CLASSES]:
        told = [f"{row['group']} {row['z']:.1f}" for row in of_class.to_dict("records")]
        shown.add_row(label, f"{of_class['n'].max():,}", ", ".join(told))
    count = found.study.table["label"].cat.categories.size
    title = "Classes whose ignored part points at the images' own words"
    yield from titled(f"{title}: {len(starred)} of {count}", shown)
    said = ["What a class shows may cancel over all of them."]
    if len(starred) > _CLASSES:
        said.append(f"{len(starred) - _CLASSES} further classes are in study.json.")
    yield from sentences(said)


def _naming(found: Finding) -> Iterator[RenderableType]:
    """What each part still names."""
    rows = found.study.naming
    rows = rows[rows["level"] == MODEL] if len(rows) else rows
    if not len(rows):
        return
    sources = [source for source in _SOURCES if source in set(rows["source"])]
    shown = table("group", "chance", *(_SOURCES[source] for source in sources))
    for group, of_group in rows.groupby("group", sort=False):
        by_source = {row["source"]: row for row in of_group.to_dict("records")}
        cells = [
            between(100 * row["right"], 100 * row["low"], 100 * row["high"], digits=0)
            + ("*" if row["starred"] else " ")
            for row in map(by_source.__getitem__, sources)
        ]
        shown.add_row(group, f"{100 * by_source['all']['chance']:.0f}", *cells)
    yield from titled("Images whose own word is named, in percent", shown)
    yield from sentences(
        [
            "Named from the whole feature, from the part that is seen, from that and what it "
            "foretells of the rest (cond.), and from the ignored part. *: fewer than the whole."
        ]
    )


def _angles(found: Finding) -> Iterator[RenderableType]:
    """The paper's scores, for each baseline."""
    rows = found.study.statistics
    rows = rows[rows["level"] == MODEL]
    shown = table("in its place", "IS", "AS of the label", "energy ignored")
    for baseline, of_baseline in rows.groupby("baseline", sort=False):
        cells = [
            between(row["mean"], row["low"], row["high"], digits)
            for row, digits in zip(of_baseline.to_dict("records"), (1, 1, 2), strict=True)
        ]
        shown.add_row(_IN_PLACE.get(baseline, baseline), *cells)
    title = "Angles in degrees where the ignored part is taken away, with 95% intervals"
    yield from titled(title, shown)
    alike = found.study.facts["isotropic_image_score"]
    notes = dict.fromkeys(filter(is_said, rows.loc[rows["n"] > 0, "note"]))
    yield from sentences([f"IS would be {alike:.1f} if all directions were alike.", *notes])


def _axes(found: Finding) -> Iterator[RenderableType]:
    if not found.axes:
        return
    shown = table("variance", "words and what a standard deviation adds to them", left=2)
    for axis in found.axes:
        told = ", ".join(f"{word} {value:+.2f}" for word, value in axis.words)
        shown.add_row(f"{axis.share:.0%}", told)
    yield from titled("The widest directions inside the null space", shown)


def _steered(found: Finding) -> Iterator[RenderableType]:
    rows = found.steered
    if rows is None:
        return
    shown = table("towards", "IS", "AS", "step", "95th percentile", "unreachable")
    for row in rows.to_dict("records"):
        shown.add_row(
            row["prompt"],
            f"{row['image_score']:g}",
            between(row["attribute_score"], row["low"], row["high"], 1),
            _decimal(row["step"], 2),
            _decimal(row["step_high"], 2),
            f"{row['unreachable']:,} of {row['n'] + row['unreachable']:,}",
        )
    title = "Steered towards a text with no logit moved, by steps in norms of the feature"
    yield from titled(title, shown)


def _q(row: dict[str, Any], start: str) -> str:
    """A q with its star."""
    q = row.get(f"{start}q", math.nan)
    return f"{_p(q)}{'*' if row[f'{start}starred'] else ' '}" if q == q else "- "


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}" if value >= 1e-99 else "<1e-99"


def _decimal(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"
