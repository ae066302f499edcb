"""Photographs and their equivalents, drawn in one way and checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_sing.checks import check_parts
from captum_sing.descriptions import Descriptions
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.inputs import check_size
from captum_sing.render.protocol import Renderer, seeds_of
from captum_sing.render.sight import Seen, Sight
from captum_sing.render.verify import TOLERANCE, UNCHANGED, Check, check, verdicts
from captum_sing.sing import SING

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

__all__ = ["ORIGINAL", "Drawn", "RenderedEquivalents", "render_equivalents"]

ORIGINAL = "rendered original"
"""The column of what every other one is measured by."""

_WHERE = "render_equivalents"
_ARGUMENTS = {"baselines", "target", "prompt", "away_from", "image_score"}


@dataclass(frozen=True, eq=False)
class Drawn:
    r"""One column: B pictures of one kind of equivalent, or of the photographs themselves.

    Attributes:
        pictures (list of PIL.Image.Image): B of them.
        check (Check): what the networks say to them.
        yardstick (Check): the same of the originals, drawn in the same way, over the logits that
            were to be kept here; for the originals their own.
        verdicts (list of str or None): see :func:`~captum_sing.render.verify.verdicts`;
            "unchanged" where the picture is the original's; None for the originals themselves.
        descriptions (Descriptions or None): of the change, as :meth:`captum_sing.SING.attribute`
            returns them.
        change (Tensor or None): how much of the wanted change of the null part the picture makes,
            beside the original's picture: :math:`\langle P_n (f' - f'_0), \tilde f - f \rangle /
            \|\tilde f - f\|^2`, shape (B,). 1 is all of it, 0 nothing.
    """

    pictures: list[Image.Image]
    check: Check
    yardstick: Check
    verdicts: list[str] | None = None
    descriptions: Descriptions | None = None
    change: Tensor | None = None


@dataclass(frozen=True, eq=False)
class RenderedEquivalents:
    """What :func:`render_equivalents` returns.

    Attributes:
        photographs (list of PIL.Image.Image): B of them.
        seen (Seen): what the networks make of these.
        original (Drawn): the photographs' own features, drawn in the same way; checked over all
            logits, or over those of the first change where each was to keep a target alone.
        equivalents (dict of str to Drawn): by the names that were given.
        facts (dict): of the renderer, with the seeds and the tolerance, in types that JSON holds.
    """

    photographs: list[Image.Image]
    seen: Seen
    original: Drawn
    equivalents: dict[str, Drawn]
    facts: dict[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """A row a picture: its verdict, its numbers (:class:`Check`), and the yardstick's gap."""
        import pandas as pd

        rows = []
        for name, drawn in {ORIGINAL: self.original, **self.equivalents}.items():
            for place, numbers in enumerate(drawn.check.to_dicts()):
                verdict = None if drawn.verdicts is None else drawn.verdicts[place]
                change = None if drawn.change is None else float(drawn.change[place])
                row = {"photograph": place, "picture": name, "verdict": verdict, "change": change}
                rows.append(row | numbers | {"yardstick": float(drawn.yardstick.gap[place])})
        return pd.DataFrame(rows)


def render_equivalents(
    sing: SING,
    renderer: Renderer,
    photographs: Sequence[Image.Image],
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    preprocess: Callable[[Image.Image], Tensor],
    encoder: ImageTextEncoder | None = None,
    seeds: int | Sequence[int] = 0,
    tolerance: float = TOLERANCE,
    internal_batch_size: int = 32,
) -> RenderedEquivalents:
    r"""Draw photographs and their equivalents alike, and ask the classifier about each picture.

    Both sides come from features: where the renderer takes embeddings, from T(f) and T(f~), so
    that the translator's error is in both, and where it minds their length, both are scaled to
    that of the photograph's own embedding (Eq. 19),

    .. math:: z = \|E(x)\| \, T(\tilde f) / \|T(\tilde f)\|.

    Both are drawn with the same seed, so that what differs between them comes from the feature.
    Then every picture, rounded to 8 bits as a file holds it, goes through the classifier, and
    through the encoder, again.

    Args:
        sing (SING): of the classifier.
        renderer (Renderer): see :mod:`captum_sing.render`.
        photographs (sequence of PIL.Image.Image): B of them, RGB.
        changes (mapping of str to mapping, optional): name -> arguments of
            :meth:`captum_sing.SING.attribute`: ``baselines``, ``target``, ``prompt``,
            ``away_from``, ``image_score``. Default: ``{"equivalent": {}}``, null removal
        preprocess (callable): of the classifier, one RGB picture -> (3, H, W).
        encoder (ImageTextEncoder, optional): for the embeddings of photographs and pictures.
            Default: that of ``sing``; where it has none, lengths are those of T(f)
        seeds (int or sequence of int, optional): one for all, or one a photograph. Default: 0
        tolerance (float, optional): the relative logit gap that passes by itself. Default: 0.02
        internal_batch_size (int, optional): pictures that go through the networks at once.
            Default: 32

    Returns:
        RenderedEquivalents: pictures with their checks, and verdicts.

    Raises:
        SINGTypeError, SINGValueError: nothing to draw, a renderer of another space or model, an
            equivalent that does not exist because its angle cannot be reached.
        NoNullSpaceError: the head sees every direction.
    """
    photographs = list(photographs) if isinstance(photographs, Sequence) else [photographs]
    changes = {"equivalent": {}} if changes is None else changes
    _check(renderer, photographs, changes, tolerance)
    check_size(internal_batch_size, _WHERE)
    seeds = seeds_of(_WHERE, seeds, len(photographs))
    encoder = encoder or sing.encoder
    check_parts(sing.forward_func, sing.translator, sing.concepts, encoder)
    renderer.check(sing.translator)
    sight = Sight(sing, preprocess, encoder, internal_batch_size)
    inputs, seen = sight.inputs(photographs), sight.see(photographs)
    head = sing.head_of(inputs)
    wanted = {}
    for name, asked in changes.items():
        wanted[name] = sing.attribute(inputs, **asked, internal_batch_size=internal_batch_size)
        _check_reached(name, wanted[name].perturbations)

    def draw(features: Tensor) -> tuple[list[Image.Image], Seen]:
        rows = features
        if renderer.takes == "embeddings":
            rows = sing.translator(features)
            if renderer.restores_norm:
                rows = _restored(rows, sing.translator(seen.features), seen.embeddings)
        pictures = renderer.render(rows.float(), seeds)
        if len(pictures) != len(rows):
            remedy = "It is the renderer's fault"
            constraint = f"to draw {len(rows)} pictures"
            raise SINGValueError(expected(_WHERE, "renderer", constraint, len(pictures), remedy))
        return pictures, sight.see(pictures, renderer.normalize)

    targets = {name: asked.get("target") for name, asked in changes.items()}
    spaces = {
        name: sing.null_spaces(head, target, len(photographs)) for name, target in targets.items()
    }
    pictures, first = draw(seen.features)
    whole = next((name for name, target in targets.items() if target is None), next(iter(targets)))
    own = check(first, seen, seen.features, spaces[whole], sing.translator)
    original, equivalents = Drawn(pictures, own, own), {}
    for name, (perturbations, descriptions) in wanted.items():
        step = perturbations.flatten(1).to(seen.features)
        pictures, again = draw(seen.features + step)
        found = check(again, seen, seen.features + step, spaces[name], sing.translator)
        yardstick = check(first, seen, seen.features, spaces[name], sing.translator)
        partly = any(space.classes is not None for space, _ in spaces[name].parts)
        told = verdicts(found, yardstick, tolerance, some_classes=partly)
        for place, (one, other) in enumerate(zip(pictures, original.pictures, strict=True)):
            if one.tobytes() == other.tobytes() and one.size == other.size:
                told[place] = UNCHANGED
        change = _change(again, first, step)
        equivalents[name] = Drawn(pictures, found, yardstick, told, descriptions, change)
    facts = {**renderer.facts, "seeds": seeds, "tolerance": tolerance}
    return RenderedEquivalents(photographs, seen, original, equivalents, facts)


def _restored(rows: Tensor, originals: Tensor, embeddings: Tensor | None) -> Tensor:
    """Translations of the length that the photograph's embedding has (Eq. 19)."""
    length = (originals if embeddings is None else embeddings).norm(dim=1, keepdim=True)
    return torch.nn.functional.normalize(rows, dim=1) * length.to(rows)


def _change(picture: Seen, original: Seen, step: Tensor) -> Tensor:
    """The share of a step that the pictures differ by, NaN where there is no step."""
    made = ((picture.features - original.features) * step).sum(dim=1)
    return (made / step.square().sum(dim=1)).cpu()


def _check(renderer: Any, photographs: list[Any], changes: Any, tolerance: Any) -> None:
    from PIL import Image

    if not isinstance(renderer, Renderer):
        remedy = "Make one, such as Inversion, Nearest, FeatureDecoder or UnCLIP"
        raise SINGTypeError(
            expected(_WHERE, "renderer", "to be a Renderer", type(renderer).__name__, remedy)
        )
    strangers = [
        f"mode {one.mode}" if isinstance(one, Image.Image) else type(one).__name__
        for one in photographs
        if not isinstance(one, Image.Image) or one.mode != "RGB"
    ]
    if not photographs or strangers:
        raise SINGTypeError(
            expected(
                _WHERE,
                "photographs",
                "to be PIL images of mode RGB, one or more",
                strangers[0] if strangers else "none",
                "Load them with captum_sing.classifiers.load_image",
            )
        )
    if not isinstance(changes, Mapping) or not changes or not all(map(_is_change, changes.items())):
        given = changes.items() if isinstance(changes, Mapping) else [(changes, "no mapping")]
        odd = [f"{name!r}: {asked!r}" for name, asked in given if not _is_change((name, asked))]
        raise SINGValueError(
            expected(
                _WHERE,
                "changes",
                f"of names other than {ORIGINAL!r}, each with some of {sorted(_ARGUMENTS)}",
                odd[0][:200] if odd else "none",
                "Write {'swap': {'baselines': donor}}",
            )
        )
    if not isinstance(tolerance, (int, float)) or not 0 <= tolerance < 1:
        raise SINGValueError(
            expected(_WHERE, "tolerance", "from 0 to below 1", tolerance, "0.02 is 2 per cent")
        )


def _is_change(item: tuple[Any, Any]) -> bool:
    name, asked = item
    named = isinstance(name, str) and name != ORIGINAL
    return named and isinstance(asked, Mapping) and set(asked) <= _ARGUMENTS


def _check_reached(name: str, perturbations: Tensor) -> None:
    lost = perturbations.flatten(1).isnan().any(dim=1).nonzero().flatten().tolist()
    if lost:
        raise SINGValueError(
            expected(
                _WHERE,
                "changes",
                "that every photograph can make",
                f"{name!r}, whose angle photographs {lost[:10]} cannot reach",
                "Ask for a smaller image_score, or leave these photographs out",
            )
        )
