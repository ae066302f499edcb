"""Backbones that know every factor, and classifiers of shape that were trained in three ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from captum_sing.demo.models import FEATURES, SceneClassifier, make_backbone
from captum_sing.demo.scenes import FACTORS, Scenes, sample_scenes
from captum_sing.demo.training.common import Job, Progress, Report, image_seed, make_optimizer
from captum_sing.demo.training.factors import FactorHeads

Draw = Callable[[Job, int], Scenes]
SPURIOUS_SHARE = 0.9


def _fit(
    module: nn.Module,
    job: Job,
    report: Report,
    loss_of: Callable[[Scenes], Tensor],
    draw: Draw,
) -> None:
    optimizer, advance = make_optimizer(module, job)
    progress = Progress(job, report)
    module.to(memory_format=torch.channels_last).train()
    for step in range(job.steps):
        loss = loss_of(draw(job, step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        advance()
        progress(step, loss=loss)
    module.eval()


def _independent(job: Job, step: int) -> Scenes:
    return sample_scenes(job.batch, image_seed(job.seed, step))


def _correlated(job: Job, step: int) -> Scenes:
    """Colour goes with shape in nine of ten images."""
    seed = image_seed(job.seed, step)
    generator = torch.Generator().manual_seed(seed + 32 * 1_000_003)
    shape, color = torch.randint(len(FACTORS["shape"]), (2, job.batch), generator=generator)
    tied = torch.rand(job.batch, generator=generator) < SPURIOUS_SHARE
    return sample_scenes(
        job.batch, seed, labels={"shape": shape, "color": torch.where(tied, shape, color)}
    )


def train_backbone(architecture: str, job: Job, report: Report) -> nn.Module:
    """A backbone from which every factor can be read linearly."""
    torch.manual_seed(job.seed)
    model = SceneClassifier(make_backbone(architecture), nn.Linear(FEATURES, 1))
    heads = FactorHeads(FEATURES)
    _fit(
        nn.ModuleList([model.backbone, heads]),
        job,
        report,
        lambda scenes: heads(model.features(scenes.images), scenes),
        _independent,
    )
    return model.backbone


def train_plain(
    architecture: str, job: Job, report: Report, draw: Draw = _independent
) -> SceneClassifier:
    """A classifier of shape, trained as one does."""
    torch.manual_seed(job.seed)
    model = SceneClassifier.build(architecture)
    _fit(
        model,
        job,
        report,
        lambda scenes: cross_entropy(model(scenes.images), scenes.labels["shape"]),
        draw,
    )
    return model


def train_spurious(architecture: str, job: Job, report: Report) -> SceneClassifier:
    """A classifier that could, in its training images, nearly always go by colour."""
    return train_plain(architecture, job, report, _correlated)


def train_color_hidden(architecture: str, job: Job, report: Report) -> SceneClassifier:
    r"""A classifier that was made to keep colour where its own head cannot see it.

    The head is :math:`V A^T` with a fixed orthonormal :math:`A`; a second head learns colour from
    :math:`f - A A^T f`, which is the null part of :math:`f` whatever :math:`V` becomes.
    """
    torch.manual_seed(job.seed)
    model = SceneClassifier.build(architecture)
    shapes = len(FACTORS["shape"])
    seen = torch.linalg.qr(torch.randn(FEATURES, shapes)).Q
    reader, color = nn.Linear(shapes, shapes), nn.Linear(FEATURES, len(FACTORS["color"]))

    def loss_of(scenes: Scenes) -> Tensor:
        features = model.features(scenes.images)
        coordinates = features @ seen
        null_part = features - coordinates @ seen.T
        return cross_entropy(reader(coordinates), scenes.labels["shape"]) + cross_entropy(
            color(null_part), scenes.labels["color"]
        )

    _fit(nn.ModuleList([model.backbone, reader, color]), job, report, loss_of, _independent)
    with torch.no_grad():
        model.head.weight.copy_(reader.weight @ seen.T)
        model.head.bias.copy_(reader.bias)
    return model
