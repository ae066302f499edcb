"""What there is to do, with its settings, as tasks that worker processes can run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from captum_sing.demo.models import BACKBONES, SceneClassifier
from captum_sing.demo.training import classifiers, clip, evaluation, families
from captum_sing.demo.training.common import Job, Report
from captum_sing.demo.world import CLASSIFIERS, backbone_file, file_of, save_state

_STREAMS = 100  # streams of images, and of seeds, that one world may use


@dataclass(frozen=True)
class Plan:
    """A whole world to be built.

    Attributes:
        folder (Path): where to.
        seed (int): worlds of different seeds share no image and no initialisation.
        quick (bool): with hardly any images, to see that everything runs.
    """

    folder: Path
    seed: int = 0
    quick: bool = False

    def stream(self, index: int) -> int:
        """The world's own number for one of its streams of images."""
        return self.seed * _STREAMS + index

    def images(self, count: int) -> int:
        """How many images, of ``count`` in a real run."""
        return min(count, 256) if self.quick else count

    def job(self, name: str, index: int, images: int, lr: float = 3e-3) -> Job:
        """Settings of a training run."""
        return Job(name, self.stream(index), self.images(images), lr)


@dataclass(frozen=True)
class Result:
    """What a task leaves in the report: rows of the table, and the time it took."""

    name: str
    wall: float
    cpu: float
    rows: list[evaluation.Row]


Task = Callable[[Plan, Report], "list[evaluation.Row] | None"]
Train = Callable[[str, Job, Report], SceneClassifier]


def _clip(plan: Plan, report: Report) -> None:
    clip.train_clip(plan.folder / "clip", plan.job("clip", 0, 153_600), report)


def _backbone(architecture: str, index: int, images: int) -> Task:
    def task(plan: Plan, report: Report) -> None:
        job = plan.job(f"{architecture}/backbone", index, images)
        backbone = classifiers.train_backbone(architecture, job, report)
        save_state(backbone, backbone_file(architecture, plan.folder))

    return task


def _trained(name: str, index: int, images: int, train: Train) -> Task:
    def task(plan: Plan, report: Report) -> None:
        model = train(CLASSIFIERS[name].architecture, plan.job(name, index, images), report)
        save_state(model, file_of(name, plan.folder))

    return task


def _necks(architecture: str, index: int) -> Task:
    names = [n for n, c in CLASSIFIERS.items() if c.necked and c.architecture == architecture]

    def task(plan: Plan, report: Report) -> list[evaluation.Row]:
        families.build_necks(
            architecture, plan.folder, plan.stream(index), plan.images(40_000), plan.stream(index)
        )
        return _translate(names, plan, report, f"{architecture}/necks")

    return task


def _others(plan: Plan, report: Report) -> list[evaluation.Row]:
    return _translate([n for n, c in CLASSIFIERS.items() if not c.necked], plan, report, "others")


def _translate(names: list[str], plan: Plan, report: Report, label: str) -> list[evaluation.Row]:
    report(label, 0.3, "translators")
    families.fit_translators(names, plan.folder, plan.stream(60), plan.images(10_000))
    report(label, 0.7, "evaluation")
    return evaluation.classifier_rows(names, plan.folder, plan.stream(70), plan.images(3_000))


def _decoder(plan: Plan, report: Report) -> list[evaluation.Row]:
    families.build_decoder(plan.folder, plan.stream(61), plan.images(4_000))
    return evaluation.clip_rows(plan.folder, plan.stream(72), plan.images(3_000))


PHASES: tuple[dict[str, Task], ...] = (
    {
        "clip": _clip,
        "resnet/backbone": _backbone("resnet", 10, 76_800),
        "plain": _trained("plain", 20, 64_000, classifiers.train_plain),
        "color_hidden": _trained("color_hidden", 21, 76_800, classifiers.train_color_hidden),
        "convnext/backbone": _backbone("convnext", 11, 153_600),
        "plain_convnext": _trained("plain_convnext", 22, 89_600, classifiers.train_plain),
        "spurious": _trained("spurious", 23, 51_200, classifiers.train_spurious),
    },
    {f"{name}/necks": _necks(name, 50 + i) for i, name in enumerate(BACKBONES)}
    | {"others": _others},
    {"decoder": _decoder},
)
"""Tasks by name; those of one phase need only what earlier phases wrote."""


def run_task(phase: int, name: str, plan: Plan, report: Report) -> Result:
    """Runs one task in this process, on one thread."""
    torch.set_num_threads(1)
    wall, cpu = time.monotonic(), time.process_time()
    rows = PHASES[phase][name](plan, report) or []
    report(name, 1.0, "done")
    return Result(name, time.monotonic() - wall, time.process_time() - cpu, rows)
