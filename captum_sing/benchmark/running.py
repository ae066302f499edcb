"""All worlds of a benchmark, one after the other, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tqdm import tqdm

from captum_sing.benchmark.calibration import Calibration, calibrate
from captum_sing.benchmark.judging import MEASURES, STARRED, Judgement, judge
from captum_sing.benchmark.own_images import OwnImages, judge_own_images
from captum_sing.benchmark.scenes import SEEDS, TRAINED, Gallery, Neck, necks
from captum_sing.benchmark.synthetic import random_world
from captum_sing.benchmark.trained import TrainedFactor, trained_factors
from captum_sing.benchmark.worlds import World, confounded, neutral, world_of_numbers
from captum_sing.devices import one_thread
from captum_sing.errors import SINGValueError, expected

__all__ = ["EMPTY", "WORLDS", "Benchmark", "run_benchmark"]

WORLDS = 60
"""Planted necks, and as many planted worlds of numbers."""

EMPTY = 300
"""Empty worlds of numbers."""

_ANATOMY, _POOL = 40_960, 4_000  # scenes
_MOST = 300  # necks; a stream of images each
_TAUGHT = 3  # worlds of each trained classifier of which something is known
_COUNTED = ("necks", "numbers", "trained", "empty numbers")
_SHARED = ("neutral", "empty neutral")
_FAR = 1_000_000  # seeds of worlds of numbers, between benchmarks
_KINDS = 100_000  # and between kinds


@dataclass(frozen=True)
class Benchmark:
    """What was found in all worlds.

    Attributes:
        seed (int): of everything.
        judgements (tuple of Judgement): of every world and factor.
        trained (tuple of TrainedFactor): trained classifiers, factor by factor.
        own (OwnImages): empty worlds, tested on the images that the translator was fitted on.
    """

    seed: int
    judgements: tuple[Judgement, ...]
    trained: tuple[TrainedFactor, ...]
    own: OwnImages

    @cached_property
    def measures(self) -> dict[str, Calibration]:
        """Each measure, over necks, worlds of numbers and trained classifiers.

        The signal share is judged in worlds of its own, since it asks another question.
        """
        found = {}
        for measure in MEASURES:
            kinds = _SHARED if measure == "share" else _COUNTED
            own = [one for one in self.judgements if one.kind in kinds and measure in one.p]
            if own:
                found[measure] = calibrate(measure, own)
        return found

    @cached_property
    def kinds(self) -> dict[str, Calibration]:
        """The starred measure, in each kind of world."""
        own = [one for one in self.judgements if STARRED in one.p]
        return {
            kind: calibrate(STARRED, [one for one in own if one.kind == kind])
            for kind in dict.fromkeys(one.kind for one in own if one.planted is not None)
        }


def run_benchmark(
    seed: int = 0,
    *,
    worlds: int = WORLDS,
    empty: int = EMPTY,
    anatomy: int = _ANATOMY,
    pool: int = _POOL,
    progress: bool = True,
) -> Benchmark:
    """Make the worlds, study each, and judge.

    Args:
        seed (int, optional): of everything. Default: 0
        worlds (int, optional): planted necks, and planted worlds of numbers. Default: 60
        empty (int, optional): empty worlds of numbers. Default: 300
        anatomy (int, optional): scenes that necks are made from. Default: 40,960, four of each
            combination of factors
        pool (int, optional): scenes that translators of necks are fitted on, 1,000 each.
            Default: 4,000
        progress (bool, optional): show progress bars. Default: True

    Returns:
        Benchmark

    Raises:
        SINGValueError: numbers out of range, before anything is made.
    """
    for name, value, allowed in (
        ("seed", seed, SEEDS),
        ("worlds", worlds, range(1, _MOST + 1)),
        ("empty_worlds", empty, range(1, _KINDS)),
    ):
        if value not in allowed:
            constraint = f"from {allowed[0]} to {allowed[-1]}"
            raise SINGValueError(
                expected("benchmark", name, constraint, value, "Choose another number")
            )
    with one_thread():
        planned = necks(worlds, -(-worlds // 3))
        numbers = list(_numbers(seed, worlds, empty))
        taught = [name for name, truth in TRAINED.items() if truth for _ in range(_TAUGHT)]
        own = min(worlds, empty)
        hidden = not progress
        with tqdm(desc="scenes", unit="scene", disable=hidden) as bar:
            gallery = Gallery(seed, anatomy, pool, bar.update)
            bar.reset(gallery.scenes)
            gallery.read()
        total = len(planned) + len(taught) + len(TRAINED) + len(numbers) + own
        with tqdm(desc="worlds", total=total, unit="world", disable=hidden) as bar:
            judgements: list[Judgement] = []
            for world in _all(gallery, planned, taught, numbers):
                judgements += judge(world)
                bar.update()
            trained: list[TrainedFactor] = []
            for place, name in enumerate(TRAINED):
                number = len(planned) + len(taught) + place
                trained += trained_factors(gallery, name, number)
                bar.update()
            p: list[float] = []
            tested = 0
            for place in range(own):
                found = judge_own_images(random_world(_seed(seed, 0, place)))
                p += found.p
                tested += found.tested
                bar.update()
    return Benchmark(seed, tuple(judgements), tuple(trained), OwnImages(tuple(p), tested))


def _seed(seed: int, kind: int, place: int) -> int:
    return seed * _FAR + kind * _KINDS + place


def _all(
    gallery: Gallery, planned: Sequence[Neck], taught: Sequence[str], numbers: Sequence[_Numbers]
) -> Iterator[World]:
    yield from map(gallery.neck, planned)
    for place, name in enumerate(taught):
        yield gallery.trained(name, len(planned) + place)
    for one in numbers:
        yield one.world()


@dataclass(frozen=True)
class _Numbers:
    """A world of numbers to be made."""

    kind: str
    seed: int
    planted: int = 0

    def world(self) -> World:
        if self.kind.startswith("confounded"):
            known = "class" if self.kind == "confounded" else None
            world = confounded(self.seed)
            return world_of_numbers(world, self.kind, classes=known, asked=STARRED)
        if self.kind not in _SHARED:
            return world_of_numbers(random_world(self.seed, planted=self.planted), self.kind)
        world = neutral(self.seed, planted=bool(self.planted))
        differs = {factor: place != "anywhere" for factor, place in world.places.items()}
        return world_of_numbers(world, self.kind, truth=differs, asked="share")


def _numbers(seed: int, worlds: int, empty: int) -> Iterator[_Numbers]:
    third = -(-worlds // 3)
    for i in range(empty):
        yield _Numbers("empty numbers", _seed(seed, 0, i))
    for i in range(worlds):
        yield _Numbers("numbers", _seed(seed, 1, i), 1 + i % 3)
    for i in range(third):
        yield _Numbers("confounded", _seed(seed, 2, i))
        yield _Numbers("confounded, classes unknown", _seed(seed, 2, i))
    for i in range(third):
        yield _Numbers("empty neutral", _seed(seed, 3, i))
    for i in range(-(-third // 2)):
        yield _Numbers("neutral", _seed(seed, 4, i), 1)
