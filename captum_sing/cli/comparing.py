"""Several models on the same pictures: their studies, and what may be said of two of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.text import Text

from captum_sing import __version__
from captum_sing.cli.drawing import Plot, draw, drift_plot, joint_plot, slug
from captum_sing.cli.request import Request
from captum_sing.cli.studying import Finding, prepare, records, study_part
from captum_sing.cli.tables import between, is_said, sentences, table, titled
from captum_sing.cli.writing import Written, as_text, save_finding, write
from captum_sing.errors import SINGValueError, expected
from captum_sing.files import made
from captum_sing.study import Comparison, compare_models
from captum_sing.study.labels import check_classes
from captum_sing.study.statistics import MODEL

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

__all__ = ["DEMO_MODELS", "compare_pictures"]

DEMO_MODELS = (
    "demo/resnet/neck_none",
    "demo/resnet/neck_color",
    "demo/resnet/neck_size",
    "demo/plain",
    "demo/color_hidden",
    "demo/spurious",
)
"""Three whose truth is known by construction, and three that were trained."""

_FOREST = "forest-*.png"
_TITLES = {
    "image_score": ("IS, degrees", 1),
    "abs_attribute_score": ("|AS| of the label, degrees", 1),
    "image_over_attribute": ("IS over |AS|", 2),
    "null_energy": ("energy ignored", 3),
}


def compare_pictures(request: Request, console: Console) -> Written:
    """Study each model and compare them; one pass a model, over pictures that are read alike.

    Raises:
        SINGError: fewer than two models, other classes, and whatever a study refuses.
    """
    if len(request.models) < 2:
        raise SINGValueError(
            expected(
                "captum-sing compare",
                "--models",
                "of two or more",
                f"{len(request.models)}",
                "For one, there is captum-sing study",
            )
        )
    prepared = prepare(request, console)
    first, *others = prepared.parts
    for other in others:
        check_classes(
            "captum-sing compare",
            first.classifier.name,
            first.classes,
            other.classifier.name,
            other.classes,
        )
    found = [study_part(part, prepared, request, console) for part in prepared.parts]
    with console.status("Comparing"):
        comparison = compare_models(
            [one.study for one in found], draws=request.draws, seed=request.seed
        )
        return _saved(comparison, found, request)


def _saved(comparison: Comparison, found: Sequence[Finding], request: Request) -> Written:
    folders = _folders(found, request.output)
    truth = _truth(found) if request.demo and len(found[0].study.groups) else None
    drawn = draw(list(_plots(comparison, found, truth)))
    report = [*_report(comparison, found, folders), *sentences(drawn.left_out, bullet=True)]
    told = {
        "captum_sing": __version__,
        "images_from": found[0].study.facts["images_from"],
        "studies": {name: folder.name for name, folder in folders.items()},
        "models": records(comparison.models),
        "pairs": records(comparison.pairs),
        "rankings": {
            measure: comparison.ranking(measure)
            for measure in dict.fromkeys(comparison.pairs["measure"])
        },
        "notes": comparison.notes,
    }
    texts = {
        "comparison.json": json.dumps(told, indent=1, allow_nan=False) + "\n",
        "comparison.txt": as_text(report),
    }
    files = write(made(request.output), drawn, texts, _FOREST)
    for one, folder in zip(found, folders.values(), strict=True):
        files += save_finding(one, folder).files
    return Written(report, files)


def _folders(found: Sequence[Finding], output: Path) -> dict[str, Path]:
    """A folder for each model, in their order."""
    folders: dict[str, Path] = {}
    for one in found:
        name = one.study.facts["model"]
        folder, number = output / slug(name), 2
        while folder in folders.values():
            folder, number = output / f"{slug(name)}-{number}", number + 1
        folders[name] = folder
    return folders


def _report(
    comparison: Comparison, found: Sequence[Finding], folders: dict[str, Path]
) -> Iterator[RenderableType]:
    facts = found[0].study.facts
    yield from sentences(
        [
            f"{len(found)} models on the same images, from {facts['images_from']}. Intervals are "
            "of 95%; by size is what the number of ignored directions alone gives. A model is "
            "above another where the interval of their paired difference excludes zero; all "
            "other pairs are not ranked."
        ]
    )
    heads = table("", "model", "ignored directions", "drift: null", "random", left=2)
    for number, one in enumerate(found, start=1):
        own = one.study.facts
        heads.add_row(
            f"{number}",
            own["model"],
            f"{own['nullity']} of {own['width']}",
            f"{float(one.drift.null.nanmean()):.1e}",
            f"{float(one.drift.random.nanmean()):.1e}",
        )
    yield from titled("The models", heads)
    for measure in dict.fromkeys(comparison.models["measure"]):
        yield from _measure(comparison, measure)
    yield Text("\nWhat this does not show", style="bold")
    yield from sentences(comparison.notes, bullet=True)
    yield from sentences([f"Each model's own study: {', '.join(f.name for f in folders.values())}"])


def _measure(comparison: Comparison, measure: str) -> Iterator[RenderableType]:
    """What each model has of a measure, and which pairs differ for sure."""
    title, digits = _TITLES.get(measure, (measure, 2))
    rows = comparison.models[comparison.models["measure"] == measure].to_dict("records")
    places = {row["model"]: number for number, row in enumerate(rows, start=1)}
    above: dict[str, list[int]] = {model: [] for model in places}
    for one, other in comparison.ranking(measure):
        above[one].append(places[other])
    chance = any(row["chance"] == row["chance"] for row in rows)
    columns = ["", "model", "images", "value", *(["by size"] if chance else []), "above"]
    shown = table(*columns, left=2)
    reasons: dict[str, list[str]] = {}
    for row in rows:
        shown.add_row(
            f"{places[row['model']]}",
            row["model"],
            f"{row['n']:,}",
            between(row["value"], row["low"], row["high"], digits),
            *([f"{row['chance']:.{digits}f}"] if chance else []),
            ", ".join(map(str, sorted(above[row["model"]]))) or "-",
        )
        if is_said(row["note"]):
            reasons.setdefault(row["note"], []).append(f"{places[row['model']]}")
    yield from titled(title, shown)
    yield from sentences(f"{', '.join(models)}: {reason}." for reason, models in reasons.items())
    if not any(above.values()):
        yield from sentences(["No ranking: no pair's interval excludes zero."])


class _Truth(NamedTuple):
    """Rows are models, columns groups: shares, which were planted, and which have a star."""

    found: pd.DataFrame
    planted: pd.DataFrame
    starred: pd.DataFrame


def _truth(found: Sequence[Finding]) -> _Truth:
    """What was planted in models of the embedded world, where that is so by construction."""
    import pandas as pd

    from captum_sing.demo.world import CLASSIFIERS

    shares: dict[str, Any] = {}
    planted: dict[str, Any] = {}
    stars: dict[str, Any] = {}
    for one in found:
        name, rows = one.study.facts["model"], one.study.groups
        rows = rows[rows["level"] == MODEL].set_index("group")
        truth = CLASSIFIERS[name.removeprefix("demo/")].planted
        shares[name], stars[name] = rows["share"], rows["starred"]
        planted[name] = {group: None if truth is None else group in truth for group in rows.index}
    return _Truth(*(pd.DataFrame(frame).T for frame in (shares, planted, stars)))


def _plots(
    comparison: Comparison, found: Sequence[Finding], truth: _Truth | None
) -> Iterator[Plot]:
    from captum_sing import plots

    yield joint_plot(found)
    yield drift_plot(found)
    for measure in dict.fromkeys(comparison.models["measure"]):
        yield Plot(
            _FOREST.replace("*", slug(measure)),
            None,
            lambda measure=measure: plots.plot_forest(comparison, measure),  # type: ignore[misc]
        )
    if truth is not None:
        yield Plot(
            "planted.png",
            None if truth.planted.notna().to_numpy().any() else "no model's truth is known",
            lambda: plots.plot_planted_against_found(
                truth.found, truth.planted, starred=truth.starred
            ),
        )
