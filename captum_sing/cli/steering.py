"""``captum-sing steer``: the same logits, nearer to a text, and at what price."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.text import Text
from torch import Tensor

from captum_sing.angles import attribute_score
from captum_sing.cli.analysis import shortest
from captum_sing.cli.pictured import Pictured
from captum_sing.cli.tables import sentences, table
from captum_sing.cli.writing import Written
from captum_sing.descriptions import FAR, number
from captum_sing.files import save_tensors, write_whole
from captum_sing.forward_pass import logits_of
from captum_sing.headings import heading
from captum_sing.hooks import read_features, replace_features
from captum_sing.remarks import way_of
from captum_sing.steering import largest_angle
from captum_sing.verification import logit_drift

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Steering", "steer_pictures", "write_steering"]

_AS = {"prompt": "AS to", "away_from": "AS from"}


@dataclass(frozen=True)
class Steering:
    """One prompt and one angle, on B pictures.

    Attributes:
        prompt, away_from (str or None): towards what, and away from what.
        degrees (float): what was asked for.
        image_score, step, drift (Tensor): of each picture, shape (B,): the turn, the step in norms
            of the feature, and how far the logits move; NaN where the angle cannot be reached.
        scores (dict of str to Tensor): of the text that is steered towards, and of that away from
            which, by which: AS, shape (B,), positive where it is nearer now.
        largest (Tensor): the angle that can be come near to, degrees, shape (B,).
        kept (Tensor): whether the prediction is the same, bool.
        features (Tensor): the steered ones, shape (B, D), float32 or better.
    """

    prompt: str | None
    away_from: str | None
    degrees: float
    image_score: Tensor
    scores: dict[str, Tensor]
    step: Tensor
    drift: Tensor
    largest: Tensor
    kept: Tensor
    features: Tensor

    @property
    def way(self) -> str:
        """In words."""
        return way_of(self.prompt, self.away_from)


def steer_pictures(
    pictured: Pictured,
    prompts: Sequence[str | None],
    away_from: str | None,
    degrees: Sequence[float],
) -> tuple[list[Steering], list[str]]:
    """Steer every picture to every prompt by every angle, and ask the model what it says.

    Args:
        pictured (Pictured): the pictures, and the model.
        prompts (sequence of str or None): where to; ``[None]`` for only away from something.
        away_from (str or None): from what.
        degrees (sequence of float): image scores.

    Returns:
        tuple: one :class:`Steering` each, and what is to be warned of.
    """
    sing, inputs = pictured.part.sing, pictured.inputs()
    model, head = sing.forward_func, sing.head_of(inputs)
    features = read_features(model, head.layers, inputs)
    with torch.no_grad():
        before = logits_of(model(inputs))
    told: dict[str, None] = {}
    found = []
    map_, space = sing.translator, pictured.part.space
    place = map_.weight.device
    flat = features.flatten(1).double().to(place)
    for prompt, angle in itertools.product(prompts, degrees):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "SING.attribute: image_score cannot be reached")
            moved, said = sing.attribute(
                inputs, prompt=prompt, away_from=away_from, image_score=angle
            )
        told.update(dict.fromkeys(said.notes))
        steered = features + moved
        after = replace_features(model, head.layers, inputs, steered.nan_to_num())
        drift = logit_drift(space.to(torch.device("cpu")), before.cpu(), after.cpu())
        lost = steered.flatten(1).isnan().any(dim=1).cpu()
        translated, turned = map_(flat), map_(steered.flatten(1).double().to(place))
        texts = {"prompt": prompt, "away_from": away_from}
        embedded = {
            name: sing.concepts.embed(text, sing.encoder)[None].to(turned)
            for name, text in texts.items()
            if text is not None
        }
        way = heading(sing.concepts, sing.encoder, prompt, away_from, len(inputs))
        limit = (
            torch.full_like(flat[:, 0], 180.0)
            if way is None
            else largest_angle(flat, way, space.to(place), map_)
        )
        found.append(
            Steering(
                prompt,
                away_from,
                angle,
                said.image_score.cpu(),
                {
                    name: attribute_score(translated, turned, text)[:, 0].cpu()
                    for name, text in embedded.items()
                },
                said.step.cpu(),
                drift.masked_fill(lost, torch.nan),
                limit.cpu(),
                (before.argmax(dim=1) == after.argmax(dim=1)).cpu(),
                steered.flatten(1).cpu(),
            )
        )
    return found, list(told)


def write_steering(
    pictured: Pictured, found: Sequence[Steering], told: Sequence[str], folder: Path
) -> Written:
    """A table to be shown, and ``steer.json`` and ``steer.safetensors`` with the features.

    Raises:
        SINGFileError: no room, or no right to write.
    """
    names = shortest(pictured.images)
    rows = [
        {"image": name, **numbers}
        for one in found
        for name, numbers in zip(names, _rows(one), strict=True)
    ]
    facts = pictured.facts
    text = json.dumps({**facts, "steered": rows, "notes": list(told)}, indent=1, allow_nan=False)
    tensors = {f"{place}": one.features.contiguous() for place, one in enumerate(found)}
    order = [{"prompt": o.prompt, "away_from": o.away_from, "degrees": o.degrees} for o in found]
    files = [
        save_tensors(
            folder / "steer.safetensors", "steered features", tensors,
            {**facts, "images": names, "steered": order},
        ),
        write_whole(folder / "steer.json", lambda path: path.write_text(text, encoding="utf-8")),
    ]  # fmt: skip
    return Written([*_report(names, found, told)], files)


def _rows(one: Steering) -> Iterator[dict[str, Any]]:
    for place in range(len(one.step)):
        yield {
            "prompt": one.prompt,
            "away_from": one.away_from,
            "degrees": one.degrees,
            "image_score": number(one.image_score[place]),
            "attribute_score": {name: number(of[place]) for name, of in one.scores.items()},
            "step": number(one.step[place]),
            "logit_drift": number(one.drift[place]),
            "largest_angle": number(one.largest[place]),
            "prediction_kept": bool(one.kept[place]) if one.step[place].isfinite() else None,
        }


def _report(
    names: Sequence[str], found: Sequence[Steering], told: Sequence[str]
) -> Iterator[RenderableType]:
    scores = list(found[0].scores)
    shown = table(
        "image", "steered", "IS", *(_AS[name] for name in scores), "step", "drift", "kept", left=2
    )
    far = False
    for place, name in enumerate(names):
        for one in found:
            if not one.step[place].isfinite():
                reach = f"{one.degrees:g}° is beyond {float(one.largest[place]):.1f}°"
                shown.add_row(Text(name), Text(one.way), reach)
                continue
            mark = "*" if one.step[place] > FAR else ""
            far = far or bool(mark)
            shown.add_row(
                Text(name),
                Text(one.way),
                f"{float(one.image_score[place]):.2f}°",
                *(f"{float(one.scores[name][place]):+.1f}°" for name in scores),
                f"{float(one.step[place]):.3g}{mark}",
                f"{float(one.drift[place]):.0e}",
                "yes" if one.kept[place] else "no",
            )
    yield shown
    notes = [
        "IS: how far the translation turns. AS: how much nearer a text it comes by that, and less "
        "than zero where it goes away from it. Step: in norms of the feature. Drift: of the "
        "logits, through the model itself.",
        "Any head with a null space can be steered far; the step says at what price, and no "
        "number here that a picture looks so: captum-sing render draws it, and asks again.",
    ]
    if any(not one.step.isfinite().all() for one in found):
        notes.append("Beyond: no step inside the null space turns the translation so far.")
    if far:
        notes.append(f"* a step of more than {FAR:g} norms leads to where no image is.")
    yield from sentences([*notes, *told], bullet=True)
