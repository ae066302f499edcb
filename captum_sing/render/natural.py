"""Pairs of real images that a head sees as nearly the same, and that differ otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from captum_sing.angles import image_score
from captum_sing.errors import NoNullSpaceError, SINGTypeError, SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.render.nearest import seen_and_ignored
from captum_sing.translator_base import Translator
from captum_sing.verification import logit_drift

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["NaturalEquivalents", "Pairs", "natural_equivalents"]

_WHERE = "natural_equivalents"
_DRAWN = 2**17  # random pairs, of which the typical one is the median
_CONTROLS = 200
_AT_ONCE = 2**13  # rows
_LARGEST = 0.1  # share of all pairs


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of images and how far apart they are.

    Attributes:
        images (Tensor): their rows, shape (P, 2), int64.
        seen (Tensor): distance of what the head sees of them, in that of a typical random pair,
            shape (P,).
        ignored (Tensor): distance of what it ignores, likewise.
        logit_gap (Tensor): relative logit drift from one to the other
            (:func:`captum_sing.verification.logit_drift`), the larger of the two ways, shape (P,).
        same_prediction (Tensor): shape (P,), bool.
        image_score (Tensor or None): the angle between their translations, degrees, shape (P,);
            it holds what little they differ in for the head too. None without a translator.
    """

    images: Tensor
    seen: Tensor
    ignored: Tensor
    logit_gap: Tensor
    same_prediction: Tensor
    image_score: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        """Some of them, by a slice, a mask or indices."""
        parts: dict[str, Any] = {k: v[rows] for k, v in vars(self).items() if v is not None}
        return replace(self, **parts)

    def to_frame(self) -> DataFrame:
        """One row a pair: ``first``, ``second`` and the figures."""
        import pandas as pd

        columns = {name: part.numpy() for name, part in vars(self).items() if part is not None}
        first, second = columns.pop("images").T
        return pd.DataFrame({"first": first, "second": second, **columns})


@dataclass(frozen=True, eq=False)
class NaturalEquivalents:
    """What :func:`natural_equivalents` found, beside two controls.

    Attributes:
        found (Pairs): the most different first; no image is in two of them.
        close (Pairs): drawn from all pairs that are as close for the head, whatever they differ in.
        random (Pairs): drawn from all pairs.
        limit (float): of ``seen``: the largest distance that was taken for close.
        candidates (int): how many pairs are as close.
    """

    found: Pairs
    close: Pairs
    random: Pairs
    limit: float
    candidates: int

    def to_frame(self) -> DataFrame:
        """One row a pair; ``kind`` is "found", "close" or "random"."""
        import pandas as pd

        frames = {kind: pairs.to_frame() for kind, pairs in self._kinds().items()}
        return pd.concat(frames, names=["kind"]).reset_index("kind").reset_index(drop=True)

    def __str__(self) -> str:
        lines = [f"{len(self.found)} pairs out of {self.candidates} that are as close for the head"]
        for kind, pairs in self._kinds().items():
            seen, ignored, gap = (
                float(part.nanmedian()) for part in (pairs.seen, pairs.ignored, pairs.logit_gap)
            )
            same = float(pairs.same_prediction.double().mean())
            lines.append(
                f"{kind}: seen {seen:.2f}, ignored {ignored:.2f} of a random pair's; logit gap "
                f"{gap:.1%}; same prediction {same:.0%}"
            )
        return "\n".join(lines)

    def _kinds(self) -> dict[str, Pairs]:
        return {"found": self.found, "close": self.close, "random": self.random}


@torch.no_grad()
def natural_equivalents(
    features: Tensor,
    null_space: NullSpace,
    *,
    logits: Tensor,
    translator: Translator | None = None,
    pairs: int = 10,
    share: float = 0.001,
    block_size: int = 2048,
    seed: int = 0,
    show_progress: bool = False,
) -> NaturalEquivalents:
    r"""Pairs of images, close for the head, that differ most in what it ignores.

    How close two images are for the head is the distance of their logits without the bias,
    :math:`\|W (f_i - f_j)\|`, over what the null space was declared invariant to. Close are the
    given share of all pairs. Among these the pair that differs most is taken, then the next of
    images that are still free, and so on. With a translator, how they differ is the distance of
    their translated ignored parts, :math:`\|A P_n (f_i - f_j)\|` for a linear one, so what can be
    named counts; without one it is :math:`\|P_n (f_i - f_j)\|`, in which every direction counts as
    it varies, named or not: a factor in a few of many directions is not found so.

    What a pair shows is that it *exists*: two photographs, neither of them generated, that differ
    so and are so alike for this head. That they differ is no finding, since they were chosen for
    it; how often what they differ in is one and the same thing can be one, beside the two controls.
    They are not equal for the head either: ``seen`` and ``logit_gap`` say how nearly, and a smaller
    share of more images is nearer. Nor need the ignored part be all that they differ in: a feature
    does not hold all of an image.

    All pairs are compared, a block at a time: time grows with the square of N, memory with N times
    ``pairs``. Draw some thousands from a large collection.

    Args:
        features (Tensor): at the head's input, shape (N, D).
        null_space (NullSpace): of the head.
        logits (Tensor): of the classifier, for the same images, shape (N, C).
        translator (Translator, optional): T, from these features.
        pairs (int, optional): how many to find. Default: 10
        share (float, optional): of all pairs, the closest for the head. Default: 0.001
        block_size (int, optional): images on each side of what is compared at once.
        seed (int, optional): of the controls, and of the sample that a typical distance, the median
            over random pairs, is measured on. Default: 0
        show_progress (bool, optional): a progress bar over the blocks. Default: False

    Returns:
        NaturalEquivalents: with fewer pairs, and a warning, where there are not enough close ones.

    Raises:
        SINGTypeError, SINGValueError: tensors that do not fit or are not finite, fewer than two
            images a pair, images that do not differ in what is seen or in what is ignored.
        NoNullSpaceError: the head ignores nothing.

    Example::

        >>> from captum_sing.demo import load_classifier, sample_scenes
        >>> model, scenes = load_classifier("resnet/neck_color"), sample_scenes(200, seed=5)
        >>> features = model.features(scenes.images).detach()
        >>> space = NullSpace.from_layer(model.head)
        >>> alike = natural_equivalents(features, space, logits=model.head(features), pairs=5)
        >>> shapes = scenes.labels["shape"][alike.found.images]
        >>> bool((shapes[:, 0] == shapes[:, 1]).all()), alike.found[:2].same_prediction.tolist()
        (True, [True, True])
    """
    features, logits = _checked(features, logits, null_space, translator, pairs)
    for argument, value, fits, constraint in (
        ("share", share, 0 < share <= _LARGEST, f"above 0 and at most {_LARGEST}"),
        ("block_size", block_size, block_size >= 1, "of at least 1"),
    ):
        if not fits:
            raise _unfit(argument, constraint, value, "Leave it out")
    space, count = null_space.to(features.device), len(features)
    seen, ignored = _parts_of(features, space, translator)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (_DRAWN, 2), generator=generator)
    drawn[:, 1] = (drawn[:, 0] + 1 + drawn[:, 1] % (count - 1)) % count  # never one image twice
    between = _distances(seen, drawn)
    typical, typical_ignored = float(between.median()), float(_distances(ignored, drawn).median())
    _check_spread(features, space, drawn, typical_ignored, float(ignored.norm(dim=1).median()))
    limit = float(between.quantile(share))
    blocks = _close_pairs(seen, limit, 1e-3 * typical, block_size)
    with tqdm(blocks, _WHERE, -(-count // block_size), disable=not show_progress) as bar:
        best, close, candidates = _select(bar, ignored, pairs, generator)
    if len(best) < pairs:
        warnings.warn(
            f"{_WHERE}: {len(best)} of {pairs} pairs found among {candidates} that are close "
            f"enough. A share above {share:g}, or more images, gives more.",
            stacklevel=3,
        )

    def measured(images: Tensor) -> Pairs:
        one, other = logits[images[:, 0]], logits[images[:, 1]]
        gaps = logit_drift(space, one, other), logit_drift(space, other, one)
        angles = None
        if translator is not None:
            ends = (translator(features[rows]) for rows in images.T)
            angles = image_score(*ends).cpu()
        return Pairs(
            images,
            _distances(seen, images) / typical,
            _distances(ignored, images) / typical_ignored,
            torch.maximum(*gaps).cpu(),
            (one.argmax(dim=1) == other.argmax(dim=1)).cpu(),
            angles,
        )

    parts = (measured(best), measured(close), measured(drawn[:_CONTROLS]))
    return NaturalEquivalents(*parts, limit / typical, candidates)


def _checked(
    features: Any, logits: Any, null_space: NullSpace, translator: Translator | None, pairs: int
) -> tuple[Tensor, Tensor]:
    """Features and logits of the same images, in numbers enough."""
    if not null_space.nullity:
        remedy = "Ask for an approximate one, NullSpace.from_weight(weight, energy=0.99)"
        constraint = "that ignores a direction or more"
        raise NoNullSpaceError(expected(_WHERE, "null_space", constraint, "nullity 0", remedy))
    for argument, rows, width in (("features", features, null_space.width), ("logits", logits, 0)):
        if not isinstance(rows, Tensor) or not rows.is_floating_point():
            actual = rows.dtype if isinstance(rows, Tensor) else type(rows).__name__
            constraint = "to be a floating-point tensor"
            raise SINGTypeError(expected(_WHERE, argument, constraint, actual, "Convert it"))
        if rows.ndim != 2 or (width and rows.shape[1] != width) or len(rows) != len(features):
            shape = f"(N, {width})" if width else f"({len(features)}, C), as features"
            raise _unfit(argument, f"of shape {shape}", tuple(rows.shape), "Give one row an image")
        lost = (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if lost:
            actual = f"NaN or infinity in rows {lost[:10]}"
            raise _unfit(argument, "to be finite", actual, "Leave these images out")
    kept = max(null_space.classes or (0,))
    if kept >= logits.shape[1]:
        actual, remedy = f"{logits.shape[1]} columns", "Give those of this null space's head"
        raise _unfit("logits", f"with a column for class {kept}", actual, remedy)
    if translator is not None and translator.feature_dim != null_space.width:
        constraint, remedy = f"for features of width {null_space.width}", "Fit one for this model"
        raise _unfit("translator", constraint, translator.feature_dim, remedy)
    if pairs < 1 or 2 * pairs > len(features):
        constraint = f"from 1 to {len(features) // 2}, half the images"
        raise _unfit("pairs", constraint, pairs, "Ask for fewer, or give more images")
    return features.detach(), logits.detach()


def _unfit(argument: str, constraint: str, actual: object, remedy: str) -> SINGValueError:
    return SINGValueError(expected(_WHERE, argument, constraint, actual, remedy))


def _parts_of(
    features: Tensor, space: NullSpace, translator: Translator | None
) -> tuple[Tensor, Tensor]:
    """Rows whose distances are those of what is seen, and of what is ignored, of two images."""
    mean = features.mean(dim=0, dtype=torch.float64)
    seen, ignored = [], []
    for part in features.split(_AT_ONCE):
        logits, null_part = seen_and_ignored(part.double() - mean, space)
        seen.append(logits.float())
        ignored.append((null_part if translator is None else translator(mean + null_part)).float())
    return torch.cat(seen), torch.cat(ignored)


def _distances(rows: Tensor, pairs: Tensor) -> Tensor:
    """Between the two rows of each pair, shape (P,), on the CPU."""
    parts = [rows[part].diff(dim=1)[:, 0].norm(dim=1) for part in pairs.split(_AT_ONCE)]
    return torch.cat(parts).cpu()


def _close_pairs(seen: Tensor, limit: float, slack: float, size: int) -> Iterator[Tensor]:
    """Pairs within the limit, the smaller row first; those of a block of first rows at a time."""
    for start in range(0, len(seen), size):
        found = []
        for later in range(start, len(seen), size):
            # a quick distance of near rows is a difference of large numbers, hence the slack
            quick = torch.cdist(seen[start : start + size], seen[later : later + size])
            near = quick <= limit + slack
            near = near.triu(1) if later == start else near
            found.append(near.nonzero().cpu() + torch.tensor([start, later]))
        pairs = torch.cat(found)
        yield pairs[_distances(seen, pairs) <= limit]


def _select(
    blocks: Iterable[Tensor], ignored: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, int]:
    """The most different pairs of images that are still free, others at random, and of how many."""
    kept, apart, drawn, keys, candidates = [], [], torch.empty(0, 2).long(), torch.empty(0), 0
    for pairs in blocks:
        candidates += len(pairs)
        keys = torch.cat([keys, torch.rand(len(pairs), generator=generator)])
        drawn = torch.cat([drawn, pairs])
        keys, order = keys.topk(min(_CONTROLS, len(keys)))
        drawn = drawn[order]
        # when a pair is taken, fewer than 2 * count images are not free: so many of a row will do
        distances = _distances(ignored, pairs)
        most = _most_of_each(pairs[:, 0], distances, 2 * count - 1)
        kept.append(pairs[most])
        apart.append(distances[most])
    pool, order = torch.cat(kept), torch.cat(apart).argsort(descending=True, stable=True)
    best: list[tuple[int, int]] = []
    taken: set[int] = set()
    for one, other in pool[order].tolist():
        if len(best) == count:
            break
        if not taken & {one, other}:
            taken |= {one, other}
            best.append((one, other))
    return torch.tensor(best, dtype=torch.int64).reshape(-1, 2), drawn, candidates


def _most_of_each(rows: Tensor, values: Tensor, most: int) -> Tensor:
    """Indices of the largest values of every row, at most so many of each."""
    order = values.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    rows = rows[order]
    rank = torch.arange(len(rows)) - torch.searchsorted(rows, rows)
    return order[rank < most]


def _check_spread(
    features: Tensor, space: NullSpace, drawn: Tensor, translated: float, size: float
) -> None:
    """Refuse images that differ only by rounding in what is seen, or in what is ignored."""
    some = features[drawn[:_AT_ONCE]].double()
    apart = some.diff(dim=1)[:, 0]
    null_part = space.project(apart)
    feature = float(some[:, 0].norm(dim=1).median())
    eps = max(torch.finfo(features.dtype).eps, torch.finfo(torch.float32).eps)
    for what, distance, of in (
        ("what the head sees", float((apart - null_part).norm(dim=1).median()), feature),
        ("what the head ignores", float(null_part.norm(dim=1).median()), feature),
        ("what the head ignores, once translated", translated, size),
    ):
        if distance <= 8 * eps * of:
            constraint = f"that differ by more than rounding in {what}"
            actual = f"a median distance of {distance:.1e}"
            raise _unfit("features", constraint, actual, "There is nothing to compare in them")
