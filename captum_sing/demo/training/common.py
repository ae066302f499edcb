"""What every training loop shares: fresh batches, a schedule and reports."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_sing.demo.scenes import Scenes, sample_scenes

Report = Callable[[str, float, str], None]
"""Called with a job's name, the share done and the latest figures."""


@dataclass(frozen=True)
class Job:
    """One training run's settings.

    Attributes:
        name (str): what it makes.
        seed (int): seeds the initialisation and all of its images.
        images (int): how many images it sees, each of them new.
        lr (float): peak learning rate.
        batch (int): batch size.
    """

    name: str
    seed: int
    images: int
    lr: float
    batch: int = 128

    @property
    def steps(self) -> int:
        """Number of batches."""
        return max(1, self.images // self.batch)

    def batches(self) -> Iterator[tuple[int, Scenes]]:
        """New scenes for every step; each job has its own range of image seeds."""
        for step in range(self.steps):
            yield step, sample_scenes(self.batch, image_seed(self.seed, step))


def image_seed(stream: int, step: int) -> int:
    """A seed of its own for every (stream, step): no two streams share an image."""
    return (stream + 1) * 1_000_003 * 64 + step


def make_optimizer(module: nn.Module, job: Job) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """AdamW with weight decay on matrices alone, and a one-cycle cosine schedule."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=job.lr,
    )
    warmup = max(1, job.steps // 20)

    def share(step: int) -> float:
        rising = min(1.0, (step + 1) / warmup)
        return rising * 0.5 * (1 + math.cos(math.pi * step / job.steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share).step


class Progress:
    """Reports at most once a second, so that reporting costs nothing."""

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.report, self.last = job, report, 0.0

    def __call__(self, step: int, **losses: Tensor) -> None:
        """Notes that a step is done, and what its losses were."""
        final = step + 1 == self.job.steps
        if final or time.monotonic() - self.last > 1.0:
            self.last = time.monotonic()
            figures = ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
            self.report(self.job.name, (step + 1) / self.job.steps, figures)
