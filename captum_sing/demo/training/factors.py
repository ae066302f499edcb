"""Linear heads that read every factor at once, for training and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from captum_sing.demo.scenes import FACTORS, Scenes


class FactorHeads(nn.Module):
    """Sum of the cross-entropies of all factors; shape, the slowest to learn, counts twice.

    Args:
        width (int): width of the features that the heads read.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({f: nn.Linear(width, len(v)) for f, v in FACTORS.items()})

    def forward(self, features: Tensor, scenes: Scenes) -> Tensor:
        """The loss of features (B, width) of these scenes."""
        losses = [
            (2.0 if name == "shape" else 1.0) * cross_entropy(head(features), scenes.labels[name])
            for name, head in self.heads.items()
        ]
        return torch.stack(losses).sum()
