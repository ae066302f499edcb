"""``captum-sing render``: pictures of equivalents, each with what the classifier says to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from captum_sing.cli.analysis import shortest
from captum_sing.cli.drawing import slug
from captum_sing.cli.pictured import Pictured
from captum_sing.cli.tables import sentences, table
from captum_sing.cli.writing import Written
from captum_sing.descriptions import number
from captum_sing.files import made, write_whole
from captum_sing.remarks import way_of
from captum_sing.render import RenderedEquivalents, Renderer, render_equivalents
from captum_sing.render.equivalents import ORIGINAL
from captum_sing.render.verify import LONGEST, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image
    from rich.console import RenderableType

__all__ = ["changes_of", "render_pictures", "write_rendered"]

_DPI = 130
_FIGURED = 12  # photographs in the figure


def changes_of(
    pictured: Pictured,
    baseline: str | None,
    donor: Image.Image | None,
    prompts: Sequence[str],
    away_from: str | None,
    degrees: float,
) -> dict[str, dict[str, Any]]:
    """The columns: the equivalent, the swap where there is a donor, and each prompt's."""
    changes: dict[str, dict[str, Any]] = {"equivalent": {"baselines": baseline}}
    if donor is not None:
        changes["swap"] = {"baselines": pictured.inputs([donor])}
    steered: Sequence[str | None] = prompts or ([None] if away_from else [])
    for prompt in steered:
        changes[way_of(prompt, away_from)] = {
            "prompt": prompt, "away_from": away_from, "image_score": degrees,
        }  # fmt: skip
    return changes


def render_pictures(
    pictured: Pictured,
    renderer: Renderer,
    changes: Mapping[str, Mapping[str, Any]],
    *,
    seed: int,
    tolerance: float,
    batch_size: int,
) -> RenderedEquivalents:
    """Draw, and ask again; see :func:`captum_sing.render.render_equivalents`."""
    return render_equivalents(
        pictured.part.sing,
        renderer,
        list(pictured.images.values()),
        changes,
        preprocess=pictured.part.classifier.preprocess,
        encoder=pictured.encoder,
        seeds=seed,
        tolerance=tolerance,
        internal_batch_size=batch_size,
    )


def write_rendered(
    pictured: Pictured, rendered: RenderedEquivalents, asked: Mapping[str, Any], folder: Path
) -> Written:
    """A table to be shown, ``render.png``, ``render.json``, and each picture as a file.

    Args:
        pictured (Pictured): the photographs, and the model.
        rendered (RenderedEquivalents): what was drawn of them.
        asked (mapping): the options of the command, to be kept beside the numbers.
        folder (Path): there already.

    Raises:
        SINGFileError: no room, or no right to write.
    """
    from captum_sing.plots import plot_equivalents

    names = shortest(pictured.images)
    drawn = BytesIO()  # before anything is written
    figure = plot_equivalents(rendered, pictured.classes, names, most=_FIGURED)
    figure.savefig(drawn, format="png", dpi=_DPI)
    columns = {ORIGINAL: rendered.original, **rendered.equivalents}
    rows, pictures = [], {}
    for row in rendered.to_frame().to_dict("records"):
        place, column = row["photograph"], row["picture"]
        stem, number_of = slug(Path(names[place]).stem)[:40], list(columns).index(column)
        file = f"pictures/{place:03d}-{stem}-{number_of}-{slug(column)[:60]}.png"
        pictures[file] = columns[column].pictures[place]
        row = {key: number(v) if isinstance(v, float) else v for key, v in row.items()}
        name = pictured.classes[row["prediction"]]
        rows.append({**row, "photograph": names[place], "prediction": name, "file": file})
    facts = {**pictured.facts, "asked": dict(asked), "renderer": rendered.facts}
    text = json.dumps({**facts, "pictures": rows}, indent=1, allow_nan=False)
    made(folder / "pictures")
    written = [
        write_whole(folder / "render.json", lambda path: path.write_text(text, encoding="utf-8")),
        write_whole(folder / "render.png", lambda path: path.write_bytes(drawn.getvalue())),
    ]
    for file, picture in pictures.items():
        written.append(write_whole(folder / file, lambda p, one=picture: one.save(p, format="png")))
    return Written([*_report(names, rendered, pictured)], written)


def _report(
    names: Sequence[str], rendered: RenderedEquivalents, pictured: Pictured
) -> Iterator[RenderableType]:
    columns = {ORIGINAL: rendered.original, **rendered.equivalents}
    shown = table("picture", "class", "gap", "seen", "ignored", "change", "", left=2)
    for place, name in enumerate(names):
        shown.add_row(Text(name, style="bold"))
        for column, drawn in columns.items():
            found, share = drawn.check, float(drawn.check.probability[place])
            shown.add_row(
                Text(column),
                Text(f"{pictured.classes[int(found.prediction[place])]} {share:.0%}"),
                f"{float(found.gap[place]):.1%}",
                f"{float(found.principal[place]):.2f}",
                f"{float(found.null[place]):.2f}",
                "" if drawn.change is None else f"{float(drawn.change[place]):.0%}",
                "yardstick" if drawn.verdicts is None else drawn.verdicts[place],
            )
    yield shown
    tolerance = rendered.facts["tolerance"]
    notes = [
        "Gap: the largest change of a logit over the largest logit of the photograph. Seen and "
        "ignored: how much of the wanted principal and null part the picture has, 1 being all of "
        "it, 0 as far off as the photograph is from the mean, and less than 0 farther. Change: how "
        "much of the change that was asked for is between the two pictures.",
        f"Verified: the prediction is kept, and the gap is at most {tolerance:.0%} or that of the "
        "original drawn in the same way. No yardstick: this way of drawing loses the original "
        f"itself, its prediction or more than {LONGEST:.0%} of a logit. {UNCHANGED.capitalize()}: "
        "it is the picture of the original.",
        "A verdict says that the classifier treats the picture as the photograph; not that it "
        "shows what was meant. Of equivalents drawn as well as their originals, half are within "
        "the yardstick.",
    ]
    yield from sentences(notes, bullet=True)
