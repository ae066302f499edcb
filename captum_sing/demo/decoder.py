"""From the embedding space back to a picture: read every factor, then draw what was read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_sing.demo.scenes import FACTORS, render_expected
from captum_sing.errors import SINGValueError, expected


class SceneDecoder(nn.Module):
    r"""Draws image embeddings as the mean scene under what they tell about each factor.

    .. math:: p_k(z) = \operatorname{softmax}(W_k (z - \bar z)), \qquad
              \operatorname{image}(z) = E_{p(z)}[\operatorname{scene}]

    The readout has no bias: the mean embedding says nothing, so it gives flat posteriors and an
    honest gray blob. A translated feature is drawn by the same rule as a true embedding.

    Args:
        width (int): E, width of the embedding space.
    """

    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.readout = nn.ModuleDict(
            {name: nn.Linear(width, len(words), bias=False) for name, words in FACTORS.items()}
        )

    def posteriors(self, embeddings: Tensor) -> dict[str, Tensor]:
        """What the embeddings tell.

        Args:
            embeddings (Tensor): (B, E), of images or translated features, not normalised.

        Returns:
            dict[str, Tensor]: factor name -> (B, number of values), rows summing to one.

        Raises:
            SINGValueError: for embeddings of another width.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise SINGValueError(
                expected(
                    "SceneDecoder",
                    "embeddings",
                    f"of shape (B, {len(self.mean)})",
                    tuple(embeddings.shape),
                    "Translate features, or encode images, with the encoder of this world",
                )
            )
        centred = embeddings.to(self.mean) - self.mean
        return {name: layer(centred).softmax(-1) for name, layer in self.readout.items()}

    def forward(self, embeddings: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64) in [0, 1] of embeddings (B, E)."""
        return render_expected(self.posteriors(embeddings))
