"""Fits the decoder's readout on embeddings of rendered images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from captum_sing.demo.decoder import SceneDecoder


def fit_decoder(embeddings: Tensor, labels: dict[str, Tensor]) -> SceneDecoder:
    """Multinomial logistic regression of every factor, without bias, about the mean embedding.

    Args:
        embeddings (Tensor): (N, E).
        labels (dict): factor name -> (N,).

    Returns:
        SceneDecoder: in evaluation mode.
    """
    decoder = SceneDecoder(embeddings.shape[1])
    decoder.mean.copy_(embeddings.mean(0))
    scale = embeddings.std(0).mean()
    centred = (embeddings - decoder.mean) / scale
    for name, layer in decoder.readout.items():
        _fit(layer, centred, labels[name])
        for weight in layer.parameters():
            weight.data.div_(scale)
    return decoder.eval().requires_grad_(False)


def _fit(layer: nn.Module, inputs: Tensor, label: Tensor) -> None:
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = cross_entropy(layer(inputs), label)
        loss.backward()
        return loss

    optimizer.step(closure)
