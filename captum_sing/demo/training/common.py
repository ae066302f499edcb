"""What every training loop shares: fresh batches, a schedule, reports and file names."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..scenes import Scenes, sample_scenes

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
        return max(1, self.images // self.batch)

    def batches(self) -> Iterator[tuple[int, Scenes]]:
        """New scenes for every step; each job has its own range of image seeds."""
        for step in range(self.steps):
            yield step, sample_scenes(self.batch, image_seed(self.seed, step))


def image_seed(stream: int, step: int) -> int:
    """A seed of its own for every (stream, step): no two streams share an image."""
    return (stream + 1) * 1_000_003 * 64 + step


def make_optimizer(module: nn.Module, job: Job) -> tuple[torch.optim.Optimizer, Callable]:
    """AdamW with weight decay on matrices alone, and a one-cycle cosine schedule."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=job.lr)
    warmup = max(1, job.steps // 20)

    def share(step: int) -> float:
        rising = min(1.0, (step + 1) / warmup)
        return rising * 0.5 * (1 + math.cos(math.pi * step / job.steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share).step


class Progress:
    """Reports at most once a second, so that reporting costs nothing."""

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.report, self.last = job, report, 0.0

    def __call__(self, step: int, figures: Callable[[], str]) -> None:
        final = step + 1 == self.job.steps
        if final or time.monotonic() - self.last > 1.0:
            self.last = time.monotonic()
            self.report(self.job.name, (step + 1) / self.job.steps, figures())


def save_weights(tensors: dict[str, Tensor], path: Path, *, half: bool = True) -> None:
    """Writes a safetensors file under a temporary name and renames it; float16 by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    stored = {
        name: (t.half() if half and t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in tensors.items()
    }
    save_file(stored, temporary)
    temporary.replace(path)
