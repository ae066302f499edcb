"""Necks of one backbone share its features: the part of a classifier that comes after."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_sing.demo.models import SceneClassifier, normalize

__all__ = ["Tail", "backbone_features"]

_BATCH = 256


class Tail(nn.Module):
    """What a classifier does with its backbone's features (B, 128): neck, then head."""

    def __init__(self, model: SceneClassifier) -> None:
        super().__init__()
        self.neck = model.neck
        self.head = model.head

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, 8)."""
        logits: Tensor = self.head(self.neck(features))
        return logits


@torch.no_grad()
def backbone_features(model: SceneClassifier, images: Tensor) -> Tensor:
    """Features (N, 128) of images (N, 3, 64, 64) in [0, 1], in batches."""
    return torch.cat([model.backbone(normalize(batch)) for batch in images.split(_BATCH)])
